"""`override` and `limits`: more or less of an account's limits for a while, and how far limits are used."""

from __future__ import annotations

import pytest

from gateway.domain.policy import Policy, PolicyState, default_name, parse_rate
from gateway.domain.reservation import Denied, Overridden, Reserved, Unknown
from gateway.domain.tier import Tier
from gateway.store import calls
from tests.lua.caller import HOUR_MS, JAKARTA, MINUTE_MS, SECOND_MS, Caller, contents
from tests.lua.conftest import NewCaller

RICH = Tier("rich", signup=10**9, zone=JAKARTA)


def policy(text: str, *by: str, mode: str = "enforce") -> Policy:
    rate = parse_rate(text)
    return Policy(default_name(rate, by or ("account",)), rate, by or ("account",), mode)


MINUTE = policy("60 requests/minute")
SLOTS = policy("4 concurrent")


@pytest.fixture
def rich(new_caller: NewCaller) -> Caller:
    """An account that is known, and has all its limits unused."""
    caller = new_caller(RICH)
    caller.open()
    return caller


def override(caller: Caller, num: int, den: int = 1, lasts_ms: int = HOUR_MS) -> Overridden | Unknown:
    until_ms = caller.now_ms + lasts_ms
    return caller.runner.run(calls.override(caller.key, num, den, until_ms, now_ms=caller.now_ms))


def limits(caller: Caller, *policies: Policy, **who: str) -> list[PolicyState]:
    return caller.runner.run(calls.limits(caller.key, policies, now_ms=caller.now_ms, **who))


def changes(caller: Caller) -> int:
    return int(caller.hash(caller.partition_key("changes")).get("version", "0"))


# ── override ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_override_stands_in_words_that_people_read(rich: Caller) -> None:
    assert override(rich, 3, 2) == Overridden(rich.now_ms + HOUR_MS)

    assert rich.hash(rich.key)["override"] == f"3/2 until {rich.now_ms + HOUR_MS}"
    assert rich.account().override == f"3/2 until {rich.now_ms + HOUR_MS}"


def test_a_second_override_takes_the_place_of_the_first(rich: Caller) -> None:
    override(rich, 3)
    override(rich, 1, 2, MINUTE_MS)

    assert rich.account().override == f"1/2 until {rich.now_ms + MINUTE_MS}"


@pytest.mark.parametrize(("num", "lasts_ms"), [(1, HOUR_MS), (2, 0), (2, -1)])
def test_once_what_they_are_and_what_is_over_already_end_an_override(rich: Caller, num: int, lasts_ms: int) -> None:
    override(rich, 5)

    override(rich, num, lasts_ms=lasts_ms)

    assert rich.account().override == ""
    assert "override" not in rich.hash(rich.key)


def test_an_unknown_account_is_not_opened_by_one(new_caller: NewCaller) -> None:
    caller = new_caller(RICH)

    assert override(caller, 2) == Unknown("override")
    assert contents(caller.client) == {}


def test_an_override_is_a_change_and_one_of_nobody_is_none(rich: Caller, new_caller: NewCaller) -> None:
    """A gateway that remembers a denial hears of it."""
    before = changes(rich)

    override(rich, 2)
    override(new_caller(RICH, "nobody"), 2)

    assert changes(rich) == before + 1


def test_an_override_changes_no_balance_and_tells_the_ledger_nothing(rich: Caller) -> None:
    rich.events()
    before = rich.account()

    override(rich, 2)

    after = rich.account()
    assert (after.granted, after.spent, after.left, after.version) == (before.granted, 0, before.left, before.version)
    assert rich.events() == []


def test_who_was_denied_is_let_in_by_an_override_and_denied_again_when_it_ends(rich: Caller) -> None:
    slots = policy("2 concurrent")
    for id in ("r1", "r2"):
        assert isinstance(rich.reserve(id, 1, policies=[slots]), Reserved)
    assert isinstance(rich.reserve("r3", 1, policies=[slots]), Denied)

    override(rich, 2, lasts_ms=SECOND_MS)
    assert isinstance(rich.reserve("r4", 1, policies=[slots]), Reserved)

    rich.now_ms += SECOND_MS
    assert isinstance(rich.reserve("r5", 1, policies=[slots]), Denied)


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_limits_say_what_the_last_call_was_told(rich: Caller) -> None:
    policies = [MINUTE, SLOTS, policy("900 tokens/hour"), policy("5 requests/day", mode="shadow")]
    told = rich.reserve("r1", 1, policies=policies, input_tokens=100, output_tokens=50)

    assert isinstance(told, Reserved)
    assert limits(rich, *policies) == [PolicyState(*told.states[at : at + 4]) for at in (0, 4, 8, 12)]
    assert [(state.remaining, state.room) for state in limits(rich, *policies)] == [
        (59, 60),
        (3, 4),
        (750, 900),
        (4, 5),
    ]


