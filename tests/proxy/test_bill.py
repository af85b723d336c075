"""What a call is charged: a case table over how its answer ended."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from gateway.domain.price import FixedPrice, UsagePrice
from gateway.domain.route import Route
from gateway.domain.usage import Usage
from gateway.proxy.bill import End, bill, used_so_far
from gateway.proxy.request import RequestFacts

ROUTE = Route(path="/x", upstream="main", operation="chat", dialect="openai-chat")
AUTO = Route(path="/x", upstream="main", operation="chat", dialect="auto")
FACTS = RequestFacts(counted=10)
#: One unit a token of input, two a token of output.
PRICE = UsagePrice(input=10**6, output=2 * 10**6, cached_input=10**6, cache_write=10**6, reasoning=2 * 10**6)
REPORTED = Usage(input=30, output=5)
#: The input as it was reported, the output as it was counted.
OF_BOTH = Usage(input=30, output=7, estimated=True)


def seen(output: int) -> Usage:
    """What an answer without usage counts as: the request's own estimate, and the output that passed."""
    return Usage(10, output=output, estimated=True)


@dataclass
class Read:
    """A meter at the end of an answer."""

    said: Usage | None = None
    output: int = 0
    failed: bool = False
    complete: bool = False

    def feed(self, data: bytes) -> None: ...
    def finish(self) -> None: ...

    def reported(self) -> Usage | None:
        return self.said

    def counted_output(self) -> int:
        return self.output


