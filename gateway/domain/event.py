"""What the scripts tell the ledger: one event for each decision that moved a balance or ended a call.

An event is an entry of a partition's stream, all text. Its id is unique for good, so that it may be delivered again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.domain.errors import QuotagateError

#: The kinds of ledger entries. Later ones are added here, never renamed: rows of the past carry them.
KINDS = (
    "SIGNUP", "DAILY_RESET", "MONTHLY_RESET", "USAGE", "REFUND", "TOP_UP", "ADJUSTMENT", "EXPIRY", "WRITE_OFF",
    "SUBSCRIPTION", "LICENSE_USE", "REFERRAL", "REWARD", "HOURLY_RESET", "WEEKLY_RESET", "ROLLOVER",
    "REVERSAL",
)  # fmt: skip

#: Those that say what calls cost; all others say what an account was given, or lost of it. A REFUND gives back what a
#: call cost; what an account loses because its money goes back is a REVERSAL.
SPENDING = frozenset(("USAGE", "REFUND", "LICENSE_USE"))
#: The bucket of what nothing covered: charged and written off at once, it is never an account's.
OVERDRAFT = "overdraft"

#: Numbers of the ledger are signed 64-bit integers, instants end with the calendar: 9999-12-31 23:59:59.999 UTC.
_MAX_NUMBER = 2**63 - 1
_MAX_AT_MS = 253_402_300_799_999


class MalformedEvent(QuotagateError):
    """Raised when an entry of the stream cannot be read as an event, or holds a number that no ledger can keep."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger: units that a bucket gained or lost."""

    kind: str
    #: Such as "day:2026-11-20", "credits:signup" or "overdraft".
    bucket: str
    #: Signed: positive for the account's gain.
    amount: int


@dataclass(frozen=True, slots=True)
class UsageFacts:
    """What one call used. After a late settlement a second event carries the differences."""

    reservation_id: str
    #: "settled", "released", "lost" (its gateway fell silent), "corrected" (it settled after all) or "reported" (from
    #: outside: no call of this gateway's).
    outcome: str
    operation: str
    model: str
    route: str
    key: str
    price_version: str
    #: The account's local date when the call began.
    local_day: str
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: int
    written_off: int
    estimated: bool
    #: HTTP status of the answer; 0 when there was none.
    status: int
    started_at_ms: int
    audio_ms: int = 0
    images: int = 0
    #: Units that the hold was at its end, and at its beginning.
    held: int = 0
    first_held: int = 0
    #: Policies in shadow mode that would have denied the call, by name with spaces between.
    shadow: str = ""
    #: What the caller says it belongs to, such as a conversation; what it is for; and more of it, as a JSON object.
    session: str = ""
    purpose: str = ""
    metadata: str = ""
    #: Tokens that were reported without saying of which kind.
    reported_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens + self.reported_tokens

    @property
    def is_a_call(self) -> bool:
        """Whether it counts as a request."""
        return self.outcome not in ("corrected", "reported")


@dataclass(frozen=True, slots=True)
class Event:
    """One event, read."""

    id: str
    #: "usage", "opening", "moved", "status", "grant", "adjusted" or "voided".
    kind: str
    account: str
    at_ms: int
    entries: tuple[Entry, ...]
    usage: UsageFacts | None = None
    reason: str | None = None
    #: Set by an event that opened or moved the account.
    tier: str | None = None
    zone: str | None = None
    #: Set by an event that changed whether the account may call: "active", or why it may not.
    status: str | None = None
    #: Orders the events of one millisecond as they happened; 0 when it is not known.
    position: int = 0
    #: Of a grant: its place in the burn order, and when it lapses, in seconds since 1970; 0: never.
    priority: int = 0
    expires_s: int = 0
    #: The grant that was voided.
    grant: str = ""


def read_event(fields: Mapping[str, str], stream_id: str = "") -> Event:
    """The event in a stream entry's fields. Raises MalformedEvent.

    `stream_id`: the entry's own, such as "1790000000000-3".
    """
    try:
        kind = fields["kind"]
        return Event(
            id=fields["id"],
            kind=kind,
            account=fields["account"],
            at_ms=_instant(fields["at"]),
            entries=tuple(_entry(text) for text in fields["entries"].split("; ") if text),
            position=_position(stream_id),
            usage=_usage(fields) if kind == "usage" else None,
            reason=fields.get("reason"),
            tier=fields.get("tier"),
            zone=fields.get("zone"),
            status=fields["status"] if kind == "status" else None,  # That of a call is an HTTP status.
            priority=_number(fields.get("priority", "0")),
            expires_s=_instant(fields.get("expires_s", "0") + "000") // 1000,
            grant=fields.get("grant", ""),
        )
    except (KeyError, ValueError) as error:
        raise MalformedEvent(f"{type(error).__name__}: {error}") from error


def _position(stream_id: str) -> int:
    """The entry's place in its stream as one number: milliseconds, then 20 bits of its number in that millisecond."""
    at_ms, _, number = stream_id.partition("-")
    return (_instant(at_ms) << 20) + min(int(number or 0), 2**20 - 1) if at_ms else 0


def _entry(text: str) -> Entry:
    kind, bucket, amount = text.split(" ")
    if kind not in KINDS:
        raise ValueError(f"{kind} is no kind of ledger entry")
    return Entry(kind, bucket, _number(amount))


def _usage(fields: Mapping[str, str]) -> UsageFacts:
    usage = UsageFacts(
        reservation_id=fields["reservation"],
        outcome=fields["outcome"],
        operation=fields["operation"],
        model=fields["model"],
        route=fields["route"],
        key=fields["key"],
        price_version=fields["price_version"],
        local_day=fields["day"],
        input_tokens=_number(fields["input"]),
        cached_tokens=_number(fields["cached"]),
        cache_write_tokens=_number(fields["cache_write"]),
        output_tokens=_number(fields["output"]),
        reasoning_tokens=_number(fields["reasoning"]),
        cost=_number(fields["cost"]),
        written_off=_number(fields["written_off"]),
        estimated=fields["estimated"] == "1",
        status=_number(fields["status"]),
        started_at_ms=_instant(fields["started_at"]),
        # An event of an older gateway that waits in the stream has none of these.
        audio_ms=_number(fields.get("audio_ms", "0")),
        images=_number(fields.get("images", "0")),
        held=_number(fields.get("held", "0")),
        first_held=_number(fields.get("first_held", "0")),
        shadow=fields.get("shadow", ""),
        session=fields.get("session", ""),
        purpose=fields.get("purpose", ""),
        metadata=fields.get("metadata", ""),
        reported_tokens=_number(fields.get("reported", "0")),
    )
    _in_range(usage.total_tokens, -_MAX_NUMBER, _MAX_NUMBER)
    return usage


def _number(text: str) -> int:
    return _in_range(int(text), -_MAX_NUMBER, _MAX_NUMBER)


def _instant(text: str) -> int:
    return _in_range(int(text), 0, _MAX_AT_MS)


def _in_range(number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise ValueError(f"{number} is not from {least} to {most}")
    return number
