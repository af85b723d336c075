"""Credits of every kind in one account: in which order calls draw on them, and where what is not needed goes back."""

from __future__ import annotations

from dataclasses import replace

from gateway.domain.catalog import BONUS_PRIORITY, BOUGHT_PRIORITY, PLAN_PRIORITY, Rewards
from gateway.domain.reservation import Denied, Reserved
from gateway.domain.tier import Allowance
from tests.lua.caller import DAY_MS, MIDNIGHT_MS, NOON_MS, PAYG, Caller
from tests.lua.conftest import NewCaller

ORDER, BONUS, PLAN = "order:o1", "order:o1:bonus", "subscription:s1:1"
CODE, CHECK_IN, DAILY = "code:WELCOME:1", "check_in:2026-11-20", "day:2026-11-20"
#: A sign-up, an allowance of each day, then credits.
BOTH = replace(PAYG, name="both", signup=5, allowances=(Allowance("day", 4),))


def filled(new_caller: NewCaller) -> Caller:
    """An account that was given something of every kind, in no order."""
    caller = new_caller(BOTH)
    caller.open()
    rewards, now_s = Rewards().priority, NOON_MS // 1000
    caller.grant(BONUS, 10, kind="REWARD", priority=BONUS_PRIORITY)
    caller.grant(ORDER, 10, kind="TOP_UP", priority=BOUGHT_PRIORITY)
    caller.grant(CODE, 10, kind="REWARD", priority=rewards)
    caller.grant(CHECK_IN, 10, kind="REWARD", priority=rewards, expires_s=now_s + 2 * 86_400)
    caller.grant(PLAN, 10, kind="SUBSCRIPTION", priority=PLAN_PRIORITY, expires_s=now_s + 30 * 86_400)
    caller.events()
    return caller


def test_what_was_given_is_drawn_on_before_what_was_bought_and_each_line_names_its_grant(new_caller: NewCaller) -> None:
    caller = filled(new_caller)
    assert caller.left() == {
        "credits:signup": 5, f"credits:{PLAN}": 10, f"credits:{CHECK_IN}": 10, f"credits:{CODE}": 10,
        f"credits:{ORDER}": 10, f"credits:{BONUS}": 10,
    }  # fmt: skip

    caller.reserve("r1", 50)
    assert caller.hold("r1")["parts"] == (
        f"{DAILY}=4 credits:signup=5 credits:{PLAN}=10 credits:{CHECK_IN}=10 credits:{CODE}=10 credits:{ORDER}=10 "
        f"credits:{BONUS}=1"
    )
    caller.settle("r1", 50)

    assert [line for line in caller.entries() if not line.startswith("DAILY_RESET")] == [
        f"USAGE {DAILY} -4", "USAGE credits:signup -5", f"USAGE credits:{PLAN} -10", f"USAGE credits:{CHECK_IN} -10",
        f"USAGE credits:{CODE} -10", f"USAGE credits:{ORDER} -10", f"USAGE credits:{BONUS} -1",
    ]  # fmt: skip
    assert caller.left() == {DAILY: 0, f"credits:{BONUS}": 9}


def test_what_a_call_did_not_need_goes_back_to_what_it_would_have_taken_last(new_caller: NewCaller) -> None:
    caller = filled(new_caller)
    caller.reserve("r1", 3)
    caller.settle("r1", 3)
    caller.events()

    caller.reserve("r2", 1 + 5 + 10 + 7)  # The last of the day, the sign-up, the plan, and 7 of the check-in.
    assert caller.left()[f"credits:{CHECK_IN}"] == 3
    caller.settle("r2", 1 + 5 + 2)

    assert caller.entries() == [f"USAGE {DAILY} -1", "USAGE credits:signup -5", f"USAGE credits:{PLAN} -2"]
    assert caller.left() == {
        DAILY: 0, f"credits:{PLAN}": 8, f"credits:{CHECK_IN}": 10, f"credits:{CODE}": 10, f"credits:{ORDER}": 10,
        f"credits:{BONUS}": 10,
    }  # fmt: skip
    caller.reserve("r3", 9)
    assert caller.hold("r3")["parts"] == f"credits:{PLAN}=8 credits:{CHECK_IN}=1"


def test_the_last_of_the_day_and_of_all_credits_pay_one_call_or_none_of_it(new_caller: NewCaller) -> None:
    caller = new_caller(BOTH)
    caller.grant(ORDER, 6, kind="TOP_UP", priority=BOUGHT_PRIORITY)

    refused = caller.reserve("r1", 4 + 5 + 6 + 1)
    taken = caller.reserve("r2", 4 + 5 + 6)

    assert isinstance(refused, Denied)
    assert (refused.policy, refused.retry_after_ms, refused.left) == ("credits", None, 15)
    assert taken == Reserved("r2", version=1, left=0, resets_at_ms=MIDNIGHT_MS)
    caller.settle("r2", 10)
    assert caller.left() == {DAILY: 0, f"credits:{ORDER}": 5}


def test_a_tier_that_draws_on_credits_first_keeps_its_day(new_caller: NewCaller) -> None:
    caller = new_caller(replace(BOTH, burn_order=("credits", "day")))
    caller.grant(ORDER, 6, kind="TOP_UP", priority=BOUGHT_PRIORITY)

    caller.reserve("r1", 12)
    assert caller.hold("r1")["parts"] == f"credits:signup=5 credits:{ORDER}=6 {DAILY}=1"
    caller.settle("r1", 8)

    assert caller.left() == {DAILY: 4, f"credits:{ORDER}": 3}


def test_what_has_lapsed_is_passed_over_and_the_rest_keeps_its_order(new_caller: NewCaller) -> None:
    caller = filled(new_caller)
    caller.reserve("r1", 4 + 5 + 10 + 1)  # Some of the check-in is held when it lapses.
    caller.events()
    caller.now_ms += 2 * DAY_MS

    caller.settle("r1", 0)
    caller.reserve("r2", 4 + 12)

    assert caller.hold("r2")["parts"] == f"day:2026-11-22=4 credits:signup=5 credits:{PLAN}=7"
    assert f"EXPIRY credits:{CHECK_IN} -9" in caller.entries()
    account = caller.account()
    assert account.granted == account.left + account.held + account.spent
