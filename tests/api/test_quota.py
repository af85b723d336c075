"""`GET /api/quota`: what a caller reads of its own policies, balance and forecast, and what nobody reads there."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx2
import pytest

from gateway.api.app import build_api
from gateway.api.control import Control
from gateway.config import parse
from gateway.domain.errors import StoreUnavailable
from gateway.ledger import database
from gateway.proxy.gate import Gate
from gateway.proxy.middleware import QuotaMiddleware
from gateway.store import api_keys, calls
from gateway.store.api_keys import PublishedKey
from gateway.store.calls import Call
from tests.lua.caller import DAY_MS, HOUR_MS, MINUTE_MS, NOON_MS, SECOND_MS, Caller, at, contents
from tests.proxy.identity.signing import AUDIENCE, ISSUER, secret_token
from tests.proxy.identity.signing import SECRET as JWT_SECRET
from tests.proxy.stores import FakeStore
from tests.proxy.test_middleware import CHAT, Backend
from tests.support.config import config_text

T = TypeVar("T")


@contextlib.asynccontextmanager
async def no_lifespan(app: Any) -> AsyncIterator[None]:
    yield


SECRET = "a secret of the backend"
KEY = "qg_AbCdEfGh" + "s" * 32
CONFIG = config_text(
    more=f"""
