"""Rate and concurrency policies, on every server: against an exact model, several at once, and to the last slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.domain.policy import Policy, PolicyState, default_name, parse_rate, policy_states
from gateway.domain.reservation import Denied, Reserved
from gateway.domain.tier import Tier
from gateway.domain.usage import Usage
from gateway.store import calls
from tests.lua.caller import JAKARTA, LEASE_MS, NOON_MS, SECOND_MS, Caller, contents
from tests.lua.conftest import NewCaller

#: Nobody is denied for want of a balance.
RICH = Tier("rich", signup=10**12, zone=JAKARTA)


def policy(text: str, **options: Any) -> Policy:
    rate = parse_rate(text)
    return Policy(options.pop("name", default_name(rate, options.get("by", ("account",)))), rate, **options)


def states(outcome: calls.ReserveOutcome) -> list[PolicyState]:
    assert isinstance(outcome, Reserved | Denied)
    return policy_states(outcome.states)


@pytest.fixture
def rich(new_caller: NewCaller) -> Caller:
    return new_caller(RICH)


# ── one rate ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class ExactBucket:
    """A bucket of `burst + 1` units that drains at `limit / period`, in fractions: nothing is rounded."""

    limit: int
    period_ms: int
    burst: int
    level: Fraction = Fraction(0)
    at_ms: int = 0

    def drain(self, now_ms: int) -> None:
        self.level = max(Fraction(0), self.level - Fraction(self.limit, self.period_ms) * (now_ms - self.at_ms))
        self.at_ms = now_ms

    def wait_ms(self, weight: int) -> int | None:
        """0: it fits; None: it never will."""
        if weight == 0:
            return 0
        if weight > self.burst + 1:
            return None
        excess = self.level + weight - (self.burst + 1)
        return max(0, -(-excess * self.period_ms // self.limit)).__ceil__() if excess > 0 else 0


def is_rate(text: str) -> bool:
    try:
        parse_rate(text)
    except ValueError:
        return False
    return True


RATES = st.builds(
    lambda limit, period, burst: f"{limit} tokens/{period} burst {burst}",
    st.integers(1, 100_000),
    st.sampled_from(["second", "minute", "hour", "day", "7 seconds", "3 hours"]),
    st.integers(0, 50_000),
).filter(is_rate)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=RATES,
    steps=st.lists(st.tuples(st.integers(0, 90_000), st.integers(0, 60_000)), min_size=1, max_size=25),
)
def test_a_rate_admits_exactly_what_the_model_does_and_tells_the_shortest_wait(
    new_caller: NewCaller, text: str, steps: list[tuple[int, int]]
) -> None:
    caller = new_caller(RICH, flush=True)
    limited = [policy(text)]
    rate = limited[0].rate
    model = ExactBucket(rate.limit, rate.period_ms, rate.burst)
    admitted: list[tuple[int, int]] = []
    for number, (pause_ms, weight) in enumerate(steps):
        caller.now_ms += pause_ms
        model.drain(caller.now_ms)
        outcome = caller.reserve(f"r{number}", 0, policies=limited, input_tokens=weight)

        wait_ms = model.wait_ms(weight)
        if isinstance(outcome, Denied):
            assert outcome.retry_after_ms == wait_ms != 0
            assert outcome.policy == limited[0].name
        else:
            assert isinstance(outcome, Reserved)
            assert wait_ms == 0
            model.level += weight
            admitted.append((caller.now_ms, weight))
        (state,) = states(outcome)
        assert state.remaining == max(0, (rate.burst + 1 - model.level).__floor__())
        assert state.reset_ms == (model.level * rate.period_ms / rate.limit).__ceil__()

    for since_ms, _ in admitted:
        window = sum(weight for at_ms, weight in admitted if since_ms <= at_ms < since_ms + rate.period_ms)
        assert window <= rate.limit + rate.burst


def test_a_call_that_waits_as_long_as_it_was_told_is_admitted_and_a_millisecond_earlier_it_is_not(rich: Caller) -> None:
    limited = [policy("7 requests/second burst 2")]
    for number in range(3):
        assert isinstance(rich.reserve(f"r{number}", 0, policies=limited), Reserved)

    denied = rich.reserve("r4", 0, policies=limited)
    assert isinstance(denied, Denied)
    assert denied.retry_after_ms == 143  # 1/7 s, rounded up
    rich.now_ms += 142
    assert isinstance(rich.reserve("r5", 0, policies=limited), Denied)
    rich.now_ms += 1
    assert isinstance(rich.reserve("r6", 0, policies=limited), Reserved)


def test_without_a_burst_a_whole_period_may_come_at_once_and_no_more(rich: Caller) -> None:
    limited = [policy("60 requests/minute")]

    outcomes = [rich.reserve(f"r{number}", 0, policies=limited) for number in range(61)]

    assert [isinstance(outcome, Reserved) for outcome in outcomes] == [True] * 60 + [False]


def test_a_call_that_weighs_more_than_the_limit_holds_is_not_told_to_wait(rich: Caller) -> None:
    outcome = rich.reserve("r1", 0, policies=[policy("100 tokens/minute")], input_tokens=60, output_tokens=41)

    assert isinstance(outcome, Denied)
    assert outcome.retry_after_ms is None


def test_who_has_used_up_a_limit_that_is_raised_has_the_difference_at_once(rich: Caller) -> None:
    rich.reserve("r1", 0, policies=[policy("100 tokens/minute")], input_tokens=100)
    raised = [policy("250 tokens/minute")]

    assert isinstance(rich.reserve("r2", 0, policies=raised, input_tokens=151), Denied)
    assert isinstance(rich.reserve("r3", 0, policies=raised, input_tokens=150), Reserved)


def test_who_has_used_much_of_a_limit_that_is_lowered_waits_no_longer_than_its_period(rich: Caller) -> None:
    rich.reserve("r1", 0, policies=[policy("1000 tokens/minute")], input_tokens=1000)
    lowered = [policy("10 tokens/minute")]

    assert isinstance(rich.reserve("r2", 0, policies=lowered, input_tokens=1), Denied)
    rich.now_ms += 60 * SECOND_MS
    assert isinstance(rich.reserve("r3", 0, policies=lowered, input_tokens=10), Reserved)


def test_an_override_helps_who_has_used_up_the_limit(rich: Caller) -> None:
    limited = [policy("10 requests/day")]
    for number in range(10):
        rich.reserve(f"r{number}", 0, policies=limited)
    assert isinstance(rich.reserve("r10", 0, policies=limited), Denied)

    rich.client.hset(rich.key, "override", f"2/1 until {rich.now_ms + 3_600_000}")

    outcomes = [rich.reserve(f"s{number}", 0, policies=limited) for number in range(11)]
    assert sum(isinstance(outcome, Reserved) for outcome in outcomes) == 10


def test_the_state_reads_well_and_expires_when_it_has_drained(new_caller: NewCaller) -> None:
    caller = new_caller(RICH)
    caller.reserve("r1", 0, policies=[policy("60 requests/minute")])

    assert caller.hash(caller.key)["rate:requests-per-minute"] == f"{NOON_MS + SECOND_MS}+0@1/1000"

    caller.reserve("r2", 0, policies=[policy("7 requests/second", by=("team",))], team="red")

    key = caller.partition_key("rate:team:red:team-requests-per-second")
    state: Any = caller.client.get(key)
    assert state.decode() == f"{NOON_MS + 142}+6@7/1000"
    assert 0 < caller.client.pttl(key) <= 143


# ── what is counted ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("measure", "weight"), [("requests", 1), ("input tokens", 30), ("output tokens", 7), ("tokens", 37), ("cost", 12)]
)
def test_a_policy_counts_what_it_says(rich: Caller, measure: str, weight: int) -> None:
    outcome = rich.reserve("r1", 12, policies=[policy(f"100 {measure}/day")], input_tokens=30, output_tokens=7)

    assert isinstance(outcome, Reserved)
    assert states(outcome)[0].remaining == 100 - weight


@pytest.mark.parametrize(
    ("by", "same", "other"),
    [
        (("account",), {"team": "red"}, None),
        (("key",), {"team": "red"}, {"api_key": "qg_other"}),
        (("ip",), {"ip": "10.1.1.1"}, {"ip": "10.1.1.2"}),
        (("team",), {"team": "red"}, {"team": "blue"}),
        (("organisation",), {"organisation": "acme"}, {"organisation": "umbrella"}),
        (("model",), {"model": "m1"}, {"model": "m2"}),
        (("account", "model"), {"model": "m1"}, {"model": "m2"}),
        (("team", "key"), {"team": "red"}, {"team": "red", "api_key": "qg_other"}),
    ],
)
def test_a_policy_counts_together_what_it_is_by(
    rich: Caller, by: tuple[str, ...], same: dict[str, str], other: dict[str, str] | None
) -> None:
    limited = [policy("1 request/minute", by=by)]
    assert isinstance(rich.reserve("r1", 0, policies=limited, **same), Reserved)

    assert isinstance(rich.reserve("r2", 0, policies=limited, **same), Denied)
    if other is not None:
        assert isinstance(rich.reserve("r3", 0, policies=limited, **other), Reserved)


def test_members_of_a_team_share_what_it_may_use(new_caller: NewCaller) -> None:
    ada, bob = new_caller(RICH), new_caller(RICH, id="bob")
    budget = [policy("100 cost/day", by=("team",))]

    assert isinstance(ada.reserve("r1", 70, policies=budget, team="red"), Reserved)
    assert isinstance(bob.reserve("r2", 40, policies=budget, team="red"), Denied)
    assert isinstance(bob.reserve("r3", 30, policies=budget, team="red"), Reserved)


@pytest.mark.parametrize("by", ["ip", "team", "organisation"])
def test_a_policy_about_what_the_call_does_not_have_does_not_count(rich: Caller, by: str) -> None:
    outcome = rich.reserve("r1", 0, policies=[policy("1 request/minute", by=(by,)), policy("2 requests/minute")])

    assert isinstance(outcome, Reserved)
    not_about, counted = states(outcome)
    assert (not_about.room, counted.remaining) == (-1, 1)


@pytest.mark.parametrize("model", ["m; tokens", "requests 1 1/1 9 account:bob:x", "a\nb", "%s %d", ":,:"])
def test_a_model_named_to_confuse_confuses_nothing(rich: Caller, model: str) -> None:
    limited = [policy("100 tokens/day", by=("account", "model")), policy("1 concurrent", by=("model",))]
    rich.reserve("r1", 0, policies=limited, model=model, input_tokens=90)
    rich.settle("r1", 0, Usage(input=10))

    outcome = rich.reserve("r2", 0, policies=limited, model=model, input_tokens=90)

    assert isinstance(outcome, Reserved)
    assert states(outcome)[0].remaining == 0


# ── the true usage ───────────────────────────────────────────────────────────────────────────────────────────────────


def tokens_left(caller: Caller, limited: Sequence[Policy]) -> int:
    outcome = caller.reserve(f"look-{caller.now_ms}", 0, policies=[*limited, policy("1 request/day", mode="shadow")])
    assert isinstance(outcome, Reserved)
    caller.release(outcome.id)
    return states(outcome)[0].remaining


def test_an_estimate_that_was_too_high_is_given_back(rich: Caller) -> None:
    limited = [policy("1000 tokens/day")]
    rich.reserve("r1", 0, policies=limited, input_tokens=100, output_tokens=900)

    rich.settle("r1", 0, Usage(input=100, output=20))

    assert tokens_left(rich, limited) == 880


def test_an_estimate_that_was_too_low_makes_those_wait_who_come_later(rich: Caller) -> None:
    limited = [policy("1000 tokens/1000 seconds")]
    rich.reserve("r1", 0, policies=limited, input_tokens=1000)
    rich.settle("r1", 0, Usage(input=1000, output=500))

    denied = rich.reserve("r2", 0, policies=limited, input_tokens=1)

    assert isinstance(denied, Denied)
    assert denied.retry_after_ms == 501 * SECOND_MS


@pytest.mark.parametrize("ending", ["release", "expire"])
def test_a_call_that_used_nothing_gives_back_what_it_was_admitted_with(rich: Caller, ending: str) -> None:
    limited = [policy("1000000 tokens/day"), policy("1000 cost/day"), policy("10 requests/day")]
    rich.reserve("r1", 600, policies=limited, input_tokens=1000, on_lost="release")
    if ending == "release":
        rich.release("r1")
    else:
        rich.now_ms += LEASE_MS
        rich.expire()

    outcome = rich.reserve("r2", 0, policies=limited)

    # A request is a request, whatever became of it.
    assert [state.remaining for state in states(outcome)] == [1_000_000, 1000, 8]


def test_what_has_drained_is_not_given_back(rich: Caller) -> None:
    limited = [policy("1000 tokens/1000 seconds")]
    rich.reserve("r1", 0, policies=limited, input_tokens=1000)
    rich.now_ms += 900 * SECOND_MS
    rich.reserve("r2", 0, policies=limited, input_tokens=900)  # 100 of r1 have not drained, 900 of r2 are new.

    rich.settle("r1", 0, Usage())

    assert tokens_left(rich, limited) == 100


def test_a_late_settlement_counts_what_the_expiry_did_not(rich: Caller) -> None:
    limited = [policy("1000000 tokens/day")]
    rich.reserve("r1", 0, policies=limited, input_tokens=500)
    rich.renew("r1", 1, counted_usage=Usage(input=100))
    rich.now_ms += LEASE_MS
    rich.expire()

    rich.settle("r1", 0, Usage(input=100, output=300))
    rich.settle("r1", 0, Usage(input=100, output=300))

    left = tokens_left(rich, limited)
    drained = 1_000_000 * LEASE_MS // 86_400_000
    assert left == min(1_000_000, 1_000_000 - 400 + drained) or left == 1_000_000 - 300  # What was counted had drained.


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 120), st.integers(0, 120), st.integers(0, 5)),
        min_size=2, max_size=30,
    )
)  # fmt: skip
def test_counted_by_true_usage_no_window_holds_more_than_the_limit_its_burst_and_what_was_underestimated(
    new_caller: NewCaller, steps: list[tuple[int, int, int, int]]
) -> None:
    """Calls overlap, and settle in another order than they came. Where every estimate is an upper bound, the bound of
    the limit holds for what was truly used."""
    caller = new_caller(RICH, flush=True)
    limited = [policy("100 tokens/second burst 99")]
    used: list[tuple[int, int]] = []
    pending: list[tuple[str, int, int]] = []
    for number, (pause_ms, estimate, share, settles) in enumerate(steps):
        caller.now_ms += pause_ms
        outcome = caller.reserve(f"r{number}", 0, policies=limited, input_tokens=estimate)
        if isinstance(outcome, Reserved):
            pending.append((outcome.id, min(share, estimate), caller.now_ms))
        for _ in range(min(settles, len(pending))):
            id, actual, at_ms = pending.pop(settles % len(pending))
            caller.settle(id, 0, Usage(input=actual))
            used.append((at_ms, actual))
    used += [(at_ms, actual) for _, actual, at_ms in pending]

    for since_ms, _ in used:
        assert sum(actual for at_ms, actual in used if since_ms <= at_ms < since_ms + SECOND_MS) <= 199


# ── concurrency ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_more_calls_run_at_a_time_than_the_policy_lets(rich: Caller) -> None:
    limited = [policy("2 concurrent")]
    rich.reserve("r1", 0, policies=limited)
    second = rich.reserve("r2", 0, policies=limited)
    third = rich.reserve("r3", 0, policies=limited)

    assert isinstance(second, Reserved)
    assert states(second)[0].remaining == 0
    assert isinstance(third, Denied)
    assert (third.policy, third.retry_after_ms) == ("concurrent", 1000)


@pytest.mark.parametrize("end", ["settle", "release", "expire", "lease"])
def test_a_slot_is_free_again_when_its_call_has_ended_however_it_ended(rich: Caller, end: str) -> None:
    limited = [policy("1 concurrent")]
    rich.reserve("r1", 0, policies=limited)
    if end == "settle":
        rich.settle("r1", 0)
    elif end == "release":
        rich.release("r1")
    else:
        rich.now_ms += LEASE_MS
        if end == "expire":
            rich.expire()

    assert isinstance(rich.reserve("r2", 0, policies=limited), Reserved)


def test_a_renewed_call_keeps_its_slot(rich: Caller) -> None:
    limited = [policy("1 concurrent")]
    rich.reserve("r1", 0, policies=limited)
    rich.now_ms += LEASE_MS // 2
    rich.renew("r1", 1)
    rich.now_ms += LEASE_MS * 3 // 4

    assert isinstance(rich.reserve("r2", 0, policies=limited), Denied)


def test_nothing_of_a_slot_is_left_when_all_calls_have_ended(rich: Caller) -> None:
    for number in range(3):
        rich.reserve(f"r{number}", 0, policies=[policy("5 concurrent"), policy("5 concurrent", by=("model",))])
    for number in range(3):
        rich.settle(f"r{number}", 0)

    assert not [key for key in contents(rich.client) if ":slots:" in key]


# ── several at once ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_a_denied_call_spends_nothing_in_any_policy(rich: Caller, position: int) -> None:
    limited = [policy("9 requests/minute"), policy("900 tokens/minute"), policy("900 cost/day"), policy("9 concurrent")]
    limited.insert(position, policy("1 request/hour"))
    rich.reserve("r1", 5, policies=limited, input_tokens=5)
    before = contents(rich.client)

    outcome = rich.reserve("r2", 5, policies=limited, input_tokens=5)

    assert isinstance(outcome, Denied)
    assert outcome.violated == ("requests-per-hour",)
    assert contents(rich.client) == before


def test_a_call_that_the_balance_does_not_cover_spends_nothing_in_any_policy(new_caller: NewCaller) -> None:
    caller = new_caller(Tier("free", signup=10, zone=JAKARTA))
    limited = [policy("9 requests/minute"), policy("9 concurrent")]
    caller.reserve("r1", 1, policies=limited)
    before = contents(caller.client)

    assert caller.reserve("r2", 10, policies=limited).__class__ is Denied
    assert contents(caller.client) == before


def test_a_denial_names_the_policy_that_makes_it_wait_longest_and_all_that_deny_it(rich: Caller) -> None:
    limited = [policy("1 request/second"), policy("1 request/hour"), policy("1 request/minute")]
    rich.reserve("r1", 0, policies=limited)

    denied = rich.reserve("r2", 0, policies=limited)

    assert isinstance(denied, Denied)
    assert (denied.policy, denied.retry_after_ms) == ("requests-per-hour", 3_600_000)
    assert denied.violated == ("requests-per-second", "requests-per-hour", "requests-per-minute")


def test_what_waiting_does_not_help_is_tighter_than_any_wait(new_caller: NewCaller) -> None:
    caller = new_caller(Tier("free", signup=10, zone=JAKARTA))
    limited = [policy("1 request/day")]
    caller.reserve("r1", 5, policies=limited)

    denied = caller.reserve("r2", 6, policies=limited)

    assert isinstance(denied, Denied)
    assert (denied.policy, denied.retry_after_ms) == ("credits", None)
    assert denied.violated == ("requests-per-day", "credits")


def test_a_free_call_is_let_in_with_an_empty_balance_and_still_limited(new_caller: NewCaller) -> None:
    caller = new_caller(Tier("broke", zone=JAKARTA))
    limited = [policy("1 request/minute")]

    assert isinstance(caller.reserve("r1", 0, policies=limited), Reserved)
    assert isinstance(caller.reserve("r2", 0, policies=limited), Denied)


TEXTS = [
    "3 requests/second burst 1",
    "200 tokens/second burst 60",
    "2 concurrent",
    "500 cost/minute",
    "9 requests/hour",
]


@dataclass
class ExactAll:
    """All policies of TEXTS at once: a call is admitted by all of them, or counts in none."""

    buckets: dict[str, ExactBucket] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)

    def fits(self, now_ms: int, weights: dict[str, int]) -> bool:
        for bucket in self.buckets.values():
            bucket.drain(now_ms)
        open_calls = sum(lease_ms > now_ms for lease_ms in self.open.values())
        return open_calls < 2 and all(bucket.wait_ms(weights[text]) == 0 for text, bucket in self.buckets.items())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 900), st.integers(0, 90), st.integers(0, 200), st.booleans()), min_size=2, max_size=30
    )
)
def test_several_policies_admit_together_exactly_what_each_would(
    new_caller: NewCaller, steps: list[tuple[int, int, int, bool]]
) -> None:
    caller = new_caller(RICH, flush=True)
    limited = [policy(text) for text in TEXTS]
    rates = {text: parse_rate(text) for text in TEXTS if "concurrent" not in text}
    model = ExactAll({text: ExactBucket(rate.limit, rate.period_ms, rate.burst) for text, rate in rates.items()})
    for number, (pause_ms, tokens, cost, ends_one) in enumerate(steps):
        caller.now_ms += pause_ms
        if ends_one and model.open:  # With what it was admitted for: rates stay as they are.
            id, lease_ms = model.open.popitem()
            assume(lease_ms > caller.now_ms)
            hold = caller.hold(id)
            used = next(int(line.split()[1]) for line in hold["rates"].split("\n") if line.startswith("tokens"))
            caller.settle(id, int(hold["amount"]), Usage(input=used))
        weights = {TEXTS[0]: 1, TEXTS[1]: tokens, TEXTS[3]: cost, TEXTS[4]: 1}
        fits = model.fits(caller.now_ms, weights)

        outcome = caller.reserve(f"r{number}", cost, policies=limited, input_tokens=tokens)

        assert isinstance(outcome, Reserved if fits else Denied), outcome
        if fits:
            model.open[f"r{number}"] = caller.now_ms + LEASE_MS
            for text, bucket in model.buckets.items():
                bucket.level += weights[text]


# ── shadow, overrides ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_shadow_policy_denies_nobody_and_says_whom_it_would_have_denied(rich: Caller) -> None:
    limited = [policy("1 request/minute", mode="shadow"), policy("1 concurrent", mode="shadow")]

    outcomes = [rich.reserve(f"r{number}", 0, policies=limited) for number in range(3)]

    assert [[state.denies for state in states(outcome)] for outcome in outcomes] == [
        [0, 0], [1, 1], [1, 1],
    ]  # fmt: skip
    # What it would have denied does not count: it goes on as if it had been enforced.
    rich.now_ms += 60 * SECOND_MS
    assert states(rich.reserve("r9", 0, policies=limited))[0].denies == 0


def test_the_ledger_hears_which_shadow_policies_would_have_denied_a_call(rich: Caller) -> None:
    limited = [
        policy("1 request/minute", mode="shadow"),
        policy("1 concurrent", mode="shadow"),
        policy("9 concurrent", name="nine"),
    ]
    for number in range(2):
        rich.reserve(f"r{number}", 0, policies=limited)
    rich.events()

    rich.settle("r0", 0)
    rich.settle("r1", 0)

    told = [event.usage.shadow for event in rich.events() if event.usage is not None]
    assert told == ["", "requests-per-minute concurrent"]


@pytest.mark.parametrize(("override", "fits"), [("2/1", 20), ("1/2", 5), ("3/2", 15), ("1/100", 1)])
def test_an_override_makes_an_accounts_limits_more_or_less_until_it_ends(
    rich: Caller, override: str, fits: int
) -> None:
    limited = [policy("10 requests/minute")]
    rich.reserve("r0", 0)
    rich.client.hset(rich.key, "override", f"{override} until {rich.now_ms + 3_600_000}")

    outcomes = [rich.reserve(f"r{number}", 0, policies=limited) for number in range(1, 23)]
    assert sum(isinstance(outcome, Reserved) for outcome in outcomes) == fits

    rich.now_ms += 3_600_000
    outcomes = [rich.reserve(f"s{number}", 0, policies=limited) for number in range(12)]
    assert sum(isinstance(outcome, Reserved) for outcome in outcomes) == 10


def test_an_override_of_an_account_does_not_stretch_its_teams_limits(rich: Caller) -> None:
    rich.reserve("r0", 0)
    rich.client.hset(rich.key, "override", f"5/1 until {rich.now_ms + 3_600_000}")
    limited = [policy("1 request/minute", by=("team",))]

    assert isinstance(rich.reserve("r1", 0, policies=limited, team="red"), Reserved)
    assert isinstance(rich.reserve("r2", 0, policies=limited, team="red"), Denied)


def test_a_repeat_of_a_reservation_counts_once(rich: Caller) -> None:
    limited = [policy("2 requests/day"), policy("2 concurrent")]
    rich.reserve("r1", 0, policies=limited)
    rich.reserve("r1", 0, policies=limited)

    assert isinstance(rich.reserve("r2", 0, policies=limited), Reserved)
    assert isinstance(rich.reserve("r3", 0, policies=limited), Denied)
