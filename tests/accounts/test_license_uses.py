"""A license is used by whoever owns it, a unit at a time, while it can be; the ledger says what for."""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import Any

import pytest
import redis
from sqlalchemy import Engine

from gateway.accounts import license_uses, licenses
from gateway.accounts.admission import NotAdmitted
from gateway.accounts.license_uses import History, LicenseUse, NotUsable
from gateway.accounts.new_licenses import NewLicense
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, NotFound, RefusedInput, StoreUnavailable
from gateway.ledger import queries
from gateway.store import acts
from gateway.store.runner import Runner
from tests.accounts.calls_made import drain
from tests.accounts.licensed import ACTOR, LICENSES, config, expire, made
from tests.support.epoch import ready

LIMITED = LICENSES.replace("operations = { chat = 2 }", 'limits = ["2 requests/hour"]')


@pytest.fixture
def system(redis_client: redis.Redis, ledger: Engine) -> System:
    return System(config(), redis_client, ledger)


def use(system: System, made: NewLicense, id: str = "u1", caller: str = "ada", **about: str) -> LicenseUse:
    return license_uses.use(system, made.key, caller, id=id, **about)


def refusal(system: System, made: NewLicense, id: str = "refused") -> NotUsable:
    with pytest.raises(NotUsable) as caught:
        use(system, made, id)
    return caught.value


def history(system: System, made: NewLicense, **options: Any) -> History:
    drain(system)
    return license_uses.history(system, made.key, **options)


def test_a_use_takes_exactly_one_unit_of_the_license_and_none_of_its_owner(system: System) -> None:
    license = made(system, 3)

    assert use(system, license) == LicenseUse(license.license.prefix, 3, 2)
    assert use(system, license, "u2") == LicenseUse(license.license.prefix, 2, 1)
    now = licenses.find(system, license.key)
    assert (now.left, now.spent, now.held) == (1, 2, 0)
    assert list(system.redis.scan_iter("*:account:ada")) == []


def test_the_ledger_calls_it_by_its_name(system: System) -> None:
    license = made(system, 3)
    use(system, license)
    drain(system)

    entries = list(queries.entries_of(system.ledger, license.license.account))

    assert [(row["kind"], row["bucket"], row["amount"]) for row in entries] == [
        ("TOP_UP", "credits:initial", 3), ("LICENSE_USE", "credits:initial", -1),
    ]  # fmt: skip


def test_a_repeat_has_the_same_numbers_and_takes_nothing(system: System) -> None:
    license = made(system, 3)

    assert {use(system, license) for _ in range(3)} == {LicenseUse(license.license.prefix, 3, 2)}
    assert licenses.find(system, license.key).left == 2


def test_the_id_of_another_use_is_a_conflict(system: System) -> None:
    first, other = made(system, 3), made(system, 3, id="other")
    use(system, first)

    with pytest.raises(Conflicting):
        use(system, other)

    assert licenses.find(system, other.key).left == 3


def test_its_owner_may_name_it_by_its_prefix(system: System) -> None:
    license = made(system, 3)

    assert license_uses.use(system, license.license.prefix, "ada", id="u").new_balance == 2


def test_another_s_license_and_none_are_not_found_in_the_same_words(system: System) -> None:
    license = made(system)
    said = set()
    for key, caller in (
        (license.key, "bob"),
        (license.license.prefix, "bob"),
        (license.key, license.license.account),
        (license.key[:-1] + "!", "ada"),
        ("lic_AbCdEfGh" + "s" * 32, "ada"),
        ("", "ada"),
    ):
        with pytest.raises(NotFound) as caught:
            license_uses.use(system, key, caller, id="u")
        said.add(str(caught.value))
        with pytest.raises(NotFound):
            license_uses.history(system, key, owner=caller)

    assert said == {"you have no such license"}
    assert licenses.find(system, license.key).left == 10


def test_who_gave_it_away_can_use_it_no_more_and_the_new_owner_can(system: System) -> None:
    license = made(system)
    licenses.transfer(system, license.key, "bob", id="t", actor=ACTOR)

    with pytest.raises(NotFound):
        use(system, license)
    assert use(system, license, caller="bob").new_balance == 9


@pytest.mark.parametrize("act", ["suspend", "revoke"])
def test_one_that_was_ended_is_refused_until_it_is_resumed(system: System, act: str) -> None:
    license = made(system)
    getattr(licenses, act)(system, license.key, id="act", actor=ACTOR)

    assert refusal(system, license).why == {"suspend": "suspended", "revoke": "revoked"}[act]
    if act == "suspend":
        licenses.resume(system, license.key, id="resume", actor=ACTOR)
        assert use(system, license).new_balance == 9


