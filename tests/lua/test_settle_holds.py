"""What a settlement tells of its hold, of audio and of images: once, however late it comes."""

from __future__ import annotations

import pytest

from gateway.domain.event import Event, UsageFacts
from gateway.domain.usage import Usage
from tests.lua.caller import Caller

HEARD = Usage(audio_ms=12_300, images=2)


def facts(event: Event) -> UsageFacts:
    assert event.usage is not None
    return event.usage


def sums(events: list[Event]) -> dict[str, int]:
    """What the events of one call say together."""
    names = ("audio_ms", "images", "held", "first_held", "cost")
    return {name: sum(getattr(facts(event), name) for event in events if event.usage) for name in names}


def test_a_hold_that_grew_is_told_as_it_began_and_as_it_ended(caller: Caller) -> None:
    caller.reserve("r1", 3)
    caller.renew("r1", 1, counted=3, more=4)
    caller.events()

    caller.settle("r1", 5, HEARD)

    usage = facts(caller.event())
    assert (usage.first_held, usage.held, usage.cost) == (3, 7, 5)
    assert (usage.audio_ms, usage.images) == (12_300, 2)


def test_a_released_hold_is_told_and_used_nothing(caller: Caller) -> None:
    caller.reserve("r1", 3)
    caller.events()

    caller.release("r1")

    assert sums(caller.events()) == {"audio_ms": 0, "images": 0, "held": 3, "first_held": 3, "cost": 0}


def test_a_late_settlement_adds_up_to_one_that_came_in_time(caller: Caller) -> None:
    caller.lose("r1", 7, on_lost="charge_hold")

    caller.settle("r1", 5, HEARD)

    assert sums(caller.events()) == {"audio_ms": 12_300, "images": 2, "held": 7, "first_held": 7, "cost": 5}


def test_a_hold_of_an_older_gateway_began_as_it_stands(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.client.hdel(caller.partition_key("hold:r1"), "first_amount")
    caller.events()

    caller.settle("r1", 5)

    assert facts(caller.event()).first_held == 7


@pytest.mark.parametrize("largest", [2**53 - 1])
def test_large_numbers_pass_through_exactly(caller: Caller, largest: int) -> None:
    caller.reserve("r1", 1)
    caller.events()

    caller.settle("r1", 1, Usage(audio_ms=largest, images=largest))

    usage = facts(caller.event())
    assert (usage.audio_ms, usage.images) == (largest, largest)
