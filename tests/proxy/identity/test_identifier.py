"""Who calls: where credentials are looked for, how long they are believed, and whom nobody believes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Coroutine, Mapping
from typing import Any, cast

import pytest

from gateway.config import Config, parse
from gateway.domain.errors import StoreUnavailable, StoreUnready
from gateway.domain.principal import Principal
from gateway.proxy.identity import Identifier, api_keys
from gateway.proxy.identity.api_keys import (
    KEY_MAX_TTL_S,
    KEY_TTL_S,
    MAX_SHOWN_BYTES,
    UNKNOWN_TTL_S,
)
from gateway.proxy.identity.refusals import UNAUTHENTICATED, UNKNOWN_TIER
from gateway.proxy.refusals import CallRefused, Refusal
from gateway.store.keys import Keys
from tests.proxy.identity.signing import AUDIENCE, ISSUER, secret_token
from tests.proxy.identity.signing import SECRET as JWT_SECRET
from tests.proxy.pools import eventually, on_a_loop
from tests.support.config import config_text
from tests.support.processes import CHECKOUT

KEY = b"qg_AbCdEfGh" + b"s" * 32
ALICE = Principal("alice", "qg_AbCdEfGh")
SECRET = b"a secret of the backend"


def name_of(key: bytes) -> str:
    return Keys.api_key(hashlib.sha256(key).hexdigest())


class Hashes:
    """A `Store` with nothing but hashes, which counts how often it is asked."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, str]] = {}
        self.epoch: str | None = "set 2026-11-20T10:00:00Z by a test"
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

    async def read_text(self, key: str) -> str | None:
        assert key == "qg:{p00}:epoch"
        return self.epoch

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
        self.identifier = Identifier(store, Keys())
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

    def write_last_used(self) -> None:
        asyncio.run(self.identifier.api_keys.write_last_used())

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


@pytest.mark.parametrize("epoch", [None, "restoring since 2026-11-20T10:00:00Z"])
def test_a_key_that_an_emptied_redis_has_lost_is_not_called_wrong(store: Hashes, door: Door, epoch: str | None) -> None:
    store.epoch = epoch

    with pytest.raises(StoreUnready, match="quotagate restore"):
        door.heard(x_api_key=b"lost")
    store.hashes[name_of(b"lost")] = {"last_used": "1795289304623"}  # A gateway that knew it noted its use after that.
    with pytest.raises(StoreUnready, match="quotagate restore"):
        door.heard(x_api_key=b"lost")

    store.publish(b"lost", "bob", "bob")
    store.epoch = "set 2026-11-20T10:05:00Z by quotagate restore"
    assert door.who(x_api_key=b"lost") == Principal("bob", "bob")
    assert door.who(x_api_key=b"never made") is None


def test_a_revoked_key_is_refused_for_good_while_redis_must_be_restored(store: Hashes, door: Door) -> None:
    store.publish(b"revoked", status="revoked")
    store.epoch = None

    assert door.who(x_api_key=b"revoked") is None


def test_calls_at_once_each_find_their_own_caller(store: Hashes, config: Config) -> None:
    keys = {b"key-%d" % number: f"user-{number}" for number in range(50)}
    for key, account in keys.items():
        store.publish(key, account, account)
    identifier = Identifier(store, Keys())

    async def story() -> list[Principal]:
        return await asyncio.gather(*(identifier.identify({}, {b"x-api-key": key}, config) for key in keys))

    assert asyncio.run(story()) == [Principal(account, account) for account in keys.values()]


# ── what a key may do, and how long ──────────────────────────────────────────────────────────────────────────────────


def test_a_key_comes_with_its_groups_scopes_and_limits(door: Door, store: Hashes) -> None:
    store.publish(KEY, team="blue", organisation="acme", scopes="chat embed", limits="60 requests/minute; 4 concurrent")

    assert door.who(x_api_key=KEY) == Principal(
        "alice", "qg_AbCdEfGh", "blue", "acme", "", frozenset({"chat", "embed"}), ("60 requests/minute", "4 concurrent")
    )