[[identity.jwt]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithms = ["HS256"]
secret = "{JWT_SECRET}"
claims = {{ tier = "plan", team = "team" }}
[identity.anonymous]
tier = "guest"
[tiers.guest]
signup = 7
operations = {{ chat = 1 }}
limits = [{{ limit = "5 requests/hour", by = "ip" }}]
[tiers.told]
signup = 100
allowance = [{{ every = "day", amount = 50 }}]
warn_below = 140
operations = {{ chat = 4 }}
limits = [
  "10 requests/minute", "3 concurrent",
  {{ limit = "20 requests/hour", by = "team" }},
  {{ limit = "8 requests/hour", by = "ip" }},
  {{ limit = "4 requests/hour", by = ["account", "model"] }},
  {{ limit = "30 output tokens/second", mode = "throttle", name = "pace", models = ["gpt-*"] }},
  {{ limit = "2 requests/day", mode = "shadow", name = "trial", operations = ["chat"] }},
]
"""
)


class Clocked(FakeStore):
    """A store at a clock that only the test moves: the second argument of every script."""

    now_ms = NOON_MS

    async def run(self, call: Call[T]) -> T:
        own = (call.own[0], self.now_ms, *call.own[2:])
        return await super().run(call._replace(own=own))


class Door:
    """A gateway as its callers meet it. Each request has a loop of its own."""

    def __init__(self, text: str = CONFIG) -> None:
        self.store = Clocked()
        self.gate = Gate(parse(text, "config.toml", {}), self.store)
        control = Control(self.gate, self.store.client, database.connect("sqlite://"))
        self.app = QuotaMiddleware(Backend(), self.gate, build_api(control, [], no_lifespan))

    def request(self, method: str, path: str, peer: str = "203.0.113.7", **options: Any) -> httpx2.Response:
        async def ask() -> httpx2.Response:
            transport = httpx2.ASGITransport(self.app, client=(peer, 5000))
            async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
                answer = await client.request(method, path, **options)
            await self.gate.close()
            return answer

        return asyncio.run(ask())

    def call(self, model: str = "m1", **options: Any) -> httpx2.Response:
        return self.request("POST", CHAT, json={"model": model}, **options)

    def quota(self, query: str = "", **options: Any) -> dict[str, Any]:
        answer = self.request("GET", f"/api/quota{query}", **options)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def limit(self, name: str, query: str = "", **options: Any) -> tuple[int | None, int | None, int]:
        """What one limit has left, when it is back in full, and what fits at once."""
        (found,) = [limit for limit in self.quota(query, **options)["limits"] if limit["name"] == name]
        return found["remaining"], found["full_again_in_ms"], found["at_once"]

    def publish(self, key: str = KEY, account: str = "ada", **terms: Any) -> None:
        digest = hashlib.sha256(key.encode()).hexdigest()
        api_keys.publish(self.store.client, [PublishedKey(digest, key[:11], account, **terms)])

    def override(self, account: str, num: int, den: int, lasts_ms: int) -> None:
        key, now_ms = self.gate.keys.account(account), self.store.now_ms
        self.store.runner.run(calls.override(key, num, den, now_ms + lasts_ms, now_ms=now_ms))


def token(plan: str = "told", **claims: Any) -> dict[str, str]:
    """What a caller shows who is ada unless the claims say otherwise."""
    said: dict[str, Any] = {"plan": plan, "exp": 4_000_000_000} | claims
    return {"authorization": f"Bearer {secret_token(JWT_SECRET, **said).decode()}"}


ADA = token()
BY_KEY = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
def door() -> Door:
    return Door()


# ── who asks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "account", "tier"),
    [
        (BY_KEY, "ada", "free"),
        ({"x-api-key": KEY}, "ada", "free"),
        (ADA, "ada", "told"),
        ({"x-gateway-secret": SECRET, "x-user-id": "bob"}, "bob", "free"),
        ({}, "ip:203.0.113.7", "guest"),
    ],
)
def test_whoever_may_call_may_ask(door: Door, headers: dict[str, str], account: str, tier: str) -> None:
    door.publish()

    found = door.quota(headers=headers)

    assert (found["account"], found["tier"], found["unit"], found["decimals"]) == (account, tier, "token", 0)


def test_an_account_is_read_on_the_tier_it_is_on(door: Door) -> None:
    door.publish()
    door.store.runner.run(calls.open_account(door.gate.keys.account("ada"), door.gate.config.tiers["payg"]))

    assert door.quota(headers=BY_KEY)["tier"] == "payg"
    assert door.quota(headers=token("pro"))["tier"] == "pro"


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Bearer wrong"}, {"x-gateway-secret": "wrong", "x-user-id": "ada"}, token("told", exp=1)],
)
def test_who_is_not_believed_is_told_so_as_problem_json(door: Door, headers: dict[str, str]) -> None:
    answer = door.request("GET", "/api/quota", headers=headers)

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (answer.json()["code"], answer.json()["status"]) == ("invalid_api_key", 401)
    assert answer.json()["instance"] == answer.headers["x-request-id"]


def test_a_plan_that_there_is_not_is_a_403(door: Door) -> None:
    answer = door.request("GET", "/api/quota", headers=token("gold"))

    assert (answer.status_code, answer.json()["code"]) == (403, "unknown_tier")


@pytest.mark.parametrize("lost", ["read", "peek", "limits"])
def test_without_redis_the_answer_is_a_503_that_says_when_to_ask_again(door: Door, lost: str) -> None:
    door.publish()
    door.store.faults[lost] = StoreUnavailable("gone")

    answer = door.request("GET", "/api/quota", headers=BY_KEY)

    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert (answer.json()["code"], answer.headers["retry-after"]) == ("store_unavailable", "1")


def test_an_answer_is_kept_by_no_cache_and_has_an_id(door: Door) -> None:
    answer = door.request("GET", "/api/quota", headers=ADA)

    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    assert door.request("POST", "/api/quota", headers=ADA).status_code == 405


@pytest.mark.parametrize(
    "headers", [BY_KEY, ADA, {"x-gateway-secret": SECRET, "x-user-id": "bob"}, {"x-api-key": "no"}]
)
def test_no_answer_has_a_secret_in_it(door: Door, headers: dict[str, str]) -> None:
    door.publish(limits=("9 requests/minute",), team="red")
    door.call(headers=headers)

    answer = door.request("GET", "/api/quota?model=m1", headers=headers)

    said = answer.text + repr(answer.headers)
    secrets = [KEY, KEY[3:], hashlib.sha256(KEY.encode()).hexdigest(), ADA["authorization"][7:], JWT_SECRET, SECRET,
               "upstream-secret"]  # fmt: skip
    assert [secret for secret in secrets if secret in said] == []


# ── the balance ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_before_its_first_call_an_account_has_what_that_call_opens_it_with(door: Door) -> None:
    found = door.quota(headers=ADA)

    assert found["balance"] == {"left": 150, "held": 0, "spent": 0, "low": False, "resets_at": None, "buckets": []}
    assert (found["forecast"], found["override"]) == (None, None)
    assert contents(door.store.client) == {}
    assert int(door.call(headers=ADA).headers["x-quota-remaining"]) == 150 - 4


def test_a_balance_is_told_bucket_by_bucket(door: Door) -> None:
    door.call(headers=ADA)

    assert door.quota(headers=ADA)["balance"] == {
        "left": 146,
        "held": 0,
        "spent": 4,
        "low": False,
        "resets_at": "2026-11-20T17:00:00Z",
        "buckets": [
            {"kind": "day", "id": "2026-11-20", "amount": 50, "left": 46, "ends_at": "2026-11-20T17:00:00Z"},
            {"kind": "credits", "id": "signup", "amount": 100, "left": 100, "ends_at": None},
        ],
    }


def test_what_a_call_holds_is_not_left(door: Door) -> None:
    tier = door.gate.config.tiers["told"]
    Caller(door.store.runner, tier).reserve("open", 10, policies=tier.limits.policies[:2])

    found = door.quota(headers=ADA)["balance"]

    assert (found["left"], found["held"], found["spent"]) == (140, 10, 0)
    assert door.limit("concurrent", headers=ADA) == (2, 0, 3)


def test_a_balance_is_low_from_the_tiers_line_on(door: Door) -> None:
    lows = []
    for _ in range(3):
        door.call(headers=ADA)
        lows.append((door.quota(headers=ADA)["balance"]["left"], door.quota(headers=ADA)["balance"]["low"]))

    assert lows == [(146, False), (142, False), (138, True)]


def test_after_midnight_a_balance_has_what_the_next_call_opens(door: Door) -> None:
    door.call(headers=ADA)
    door.store.now_ms += DAY_MS

    found = door.quota(headers=ADA)["balance"]

    assert (found["left"], found["resets_at"]) == (150, "2026-11-21T17:00:00Z")
    assert {bucket["id"]: bucket["left"] for bucket in found["buckets"]} == {"2026-11-21": 50, "signup": 100}
    assert int(door.call(headers=ADA).headers["x-quota-remaining"]) == 150 - 4


def test_without_an_allowance_there_is_no_reset(door: Door) -> None:
    door.call()

    assert door.quota()["balance"]["resets_at"] is None


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_limit_of_the_tier_is_listed_in_words_throttles_and_shadows_too(door: Door) -> None:
    found = door.quota(headers=token(team="red"))["limits"]

    assert [(limit["name"], limit["limit"], limit["by"], limit["mode"]) for limit in found] == [
        ("requests-per-minute", "10 requests/minute", ["account"], "enforce"),
        ("concurrent", "3 at a time", ["account"], "enforce"),
        ("team-requests-per-hour", "20 requests/hour", ["team"], "enforce"),
        ("ip-requests-per-hour", "8 requests/hour", ["ip"], "enforce"),
        ("account-model-requests-per-hour", "4 requests/hour", ["account", "model"], "enforce"),
        ("pace", "30 output tokens/second", ["account"], "throttle"),
        ("trial", "2 requests/day", ["account"], "shadow"),
    ]
    assert [(limit["models"], limit["operations"], limit["routes"]) for limit in found[-2:]] == [
        (["gpt-*"], [], []),
        ([], ["chat"], []),
    ]


def test_a_limit_says_what_is_left_and_when_it_is_back_in_full(door: Door) -> None:
    for _ in range(3):
        door.call(headers=ADA)

    assert door.limit("requests-per-minute", headers=ADA) == (7, 18 * SECOND_MS, 10)
    assert door.limit("concurrent", headers=ADA) == (3, 0, 3)
    assert door.limit("trial", headers=ADA) == (0, DAY_MS, 2)

    door.store.now_ms += 12 * SECOND_MS
    assert door.limit("requests-per-minute", headers=ADA) == (9, 6 * SECOND_MS, 10)


def test_a_limit_by_team_has_what_the_whole_team_left(door: Door) -> None:
    door.call(headers=token(team="red", sub="bob"))
    door.call(headers=token(team="red"))

    assert door.limit("team-requests-per-hour", headers=token(team="red"))[0] == 18
    assert door.limit("team-requests-per-hour", headers=token(team="blue"))[0] == 20
    assert door.limit("team-requests-per-hour", headers=ADA) == (None, None, 20)


def test_a_limit_by_address_is_about_the_one_that_asks(door: Door) -> None:
    door.call(peer="203.0.113.7")

    assert door.limit("ip-requests-per-hour", peer="203.0.113.7")[0] == 4
    assert door.limit("ip-requests-per-hour", peer="203.0.113.8")[0] == 5


def test_a_limit_by_model_needs_the_model_to_be_named(door: Door) -> None:
    door.call("m1", headers=ADA)

    name = "account-model-requests-per-hour"
    assert door.limit(name, headers=ADA) == (None, None, 4)
    assert door.limit(name, "?model=m1", headers=ADA)[0] == 3
    assert door.limit(name, "?model=m2", headers=ADA)[0] == 4
    assert door.limit(name, "?model=%FF%00" + "m" * 5000, headers=ADA)[0] == 4


def test_a_keys_own_limits_are_listed_behind_those_of_the_tier(door: Door) -> None:
    door.publish(limits=("9 requests/minute",))
    door.call(headers=BY_KEY)

    found = door.quota(headers=BY_KEY)["limits"]

    assert [(limit["name"], limit["by"], limit["remaining"]) for limit in found] == [
        ("own-requests-per-minute", ["key"], 8)
    ]


def test_asking_counts_for_nothing_and_changes_nothing(door: Door) -> None:
    door.call(headers=ADA)
    door.store.now_ms += DAY_MS  # A period is due.
    before = contents(door.store.client)

    for _ in range(20):
        door.quota("?model=m1", headers=ADA)

    assert contents(door.store.client) == before


# ── overrides ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_override_is_shown_until_it_is_over(door: Door) -> None:
    door.call(headers=ADA)
    door.override("ada", 3, 2, MINUTE_MS)

    assert door.quota(headers=ADA)["override"] == {"limits_times": "3/2", "until": "2026-11-20T05:01:00Z"}
    assert [door.limit(name, headers=ADA)[2] for name in ("requests-per-minute", "concurrent")] == [15, 4]

    door.store.now_ms += MINUTE_MS - 1
    assert door.quota(headers=ADA)["override"] is not None
    door.store.now_ms += 1
    assert door.quota(headers=ADA)["override"] is None
    assert [door.limit(name, headers=ADA)[2] for name in ("requests-per-minute", "concurrent")] == [10, 3]


# ── the forecast ─────────────────────────────────────────────────────────────────────────────────────────────────────


def spend(door: Door, calls_an_hour: int, hours: int, after: str) -> dict[str, Any]:
    """Calls of 4 units, evenly from an instant on. Returns the forecast then."""
    door.store.now_ms = at(after)
    for _ in range(calls_an_hour * hours):
        door.call(headers=ADA)
        door.store.now_ms += HOUR_MS // calls_an_hour
    found: dict[str, Any] = door.quota(headers=ADA)["forecast"]
    return found


def test_who_goes_on_like_this_runs_out_before_the_reset(door: Door) -> None:
    """Twelve units an hour for three hours, and 114 left at nine: enough for nine and a half hours more."""
    assert spend(door, 3, 3, "2026-11-20 06:00+07:00") == {
        "units_per_hour": 12,
        "runs_out_at": "2026-11-20T11:30:00Z",
        "resets_at": "2026-11-20T17:00:00Z",
        "lasts_until_reset": False,
    }


def test_who_goes_on_like_this_lasts_until_the_reset(door: Door) -> None:
    found = spend(door, 3, 3, "2026-11-20 16:00+07:00")

    assert datetime.fromisoformat(found["runs_out_at"]) > datetime.fromisoformat(found["resets_at"])
    assert found["lasts_until_reset"] is True


def test_too_early_to_tell(door: Door) -> None:
    door.call(headers=ADA)
    door.store.now_ms += MINUTE_MS

    assert door.quota(headers=ADA)["forecast"] == {
        "units_per_hour": None,
        "runs_out_at": None,
        "resets_at": "2026-11-20T17:00:00Z",
        "lasts_until_reset": True,
    }


def test_amounts_and_times_are_whole_numbers(door: Door) -> None:
    found = spend(door, 3, 1, "2026-11-20 06:00+07:00") | door.quota("?model=m1", headers=ADA)

    def numbers(value: Any) -> list[Any]:
        if isinstance(value, dict | list):
            return [n for inner in (value.values() if isinstance(value, dict) else value) for n in numbers(inner)]
        return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []

    assert numbers(found)
    assert {type(number) for number in numbers(found)} == {int}
    assert datetime.fromisoformat(found["runs_out_at"]).tzinfo == UTC
