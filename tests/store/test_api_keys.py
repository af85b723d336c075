"""API keys in Redis: valid from their status on, and never again once revoked."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from gateway.domain.principal import Principal
from gateway.store.api_keys import PublishedKey, last_used_ms, principal_of, publish, revoke
from gateway.store.keys import Keys

ADA = PublishedKey("d1" * 32, "qg_AbCdEfGh", "ada")


def standing(client: redis.Redis, key: PublishedKey = ADA) -> dict[bytes, bytes]:
    found: Any = client.hgetall(Keys.api_key(key.digest))
    return dict(found)


def test_a_published_key_says_whose_it_is(redis_client: redis.Redis) -> None:
    bob = PublishedKey("b0" * 32, "qg_ZyXwVuTs", "bøb")

    publish(redis_client, [ADA, bob])

    assert standing(redis_client) == {b"account": b"ada", b"prefix": b"qg_AbCdEfGh", b"status": b"active"}
    assert standing(redis_client, bob)[b"account"] == "bøb".encode()


def test_publishing_no_keys_writes_nothing(redis_client: redis.Redis) -> None:
    publish(redis_client, [])

    assert list(redis_client.scan_iter("qg:key*")) == []


def test_a_key_does_not_expire(redis_client: redis.Redis) -> None:
    publish(redis_client, [ADA])

    assert redis_client.ttl(Keys.api_key(ADA.digest)) == -1


def test_a_revoked_key_stays_revoked_whoever_publishes_it_again(redis_client: redis.Redis) -> None:
    publish(redis_client, [ADA])

    revoke(redis_client, ADA.digest)
    publish(redis_client, [ADA])

    assert standing(redis_client) == {b"account": b"ada", b"prefix": b"qg_AbCdEfGh", b"status": b"revoked"}


def test_a_key_that_is_revoked_before_it_is_published_is_never_valid(redis_client: redis.Redis) -> None:
    revoke(redis_client, ADA.digest)
    publish(redis_client, [ADA])

    assert standing(redis_client)[b"status"] == b"revoked"


def test_a_key_that_stands_goes_to_no_other_account(redis_client: redis.Redis) -> None:
    publish(redis_client, [ADA])
    publish(redis_client, [ADA._replace(account="mallory", prefix="qg_MMMMMMMM")])

    assert standing(redis_client)[b"account"] == b"ada"


def test_a_key_is_valid_last_of_all(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that dies half-way lets nobody in."""
    sent: list[str] = []
    pipeline = redis_client.pipeline(transaction=False)
    monkeypatch.setattr(pipeline, "hsetnx", lambda name, field, value: sent.append(field))
    monkeypatch.setattr(redis_client, "pipeline", lambda transaction: pipeline)

    publish(redis_client, [ADA])

    assert sent == ["account", "prefix", "status"]


def test_a_half_published_key_is_finished(redis_client: redis.Redis) -> None:
    redis_client.hset(Keys.api_key(ADA.digest), "account", "ada")

    publish(redis_client, [ADA])

    assert standing(redis_client)[b"status"] == b"active"


BLUE = PublishedKey(
    "b1" * 32, "qg_BlUeBlUe", "ada", "blue", "acme", ("chat", "embed"), ("60 requests/minute", "4 concurrent"), 5000
)


def test_what_a_key_may_do_is_read_as_it_was_published(redis_client: redis.Redis) -> None:
    publish(redis_client, [BLUE])

    found = {name.decode(): value.decode() for name, value in standing(redis_client, BLUE).items()}
    assert found["scopes"] == "chat embed"
    assert found["limits"] == "60 requests/minute; 4 concurrent"
    assert principal_of(found, 4999) == Principal(
        "ada", "qg_BlUeBlUe", "blue", "acme", "", frozenset({"chat", "embed"}), ("60 requests/minute", "4 concurrent")
    )
    assert principal_of(found, 5000) is None


def test_a_key_that_was_published_before_there_were_terms_is_valid(redis_client: redis.Redis) -> None:
    found = {"account": "ada", "prefix": "qg_AbCdEfGh", "status": "active"}

    assert principal_of(found, 10**13) == Principal("ada", "qg_AbCdEfGh")


def test_when_keys_were_used_is_told_in_their_order(redis_client: redis.Redis) -> None:
    publish(redis_client, [ADA, BLUE])
    redis_client.hset(Keys.api_key(BLUE.digest), "last_used", 7)

    assert last_used_ms(redis_client, [ADA.digest, BLUE.digest, "ff" * 32]) == [None, 7, None]
    assert last_used_ms(redis_client, []) == []


def test_a_key_is_restricted_before_it_is_valid(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    pipeline = redis_client.pipeline(transaction=False)
    monkeypatch.setattr(pipeline, "hsetnx", lambda name, field, value: sent.append(field))
    monkeypatch.setattr(redis_client, "pipeline", lambda transaction: pipeline)

    publish(redis_client, [BLUE])

    assert sent == ["account", "prefix", "team", "organisation", "scopes", "limits", "expires", "status"]
