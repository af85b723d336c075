"""An account's balance: read as it stands, and granted to."""

from __future__ import annotations

from gateway.accounts import epoch
from gateway.accounts.system import System, look_up
from gateway.domain.balance import Balance, balance_of
from gateway.domain.errors import Conflicting, NotFound, RefusedInput
from gateway.domain.principal import is_account_id, is_grant_id
from gateway.domain.reservation import Account, GrantConflict, Granted, GrantOverflow
from gateway.domain.tier import MAX_UNITS
from gateway.store import calls

#: The burn order is one number for priority and expiry, which Redis keeps as a double.
MAX_PRIORITY = 1000


def read(system: System, account_id: str) -> Balance:
    """Raises NotFound when the account is unknown, StoreUnready when Redis must be restored first."""
    account = system.runner.run(calls.peek(system.keys.account(look_up(account_id))))
    if account is None:
        epoch.check_known(system, account_id)
        raise NotFound(f"there is no account {account_id}")
    return balance_of(account, system.tier(account.tier))


def redis_keys(system: System, account: Account) -> tuple[str, ...]:
    """The Redis keys behind an account, its own."""
    names = [f"{b.kind}:{b.id}" for b in account.buckets if b.kind != "credits"]
    names += ["credits", "credits-order", "grants"]
    keys = [system.keys.account(account.id), *(system.keys.of_account(account.id, name) for name in names)]
    return tuple(key for key in keys if system.redis.exists(key))


def grant(
    system: System,
    account_id: str,
    amount: int,
    grant_id: str,
    reason: str,
    kind: str = "TOP_UP",
    *,
    priority: int = 0,
    expires_s: int = 0,
) -> int:
    """Credits an account once, however often it is called with this id. Returns what it has left.

    `priority`: grants of a lower one are drawn on first, of one priority that which expires first. `expires_s`: when
    the rest of it lapses, in seconds since 1970; 0: never.

    Raises RefusedInput for bad input; Conflicting when the id was used with another amount, and when so much more than
    the account was granted already cannot be counted; StoreUnready when Redis must be restored first.
    """
    if not is_account_id(account_id):
        raise RefusedInput(f"{account_id!r} is no account id: 1-200 printable characters without white space")
    if not is_grant_id(grant_id):
        raise RefusedInput(f'{grant_id!r} is no grant id: 1-200 printable characters without white space, "=" and ";"')
    if not 1 <= amount <= MAX_UNITS:
        raise RefusedInput(f"the amount is {amount}, and must be from 1 to {MAX_UNITS}")
    if not 1 <= len(reason) <= 1000 or not reason.isprintable():
        raise RefusedInput("the reason must be 1-1000 printable characters")
    if not 0 <= priority <= MAX_PRIORITY:
        raise RefusedInput(f"the priority is {priority}, and must be from 0 to {MAX_PRIORITY}")
    account_key = system.keys.account(account_id)
    known = system.runner.run(calls.peek(account_key, now_ms=system.script_ms))
    tier = system.tier(known.tier if known else system.config.first_tier(account_id))
    call = calls.grant(
        account_key, grant_id, amount, kind=kind, reason=reason, tier=tier, priority=priority, expires_s=expires_s,
        now_ms=system.script_ms,
    )  # fmt: skip
    outcome = system.runner.run(call)
    match outcome:
        case Granted():
            system.nudge(account_id)
            return outcome.left
        case GrantConflict():
            raise Conflicting(f"grant {grant_id} was credited before with {outcome.amount}, not {amount}")
        case GrantOverflow():
            raise Conflicting(
                f"account {account_id} was granted {outcome.granted} already; {amount} more cannot be counted"
            )


def all_accounts(system: System, limit: int) -> list[Account]:
    """Up to `limit` accounts, those last seen first. Walks over Redis: for people to look at, not for programs."""
    pattern = "qg:{p*}:account:*"
    found = [
        key.decode() for _, key in zip(range(limit * 50), system.redis.scan_iter(pattern, count=1000), strict=False)
    ]
    peeked = system.runner.run_many([calls.peek(key) for key in found])
    accounts = [account for account in peeked if account is not None]
    accounts.sort(key=lambda account: -account.last_seen_ms)
    return accounts[:limit]