@pytest.mark.parametrize("status", ["suspended", "revoked"])
def test_one_that_redis_alone_calls_ended_is_refused(system: System, status: str) -> None:
    license = made(system)
    system.runner.run(acts.set_status(system.keys.account(license.license.account), status))

    assert refusal(system, license).why == status


def test_one_past_its_time_is_refused(system: System) -> None:
    license = made(system)
    expire(system, license.license.prefix)

    assert refusal(system, license).why == "expired"


def test_at_nothing_it_is_inactive_and_a_top_up_makes_it_active_again(system: System) -> None:
    license = made(system, 1, trial=True)
    use(system, license)

    assert refusal(system, license).why == "inactive"
    assert licenses.find(system, license.key).status == "inactive"
    licenses.top_up(system, license.key, 1, grant_id="more", reason="paid", actor=ACTOR)
    assert licenses.find(system, license.key).status == "trial"
    assert use(system, license, "u2").new_balance == 0


def test_a_limit_of_its_tier_says_when_to_come_back(redis_client: redis.Redis, ledger: Engine) -> None:
    system = System(config(LIMITED), redis_client, ledger)
    license = made(system)
    for n in range(2):
        use(system, license, f"u{n}")

    with pytest.raises(NotAdmitted) as caught:
        use(system, license, "u2")

    assert caught.value.policy is not None
    assert caught.value.policy.name == "requests-per-hour"
    assert licenses.find(system, license.key).left == 8


def test_in_an_empty_redis_it_has_nothing_and_opens_nothing_of_another_tier(system: System) -> None:
    license = made(system)
    ready(system.redis)

    assert refusal(system, license).why == "inactive"


def test_an_empty_redis_that_was_not_restored_refuses_it_as_unready(system: System) -> None:
    license = made(system)
    system.redis.flushall()

    with pytest.raises(StoreUnavailable):
        use(system, license)


def test_many_at_once_take_what_there_is_and_no_two_see_the_same_balance(system: System) -> None:
    license = made(system, 7)
    seen: list[int | str] = []

    def try_it(n: int) -> None:
        mine = dataclasses.replace(system)
        try:
            seen.append(use(mine, license, f"u{n}").previous_balance)
        except NotUsable as error:
            seen.append(error.why)

    threads = [threading.Thread(target=try_it, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(one for one in seen if isinstance(one, int)) == [1, 2, 3, 4, 5, 6, 7]
    assert [one for one in seen if isinstance(one, str)] == ["inactive"] * 13


# ── what it was used for ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_history_tells_each_use_newest_first(system: System) -> None:
    license = made(system)
    for n in range(3):
        use(system, license, f"u{n}", purpose=f"page {n} é", metadata=json.dumps({"n": n}), session="tab 1")

    items = history(system, license, owner="ada").items

    assert [(use.id, use.operation, use.purpose, use.metadata, use.session, use.used) for use in items] == [
        (f"u{n}", "license_use", f"page {n} é", {"n": n}, "tab 1", 1) for n in (2, 1, 0)
    ]
    assert items[0].at >= items[2].at


def test_the_history_is_paged_and_has_each_use_once(system: System) -> None:
    license = made(system, 25)
    for n in range(25):
        use(system, license, f"u{n:02}")
    seen: list[str] = []
    page = history(system, license, limit=10)
    while True:
        seen += [use.id for use in page.items]
        if page.next_cursor is None:
            break
        page = history(system, license, cursor=page.next_cursor, limit=10)

    assert sorted(seen) == [f"u{n:02}" for n in range(25)]


def test_uses_that_were_refused_are_not_in_the_history(system: System) -> None:
    license = made(system, 1)
    use(system, license)
    refusal(system, license)

    assert len(history(system, license).items) == 1


def test_the_history_of_one_license_has_nothing_of_another(system: System) -> None:
    first, other = made(system), made(system, id="other")
    use(system, first)

    assert history(system, other).items == []


def test_a_cursor_that_is_none_is_refused(system: System) -> None:
    with pytest.raises(RefusedInput):
        history(system, made(system), cursor="x")


def test_a_lost_reply_is_asked_for_again_and_takes_one_unit(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner repeats a call whose reply was lost, with its id."""
    license = made(system, 5)
    send = Runner._send
    lost: list[bool] = []

    def lossy(self: Runner, calls: Any) -> Any:
        replies = send(self, calls)
        if calls[0].script == "use" and not lost and replies[0][0] == b"used":
            lost.append(True)
            raise redis.ConnectionError("the reply is lost")
        return replies

    monkeypatch.setattr(Runner, "_send", lossy)

    assert use(system, license).new_balance == 4
    assert lost == [True]
    assert licenses.find(system, license.key).left == 4
