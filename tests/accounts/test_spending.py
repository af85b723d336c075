"""Spending at once: once for each id, all lines or nothing, and refused in words that can be told apart."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from gateway.accounts import api_keys, balances
from gateway.accounts.admission import NotAdmitted
from gateway.accounts.spending import Spent, spend
from gateway.accounts.system import System
from gateway.config import parse
from gateway.domain.acts import UseLine
from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.event import Event, read_event
from gateway.domain.principal import Principal
from gateway.domain.reservation import Denied, Suspended
from gateway.domain.tier import MAX_UNITS
from gateway.store import calls
from tests.support.config import config_text

ADA = Principal("ada", key="qg_AbCdEfGh")
LIMITED = """
[tiers.told]
signup = 100
limits = [
  { limit = "2 requests/hour", name = "uses", operations = ["token_use"] },
  { limit = "1 requests/hour", name = "chats", operations = ["chat"] },
  { limit = "9 requests/hour", name = "by-ip", by = "ip" },
  "1 concurrent",
]
[tiers.anchored]
allowance = [{ every = "month", amount = 9, from = "start" }]
"""


@pytest.fixture
def limited(system: System) -> System:
    return replace(system, config=parse(config_text(more=LIMITED), "config.toml", {}))


def use(system: System, amount: int = 2, id: str = "u1", who: Principal = ADA, **more: Any) -> Spent:
    return spend(system, who, id, [UseLine(amount)], operation="token_use", **more)


def usage(system: System) -> list[Event]:
    found: Any = system.redis.xrange("qg:{p00}:events")
    read = [read_event({k.decode(): v.decode() for k, v in fields.items()}) for _, fields in found]
    return [event for event in read if event.usage is not None]


def left(system: System, account: str = "ada") -> int:
    return balances.read(system, account).available


def test_a_first_use_opens_the_account_and_is_paid(system: System) -> None:
    spent = use(system, 7)

    assert (spent.id, spent.before, spent.left, spent.is_low) == ("u1", 20, 13, False)
    assert spent.resets_at_ms == balances.read(system, "ada").resets_at_ms
    assert left(system) == 13


def test_an_account_that_is_known_is_spent_from_as_it_stands(system: System) -> None:
    api_keys.create(system, ["ada"], "pro")

    spent = use(system, 7)

    assert (spent.before, spent.left) == (1_001_000_000, 1_000_999_993)


def test_few_units_left_are_low(system: System) -> None:
    assert [use(system, 7, f"u{n}").is_low for n in range(2)] == [False, False]
    assert use(system, 1, "u3").is_low


def test_without_an_allowance_nothing_resets(limited: System) -> None:
    assert use(limited, who=replace(ADA, tier="told")).resets_at_ms is None


def test_a_repeat_is_answered_alike_and_spends_nothing(system: System) -> None:
    first = use(system)
    use(system, 3, "u2")

    assert use(system) == first
    assert left(system) == 15


def test_an_id_that_was_used_for_something_else_is_refused(system: System) -> None:
    use(system, 2)

    with pytest.raises(Conflicting, match="the id u1 was used before"):
        use(system, 3)
    with pytest.raises(Conflicting):
        use(system, 2, who=Principal("bob"))
    assert left(system) == 18


def test_an_id_that_was_called_off_is_refused(system: System) -> None:
    system.runner.run(calls.release(system.keys.account("ada"), "u1"))

    with pytest.raises(Conflicting, match="u1 has ended already: it is released"):
        use(system)


def test_lines_are_spent_together_or_not_at_all(system: System) -> None:
    lines = [UseLine(15, "first"), UseLine(5, "second"), UseLine(1, "third")]

    with pytest.raises(NotAdmitted):
        spend(system, ADA, "u1", lines, operation="token_use")
    assert usage(system) == []

    spent = spend(system, ADA, "u2", lines[:2], operation="token_use", session="s1")
    assert (spent.before, spent.left) == (20, 0)
    told = [event.usage for event in usage(system)]
    assert [(u.purpose, u.cost, u.session, u.key, u.operation) for u in told if u] == [
        ("first", 15, "s1", "qg_AbCdEfGh", "token_use"),
        ("second", 5, "s1", "qg_AbCdEfGh", "token_use"),
    ]


def test_what_is_not_there_is_not_spent(system: System) -> None:
    with pytest.raises(NotAdmitted) as refused:
        use(system, 21)

    outcome = refused.value.outcome
    assert isinstance(outcome, Denied)
    assert (refused.value.amount, refused.value.policy, outcome.left) == (21, None, 20)
    assert system.redis.keys("*account:ada") == []


def test_waiting_helps_where_the_next_day_brings_enough(system: System) -> None:
    use(system, 20)

    with pytest.raises(NotAdmitted) as refused:
        use(system, 5, "u2")

    assert isinstance(refused.value.outcome, Denied)
    assert 0 < (refused.value.outcome.retry_after_ms or 0) <= 86_400_000


def test_a_limit_of_this_operation_is_kept_and_that_of_another_is_not_met(limited: System) -> None:
    told = replace(ADA, tier="told")
    use(limited, id="u1", who=told)
    use(limited, id="u2", who=told)

    with pytest.raises(NotAdmitted) as refused:
        use(limited, id="u3", who=told)

    assert refused.value.policy is not None
    assert refused.value.policy.name == "uses"


def test_limits_by_address_and_by_key_are_kept(limited: System) -> None:
    by_key = replace(ADA, tier="pro", limits=("1 requests/day",))
    use(limited, id="u1", who=by_key)
    with pytest.raises(NotAdmitted) as refused:
        use(limited, id="u2", who=by_key)
    assert refused.value.policy is not None
    assert refused.value.policy.name == "own-requests-per-day"

    for n in range(9):
        use(limited, 1, f"v{n}", Principal(f"user-{n}", tier="told"), ip="203.0.113.7")
    with pytest.raises(NotAdmitted) as refused:
        use(limited, 1, "v9", Principal("user-9", tier="told"), ip="203.0.113.7")
    assert refused.value.policy is not None
    assert refused.value.policy.name == "by-ip"
    use(limited, 1, "v10", Principal("user-9", tier="told"), ip="203.0.113.8")


def test_a_suspended_account_spends_nothing(system: System) -> None:
    use(system)
    system.redis.hset(system.keys.account("ada"), mapping={"status": "suspended", "version": 7})

    with pytest.raises(NotAdmitted) as refused:
        use(system, id="u2")

    assert refused.value.outcome == Suspended("u2", "suspended")
    assert left(system) == 18


def test_a_tier_that_the_credential_names_is_the_accounts_from_now_on(system: System) -> None:
    use(system)

    spent = use(system, 1, "u2", Principal("ada", tier="pro"))

    assert balances.read(system, "ada").account.tier == "pro"
    assert spent.before == 13 + 5 + 10**9


def test_an_account_whose_months_begin_on_the_day_it_was_opened_is_spent_from(limited: System) -> None:
    who = replace(ADA, tier="anchored")

    assert use(limited, 1, "u1", who).left == 8
    assert use(limited, 1, "u2", who).left == 7
    use(limited, 1, "u3", Principal("ada", tier="pro"))
    assert use(limited, 1, "u4", who).before > 0


@pytest.mark.parametrize("amount", [-1, MAX_UNITS + 1])
def test_an_amount_out_of_range_is_refused(system: System, amount: int) -> None:
    with pytest.raises(RefusedInput, match="line 1: amount"):
        use(system, amount)
    assert list(system.redis.scan_iter("*:ada")) == []


def test_of_forty_at_once_as_many_are_paid_as_there_are_units(system: System) -> None:
    outcomes: list[int] = []

    def one(number: int) -> None:
        try:
            outcomes.append(use(system, 1, f"u{number}").left)
        except NotAdmitted:
            outcomes.append(-1)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == [-1] * 20 + list(range(20))
    assert len(usage(system)) == 20
