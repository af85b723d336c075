"""Who calls: where credentials are looked for, how long they are believed, and whom nobody believes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping
from typing import Any, cast

import pytest

from gateway.config import Config, parse
from gateway.domain.errors import StoreUnavailable
from gateway.domain.principal import Principal
from gateway.proxy.identity import Identifier, api_keys
from gateway.proxy.identity.api_keys import (
    KEY_MAX_TTL_S,
    KEY_TTL_S,
    MAX_SHOWN_BYTES,
    UNKNOWN_TTL_S,
)
from gateway.proxy.identity.refusals import UNAUTHENTICATED
from gateway.proxy.refusals import CallRefused, Refusal
from gateway.store.keys import Keys
from tests.support.config import config_text

KEY = b"qg_AbCdEfGh" + b"s" * 32
ALICE = Principal("alice", "qg_AbCdEfGh")
SECRET = b"a secret of the backend"


def name_of(key: bytes) -> str:
    return Keys.api_key(hashlib.sha256(key).hexdigest())


class Hashes:
    """A `Store` with nothing but hashes, which counts how often it is asked."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, str]] = {}
        self.asked = 0
        self.is_up = True
        self.written: list[tuple[str, dict[str, str | int]]] = []

    def publish(
        self, key: bytes, account: str = "alice", prefix: str = "qg_AbCdEfGh", status: str = "active", **terms: str
    ) -> None:
        self.hashes[name_of(key)] = {"account": account, "prefix": prefix, "status": status} | terms

    async def read_hash(self, key: str) -> dict[str, str]:
        self.asked += 1
        if not self.is_up:
            raise StoreUnavailable("Redis cannot be reached")
        return self.hashes.get(key, {})

    async def write_hash(self, key: str, fields: Mapping[str, str | int]) -> None:
        if not self.is_up:
            raise StoreUnavailable("Redis cannot be reached")
        self.written.append((key, dict(fields)))
        self.hashes.setdefault(key, {}).update({name: str(value) for name, value in fields.items()})

    async def run(self, call: Any) -> Any:
        raise AssertionError("nobody is identified by a script")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store() -> Hashes:
    hashes = Hashes()
    hashes.publish(KEY)
    return hashes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


@pytest.fixture(scope="module")
def config() -> Config:
    return parse(config_text(), "config.toml", {})


def answered(call: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("this store answers at once")


class Door:
    """One identifier, asked without a loop of its own around."""

    def __init__(self, store: Hashes, config: Config) -> None:
        self.identifier = Identifier(store)
        self._config = config
        self.peer: str | None = "192.0.2.1"

    def who(self, **headers: bytes) -> Principal | None:
        """The caller; None: refused, in the words in which every bad credential is."""
        found = self.heard(**headers)
        return None if found is UNAUTHENTICATED else cast("Principal", found)

    def heard(self, **headers: bytes) -> Principal | Refusal:
        """The caller, or why the call is refused."""
        try:
            return self.identified(**headers)
        except CallRefused as refused:
            return refused.refusal

    def identified(self, **headers: bytes) -> Principal:
        named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        scope = {"client": self.peer and (self.peer, 5000), "headers": list(named.items())}
        found: Principal = answered(self.identifier.identify(scope, named, self._config))
        return found

    def look_at_version(self) -> None:
        answered(self.identifier.api_keys.look_at_version())


@pytest.fixture
def door(store: Hashes, config: Config) -> Door:
    return Door(store, config)


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": b"Bearer " + KEY},
        {"authorization": b"bearer " + KEY},
        {"authorization": b"BEARER   " + KEY + b" "},
        {"x_api_key": KEY},
        {"api_key": KEY},
        {"x_goog_api_key": KEY},
        {"authorization": b"Basic YTpi", "x_api_key": KEY},
        {"authorization": b"Bearer " + KEY, "x_api_key": b"another"},
    ],
)
def test_a_key_is_found_where_clients_put_it(door: Door, headers: dict[str, bytes]) -> None:
    assert door.who(**headers) == ALICE


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": b""},
        {"authorization": b"Bearer"},
        {"authorization": b"Bearer "},
        {"authorization": KEY},
        {"authorization": b"Basic " + KEY},
        {"authorization": b"Bearer wrong", "x_api_key": KEY},
        {"x_api_key": b""},
        {"x_api_key": KEY + b"x"},
        {"x_api_key": KEY[:-1]},
        {"x_api_key": KEY.upper()},
        {"x_api_key": hashlib.sha256(KEY).hexdigest().encode()},
        {"cookie": b"key=" + KEY},
        {"x_user_id": b"alice"},
    ],
)
def test_nobody_is_let_in_without_a_valid_key(door: Door, headers: dict[str, bytes]) -> None:
    assert door.who(**headers) is None


