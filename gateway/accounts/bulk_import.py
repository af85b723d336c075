"""Many accounts at once, from a CSV file: opened, moved, credited, with their addresses.

Everything is checked before anything is written. An import that was interrupted is repeated as it is: what is done
already is found done, and no line credits twice.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.accounts import audit
from gateway.accounts.import_file import Fault, Wanted, read
from gateway.accounts.profile import write_emails
from gateway.accounts.system import System
from gateway.domain.errors import RefusedInput
from gateway.domain.reservation import Granted
from gateway.domain.tier import MAX_UNITS
from gateway.ledger import bulk
from gateway.store import calls

#: Accounts that one round trip carries.
BATCH = 1000
#: Faults that a message lists.
_MOST_SHOWN = 100

_AMOUNT = re.compile(r"amount=(\d+)")

#: Hears what is being done, and to how many accounts more.
Told = Callable[[str, int], None]


class ImportRefused(RefusedInput):
    """Raised when a file has faults: nothing of it was written."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = sorted(faults, key=lambda fault: fault.line)
        shown = [f"  {fault}" for fault in self.faults[:_MOST_SHOWN]]
        if len(self.faults) > _MOST_SHOWN:
            shown.append(f"  and {len(self.faults) - _MOST_SHOWN} more")
        super().__init__("\n".join([f"nothing was imported, the file has {len(self.faults)} fault(s)", *shown]))


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or would do."""

    accounts: int
    #: Unknown before.
    opened: int
    #: Put on another tier, in another zone, or both.
    moved: int
    #: Grants credited now, and the units in them.
    credited: int
    units: int
    #: Grants that an earlier import has credited.
    credited_before: int
    emails: int


@dataclass(frozen=True, slots=True)
class _Known:
    """An account as it stands."""

    tier: str
    zone: str
    granted: int
    #: What the grant of the line was credited with before; None: it was not.
    credited: int | None


def bulk_import(
    system: System, content: bytes, actor: str, *, dry_run: bool = False, told: Told = lambda stage, more: None
) -> Imported:
    """Imports a file; with `dry_run`, only checks it. `import_file` says what it looks like.

    An account that is not known is opened on its line's tier, or on the default one; one that is known is put on the
    tier and into the zone that its line names. Raises ImportRefused with every fault.
    """
    wanted, faults = read(content, system.config.tiers, int(time.time()))
    known: list[_Known | None] = []
    for batch in _batches(wanted):
        known += _look_up(system, batch)
        told("checked", len(batch))
    faults += [fault for line, account in zip(wanted, known, strict=True) for fault in _faults(system, line, account)]
    if faults:
        raise ImportRefused(faults)
    plan = _Plan(system, wanted, known)
    if not dry_run and wanted:
        _note(system, actor, content, plan.outcome)
        plan.write(told)
    return plan.outcome


class _Plan:
    """What is to be written."""

    def __init__(self, system: System, wanted: Sequence[Wanted], known: Sequence[_Known | None]) -> None:
        self._system = system
        lines = list(zip(wanted, known, strict=True))
        self._opened = [line for line, account in lines if account is None]
        self._moved = [(line, account) for line, account in lines if account is not None and _moves(line, account)]
        self._granted = [
            line for line, account in lines if line.credits and (account is None or account.credited is None)
        ]
        self._emails = {line.id: line.email for line in wanted if line.email is not None}
        self.outcome = Imported(
            accounts=len(wanted),
            opened=len(self._opened),
            moved=len(self._moved),
            credited=len(self._granted),
            units=sum(line.credits for line in self._granted),
            credited_before=sum(1 for line in wanted if line.credits) - len(self._granted),
            emails=len(self._emails),
        )

    def write(self, told: Told) -> None:
        system, runner = self._system, self._system.runner
        tiers, default = system.config.tiers, system.config.default_tier
        for batch in _batches(self._opened):
            runner.run_many([
                calls.open_account(system.keys.account(line.id), tiers[line.tier or default], zone=line.zone or "")
                for line in batch
            ])  # fmt: skip
            told("opened", len(batch))
        for moves in _batches(self._moved):
            runner.run_many([
                calls.open_account(
                    system.keys.account(line.id),
                    system.tier(line.tier or account.tier),
                    zone=account.zone if line.zone is None else line.zone,
                    move=True,
                )
                for line, account in moves
            ])  # fmt: skip
            told("moved", len(moves))
        for batch in _batches(self._granted):
            outcomes = runner.run_many([self._grant(line) for line in batch])
            self._check(batch, outcomes)
            told("credited", len(batch))
        ids = sorted(self._emails)
        for batch_of_ids in _batches(ids):
            with system.ledger.begin() as connection:
                bulk.begin(connection)
                write_emails(connection, {id: self._emails[id] for id in batch_of_ids})
            told("addressed", len(batch_of_ids))
        system.nudge()

    def _grant(self, line: Wanted) -> calls.Call[calls.GrantOutcome]:
        tier = self._system.tier(line.tier or self._system.config.default_tier)
        key = self._system.keys.account(line.id)
        return calls.grant(
            key, line.grant_id, line.credits, kind="TOP_UP", reason=line.reason, tier=tier, expires_s=line.expires_s
        )

    def _check(self, lines: Sequence[Wanted], outcomes: Sequence[calls.GrantOutcome]) -> None:
        """Somebody else may have credited these accounts since they were looked at."""
        for line, outcome in zip(lines, outcomes, strict=True):
            if not isinstance(outcome, Granted):
                raise RefusedInput(
                    f"line {line.line}: grant {line.grant_id} of account {line.id} was credited otherwise since the "
                    "file was checked; import it again, what is done stays done"
                )


def _look_up(system: System, lines: Sequence[Wanted]) -> list[_Known | None]:
    pipeline = system.redis.pipeline(transaction=False)
    for line in lines:
        pipeline.hmget(system.keys.account(line.id), "tier", "zone", "granted")
        pipeline.hget(system.keys.of_account(line.id, "grants"), line.grant_id)
    found: list[Any] = pipeline.execute()
    return [_known(*pair) for pair in zip(found[::2], found[1::2], strict=True)]


def _known(fields: Sequence[bytes | None], grant: bytes | None) -> _Known | None:
    tier, zone, granted = fields
    if tier is None:
        return None
    credited = _AMOUNT.match(grant.decode()) if grant else None
    return _Known(tier.decode(), (zone or b"").decode(), int(granted or 0), int(credited[1]) if credited else None)


def _faults(system: System, line: Wanted, account: _Known | None) -> Iterator[Fault]:
    if account is not None and account.credited is not None:
        if account.credited != line.credits:
            what = f"grant {line.grant_id} was credited before with {account.credited}, not {line.credits}"
            yield Fault(line.line, "credits", what)
        return
    if account is None:
        granted = system.config.tiers[line.tier or system.config.default_tier].signup
    else:
        granted = account.granted
    if granted + line.credits > MAX_UNITS:
        yield Fault(line.line, "credits", f"{line.credits} more than the {granted} it was granted cannot be counted")


def _moves(line: Wanted, account: _Known) -> bool:
    return line.tier not in (None, account.tier) or line.zone not in (None, account.zone)


def _note(system: System, actor: str, content: bytes, outcome: Imported) -> None:
    """Before the first write: an import that is interrupted has happened too."""
    audit.note(
        system.ledger,
        id=f"accounts.import:{secrets.token_hex(8)}",
        actor=actor,
        action="accounts.import",
        target=f"file:sha256:{hashlib.sha256(content).hexdigest()}",
        after={name: getattr(outcome, name) for name in Imported.__dataclass_fields__},
        now=datetime.now(UTC),
    )


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