@pytest.mark.parametrize(("expires_ms", "is_valid"), [(-1, False), (0, False), (60_000, True)])
def test_a_key_is_valid_until_it_expires(door: Door, store: Hashes, expires_ms: int, is_valid: bool) -> None:
    store.publish(KEY, expires=str(time.time_ns() // 1_000_000 + expires_ms))

    assert (door.who(x_api_key=KEY) is not None) == is_valid


def test_a_key_is_not_believed_past_its_end_though_no_key_has_changed(door: Door, store: Hashes, clock: Clock) -> None:
    store.publish(KEY, expires=str(time.time_ns() // 1_000_000 + 2000))
    door.look_at_version()
    assert door.who(x_api_key=KEY) == ALICE
    asked = store.asked

    clock.now_s += 1.9
    assert door.who(x_api_key=KEY) == ALICE
    assert store.asked == asked

    clock.now_s += 0.2
    door.who(x_api_key=KEY)
    assert store.asked == asked + 1


# ── when it was used last ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_use_of_a_key_is_noted_once_a_minute_and_not_by_the_call(door: Door, store: Hashes, clock: Clock) -> None:
    before_ms = time.time_ns() // 1_000_000
    for _ in range(5):
        door.who(x_api_key=KEY)
    assert store.written == []

    door.write_last_used()
    ((name, fields),) = store.written
    assert name == name_of(KEY)
    assert before_ms <= int(fields["last_used"]) <= time.time_ns() // 1_000_000

    clock.now_s += 2
    door.who(x_api_key=KEY)
    door.write_last_used()
    assert len(store.written) == 1

    store.hashes[name_of(KEY)]["last_used"] = str(before_ms - 60_000)
    clock.now_s += KEY_TTL_S
    door.who(x_api_key=KEY)
    door.write_last_used()
    assert len(store.written) == 2


@pytest.mark.parametrize(("seconds_ago", "written"), [(50, 0), (61, 1)])
def test_a_use_that_another_process_has_noted_is_not_noted_again_within_a_minute(
    door: Door, store: Hashes, seconds_ago: int, written: int
) -> None:
    store.publish(KEY, last_used=str(time.time_ns() // 1_000_000 - seconds_ago * 1000))
    door.who(x_api_key=KEY)

    door.write_last_used()

    assert len(store.written) == written


def test_nothing_is_noted_of_a_key_that_lets_nobody_in(door: Door, store: Hashes) -> None:
    store.publish(KEY, status="revoked")
    for key in (KEY, b"made up", b"k" * 1000):
        door.who(x_api_key=key)
        door.who(x_api_key=key)

    door.write_last_used()

    assert store.written == []


def test_many_uses_are_written_a_part_at_a_time(door: Door, store: Hashes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "NOTES_AT_ONCE", 10)
    for number in range(25):
        store.publish(b"key-%d" % number)
        door.who(x_api_key=b"key-%d" % number)

    written = []
    for _ in range(4):
        door.write_last_used()
        written.append(len(store.written))

    assert written == [10, 20, 25, 25]


def test_a_use_that_could_not_be_written_hinders_nobody(door: Door, store: Hashes) -> None:
    door.who(x_api_key=KEY)
    store.is_up = False
    with pytest.raises(StoreUnavailable):
        door.write_last_used()

    assert door.who(x_api_key=KEY) == ALICE


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


# ── the trusted header from a proxy ──────────────────────────────────────────────────────────────────────────────────

PROXIES = 'trusted_proxies = ["10.0.0.0/8", "2001:db8::/32"]'
TRUSTING = (
    config_text(more="")
    .replace(
        'secret = "a secret of the backend"',
        """secret = "a secret of the backend"
trust_proxies = true
tier_header = "X-Tier"
team_header = "X-Team"
organisation_header = "X-Org"
""",
    )
    .replace("[gateway]", "[gateway]\n" + PROXIES)
)


def door_of(store: Hashes, text: str, peer: str | None = "192.0.2.1") -> Door:
    door = Door(store, parse(text, "config.toml", {}))
    door.peer = peer
    return door


@pytest.mark.parametrize(
    ("peer", "believed"),
    [("10.1.2.3", True), ("2001:db8::7", True), ("::ffff:10.1.2.3", True), ("11.0.0.1", False), (None, False),
     ("testclient", False), ("2001:db9::7", False)],
)  # fmt: skip
def test_a_trusted_proxy_names_the_account_without_the_secret(store: Hashes, peer: str | None, believed: bool) -> None:
    door = door_of(store, TRUSTING, peer)

    assert door.who(x_user_id=b"bob") == (Principal("bob") if believed else None)
    assert door.who(x_user_id=b"bob", x_gateway_secret=SECRET) == Principal("bob")


def test_a_proxy_is_not_believed_unless_the_config_says_so(store: Hashes) -> None:
    """It may forward what a client sent: trusting its addresses is not trusting its users."""
    door = door_of(store, config_text().replace("[gateway]", "[gateway]\n" + PROXIES), "10.1.2.3")

    assert door.who(x_user_id=b"bob") is None


def test_a_trusted_proxy_with_a_wrong_secret_is_not_believed(store: Hashes) -> None:
    assert door_of(store, TRUSTING, "10.1.2.3").who(x_user_id=b"bob", x_gateway_secret=b"wrong") is None


def test_a_trusted_proxy_that_names_nobody_passes_a_key_on(store: Hashes) -> None:
    assert door_of(store, TRUSTING, "10.1.2.3").who(x_api_key=KEY) == ALICE


def test_a_backend_names_tier_and_groups_too(store: Hashes) -> None:
    door = door_of(store, TRUSTING)

    found = door.who(x_gateway_secret=SECRET, x_user_id=b"bob", x_tier=b"pro", x_team=b"blue", x_org=b"acme")

    assert found == Principal("bob", "", "blue", "acme", "pro")
    assert door.who(x_gateway_secret=SECRET, x_user_id=b"bob", x_tier=b"") == Principal("bob")


@pytest.mark.parametrize("header", ["x_tier", "x_team", "x_org"])
@pytest.mark.parametrize("value", [b"a b", b"\xff", b"a" * 201])
def test_a_group_that_cannot_be_one_is_refused(store: Hashes, header: str, value: bytes) -> None:
    assert door_of(store, TRUSTING).who(**{"x_gateway_secret": SECRET, "x_user_id": b"bob", header: value}) is None


def test_groups_of_a_client_who_is_not_believed_mean_nothing(store: Hashes) -> None:
    assert door_of(store, TRUSTING).who(x_api_key=KEY, x_tier=b"pro", x_team=b"blue") == ALICE


def test_a_tier_that_the_config_has_not_is_a_403_and_told_once(store: Hashes, caplog: pytest.LogCaptureFixture) -> None:
    door = door_of(store, TRUSTING)

    heard = [door.heard(x_gateway_secret=SECRET, x_user_id=b"bob", x_tier=b"gold") for _ in range(3)]

    assert heard == [UNKNOWN_TIER] * 3
    assert (UNKNOWN_TIER.status, UNKNOWN_TIER.code) == (403, "unknown_tier")
    assert caplog.messages == [
        "calls are refused: a credential names the tier 'gold', and config.toml has free, payg, pro"
    ]


# ── nobody in particular ─────────────────────────────────────────────────────────────────────────────────────────────

OPEN = TRUSTING.replace("[upstreams.main]", '[identity.anonymous]\ntier = "payg"\n[upstreams.main]')


@pytest.mark.parametrize(
    ("peer", "account"),
    [
        ("203.0.113.7", "ip:203.0.113.7"),
        ("2001:db9:1:2:3:4:5:6", "ip:2001:db9:1:2::/64"),
        ("::ffff:203.0.113.7", "ip:203.0.113.7"),
        (None, "ip:unknown"),
        ("testclient", "ip:unknown"),
    ],
)
def test_who_shows_nothing_is_known_by_the_address(store: Hashes, peer: str | None, account: str) -> None:
    assert door_of(store, OPEN, peer).who() == Principal(account, tier="payg")


def test_behind_a_proxy_the_forwarded_address_counts(store: Hashes) -> None:
    door = door_of(store, OPEN, "10.0.0.1")

    assert door.who(x_forwarded_for=b"1.1.1.1, 203.0.113.7") == Principal("ip:203.0.113.7", tier="payg")


@pytest.mark.parametrize("headers", [{"authorization": b""}, {"authorization": b"Bearer"}, {"x_api_key": b""}])
def test_an_empty_credential_is_none(store: Hashes, headers: dict[str, bytes]) -> None:
    assert door_of(store, OPEN).who(**headers) == Principal("ip:192.0.2.1", tier="payg")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": b"Bearer wrong"},
        {"authorization": b"Bearer  "},
        {"authorization": b"Basic YTpi"},
        {"authorization": b"wrong"},
        {"x_api_key": b"wrong"},
        {"x_gateway_secret": b"wrong"},
        {"x_gateway_secret": SECRET},
        {"x_api_key": b"k" * 1000},
    ],
)
def test_a_wrong_credential_does_not_become_nobody_in_particular(store: Hashes, headers: dict[str, bytes]) -> None:
    assert door_of(store, OPEN).who(**headers) is None


def test_without_the_table_nobody_is_let_in(door: Door) -> None:
    assert door.who() is None


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────

ISSUING = OPEN.replace(
    "[upstreams.main]",
    f"""[[identity.jwt]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithms = ["HS256"]
secret = "{JWT_SECRET}"
claims = {{ tier = "plan", scopes = "scope" }}
[upstreams.main]""",
)


def test_a_token_is_taken_wherever_a_key_is(store: Hashes) -> None:
    door, text = door_of(store, ISSUING), secret_token(plan="pro", scope="chat")
    ada = Principal("ada", tier="pro", scopes=frozenset({"chat"}))

    assert [door.who(authorization=b"Bearer " + text), door.who(x_api_key=text)] == [ada, ada]
    assert store.asked == 0


def test_keys_are_known_beside_tokens(store: Hashes) -> None:
    assert door_of(store, ISSUING).who(x_api_key=KEY) == ALICE


def test_a_token_that_names_an_unknown_tier_is_a_403(store: Hashes) -> None:
    door = door_of(store, ISSUING)

    assert door.heard(x_api_key=secret_token(plan="gold", scope="chat")) is UNKNOWN_TIER


def test_a_bad_token_is_refused_in_the_words_of_a_bad_key(store: Hashes) -> None:
    door = door_of(store, ISSUING)

    assert door.who(x_api_key=secret_token("t" * 64, scope="chat")) is None
    assert door.who(x_api_key=b"a.b.c") is None


def test_another_config_forgets_what_tokens_said(store: Hashes) -> None:
    door, text = door_of(store, ISSUING), secret_token(scope="chat")
    assert door.who(x_api_key=text) is not None

    same = parse(ISSUING, "config.toml", {})
    door._config = same
    kept = door.identifier._tokens
    assert door.who(x_api_key=text) is not None
    assert door.identifier._tokens is kept

    door._config = parse(ISSUING.replace(JWT_SECRET, "t" * 64), "config.toml", {})
    assert door.who(x_api_key=text) is None


def test_a_gateway_without_issuers_never_loads_what_checks_tokens() -> None:
    program = "import sys, gateway.app; sys.exit('jwt' in sys.modules or 'httpx2' in sys.modules)"

    assert (
        subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(CHECKOUT)}).returncode == 0
    )


@on_a_loop
async def test_the_watcher_looks_at_the_version_writes_uses_and_ends(store: Hashes, config: Config) -> None:
    identifier = Identifier(store, Keys())
    await identifier.identify({}, {b"x-api-key": KEY}, config)
    watcher = asyncio.create_task(identifier.watch())

    await eventually(lambda: store.written)

    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    assert watcher.cancelled()


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