def test_a_credential_that_no_key_is_as_long_as_is_not_even_looked_up(door: Door, store: Hashes) -> None:
    long = b"k" * (MAX_SHOWN_BYTES)
    store.publish(long)

    assert door.who(x_api_key=long) is None
    assert store.asked == 0


@pytest.mark.parametrize("status", ["revoked", "", "ACTIVE"])
def test_only_an_active_key_is_valid(store: Hashes, door: Door, status: str) -> None:
    store.publish(KEY, status=status)

    assert door.who(x_api_key=KEY) is None


def test_a_key_that_is_written_only_in_part_lets_nobody_in(store: Hashes, door: Door) -> None:
    store.hashes[name_of(KEY)] = {"account": "alice", "prefix": "qg_AbCdEfGh"}

    assert door.who(x_api_key=KEY) is None


# ── how long it is believed ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_looked_up_once_while_it_is_believed(door: Door, store: Hashes, clock: Clock) -> None:
    for _ in range(10):
        assert door.who(x_api_key=KEY) == ALICE
        clock.now_s += KEY_TTL_S / 11

    assert store.asked == 1


def test_a_revoked_key_stops_working_within_five_seconds(door: Door, store: Hashes, clock: Clock) -> None:
    assert door.who(x_api_key=KEY) == ALICE
    store.publish(KEY, status="revoked")

    assert KEY_TTL_S < 5
    clock.now_s += KEY_TTL_S + 0.001
    assert door.who(x_api_key=KEY) is None


def test_use_does_not_prolong_the_belief_in_a_revoked_key(door: Door, store: Hashes, clock: Clock) -> None:
    assert door.who(x_api_key=KEY) == ALICE
    store.publish(KEY, status="revoked")

    for _ in range(4):
        clock.now_s += (KEY_TTL_S + 0.001) / 4
        last = door.who(x_api_key=KEY)
    assert last is None


def test_an_unknown_key_is_remembered_shortly(door: Door, store: Hashes, clock: Clock) -> None:
    for _ in range(10):
        assert door.who(x_api_key=b"new") is None
    assert store.asked == 1

    store.publish(b"new", "bob", "qg_new")
    clock.now_s += UNKNOWN_TTL_S + 0.001
    assert door.who(x_api_key=b"new") == Principal("bob", "qg_new")


