"""Tables of what is sold and given: orders and their payments, subscriptions, rewards.

What is decided here is decided by the database: an order credits once, a code is redeemed as often as it may be, a day
is checked in on once, because a second row of the same key cannot be. Units then reach Redis through `credits_due`: a
row of it is written in the transaction that decides, and the grant of the same id follows, as often as need be.

Rows of `order_steps` and `subscription_steps` are never changed or deleted. Money is whole minor units (ISO 4217).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from gateway.ledger.tables import EMPTY, Instant, metadata, partial

#: All tables, those of `tables` too.
all_tables = metadata

#: Units that an account is to be given, and was, once: a grant that is decided, and perhaps not yet in Redis.
credits_due = Table(
    "credits_due",
    metadata,
    Column("account", String(200), primary_key=True),
    #: The grant's.
    Column("id", String(200), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reason", String(1000), nullable=False),
    Column("priority", Integer, nullable=False),
    #: None: never.
    Column("expires_at", Instant),
    #: What it is for: "order:ord_…", "code:WELCOME", "reward:check_in:2026-11-20" …
    Column("cause", String(220), nullable=False),
    Column("created_at", Instant, nullable=False),
    #: When Redis had it.
    Column("granted_at", Instant),
    #: Why it has not.
    Column("last_error", String(500), nullable=False, server_default=EMPTY),
    Index(None, "cause"),
    partial("ix_credits_due_waiting", "created_at", where="granted_at IS NULL"),
)

#: What an account's credits ever gained and lost, by kind of entry.
credit_totals = Table(
    "credit_totals",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("amount", BigInteger, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    #: Also what the provider calls it by: its reference.
    Column("id", String(40), primary_key=True),
    #: Of the request that made it: a repeat makes no other.
    Column("write_id", String(120), nullable=False, unique=True),
    Column("account", String(200), nullable=False),
    #: "topup" or "subscription".
    Column("purpose", String(16), nullable=False),
    #: The package or plan by its name; "" for a number of units.
    Column("item", String(64), nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("bonus", BigInteger, nullable=False),
    Column("valid_days", Integer, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("provider", String(16), nullable=False),
    Column("method", String(16), nullable=False),
    Column("channel", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    #: The provider's own id; "" until it has answered.
    Column("provider_id", String(120), nullable=False, server_default=EMPTY, index=True),
    #: How to pay it, as a JSON object.
    Column("instruction", Text, nullable=False, server_default=EMPTY),
    Column("expires_at", Instant),
    #: Of a subscription: its id and the number of the period.
    Column("subscription", String(40), nullable=False, server_default=EMPTY),
    Column("period", Integer, nullable=False, server_default="0"),
    Column("note", String(1000), nullable=False, server_default=EMPTY),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("paid_at", Instant),
    Column("credited_at", Instant),
    #: When the provider is asked about it next, and how often it was; None: no more.
    Column("next_poll_at", Instant),
    Column("polls", Integer, nullable=False, server_default="0"),
    #: When it was asked last, by the poller or for somebody who looked.
    Column("asked_at", Instant),
    Index(None, "account", "created_at", "id"),
    Index(None, "state", "created_at", "id"),
    Index(None, "created_at", "id"),
    partial("ix_orders_poll", "next_poll_at", where="next_poll_at IS NOT NULL"),
    partial("ix_orders_subscription", "subscription", "period", where="subscription <> ''"),
)

order_steps = Table(
    "order_steps",
    metadata,
    Column("order", String(40), primary_key=True),
    #: From 1 on.
    Column("number", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    #: "" before the first one.
    Column("state_before", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    #: What made it: "request", "webhook EVENT", "poll", "comparison", "admin:NAME", "crediting".
    Column("cause", String(200), nullable=False),
    Column("note", String(1000), nullable=False, server_default=EMPTY),
)

#: Money that the provider has, as it says. One of an order's at the most is counted: the one it is credited for.
payments = Table(
    "payments",
    metadata,
    Column("provider", String(16), primary_key=True),
    #: The provider's.
    Column("id", String(120), primary_key=True),
    Column("order", String(40), nullable=False, index=True),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("channel", String(64), nullable=False, server_default=EMPTY),
    #: As the provider says; where it does not, when it was seen.
    Column("paid_at", Instant),
    Column("seen_at", Instant, nullable=False),
    Column("counted", Boolean, nullable=False),
    Index(None, "provider", "paid_at"),
    partial("uq_payments_counted", "order", where="counted", unique=True),
)

#: What providers told us. Of a webhook's body only what names things is kept.
webhook_events = Table(
    "webhook_events",
    metadata,
    #: The provider and what it tells: one that comes again has the same.
    Column("id", String(220), primary_key=True),
    Column("provider", String(16), nullable=False),
    Column("event", String(64), nullable=False),
    #: Ours: of an order, or of a refund.
    Column("reference_id", String(120), nullable=False, index=True),
    Column("provider_id", String(120), nullable=False),
    Column("payment_id", String(120), nullable=False),
    Column("received_at", Instant, nullable=False, index=True),
    #: How often it came.
    Column("times", Integer, nullable=False),
    #: "waiting", "applied" or "ignored".
    Column("outcome", String(16), nullable=False),
    Column("note", String(500), nullable=False, server_default=EMPTY),
)

refunds = Table(
    "refunds",
    metadata,
    #: Ours, and the provider's reference.
    Column("id", String(40), primary_key=True),
    Column("write_id", String(120), nullable=False, unique=True),
    Column("order", String(40), nullable=False, index=True),
    Column("payment", String(120), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    #: What was taken from the account for it.
    Column("units", BigInteger, nullable=False),
    #: The grants that had something left when it began: their ids, with spaces between.
    Column("grants", Text, nullable=False),
    #: "created", "pending", "succeeded" or "failed".
    Column("state", String(16), nullable=False),
    Column("provider_id", String(120), nullable=False, server_default=EMPTY),
    Column("actor", String(200), nullable=False),
    Column("reason", String(1000), nullable=False),
    Column("note", String(1000), nullable=False, server_default=EMPTY),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("next_poll_at", Instant),
    partial("ix_refunds_poll", "next_poll_at", where="next_poll_at IS NOT NULL"),
)

#: Where the provider's books and ours differ, until somebody has looked at it.
payment_differences = Table(
    "payment_differences",
    metadata,
    #: "KIND PROVIDER ID".
    Column("id", String(200), primary_key=True),
    #: "unknown_payment", "not_credited", "other_amount", "paid_twice" or "not_paid_there".
    Column("kind", String(32), nullable=False),
    Column("provider", String(16), nullable=False),
    Column("order", String(40), nullable=False, server_default=EMPTY),
    Column("payment", String(120), nullable=False, server_default=EMPTY),
    #: What the two say, in words.
    Column("note", String(1000), nullable=False),
    Column("found_at", Instant, nullable=False),
    Column("resolved_at", Instant),
    Column("resolved_by", String(200), nullable=False, server_default=EMPTY),
    Index(None, "found_at", "id"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("write_id", String(120), nullable=False, unique=True),
    Column("account", String(200), nullable=False),
    Column("plan", String(64), nullable=False),
    #: "pending" (its first period is not paid), "active", "grace" or "ended".
    Column("state", String(16), nullable=False),
    #: How its owner pays.
    Column("method", String(16), nullable=False),
    Column("channel", String(64), nullable=False),
    #: The local date that it began on, "" until it is paid; and the clock that its periods turn by.
    Column("anchor", String(10), nullable=False, server_default=EMPTY),
    Column("zone", String(64), nullable=False, server_default=EMPTY),
    Column("reset_hour", Integer, nullable=False, server_default="0"),
    #: The paid period that runs, or ran last, from 1 on; 0: none did.
    Column("period", Integer, nullable=False, server_default="0"),
    Column("period_starts_at", Instant),
    Column("period_ends_at", Instant),
    #: Until when the account keeps the tier.
    Column("tier_ends_at", Instant),
    #: Where the account goes then.
    Column("tier_after", String(64), nullable=False, server_default=EMPTY),
    #: It ends with the period that is paid.
    Column("cancel_at_end", Boolean, nullable=False),
    #: The plan of the next period; "": the same.
    Column("next_plan", String(64), nullable=False, server_default=EMPTY),
    #: The order that has paid for the next period; "": none has yet.
    Column("next_order", String(40), nullable=False, server_default=EMPTY),
    #: The order that moves it to a dearer plan as soon as it is paid; "": none.
    Column("upgrade_order", String(40), nullable=False, server_default=EMPTY),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("ended_at", Instant),
    #: When something is to be done about it next; None: nothing.
    Column("next_act_at", Instant),
    Index(None, "account", "created_at", "id"),
    Index(None, "created_at", "id"),
    partial("uq_subscriptions_living", "account", where="state <> 'ended'", unique=True),
    partial("ix_subscriptions_act", "next_act_at", where="next_act_at IS NOT NULL"),
)

subscription_steps = Table(
    "subscription_steps",
    metadata,
    Column("subscription", String(40), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    #: "subscribed", "paid", "began", "overdue", "changed", "refunded", "canceled", "resumed" or "ended".
    Column("act", String(32), nullable=False),
    #: "user", "admin:NAME", "order:ord_…" or "clock".
    Column("cause", String(200), nullable=False),
    Column("note", String(1000), nullable=False, server_default=EMPTY),
)

code_batches = Table(
    "code_batches",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("write_id", String(120), nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    Column("amount", BigInteger, nullable=False),
    #: How often a code can be redeemed, and by one account.
    Column("max_uses", Integer, nullable=False),
    Column("per_account", Integer, nullable=False),
    #: What was redeemed lapses so many days later; 0: never.
    Column("valid_days", Integer, nullable=False),
    #: Until when its codes are taken; None: for ever.
    Column("expires_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("actor", String(200), nullable=False),
    #: Since when they are taken no more.
    Column("voided_at", Instant),
    Index(None, "created_at", "id"),
)

codes = Table(
    "codes",
    metadata,
    #: Upper case, without separators.
    Column("code", String(64), primary_key=True),
    Column("batch", String(40), nullable=False, index=True),
    Column("uses", Integer, nullable=False),
)

redemptions = Table(
    "redemptions",
    metadata,
    Column("code", String(64), primary_key=True),
    Column("account", String(200), primary_key=True),
    #: Of this account, from 1 on.
    Column("number", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("write_id", String(120), nullable=False, unique=True),
    Index(None, "account", "at"),
)

referral_codes = Table(
    "referral_codes",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("code", String(32), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
)

#: An account that another one brought.
referrals = Table(
    "referrals",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("referrer", String(200), nullable=False, index=True),
    Column("at", Instant, nullable=False),
    #: When both were rewarded; None: not yet.
    Column("rewarded_at", Instant),
    #: Why never, such as the referrer's limit; "" otherwise.
    Column("refused", String(200), nullable=False, server_default=EMPTY),
    partial("ix_referrals_waiting", "at", where="rewarded_at IS NULL AND refused = ''"),
)

#: Rewards that an account has claimed, once a period of each rule.
claims = Table(
    "claims",
    metadata,
    Column("account", String(200), primary_key=True),
    #: "check_in" or "once:NAME".
    Column("rule", String(80), primary_key=True),
    #: The local day, or "" for what is had once.
    Column("period", String(10), primary_key=True),
    Column("at", Instant, nullable=False),
    #: Of the request that claimed it: a repeat of it is answered alike. "": nobody can repeat it.
    Column("write_id", String(120), nullable=False, server_default=EMPTY),
    #: Of check-ins: the days in a row, this one included, and the clock that they were told by, "Asia/Jakarta 4".
    Column("streak", Integer, nullable=False, server_default="0"),
    Column("clock", String(80), nullable=False, server_default=EMPTY),
)