def test_limits_of_an_account_that_nobody_knows_are_unused(new_caller: NewCaller) -> None:
    caller = new_caller(RICH)

    assert limits(caller, MINUTE, SLOTS) == [PolicyState(60, 0, 60, 0), PolicyState(4, 0, 4, 0)]


def test_looking_counts_nothing(rich: Caller) -> None:
    policies = [MINUTE, SLOTS, policy("3 requests/hour", "ip"), policy("3 requests/hour", "team")]
    rich.reserve("r1", 1, policies=policies, ip="203.0.113.7", team="red")
    before = contents(rich.client)

    for _ in range(5):
        limits(rich, *policies, ip="203.0.113.7", team="red")

    assert contents(rich.client) == before


@pytest.mark.parametrize("dimension", ["key", "ip", "team", "organisation", "model", "operation", "route"])
def test_a_limit_is_looked_up_by_what_it_counts(rich: Caller, new_caller: NewCaller, dimension: str) -> None:
    """What others of the same team, address … have used is used for this one too."""
    limit = policy("3 requests/hour", dimension)
    word = {"operation": "chat", "route": "/v1/chat"}.get(dimension, "x")
    said = {"key": {"api_key": word}, "operation": {}, "route": {}}.get(dimension, {dimension: word})
    new_caller(RICH, "bob").reserve("r1", 1, policies=[limit], **said)

    asked = "api_key" if dimension == "key" else dimension
    assert limits(rich, limit, **{asked: word})[0][:3] == (2, 20 * MINUTE_MS, 3)
    assert limits(rich, limit, **{asked: "y"})[0][:3] == (3, 0, 3)
    assert limits(rich, limit) == [PolicyState(0, 0, -1, 0)]


def test_limits_that_are_not_about_the_caller_leave_the_others_in_their_places(rich: Caller) -> None:
    rich.reserve("r1", 1, policies=[MINUTE])

    rooms = [
        state.room for state in limits(rich, policy("3 requests/hour", "team"), MINUTE, policy("2 cost/day", "ip"))
    ]

    assert rooms == [-1, 60, -1]


@pytest.mark.parametrize(
    ("num", "den", "rooms"),
    [(2, 1, [120, 8]), (3, 2, [90, 6]), (1, 2, [30, 2]), (1, 7, [8, 1]), (1, 100, [1, 1]), (100, 1, [6000, 400])],
)
def test_an_override_makes_room_in_whole_units_and_never_none(
    rich: Caller, num: int, den: int, rooms: list[int]
) -> None:
    override(rich, num, den)

    assert [state.room for state in limits(rich, MINUTE, SLOTS)] == rooms
    assert [state.remaining for state in limits(rich, MINUTE, SLOTS)] == rooms

    rich.now_ms += HOUR_MS
    assert [state.room for state in limits(rich, MINUTE, SLOTS)] == [60, 4]


@pytest.mark.parametrize(
    ("by", "room"),
    [
        (("account",), 6),
        (("key",), 6),
        (("account", "model"), 6),
        (("ip", "key"), 6),
        (("ip",), 3),
        (("team",), 3),
        (("organisation",), 3),
        (("model",), 3),
    ],
)
def test_an_override_is_about_limits_of_the_account_and_of_its_keys(
    rich: Caller, by: tuple[str, ...], room: int
) -> None:
    override(rich, 2)

    who = {"api_key": "k", "ip": "i", "team": "t", "organisation": "o", "model": "m"}
    (state,) = limits(rich, policy("3 requests/hour", *by), **who)

    assert state.room == room


@pytest.mark.parametrize(
    ("num", "den", "state"),
    [
        (2, 1, PolicyState(1800 - 450, HOUR_MS // 4, 1800, 0)),
        (1, 2, PolicyState(450 - 225, HOUR_MS // 2, 450, 0)),
    ],
)
def test_what_was_used_stays_as_many_units_or_as_much_time_whichever_is_less(
    rich: Caller, num: int, den: int, state: PolicyState
) -> None:
    """Half of a limit of 900 an hour: 450 units, or half an hour."""
    rich.reserve("r1", 1, policies=[policy("900 tokens/hour")], input_tokens=450)

    override(rich, num, den)

    assert limits(rich, policy("900 tokens/hour")) == [state]