def test_made_up_keys_cannot_fill_the_memory(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_CACHED_KEYS", 100)

    for number in range(1000):
        door.who(x_api_key=b"%d" % number)
        assert len(door.identifier.api_keys._known) <= 100


def test_an_outage_is_no_answer_and_not_remembered(door: Door, store: Hashes) -> None:
    store.is_up = False
    with pytest.raises(StoreUnavailable):
        door.who(x_api_key=KEY)

    store.is_up = True
    assert door.who(x_api_key=KEY) == ALICE


def test_a_key_that_is_believed_outlasts_an_outage(door: Door, store: Hashes) -> None:
    assert door.who(x_api_key=KEY) == ALICE
    store.is_up = False

    assert door.who(x_api_key=KEY) == ALICE


def test_calls_at_once_each_find_their_own_caller(store: Hashes, config: Config) -> None:
    keys = {b"key-%d" % number: f"user-{number}" for number in range(50)}
    for key, account in keys.items():
        store.publish(key, account, account)
    identifier = Identifier(store)

    async def story() -> list[Principal]:
        return await asyncio.gather(*(identifier.identify({}, {b"x-api-key": key}, config) for key in keys))

    assert asyncio.run(story()) == [Principal(account, account) for account in keys.values()]


# ── the trusted header ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_backend_that_proves_itself_names_the_account(door: Door, store: Hashes) -> None:
    assert door.who(x_gateway_secret=SECRET, x_user_id=b"bob@example.com") == Principal("bob@example.com")
    assert store.asked == 0


def test_the_trusted_header_goes_before_a_key(door: Door) -> None:
    assert door.who(x_gateway_secret=SECRET, x_user_id=b"bob", x_api_key=KEY) == Principal("bob")


@pytest.mark.parametrize("secret", [b"", b"wrong", SECRET[:-1], SECRET + b" ", SECRET.upper(), "é".encode(), b"\xff"])
def test_a_wrong_secret_lets_nobody_in_not_even_with_a_key(door: Door, secret: bytes) -> None:
    assert door.who(x_gateway_secret=secret, x_user_id=b"bob", x_api_key=KEY) is None


@pytest.mark.parametrize(
    "account",
    [b"", b" ", b"a b", b"a\tb", b"a\nb", b"a\x00b", b"a\x7f", "a\u202eb".encode(), "a\u00a0b".encode(), b"a" * 201],
)
def test_an_account_id_that_cannot_be_one_is_refused(door: Door, account: bytes) -> None:
    assert door.who(x_gateway_secret=SECRET, x_user_id=account) is None


@pytest.mark.parametrize(
    "account", ["a", "a" * 200, "bob@example.com", "3f2504e0-4f89", "josé", "用户", "a:b{c}", "😀" * 200]
)
def test_account_ids_of_every_kind_are_taken(door: Door, account: str) -> None:
    assert door.who(x_gateway_secret=SECRET, x_user_id=account.encode()) == Principal(account)


def test_account_ids_that_are_not_utf_8_are_refused(door: Door) -> None:
    """Read with replacements, José and Josà of a Latin-1 backend would share one account."""
    assert [door.who(x_gateway_secret=SECRET, x_user_id=name) for name in (b"Jos\xe9", b"Jos\xc3")] == [None, None]


def test_the_secret_without_an_account_names_nobody(door: Door) -> None:
    assert door.who(x_gateway_secret=SECRET, x_api_key=KEY) is None


def test_the_trusted_headers_mean_nothing_when_the_config_has_none(store: Hashes) -> None:
    off = parse(config_text().replace('secret = "a secret of the backend"', 'secret = ""'), "config.toml", {})
    door = Door(store, off)

    assert off.trusted_header is None
    assert door.who(x_gateway_secret=b"", x_user_id=b"bob") is None
    assert door.who(x_gateway_secret=SECRET, x_user_id=b"bob") is None
    assert door.who(x_gateway_secret=SECRET, x_user_id=b"bob", x_api_key=KEY) == ALICE


# ── the version of all keys ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_believed_longer_while_no_key_has_changed(door: Door, store: Hashes, clock: Clock) -> None:
    store.hashes[Keys.API_KEYS] = {"version": "7"}
    door.look_at_version()
    assert door.who(x_api_key=KEY) == ALICE
    asked = store.asked
    for _ in range(10):
        clock.now_s += KEY_TTL_S - 0.5
        door.look_at_version()

        assert door.who(x_api_key=KEY) == ALICE

    assert store.asked == asked + 10  # The looks at the version.


def test_a_key_is_asked_for_again_once_any_key_has_changed(door: Door, store: Hashes, clock: Clock) -> None:
    door.look_at_version()
    assert door.who(x_api_key=KEY) == ALICE
    store.hashes[name_of(KEY)]["status"] = "revoked"
    store.hashes[Keys.API_KEYS] = {"version": "8"}

    door.look_at_version()

    assert door.who(x_api_key=KEY) is None


def test_no_key_is_believed_for_ever(door: Door, store: Hashes, clock: Clock) -> None:
    """It may have been deleted by hand, and the version not raised."""
    door.look_at_version()
    assert door.who(x_api_key=KEY) == ALICE
    del store.hashes[name_of(KEY)]

    clock.now_s += KEY_MAX_TTL_S
    door.look_at_version()

    assert door.who(x_api_key=KEY) is None


def test_a_version_that_cannot_be_asked_for_is_believed_no_longer_than_a_key(
    door: Door, store: Hashes, clock: Clock
) -> None:
    door.look_at_version()
    assert door.who(x_api_key=KEY) == ALICE
    store.hashes[name_of(KEY)]["status"] = "revoked"

    clock.now_s += KEY_TTL_S

    assert door.who(x_api_key=KEY) is None
