"""What can be made to go wrong: switches that combine, set at the start, at any time, or by a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from gateway.domain.errors import RefusedInput

#: Copies of one webhook, and seconds, that make sense.
_MOST_COPIES, _MOST_SECONDS = 100, 86_400


@dataclass(frozen=True, slots=True)
class Faults:
    """The switches as they stand. Where a number of times is asked for, true is every time."""

    #: Each webhook is posted so many times.
    duplicate: int = 1
    #: Webhooks wait a little, and then go out the last one first.
    reordered: bool = False
    #: No webhook is posted.
    dropped: bool = False
    #: Money comes although nothing waits for it any more: it expired, failed or was canceled.
    late: bool = False
    #: One unit of the currency more is paid than was meant to be.
    wrong_amount: bool = False
    #: Other money is paid.
    wrong_currency: bool = False
    #: Webhooks carry a token that is not the right one.
    wrong_token: bool = False
    #: So many seconds a request for a payment waits for its answer, which is released by hand at the latest.
    slow_create: int = 0
    #: So many requests for a payment are done, and the connection ends before they are answered.
    lost_create: int = 0
    #: The same of refunds.
    lost_refund: int = 0
    #: Refunds fail after they were taken.
    failed_refund: bool = False
    #: So many calls of Xendit's paths are answered with 503, and nothing is done.
    unavailable: int = 0
    #: So many seconds webhooks come late.
    slow_webhook: int = 0

    def with_changes(self, changes: Mapping[str, Any]) -> Faults:
        """Some of them set, the others as they are. Raises RefusedInput for what is no switch, or no value of one."""
        checked: dict[str, Any] = {name: _value(name, value) for name, value in changes.items()}
        found = replace(self, **checked)
        if found.duplicate < 1:
            raise RefusedInput("duplicate: a webhook is posted once at the least; dropped posts none")
        return found

    def once_less(self, name: str) -> Faults:
        """After it has happened once more: counted down, where it was to happen a number of times."""
        left = getattr(self, name)
        return self if left is True else self.with_changes({name: left - 1})

    def as_json(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


def parse_faults(words: Iterable[str]) -> Faults:
    """Reads "duplicate=3", "late" … of a command line. Raises RefusedInput."""
    changes: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if value and not value.isdecimal():
            raise RefusedInput(f"{word}: a fault is set by its name, or by its name, = and a whole number")
        changes[name] = int(value) if value else True
    return Faults().with_changes(changes)


_SWITCHES = {each.name for each in fields(Faults) if each.default is False}
_TIMES = {"lost_create", "lost_refund", "unavailable"}
_NUMBERS = {"duplicate": _MOST_COPIES, "slow_create": _MOST_SECONDS, "slow_webhook": _MOST_SECONDS}


def _value(name: str, value: Any) -> int:
    if name in _SWITCHES and isinstance(value, bool):
        return value
    if name in _TIMES and isinstance(value, int) and value >= 0:
        return value
    if name in _NUMBERS and isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _NUMBERS[name]:
        return value
    if name not in _SWITCHES | _TIMES | _NUMBERS.keys():
        raise RefusedInput(f"{name} is no fault; there are {', '.join(each.name for each in fields(Faults))}")
    wanted = {"duplicate": "a number of copies", "slow_create": "seconds", "slow_webhook": "seconds"}.get(
        name, "true, false or a number of times" if name in _TIMES else "true or false"
    )
    raise RefusedInput(f"{name} = {value!r}: must be {wanted}")
