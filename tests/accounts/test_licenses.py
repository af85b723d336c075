"""Licenses: made once, shown as Redis and the ledger have them, changed so that a failed half can be mended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import OperationalError

from gateway.accounts import audit, balances, erasure, licenses, new_licenses
from gateway.accounts.licenses import License
from gateway.accounts.noting import By
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, NotFound, RefusedInput, StoreUnavailable
from gateway.domain.principal import LICENSE
from gateway.ledger.tables import license_keys
from gateway.store import acts, calls
from gateway.store import api_keys as store_keys
from tests.accounts.calls_made import drain
from tests.accounts.licensed import ACTOR, TOMORROW, YESTERDAY, audited, config, expire, made, published
from tests.support.epoch import ready


@pytest.fixture
def system(redis_client: redis.Redis, ledger: Engine) -> System:
    return System(config(), redis_client, ledger)


def status(system: System, prefix: str) -> str:
    return licenses.find(system, prefix).status


def rows(system: System) -> int:
    with system.ledger.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(license_keys)).scalar_one())


# ── made ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_license_has_what_it_was_made_with_and_belongs_to_its_owner(system: System) -> None:
    license, key = made(system, 37, name="desk 4")

    assert (license.owner, license.name, license.status, license.left, license.spent) == (
        "ada", "desk 4", "active", 37, 0,
    )  # fmt: skip
    assert key[:12] == license.prefix
    assert len(key) == 44
    assert published(system, key) == {
        "account": f"license:{license.prefix}", "prefix": license.prefix, "owner": "ada", "license": "full",
        "status": "active",
    }  # fmt: skip


def test_its_account_is_on_the_tier_of_licenses_and_no_other_account_is_opened(system: System) -> None:
    license, _ = made(system)

    account = balances.read(system, license.account).account
    assert (account.tier, account.granted) == ("license", 10)
    assert [key.decode() for key in system.redis.scan_iter("*:account:*")] == [system.keys.account(license.account)]


def test_the_secret_of_a_license_is_kept_nowhere(system: System) -> None:
    license, key = made(system)
    drain(system)
    secret = key[len(license.prefix) :]

    with system.ledger.connect() as connection:
        kept = [repr(connection.execute(select(table)).all()) for table in license_keys.metadata.sorted_tables]
    everything: Any = [(name, system.redis.dump(name)) for name in system.redis.scan_iter()]
    assert secret not in "".join(kept)
    assert secret.encode() not in b"".join(name + dump for name, dump in everything)


def test_a_trial_says_so_and_one_that_expires_is_refused_by_gateways_then(system: System) -> None:
    license, key = made(system, trial=True, expires_at=TOMORROW)

    assert (license.status, license.expires_at) == ("trial", TOMORROW)
    found = published(system, key)
    assert (found["license"], found["expires"]) == ("trial", str(int(TOMORROW.timestamp() * 1000)))
    assert store_keys.principal_of(found, int(TOMORROW.timestamp() * 1000)) is None


def test_one_without_units_is_inactive(system: System) -> None:
    assert made(system, 0).license.status == "inactive"


def test_a_repeat_of_what_was_shown_is_a_conflict_and_makes_nothing(system: System) -> None:
    license, _ = made(system)

    with pytest.raises(Conflicting, match=f"{license.prefix} was made by this request before; its key was shown"):
        made(system)

    assert rows(system) == 1
    assert status(system, license.prefix) == "active"


def test_a_repeat_with_other_terms_is_a_conflict(system: System) -> None:
    made(system)

    with pytest.raises(Conflicting, match="with other terms"):
        made(system, owner="bob")


def test_the_id_of_another_act_makes_no_license(system: System) -> None:
    license, _ = made(system)
    licenses.suspend(system, license.prefix, id="pause", actor=ACTOR)

    with pytest.raises(Conflicting, match="the id pause belongs to another act"):
        made(system, id="pause")

    assert rows(system) == 1


@pytest.mark.parametrize(
    ("module", "function"),
    [(calls, "open_account"), (balances, "grant"), (store_keys, "publish")],
)
def test_what_was_cut_short_is_finished_by_a_repeat(
    system: System, monkeypatch: pytest.MonkeyPatch, module: Any, function: str
) -> None:
    """Whatever of Redis fails: nobody was told of the first half, and nothing is granted twice."""
    with monkeypatch.context() as patched:
        patched.setattr(module, function, _away)
        with pytest.raises(StoreUnavailable):
            made(system, 37)
    assert licenses.listed(system).items == []

    license, key = made(system, 37)

    assert (rows(system), license.left, license.status) == (1, 37, "active")
    assert licenses.find(system, key) == license
    assert [act for act, _, _ in audited(system)] == ["license.create"]


def test_the_secret_of_what_was_cut_short_at_the_end_is_not_valid(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(new_licenses, "_finish", _away)
        with pytest.raises(StoreUnavailable):
            made(system)

    _, key = made(system)

    found: list[Any] = [system.redis.hget(name, "status") for name in system.redis.scan_iter("qg:key:*")]
    assert sorted(found) == [b"active", b"revoked"]
    assert published(system, key)["status"] == "active"


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"owner": ""}, "can own no license"),
        ({"owner": "a b"}, "can own no license"),
        ({"owner": "ip:203.0.113.7"}, "can own no license"),
        ({"owner": "license:lic_AbCdEfGh"}, "can own no license"),
        ({"owner": "a" * 201}, "can own no license"),
        ({"amount": -1}, "from 0 to 9007199254740991"),
        ({"amount": 2**53}, "from 0 to 9007199254740991"),
        ({"name": "a\nb"}, "100 printable characters"),
        ({"name": "a" * 101}, "100 printable characters"),
        ({"reason": "a" * 1001}, "1000 printable characters"),
        ({"expires_at": YESTERDAY}, "in the past"),
        ({"expires_at": datetime(2300, 1, 1, tzinfo=UTC)}, "too far ahead"),
        ({"expires_at": datetime(2027, 1, 1)}, "in the past"),  # noqa: DTZ001  that is the point
    ],
)
def test_input_that_cannot_be_taken_makes_nothing(system: System, terms: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedInput, match=why):
        made(system, **terms)

    assert rows(system) == 0
    assert not list(system.redis.scan_iter("*account*")) + list(system.redis.scan_iter("qg:key:*"))
    assert audited(system) == []


def test_no_license_is_made_where_the_config_has_no_tier_for_them(system: System) -> None:
    with pytest.raises(Conflicting, match=r"licenses are off: config\.toml names no tier for them"):
        made(dataclasses.replace(system, config=config("")))

    assert rows(system) == 0


# ── what it is ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_status_hides_those_behind_it(system: System) -> None:
    license, _ = made(system, 1, trial=True)
    seen = [license.status]
    balances.grant(system, license.account, 1, "another", "test")
    for _ in range(2):
        system.runner.run(acts.adjust(system.keys.account(license.account), f"take-{len(seen)}", 1, "used up"))
        seen.append(status(system, license.prefix))
    expire(system, license.prefix)
    seen.append(status(system, license.prefix))
    seen += [do(system, act, license, act).status for act in ("suspend", "revoke")]

    assert seen == ["trial", "trial", "inactive", "expired", "suspended", "revoked"]


def test_it_is_found_by_its_prefix_or_its_whole_key_and_not_by_a_wrong_secret(system: System) -> None:
    license, key = made(system)

    assert licenses.find(system, license.prefix) == licenses.find(system, key) == license
    for wrong in (key[:-1], key + "x", key[:-1] + ("a" if key[-1] != "a" else "b"), license.prefix[:-1]):
        with pytest.raises(NotFound):
            licenses.find(system, wrong)


@pytest.mark.parametrize("name", ["", "lic_", "lic_ä" * 10, "qg_AbCdEfGh", "\0" * 12, "lic_\ud800aaaaaaa", "x" * 10**6])
def test_what_is_no_license_is_not_found(system: System, name: str) -> None:
    with pytest.raises(NotFound):
        licenses.find(system, name)


def test_the_message_of_a_wrong_key_does_not_repeat_its_secret(system: System) -> None:
    license, key = made(system)

    with pytest.raises(NotFound) as caught:
        licenses.find(system, key + "x")

    assert str(caught.value) == f"there is no license {license.prefix}"


def test_lists_are_paged_newest_first_and_by_owner(system: System) -> None:
    of_ada = [made(system, owner="ada", id=f"a{n}").license for n in range(5)]
    made(system, owner="bob", id="b")

    first = licenses.of_owner(system, "ada", limit=3)
    last = licenses.of_owner(system, "ada", first.next_cursor, limit=3)

    assert first.items + last.items == of_ada[::-1]
    assert last.next_cursor is None
    assert len(licenses.listed(system).items) == 6


def test_many_of_one_instant_are_listed_once_each(system: System) -> None:
    prefixes = {made(system, id=f"{n}").license.prefix for n in range(7)}
    with system.ledger.begin() as connection:
        connection.execute(update(license_keys).values(created_at=YESTERDAY))

    seen, cursor = [], None
    while True:
        page = licenses.listed(system, cursor=cursor, limit=2)
        seen += [license.prefix for license in page.items]
        if (cursor := page.next_cursor) is None:
            break

    assert len(seen) == 7
    assert set(seen) == prefixes


def test_lists_by_status_have_those_that_are_shown_with_it(system: System) -> None:
    by_status = {
        "active": made(system, id="1").license,
        "trial": made(system, id="2", trial=True).license,
        "inactive": made(system, 0, id="3").license,
        "expired": made(system, id="4").license,
        "suspended": made(system, id="5").license,
        "revoked": made(system, id="6").license,
    }
    expire(system, by_status["expired"].prefix)
    licenses.suspend(system, by_status["suspended"].prefix, id="s", actor=ACTOR)
    licenses.revoke(system, by_status["revoked"].prefix, id="r", actor=ACTOR)

    found = {name: [one.prefix for one in licenses.listed(system, status=name).items] for name in licenses.STATUSES}

    assert found == {name: [license.prefix] for name, license in by_status.items()}


@pytest.mark.parametrize("cursor", ["", "x", "é", "AAAA", "WyJhIiwgImIiXQ==", "WzEsIDJd", "bnVsbA==", "[]"])
def test_a_cursor_that_is_none_is_refused(system: System, cursor: str) -> None:
    with pytest.raises(RefusedInput, match="cursor"):
        licenses.listed(system, cursor=cursor)


def test_a_status_that_there_is_not_is_refused(system: System) -> None:
    with pytest.raises(RefusedInput, match="'gone' is no status"):
        licenses.listed(system, status="gone")


# ── changed ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def top_up(system: System, license: License, amount: int = 5, grant_id: str = "t1") -> License:
    return licenses.top_up(system, license.prefix, amount, grant_id=grant_id, reason="paid", actor=ACTOR)


def test_a_top_up_credits_once_and_makes_what_was_used_up_active_again(system: System) -> None:
    license, _ = made(system, 0)

    assert [top_up(system, license).left for _ in range(2)] == [5, 5]
    assert status(system, license.prefix) == "active"
    assert [act for act, _, _ in audited(system)] == ["license.create", "license.top_up"]
    with pytest.raises(Conflicting, match="credited before with 5, not 6"):
        top_up(system, license, 6)


def test_a_transfer_changes_the_owner_everywhere_and_the_key_not_at_all(system: System) -> None:
    license, key = made(system)

    moved = licenses.transfer(system, key, "bob", id="t", actor=ACTOR, reason="sold")

    assert moved == dataclasses.replace(license, owner="bob")
    assert published(system, key)["owner"] == "bob"
    assert licenses.of_owner(system, "ada").items == []
    (_, noted) = audit.about(system.ledger, f"license:{license.prefix}")
    assert (noted.reason, noted.before, noted.after) == ("sold", {"owner": "ada"}, {"owner": "bob"})


def test_suspending_refuses_what_redis_decides_and_resuming_allows_it_again(system: System) -> None:
    license, key = made(system)

    suspended = licenses.suspend(system, license.prefix, id="s", actor=ACTOR, reason="unpaid")
    seen = balances.read(system, license.account).account.status
    resumed = licenses.resume(system, license.prefix, id="r", actor=ACTOR)

    assert (suspended.status, seen) == ("suspended", "suspended")
    assert (resumed.status, balances.read(system, license.account).account.status) == ("active", "active")
    assert published(system, key)["status"] == "active"


def test_what_stands_already_is_noted_no_second_time(system: System) -> None:
    license, _ = made(system)

    for n in range(3):
        licenses.suspend(system, license.prefix, id=f"s{n}", actor=ACTOR)

    assert [act for act, _, _ in audited(system)] == ["license.create", "license.suspend"]


def test_a_revoked_license_stays_so(system: System) -> None:
    license, key = made(system)

    for n in range(2):
        assert licenses.revoke(system, key, id=f"r{n}", actor=ACTOR).status == "revoked"

    assert published(system, key)["status"] == "revoked"
    attempts: list[Callable[[], License]] = [
        lambda: licenses.resume(system, key, id="a", actor=ACTOR),
        lambda: licenses.suspend(system, key, id="b", actor=ACTOR),
        lambda: licenses.transfer(system, key, "bob", id="c", actor=ACTOR),
        lambda: licenses.set_expiry(system, key, None, id="d", actor=ACTOR),
        lambda: top_up(system, license),
    ]
    for act in attempts:
        with pytest.raises(Conflicting, match="is revoked, for good"):
            act()
    assert status(system, license.prefix) == "revoked"
    assert balances.read(system, license.account).account.left == 10


def test_an_expiry_can_be_brought_forward_put_off_and_taken_away(system: System) -> None:
    license, key = made(system, expires_at=TOMORROW)
    soon, late = TOMORROW - timedelta(hours=20), TOMORROW + timedelta(days=300)

    for n, at in enumerate((soon, late, None)):
        assert licenses.set_expiry(system, key, at, id=f"e{n}", actor=ACTOR).expires_at == at
        assert published(system, key).get("expires") == (str(int(at.timestamp() * 1000)) if at else None)
    assert len(audit.about(system.ledger, f"license:{license.prefix}")) == 4


def test_an_expired_license_whose_key_redis_has_lost_is_valid_when_its_expiry_is_put_off(system: System) -> None:
    _, key = made(system, expires_at=TOMORROW)
    expire(system, key[:12])
    ready(system.redis)
    assert licenses.publish_all(system) == 0

    licenses.set_expiry(system, key, TOMORROW, id="e", actor=ACTOR)

    assert store_keys.principal_of(published(system, key), int(datetime.now(UTC).timestamp() * 1000)) is not None


def test_when_its_owner_is_erased_redis_names_them_no_more_and_the_license_stays(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    balances.grant(system, "ada", 5, "g1", "paid")
    _, key = made(system, 7)
    monkeypatch.setattr(erasure, "_drain", lambda *_: drain(system))  # As the worker does meanwhile.

    anonymous_id = erasure.erase_account(system, By("e", ACTOR, "she asked"), "ada")

    assert published(system, key)["owner"] == anonymous_id
    assert (licenses.find(system, key).owner, licenses.find(system, key).left) == (anonymous_id, 7)


# ── repeated late, or at once ────────────────────────────────────────────────────────────────────────────────────────


def test_a_late_repeat_of_a_transfer_does_not_undo_the_one_after_it(system: System) -> None:
    license, key = made(system)
    for id, owner in (("t1", "bob"), ("t2", "carol"), ("t1", "bob")):
        licenses.transfer(system, key, owner, id=id, actor=ACTOR)

    assert (licenses.find(system, key).owner, published(system, key)["owner"]) == ("carol", "carol")
    assert len(audit.about(system.ledger, f"license:{license.prefix}")) == 3


@pytest.mark.parametrize(
    ("acts_done", "repeated", "after"),
    [
        (("suspend", "resume"), "suspend", "active"),
        (("suspend", "resume", "suspend"), "resume", "suspended"),
    ],
)
def test_a_late_repeat_does_not_undo_what_was_done_since(
    system: System, acts_done: tuple[str, ...], repeated: str, after: str
) -> None:
    license, _ = made(system)
    for n, act in enumerate(acts_done):
        do(system, act, license, f"{act}-{n}")

    do(system, repeated, license, f"{repeated}-{acts_done.index(repeated)}")

    assert status(system, license.prefix) == after
    assert balances.read(system, license.account).account.status == after


def test_a_late_repeat_of_an_expiry_does_not_undo_the_one_after_it(system: System) -> None:
    _, key = made(system)
    later = TOMORROW + timedelta(days=1)
    for id, at in (("e1", TOMORROW), ("e2", later), ("e1", TOMORROW)):
        licenses.set_expiry(system, key, at, id=id, actor=ACTOR)

    assert licenses.find(system, key).expires_at == later
    assert published(system, key)["expires"] == str(licenses.milliseconds(later))


def test_the_id_of_another_act_suspends_nothing(system: System) -> None:
    license, _ = made(system, id="make")

    with pytest.raises(Conflicting, match=r"another act, license\.create"):
        do(system, "suspend", license, "make")

    assert status(system, license.prefix) == "active"


def test_one_that_is_suspended_while_it_is_resumed_is_suspended_in_redis_too(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    license, _ = made(system)
    do(system, "suspend", license, "s1")
    tell = licenses._set_status

    def overtaken(system: System, row: Any, status: str) -> None:
        monkeypatch.setattr(licenses, "_set_status", tell)
        do(system, "suspend", license, "s2")
        tell(system, row, status)

    monkeypatch.setattr(licenses, "_set_status", overtaken)
    assert do(system, "resume", license, "r").status == "suspended"

    assert balances.read(system, license.account).account.status == "suspended"


def test_of_two_transfers_at_once_redis_knows_the_one_that_is_recorded(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = made(system)
    change = store_keys.change

    def overtaken(*args: Any) -> None:
        monkeypatch.setattr(store_keys, "change", change)
        licenses.transfer(system, key, "carol", id="t2", actor=ACTOR)
        change(*args)

    monkeypatch.setattr(store_keys, "change", overtaken)
    assert licenses.transfer(system, key, "bob", id="t1", actor=ACTOR).owner == "carol"

    assert published(system, key)["owner"] == "carol"


def test_one_that_is_revoked_while_it_is_resumed_stays_revoked(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    license, _ = made(system)
    do(system, "suspend", license, "s")
    note = audit.note

    def overtaken(*args: Any, **facts: Any) -> bool:
        if facts["action"] == "license.resume" and system.ledger.dialect.name == "sqlite":  # PostgreSQL holds the row.
            monkeypatch.setattr(audit, "note", note)
            do(system, "revoke", license, "end")
        return note(*args, **facts)

    monkeypatch.setattr(audit, "note", overtaken)
    if system.ledger.dialect.name == "sqlite":
        with pytest.raises(Conflicting, match="is revoked, for good"):
            do(system, "resume", license, "r")
    else:
        do(system, "resume", license, "r")
        do(system, "revoke", license, "end")

    assert status(system, license.prefix) == "revoked"


# ── one half fails ───────────────────────────────────────────────────────────────────────────────────────────────────


def do(system: System, act: str, license: License, id: str) -> License:
    changed: License = getattr(licenses, act)(system, license.prefix, id=id, actor=ACTOR)
    return changed


@pytest.mark.parametrize(("act", "after"), [("suspend", "suspended"), ("revoke", "revoked")])
def test_what_ends_something_has_ended_it_when_the_ledger_fails_and_a_repeat_records_it(
    system: System, monkeypatch: pytest.MonkeyPatch, act: str, after: str
) -> None:
    license, _ = made(system)
    with monkeypatch.context() as patched:
        patched.setattr(licenses, "_record", _ledger_away)
        with pytest.raises(OperationalError):
            do(system, act, license, "once")

    assert balances.read(system, license.account).account.status == after
    assert status(system, license.prefix) == after
    assert [done for done, _, _ in audited(system)] == ["license.create"]

    do(system, act, license, "once")
    assert [done for done, _, _ in audited(system)] == ["license.create", f"license.{act}"]


def test_a_suspension_stands_while_redis_fails_to_end_it_and_a_repeat_ends_it(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    license, _ = made(system)
    licenses.suspend(system, license.prefix, id="s", actor=ACTOR)
    with monkeypatch.context() as patched:
        patched.setattr(acts, "set_status", _away)
        with pytest.raises(StoreUnavailable):
            do(system, "resume", license, "r")

    assert status(system, license.prefix) == "suspended"
    assert do(system, "resume", license, "r").status == "active"


@pytest.mark.parametrize("act", ["suspend", "revoke", "resume"])
def test_nothing_is_done_for_a_reason_that_cannot_be_kept(system: System, act: str) -> None:
    _, key = made(system)
    if act == "resume":
        licenses.suspend(system, key, id="s", actor=ACTOR)
    before = licenses.find(system, key)

    with pytest.raises(RefusedInput, match="reason"):
        getattr(licenses, act)(system, key, id="x", actor=ACTOR, reason="a\nb")

    assert licenses.find(system, key) == before
    assert published(system, key)["status"] == "active"


# ── Redis is empty ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_redis_gets_the_valid_keys_back(system: System) -> None:
    keys = [made(system, id=f"{n}", trial=n == 1).key for n in range(4)]
    licenses.suspend(system, keys[1], id="s", actor=ACTOR)
    licenses.revoke(system, keys[2], id="r", actor=ACTOR)
    expire(system, keys[3][:12])
    before = [published(system, key) for key in keys]
    ready(system.redis)

    assert licenses.publish_all(system) == 2
    assert [published(system, key) for key in keys] == [*before[:2], {}, {}]


def test_a_key_that_was_revoked_in_redis_alone_is_not_put_back(system: System) -> None:
    _, key = made(system)
    store_keys.revoke(system.redis, licenses.row_of(system, key)["digest"])

    licenses.publish_all(system)

    assert published(system, key)["status"] == "revoked"


def test_a_top_up_into_an_empty_redis_opens_no_account_of_another_tier_and_lifts_no_suspension(system: System) -> None:
    license, _ = made(system)
    licenses.suspend(system, license.prefix, id="s", actor=ACTOR)
    ready(system.redis)

    top_up(system, license)

    account = balances.read(system, license.account).account
    assert (account.tier, account.left, account.status) == ("license", 5, "suspended")


def test_a_grant_to_an_unknown_license_account_opens_it_without_anyones_signup(system: System) -> None:
    assert balances.grant(system, LICENSE + "lic_AbCdEfGh", 3, "g", "test") == 3


def _away(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable("Redis is away")


def _ledger_away(*_: Any, **__: Any) -> Any:
    raise OperationalError("UPDATE", {}, Exception("the ledger is away"))
