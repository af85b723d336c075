"""Deletes what is known of a person, and keeps what was counted.

The account is suspended, its API keys are revoked, its keys leave Redis, and the ledger puts an anonymous id in place
of its own. Should its id call again, through a token or a trusted header, it is a new account.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

from sqlalchemy import select

from gateway.accounts import api_keys, audit, epoch
from gateway.accounts.lifecycle import SUSPENDED, opened
from gateway.accounts.noting import By, noted, of_account, once
from gateway.accounts.system import System, look_up
from gateway.domain.errors import Conflicting, NotFound, RefusedInput
from gateway.domain.reservation import Account
from gateway.ledger.erase import ERASED, check_finished, erase
from gateway.ledger.tables import accounts, license_keys
from gateway.store import acts, calls
from gateway.store import api_keys as published
from gateway.store.keys import Keys

#: How long the worker may take to record what still waits of the account.
DRAIN_S = 8.0
_PAUSE_S = 0.1
_ACTION = "account.erase"
_DATE = r"\d{4}-\d\d-\d\d"
#: Keys of an account by kind: what follows its id. An id may hold a colon, so nothing else may follow.
_SUFFIXES = {
    "account": "",
    "credits": "",
    "credits-order": "",
    "grants": "",
    "hour": rf":{_DATE}T\d\d:\d\dZ",
    "day": rf":{_DATE}",
    "week": rf":(?:\d{{4}}-W\d\d|{_DATE})",
    "month": rf":(?:\d{{4}}-\d\d|{_DATE})",
    "idempotent": r":[0-9a-f]{64}",
}


def erase_account(system: System, by: By, account_id: str, *, drain_s: float = DRAIN_S) -> str:
    """Returns the anonymous id under which the ledger keeps its rows. A repeat of the act answers the same.

    Raises RefusedInput for a missing reason; NotFound; Conflicting while an order of the account is open or it has a
    subscription, and while calls of it are under way or the ledger has not heard of all of them: what was done stays
    done, and the act can be repeated.
    """
    audit.check_reason(by.reason)
    if not by.reason.strip():
        raise RefusedInput("the reason must be given: the audit log keeps it")
    before = noted(system, by.id)
    if before is not None and before.target.startswith(of_account(ERASED)):
        return before.target.removeprefix(of_account(""))
    account = _known(system, look_up(account_id))
    with system.ledger.connect() as connection:
        check_finished(connection, account_id)
    if account is not None:
        _silence(system, account_id)
        _drain(system, account_id, drain_s)
    anonymous_id = ERASED + secrets.token_hex(12)
    known = once(system, by, _ACTION, of_account(account_id), dict, lambda: {"anonymous_id": anonymous_id})
    if known is not None:  # It died on the way: what it began is ended.
        anonymous_id = known.after["anonymous_id"]
    _delete_keys(system, account_id)
    _rename_owner(system, account_id, anonymous_id)
    erase(system.ledger, account_id, anonymous_id)
    return anonymous_id


def _known(system: System, account_id: str) -> Account | None:
    """The account in Redis; None when only the ledger has it, as after an act that died half-way. Raises NotFound."""
    account = system.runner.run(calls.peek(system.keys.account(account_id)))
    if account is None:
        epoch.check_known(system, account_id)
        with system.ledger.connect() as connection:
            is_it = select(accounts.c.id).where(accounts.c.id == account_id)
            if account_id.startswith(ERASED) or connection.execute(is_it).one_or_none() is None:
                raise NotFound(f"there is no account {account_id}")
    return account


def _silence(system: System, account_id: str) -> None:
    """No call of the account is under way, and none begins."""
    if opened(system, account_id).held:
        raise _is_busy(account_id)
    system.runner.run(acts.set_status(system.keys.account(account_id), SUSPENDED))
    for key in api_keys.listed(system, account_id):
        api_keys.revoke(system, key.prefix)
    if opened(system, account_id).held:  # One was quicker than its suspension.
        raise _is_busy(account_id)


def _is_busy(account_id: str) -> Conflicting:
    return Conflicting(f"account {account_id} has calls under way: wait for them, or release their holds")


def _drain(system: System, account_id: str, drain_s: float) -> None:
    """Waits until the ledger has heard all that happened so far: later it would hear of an account it has forgotten."""
    stream = Keys.of_partition(system.keys.partition(account_id), "events")
    newest: Any = system.redis.xrevrange(stream, count=1)
    if not newest:
        return
    system.nudge(account_id)
    last, until = newest[0][0].decode(), time.monotonic() + drain_s
    while system.redis.xrange(stream, max=last, count=1):
        if time.monotonic() > until:
            raise Conflicting(
                f"the ledger has not heard yet of all that account {account_id} did: it is suspended; repeat this soon"
            )
        time.sleep(_PAUSE_S)


def _delete_keys(system: System, account_id: str) -> None:
    """Walks over the partition's keys, as no list of an account's exists. Counters of its limits go by themselves."""
    prefix = Keys.of_partition(system.keys.partition(account_id), "")
    shapes = "|".join(kind + ":" + re.escape(account_id) + rest for kind, rest in _SUFFIXES.items())
    is_its = re.compile(re.escape(prefix) + f"(?:{shapes})")
    pattern = _literal(prefix) + "*:" + _literal(account_id) + "*"
    found: list[bytes] = list(system.redis.scan_iter(pattern, count=5000))
    its = [key for key in found if is_its.fullmatch(key.decode("utf-8", "replace"))]
    if its:
        system.redis.delete(*its)


def _rename_owner(system: System, account_id: str, anonymous_id: str) -> None:
    """Its licenses have accounts of their own, which stay; their keys say whose they are."""
    with system.ledger.connect() as connection:
        its = select(license_keys.c.digest).where(license_keys.c.owner == account_id)
        digests = list(connection.execute(its).scalars())
    for digest in digests:
        published.change(system.redis, digest, {"owner": anonymous_id})


def _literal(text: str) -> str:
    """A text that a pattern of Redis takes as it is."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)
