"""API keys: made for accounts, listed without their secrets, revoked for good."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from gateway.accounts import api_keys, balances
from gateway.accounts.key_terms import KeyTerms
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, NotFound, RefusedInput, StoreUnavailable
from gateway.ledger import tables
from gateway.store.keys import Keys


def published(system: System, key: str) -> dict[str, str]:
    """What a gateway finds of a key."""
    found: Any = system.redis.hgetall(Keys.api_key(hashlib.sha256(key.encode()).hexdigest()))
    return {name.decode(): value.decode() for name, value in found.items()}


def rows(system: System) -> int:
    with system.ledger.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.api_keys)).scalar_one())


def nothing_was_made(system: System) -> bool:
    return rows(system) == 0 and not list(system.redis.scan_iter("qg:key:*"))


# ── made ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_is_valid_at_once_and_belongs_to_its_account(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"])

    assert re.fullmatch(r"qg_[A-Za-z0-9]{40}", key)
    assert published(system, key) == {"account": "ada", "prefix": key[:11], "status": "active"}


def test_the_secret_of_a_key_is_kept_nowhere(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"])
    secret = key[11:]

    with system.ledger.connect() as connection:
        (row,) = connection.execute(select(tables.api_keys))
    assert secret not in repr(row)
    everything: Any = [(name, system.redis.dump(name)) for name in system.redis.scan_iter()]
    assert secret.encode() not in b"".join(name + dump for name, dump in everything)


def test_an_account_may_have_several_keys_and_all_are_valid(system: System) -> None:
    keys = api_keys.create(system, ["ada", "ada"]) + api_keys.create(system, ["ada"])

    assert len(set(keys)) == 3
    assert {published(system, key)["status"] for key in keys} == {"active"}


def test_keys_come_in_the_order_of_their_accounts(system: System) -> None:
    users = [f"user-{number}" for number in range(50)]

    keys = api_keys.create(system, users)

    assert [published(system, key)["account"] for key in keys] == users


@pytest.mark.parametrize(("tier", "opened_on", "signup"), [(None, "free", 15), ("pro", "pro", 1_000_000)])
def test_a_new_account_is_opened_on_the_tier_with_its_signup_grant(
    system: System, tier: str | None, opened_on: str, signup: int
) -> None:
    api_keys.create(system, ["ada"], tier)

    account = balances.read(system, "ada").account
    assert (account.tier, account.left) == (opened_on, signup)


def test_a_second_key_does_not_sign_the_account_up_again(system: System) -> None:
    api_keys.create(system, ["ada"], "free")
    api_keys.create(system, ["ada", "ada"])

    assert balances.read(system, "ada").account.granted == 15


def test_a_key_without_a_tier_leaves_the_account_on_its_own(system: System) -> None:
    api_keys.create(system, ["ada"], "pro")
    api_keys.create(system, ["ada"])

    assert balances.read(system, "ada").account.tier == "pro"


def test_a_key_for_an_account_on_another_tier_is_refused(system: System) -> None:
    api_keys.create(system, ["ada"], "pro")

    with pytest.raises(Conflicting, match="account ada is on tier pro, not free"):
        api_keys.create(system, ["bob", "ada"], "free")

    assert rows(system) == 1


def test_an_unknown_tier_is_refused_and_the_known_ones_are_named(system: System) -> None:
    with pytest.raises(RefusedInput, match=r"'gold' is no tier of config\.toml: free, payg, pro"):
        api_keys.create(system, ["ada"], "gold")

    assert nothing_was_made(system)
    assert not list(system.redis.scan_iter("*account*"))


@pytest.mark.parametrize("user", ["", "a b", "a\tb", "a\n", "\ufeffada", "a" * 201])
def test_an_id_that_is_none_is_refused_with_its_place_and_nothing_is_made(system: System, user: str) -> None:
    with pytest.raises(RefusedInput, match="account 2, "):
        api_keys.create(system, ["ada", user])

    assert nothing_was_made(system)
    assert not list(system.redis.scan_iter("*account*"))


# ── what a key may do ────────────────────────────────────────────────────────────────────────────────────────────────

TERMS = KeyTerms(
    "the web shop", "blue", "acme", ("chat", "free"), ("60 requests/minute", "4 concurrent"),
    datetime(2099, 1, 31, tzinfo=UTC),
)  # fmt: skip


def test_a_key_is_published_with_what_it_may_do_and_listed_so(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"], terms=TERMS)

    assert published(system, key) == {
        "account": "ada", "prefix": key[:11], "status": "active", "team": "blue", "organisation": "acme",
        "scopes": "chat free", "limits": "60 requests/minute; 4 concurrent", "expires": "4073500800000",
    }  # fmt: skip
    assert api_keys.listed(system)[0].terms == TERMS


def test_what_a_key_may_do_survives_an_empty_redis(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"], terms=TERMS)
    before = published(system, key)
    system.redis.flushall()

    api_keys.publish_all(system)

    assert published(system, key) == before


def test_a_key_that_lost_a_part_in_redis_is_made_whole(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"], terms=TERMS)
    before = published(system, key)
    system.redis.hdel(Keys.api_key(hashlib.sha256(key.encode()).hexdigest()), "scopes")

    api_keys.publish_all(system)

    assert published(system, key) == before


def test_a_key_past_its_time_is_not_published_again(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"], terms=TERMS)
    with system.ledger.begin() as connection:
        connection.execute(update(tables.api_keys).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    system.redis.flushall()

    assert api_keys.publish_all(system) == 0
    assert published(system, key) == {}


def test_a_key_may_be_for_what_the_api_does_itself(system: System) -> None:
    api_keys.create(system, ["ada"], terms=KeyTerms(scopes=("token_use", "report")))

    assert api_keys.listed(system)[0].terms.scopes == ("token_use", "report")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scopes": ("chats",)}, "'chats' is no operation of config.toml: chat, fixed, free"),
        ({"scopes": ("",)}, " is no operation"),
        ({"limits": ("",)}, "limit ''"),
        ({"limits": ("a; b",)}, "limit 'a; b'"),
        ({"limits": ("a\nb",)}, "limit 'a"),
        ({"limits": tuple(f"1 request/{n} minutes" for n in range(2, 100))}, "limits: together"),
        ({"team": "a b"}, "team 'a b'"),
        ({"organisation": "a" * 201}, "organisation 'aaa"),
        ({"name": "a" * 101}, "name 'aaa"),
        ({"name": "a\x1b[2J"}, "name 'a"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "would never be valid"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_terms_that_cannot_be_kept_are_refused_and_nothing_is_made(
    system: System, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(RefusedInput) as refused:
        api_keys.create(system, ["ada"], terms=dataclasses.replace(TERMS, **change))

    assert said in str(refused.value)
    assert nothing_was_made(system)
    assert not list(system.redis.scan_iter("*account*"))


# ── listed ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_listed_by_prefix_and_account_oldest_first(system: System) -> None:
    ada = api_keys.create(system, ["ada"])
    bob = api_keys.create(system, ["bob"])

    found = api_keys.listed(system)

    assert [(key.prefix, key.account, key.revoked_at) for key in found] == [
        (ada[0][:11], "ada", None),
        (bob[0][:11], "bob", None),
    ]
    assert all(timedelta(0) <= datetime.now(UTC) - key.created_at < timedelta(minutes=5) for key in found)


def test_keys_of_one_account_are_listed_alone(system: System) -> None:
    api_keys.create(system, ["ada", "bob", "ada"])

    assert [key.account for key in api_keys.listed(system, "ada")] == ["ada", "ada"]
    assert api_keys.listed(system, "eve") == []


def test_a_key_is_listed_with_its_last_use(system: System) -> None:
    used, unused = api_keys.create(system, ["ada", "ada"])
    system.redis.hset(Keys.api_key(hashlib.sha256(used.encode()).hexdigest()), "last_used", 1_795_168_800_123)

    found = {key.prefix: key.last_used_at for key in api_keys.listed(system)}

    assert found == {used[:11]: datetime(2026, 11, 20, 10, 0, 0, 123_000, tzinfo=UTC), unused[:11]: None}


# ── revoked ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [11, None])
def test_a_revoked_key_is_invalid_for_the_gateway_and_for_the_record(system: System, length: int | None) -> None:
    revoked, kept = api_keys.create(system, ["ada", "ada"])

    answer = api_keys.revoke(system, revoked[:length])

    assert (answer.prefix, answer.account) == (revoked[:11], "ada")
    assert published(system, revoked)["status"] == "revoked"
    assert published(system, kept)["status"] == "active"
    assert {key.prefix for key in api_keys.listed(system) if key.revoked_at is not None} == {revoked[:11]}


def test_revoking_says_when(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"])

    answer = api_keys.revoke(system, key)

    assert answer.revoked_at == api_keys.listed(system)[0].revoked_at is not None


def test_revoking_twice_keeps_the_first_time(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"])
    api_keys.revoke(system, key)
    first = api_keys.listed(system)

    api_keys.revoke(system, key)

    assert api_keys.listed(system) == first


@pytest.mark.parametrize("key", ["", "qg_", "qg_AAAAAAAA", "qg_" + "A" * 40, "%", "qg_%", "qg_________"])
def test_a_key_that_is_not_there_cannot_be_revoked(system: System, key: str) -> None:
    (kept,) = api_keys.create(system, ["ada"])

    with pytest.raises(NotFound, match="there is no key"):
        api_keys.revoke(system, key)
    assert published(system, kept)["status"] == "active"


def test_a_secret_that_is_mistyped_is_not_printed(system: System) -> None:
    with pytest.raises(RefusedInput) as refused:
        api_keys.revoke(system, "qg_AAAAAAAA" + "s" * 32)

    assert "sss" not in str(refused.value)


def test_a_key_is_revoked_in_full_only_when_its_secret_is_right(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"])

    with pytest.raises(NotFound):
        api_keys.revoke(system, key[:-1] + ("A" if key[-1] != "A" else "B"))
    assert published(system, key)["status"] == "active"


# ── published again ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_that_redis_lost_are_valid_again_after_a_start(system: System) -> None:
    valid, revoked = api_keys.create(system, ["ada", "bob"])
    api_keys.revoke(system, revoked)
    system.redis.flushall()

    assert api_keys.publish_all(system) == 1

    assert published(system, valid) == {"account": "ada", "prefix": valid[:11], "status": "active"}
    assert published(system, revoked) == {}


def test_publishing_does_not_bring_a_revoked_key_back(system: System) -> None:
    """A key that Redis knows as revoked stays so, even if the record does not say it yet."""
    (key,) = api_keys.create(system, ["ada"])
    system.redis.hset(Keys.api_key(hashlib.sha256(key.encode()).hexdigest()), "status", "revoked")

    api_keys.publish_all(system)

    assert published(system, key)["status"] == "revoked"


# ── what fails half-way ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_that_could_not_be_recorded_is_not_valid(system: System) -> None:
    with system.ledger.begin() as connection:
        tables.api_keys.drop(connection)

    with pytest.raises(OperationalError):
        api_keys.create(system, ["ada"])
    assert not list(system.redis.scan_iter("qg:key:*"))


def test_a_revocation_that_redis_did_not_hear_of_can_be_repeated(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"])
    with redis.Redis(port=1) as away, pytest.raises((redis.ConnectionError, StoreUnavailable)):
        api_keys.revoke(dataclasses.replace(system, redis=away), key)

    api_keys.revoke(system, key)

    assert published(system, key)["status"] == "revoked"


def test_a_key_that_redis_still_accepts_is_not_recorded_as_revoked(system: System) -> None:
    (key,) = api_keys.create(system, ["ada"])
    with redis.Redis(port=1) as away, pytest.raises(redis.ConnectionError):
        api_keys.revoke(dataclasses.replace(system, redis=away), key)

    assert api_keys.listed(system)[0].revoked_at is None


def test_a_key_that_is_no_text_cannot_be_revoked(system: System) -> None:
    with pytest.raises(NotFound, match="there is no key"):
        api_keys.revoke(system, "qg_\udcff")