#: How it ended, the status, whether some of it was delivered, the meter; what is charged, and by which counts.
BY_TOKENS: list[tuple[str, End, int, bool, Read | None, int | None, Usage | None]] = [
    ("never answered", End.BROKEN, 0, False, None, None, None),
    ("whole", End.WHOLE, 200, True, Read(REPORTED, output=90), 40, REPORTED),
    ("whole, without usage", End.WHOLE, 200, True, Read(output=7), 24, seen(7)),
    ("whole, and empty", End.WHOLE, 200, True, Read(), 10, seen(0)),
    ("an error", End.WHOLE, 500, True, Read(output=7), None, None),
    ("an error that was paid for", End.WHOLE, 500, True, Read(REPORTED), 40, REPORTED),
    ("a redirect", End.WHOLE, 302, True, Read(), None, None),
    ("an error in a stream, after nothing", End.WHOLE, 200, True, Read(failed=True), None, None),
    ("an error in a stream", End.WHOLE, 200, True, Read(output=3, failed=True), 16, seen(3)),
    ("broken off, nothing delivered", End.BROKEN, 200, False, Read(output=7), None, None),
    ("broken off", End.BROKEN, 200, True, Read(output=7), 24, seen(7)),
    ("broken off before any text", End.BROKEN, 200, True, Read(), None, None),
    ("left", End.LEFT, 200, True, Read(output=7), 24, seen(7)),
    ("left, only the input known", End.LEFT, 200, True, Read(Usage(30, output=1), 7), 44, OF_BOTH),
    ("left, more is known than was seen", End.LEFT, 200, True, Read(REPORTED, 2), 40, REPORTED),
    ("left after its last word", End.LEFT, 200, True, Read(REPORTED, 90, complete=True), 40, REPORTED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("end", "status", "started", "meter", "units", "usage"),
    [case[1:] for case in BY_TOKENS],
    ids=[case[0] for case in BY_TOKENS],
)
def test_by_tokens(
    end: End, status: int, started: bool, meter: Read | None, units: int | None, usage: Usage | None
) -> None:
    charged = bill(end, status, True, started, meter, PRICE, FACTS, ROUTE, 1000)

    assert charged == (None if units is None else (units, usage))


@pytest.mark.parametrize(
    ("end", "status", "meter", "charged"),
    [
        (End.WHOLE, 200, Read(REPORTED), (3, REPORTED)),
        (End.WHOLE, 200, Read(output=7), (3, seen(7))),
        (End.LEFT, 200, Read(output=7), (3, seen(7))),
        (End.WHOLE, 404, Read(REPORTED), None),
        (End.WHOLE, 200, Read(REPORTED, failed=True), None),
        (End.BROKEN, 200, Read(output=7), None),
    ],
)
def test_by_the_call(end: End, status: int, meter: Read, charged: tuple[int, Usage] | None) -> None:
    assert bill(end, status, True, True, meter, FixedPrice(3), FACTS, ROUTE, 1000) == charged


def test_an_answer_of_no_dialect_that_tells_of_no_tokens_used_none() -> None:
    assert bill(End.WHOLE, 200, True, True, Read(output=7), FixedPrice(3), FACTS, AUTO, 1000) == (3, Usage())


@pytest.mark.parametrize(("sent", "units"), [(True, 10), (False, None)])
def test_who_leaves_before_the_answer_begins_pays_for_what_was_asked(sent: bool, units: int | None) -> None:
    charged = bill(End.LEFT, 0, sent, False, None, PRICE, FACTS, ROUTE, 1000)

    assert charged == (None if units is None else (units, seen(0)))


def test_what_was_counted_never_lowers_what_was_reported() -> None:
    assert used_so_far(Read(REPORTED, output=4)) == REPORTED
    assert used_so_far(Read(None, output=4)) is None


# ── audio and images ─────────────────────────────────────────────────────────────────────────────────────────────────

#: 100 units a second, 40 an image, and nothing for tokens.
BESIDE_TOKENS = UsagePrice(0, 0, 0, 0, 0, audio_second=100, image=40)
ASKED = RequestFacts(counted=10, audio_ms=60_000, images=2)


@pytest.mark.parametrize(
    ("price", "said", "cost", "usage"),
    [
        (BESIDE_TOKENS, Usage(audio_ms=12_300), 1230, Usage(audio_ms=12_300)),
        (BESIDE_TOKENS, Usage(images=1), 40, Usage(images=1)),
        # Nothing was reported: what was asked for is charged.
        (BESIDE_TOKENS, None, 6000 + 80, Usage(10, output=7, estimated=True, audio_ms=60_000, images=2)),
        # A length alone, where tokens are paid for: those are counted, and never free.
        (PRICE, Usage(audio_ms=12_300), 10 + 14, Usage(10, output=7, estimated=True, audio_ms=12_300)),
        (PRICE, Usage(images=1), 10 + 14, Usage(10, output=7, estimated=True, images=1)),
        (PRICE, Usage(30, output=5, audio_ms=9), 30 + 10, Usage(30, output=5, audio_ms=9)),
    ],
)
def test_audio_and_images_are_charged_as_reported_else_as_asked_for(
    price: UsagePrice, said: Usage | None, cost: int, usage: Usage
) -> None:
    assert bill(End.WHOLE, 200, True, True, Read(said, output=7), price, ASKED, ROUTE, 9000) == (cost, usage)


def test_who_leaves_before_the_answer_pays_for_what_was_asked_for() -> None:
    assert bill(End.LEFT, 0, True, False, None, BESIDE_TOKENS, ASKED, ROUTE, 9000) == (
        6080,
        Usage(10, estimated=True, audio_ms=60_000, images=2),
    )


@pytest.mark.parametrize(
    ("end", "status", "meter", "units"),
    [
        (End.WHOLE, 200, Read(output=7), 1000),
        (End.WHOLE, 200, Read(), 1000),
        (End.WHOLE, 200, Read(REPORTED, output=90), 40),
        (End.WHOLE, 500, Read(output=7), None),
        (End.WHOLE, 200, Read(output=3, failed=True), 16),
        (End.BROKEN, 200, Read(output=7), 24),
        (End.LEFT, 200, Read(output=7), 24),
    ],
)
def test_where_the_route_says_so_a_success_without_usage_costs_all_that_was_held(
    end: End, status: int, meter: Read, units: int | None
) -> None:
    route = dataclasses.replace(ROUTE, on_missing_usage="charge_hold")

    charged = bill(end, status, True, True, meter, PRICE, FACTS, route, 1000)

    assert (charged and charged[0]) == units
    assert charged is None or charged[1].estimated == (meter.said is None)


def test_a_fixed_price_is_the_price_with_usage_or_without() -> None:
    route = dataclasses.replace(ROUTE, on_missing_usage="charge_hold")

    assert bill(End.WHOLE, 200, True, True, Read(output=7), FixedPrice(3), FACTS, route, 3) == (3, seen(7))
