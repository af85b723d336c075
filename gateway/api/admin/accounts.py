"""Accounts: opened, read, moved, suspended, let call again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints

from gateway.accounts import erasure, lifecycle
from gateway.accounts.account_view import AccountView, Recorded, view
from gateway.accounts.profile import MAX_EMAIL_LENGTH
from gateway.accounts.system import System
from gateway.api.admin.common import Account, ReadsAccounts, WritesAccounts, at, by
from gateway.api.admin.holds import HoldAnswer, hold_answer
from gateway.api.admin.keys import KeyAnswer, key_answer
from gateway.api.control import SystemOf
from gateway.api.models import AccountId, Answer, Cursor, Input, Limit, Page, Reason, Words
from gateway.api.problems import problems
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.reservation import Bucket, Override
from gateway.ledger import listings

router = APIRouter(prefix="/api/admin", tags=["accounts"], route_class=RepeatableRoute)

TierName = Annotated[str, StringConstraints(min_length=1, max_length=64), Field(examples=["pro"])]
ZoneName = Annotated[
    str,
    StringConstraints(max_length=64),
    Field(description="An IANA name; empty for its tier's.", examples=["Asia/Jakarta"]),
]
Email = Annotated[
    str,
    StringConstraints(max_length=MAX_EMAIL_LENGTH),
    Field(description="Empty for none.", examples=["a@b.example"]),
]


class NewAccount(Input):
    id: AccountId
    tier: TierName | None = Field(None, description="The default tier, when it is left out.")
    zone: ZoneName = ""
    email: Email = ""


class AccountChange(Input):
    """What is left out stays."""

    tier: TierName | None = None
    zone: ZoneName | None = None
    email: Email | None = None
    reason: Reason | None = None


class Why(Input):
    reason: Reason


class MaybeWhy(Input):
    reason: Reason | None = None


class Erased(Answer):
    anonymous_id: str = Field(description="Under it the ledger keeps what was counted.", examples=["erased:1f0c9a…"])


class ListedAccount(Answer):
    id: str
    tier: str | None
    zone: str | None
    status: str
    email: str
    granted: int
    spent: int
    used_tokens: int
    requests: int
    first_seen_at: datetime
    last_seen_at: datetime
    erased_at: datetime | None


class BucketOfAccount(Answer):
    kind: str = Field(description="hour, day, week, month or credits.")
    id: str = Field(description="The period, or the grant.")
    amount: int = Field(description="What it opened with.")
    left: int
    held: int | None = Field(description="By open calls; null for credits, where only the account's sum is known.")
    ends_at: datetime | None
    open: bool = Field(description="False: the next call opens it.")


class RecordedAnswer(Answer):
    granted: int
    spent: int
    used_tokens: int
    requests: int
    first_seen_at: datetime
    last_seen_at: datetime


class OverrideOfAccount(Answer):
    limits_times: str = Field(examples=["3/2"])
    until: datetime


class AccountAnswer(Answer):
    id: str
    tier: str
    zone: str
    status: str = Field(description="active, or why it may not call.")
    email: str
    available: int = Field(description="What the next call can draw on.")
    left: int
    held: int
    granted: int
    spent: int
    used_tokens: int
    requests: int
    resets_at: datetime
    first_seen_at: datetime
    last_seen_at: datetime
    buckets: list[BucketOfAccount]
    override: OverrideOfAccount | None
    holds: list[HoldAnswer] = Field(description="The oldest leases; all of them stand in /api/admin/holds.")
    keys: list[KeyAnswer]
    recorded: RecordedAnswer | None = Field(description="Totals in the ledger; null: it has not heard of the account.")


_Filter = Annotated[Words | None, Query()]


@router.get("/accounts", response_model=Page[ListedAccount], responses=problems(), summary="List accounts")
def list_accounts(
    admin: ReadsAccounts,
    system: SystemOf,
    search: Annotated[Words | None, Query(description="How the id or the e-mail address begins.")] = None,
    tier: _Filter = None,
    status: _Filter = None,
    zone: _Filter = None,
    sort: Literal["id", "used_tokens", "last_seen"] = "id",
    descending: bool = False,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[ListedAccount]:
    """As the ledger knows them. An account that is used while pages are read may move, when they are sorted by use."""
    found = listings.accounts(
        system.ledger, search=search, tier=tier, status=status, zone=zone, sort=sort, descending=descending,
        cursor=cursor, limit=limit,
    )  # fmt: skip
    items = [ListedAccount(**{name: row[name] for name in ListedAccount.model_fields}) for row in found.items]
    return Page[ListedAccount](items=items, next_cursor=found.next_cursor)


@router.post(
    "/accounts", status_code=201, response_model=AccountAnswer, responses=problems(409), summary="Open an account"
)
def create_account(new: NewAccount, admin: WritesAccounts, id: WriteId, system: SystemOf) -> AccountAnswer:
    """Opens an account before its first call does, with its tier's sign-up grant."""
    lifecycle.create(system, by(admin, id), new.id, tier=new.tier, zone=new.zone, email=new.email)
    return account_answer(system, new.id)


@router.get("/account", response_model=AccountAnswer, responses=problems(), summary="Read an account")
def read_account(account: Account, admin: ReadsAccounts, system: SystemOf) -> AccountAnswer:
    """Its balances as they stand in Redis, its holds, keys and override, and its totals in the ledger."""
    return account_answer(system, account)


@router.patch("/account", response_model=AccountAnswer, responses=problems(409), summary="Change an account")
def change_account(
    account: Account, change: AccountChange, admin: WritesAccounts, id: WriteId, system: SystemOf
) -> AccountAnswer:
    """Another tier, zone or e-mail address. Periods that are open run to their end as they are."""
    lifecycle.change(
        system, by(admin, id, change.reason), account, tier=change.tier, zone=change.zone, email=change.email
    )
    return account_answer(system, account)


@router.post("/account/suspend", response_model=AccountAnswer, responses=problems(409), summary="Suspend an account")
def suspend_account(account: Account, why: Why, admin: WritesAccounts, id: WriteId, system: SystemOf) -> AccountAnswer:
    """Its calls are refused from now on; those under way end as they would."""
    lifecycle.suspend(system, by(admin, id, why.reason), account)
    return account_answer(system, account)


@router.post(
    "/account/resume", response_model=AccountAnswer, responses=problems(409), summary="Let an account call again"
)
def resume_account(
    account: Account, admin: WritesAccounts, id: WriteId, system: SystemOf, why: MaybeWhy | None = None
) -> AccountAnswer:
    """Ends a suspension."""
    lifecycle.resume(system, by(admin, id, why.reason if why else None), account)
    return account_answer(system, account)


@router.post("/account/erase", response_model=Erased, responses=problems(409), summary="Delete personal data")
def erase_account(account: Account, why: Why, admin: WritesAccounts, id: WriteId, system: SystemOf) -> Erased:
    """Suspends the account, revokes its keys, removes it from Redis, and puts an anonymous id in its place in the
    ledger, where all amounts stay. Not while calls of it are under way, an order of it is open or it has a
    subscription. It cannot be undone."""
    return Erased(anonymous_id=erasure.erase_account(system, by(admin, id, why.reason), account))


def account_answer(system: System, account_id: str) -> AccountAnswer:
    found = view(system, account_id)
    account = found.balance.account
    return AccountAnswer(
        id=account.id,
        tier=account.tier,
        zone=account.zone,
        status=account.status,
        email=found.email,
        available=found.balance.available,
        left=account.left,
        held=account.held,
        granted=account.granted - account.lapsed,
        spent=account.spent,
        used_tokens=account.used_tokens,
        requests=account.requests,
        resets_at=at(found.balance.resets_at_ms),
        first_seen_at=at(account.first_seen_ms),
        last_seen_at=at(account.last_seen_ms),
        buckets=_buckets(found),
        override=_override(account.running_override),
        holds=[hold_answer(hold) for hold in found.holds],
        keys=[key_answer(key) for key in found.keys],
        recorded=_recorded(found.recorded),
    )


def _buckets(found: AccountView) -> list[BucketOfAccount]:
    running = [(bucket, True) for bucket in found.balance.account.buckets]
    return [_bucket(*each) for each in (*running, *((bucket, False) for bucket in found.balance.due))]


def _bucket(bucket: Bucket, is_open: bool) -> BucketOfAccount:
    ends_at = None if bucket.ends_at_ms is None else at(bucket.ends_at_ms)
    return BucketOfAccount(
        kind=bucket.kind, id=bucket.id, amount=bucket.amount, left=bucket.left, held=bucket.held, ends_at=ends_at,
        open=is_open,
    )  # fmt: skip


def _override(found: Override | None) -> OverrideOfAccount | None:
    return None if found is None else OverrideOfAccount(limits_times=found.factor, until=at(found.until_ms))


def _recorded(found: Recorded | None) -> RecordedAnswer | None:
    if found is None:
        return None
    return RecordedAnswer(
        granted=found.granted, spent=found.spent, used_tokens=found.used_tokens, requests=found.requests,
        first_seen_at=found.first_seen_at, last_seen_at=found.last_seen_at,
    )  # fmt: skip
