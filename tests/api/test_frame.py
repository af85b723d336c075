"""What every endpoint has of the frame: ids, problems, admin keys and scopes, writes that may be repeated."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
import redis
from fastapi import APIRouter
from sqlalchemy import text

from gateway.accounts import admin_keys
from gateway.api import app as api
from gateway.api.callers import Actor, Caller, needs, needs_or_cron
from gateway.api.control import Control, SystemOf
from gateway.api.guard import MAX_BODY_BYTES
from gateway.api.models import Input, SomeUnits
from gateway.api.problems import MEDIA_TYPE, problems
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.config import parse
from gateway.domain.errors import Conflicting, NotFound, RefusedInput
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.proxy.gate import Gate
from gateway.proxy.middleware import QuotaMiddleware
from gateway.store.link import Link
from tests.proxy.test_middleware import Backend
from tests.support.config import config_text
from tests.support.servers import RedisServer

CRON = "a secret of the cron job"
ALICE = {"x-gateway-secret": "a secret of the backend", "x-user-id": "alice"}
router = APIRouter(route_class=RepeatableRoute)
seen: list[Any] = []


class Told(Input):
    amount: SomeUnits
    name: str = ""


@router.post("/api/tests/told", responses=problems(409))
def told(caller: Caller, id: WriteId, what: Told) -> dict[str, Any]:
    seen.append(id)
    return {"account": caller.account, "id": id, "amount": what.amount, "times": len(seen)}


@router.post("/api/tests/fails")
def fails(caller: Caller, id: WriteId, how: str) -> dict[str, Any]:
    seen.append(id)
    errors = {
        "found": NotFound("there is no such thing"), "conflict": Conflicting("it stands already"),
        "input": RefusedInput("this is no name"), "redis": redis.ConnectionError("secret-host refused"),
        "defect": KeyError("a secret"),
    }  # fmt: skip
    raise errors[how]


@router.get("/api/tests/sql")
def sql(system: SystemOf) -> int:
    with system.ledger.connect() as connection:
        return len(connection.execute(text("SELECT 'hidden' FROM nowhere")).all())


@router.get("/api/admin/tests/one")
def one(admin: Annotated[Actor, needs("ledger:read")]) -> str:
    return admin.name


@router.post("/api/tests/cron")
def cron(actor: Annotated[Actor, needs_or_cron("system:write")], id: WriteId) -> str:
    return actor.name


@contextlib.asynccontextmanager
async def no_lifespan(app: Any) -> AsyncIterator[None]:
    yield


class Door:
    """The control plane as its callers meet it. Each request has a loop of its own."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        config = config_text(more=f'[api]\ncron_secret = "{CRON}"\ncors_origins = ["https://app.example.com"]\n')
        self.config = parse(config, "config.toml", {})
        engine = database.connect(database.sqlite_url(folder))
        migrate(engine)
        self.server = server
        self.control = Control(Gate(self.config, Link(server.url)), server.client, engine)
        self._engine = engine

    def __call__(self, method: str, path: str, **options: Any) -> httpx2.Response:
        async def ask() -> httpx2.Response:
            gate = Gate(self.config, Link(self.server.url))
            self.control.gate = gate
            app = QuotaMiddleware(Backend(), gate, api.build_api(self.control, [], no_lifespan))
            async with httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app, raise_app_exceptions=False), base_url="http://gateway"
            ) as client:
                answer = await client.request(method, path, **options)
            await gate.close()
            return answer

        return asyncio.run(ask())

    def admin(self, *scopes: str, name: str = "root", expires_at: datetime | None = None) -> dict[str, str]:
        key = admin_keys.create(self.control.system, name, scopes or ("*",), expires_at)
        return {"authorization": f"Bearer {key}"}

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture
def door(real_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr(api, "ROUTERS", (*api.ROUTERS, router))
    seen.clear()
    door = Door(real_redis, tmp_path)
    yield door
    door.close()


def problem(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == MEDIA_TYPE, answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["instance"] == answer.headers["x-request-id"]
    assert body["detail"]
    return answer.status_code, body["code"]


# ── problems ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "media_type", "what"),
    [
        (b'{"amount": ', "application/json", "This is no JSON, from character 11 on"),
        (b"[]", "application/json", "Input should be a JSON object, sent with Content-Type: application/json"),
        (b'{"amount": 1}', "text/plain", "Input should be a JSON object, sent with Content-Type: application/json"),
    ],
)
def test_a_body_that_is_no_json_object_is_told_what_it_should_be(
    door: Door, body: bytes, media_type: str, what: str
) -> None:
    answer = door("POST", "/api/tests/told", content=body, headers=ALICE | {"content-type": media_type})

    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"] == [{"where": "body", "what": what}]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "body"),
        (b"nonsense", "body"),
        (b"NaN", "body"),
        (b"[]", "body"),
        (b"{}", "body.amount"),
        (b'{"amount": 0}', "body.amount"),
        (b'{"amount": -1}', "body.amount"),
        (b'{"amount": 1.0}', "body.amount"),
        (b'{"amount": NaN}', "body.amount"),
        (b'{"amount": Infinity}', "body.amount"),
        (b'{"amount": true}', "body.amount"),
        (b'{"amount": "1"}', "body.amount"),
        (b'{"amount": 9007199254740992}', "body.amount"),
        (b'{"amount": 1' + b"0" * 400 + b"}", "body.amount"),
        (b'{"amount": 1, "more": 2}', "body.more"),
        (b'{"amount": 1, "name": 7}', "body.name"),
    ],
)
def test_a_body_that_is_not_valid_says_where(door: Door, body: bytes, where: str) -> None:
    answer = door("POST", "/api/tests/told", content=body, headers=ALICE | {"content-type": "application/json"})

    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["where"].startswith(where)
    assert seen == []


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("found", 404, "not_found"), ("conflict", 409, "conflict"), ("input", 422, "invalid_request"),
        ("redis", 503, "store_unavailable"), ("defect", 500, "internal_error"),
    ],
)  # fmt: skip
def test_what_an_act_raises_is_a_problem_that_keeps_secrets(door: Door, how: str, status: int, code: str) -> None:
    answer = door("POST", f"/api/tests/fails?how={how}", headers=ALICE)

    assert problem(answer) == (status, code)
    assert "secret" not in answer.text


def test_a_ledger_that_cannot_be_read_is_a_503_that_shows_no_statement(door: Door) -> None:
    answer = door("GET", "/api/tests/sql")

    assert problem(answer) == (503, "ledger_unavailable")
    assert "hidden" not in answer.text


def test_paths_and_methods_that_are_not_served_say_so(door: Door) -> None:
    assert problem(door("GET", "/api/nowhere")) == (404, "not_found")
    answer = door("DELETE", "/api/tests/told")
    assert problem(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_body_that_is_too_large_is_refused(door: Door, in_pieces: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * MAX_BODY_BYTES

    body: Any = pieces() if in_pieces else b"x" * (MAX_BODY_BYTES + 1)
    answer = door("POST", "/api/tests/told", content=body, headers=ALICE | {"content-type": "application/json"})

    assert problem(answer) == (413, "request_too_large")


def test_two_credentials_are_refused_before_anybody_reads_them(door: Door) -> None:
    headers = [("authorization", "Bearer a"), ("authorization", "Bearer b")]
    assert problem(door("GET", "/api/quota", headers=headers)) == (400, "ambiguous_header")


def test_every_answer_has_an_id_and_is_not_cached(door: Door) -> None:
    answer = door("POST", "/api/tests/told", json={"amount": 1}, headers=ALICE)

    assert answer.json()["id"] == f"api-{answer.headers['x-request-id']}"
    assert answer.headers["cache-control"] == "no-store"


# ── who acts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_admin_key_acts_within_its_scopes(door: Door) -> None:
    assert door("GET", "/api/admin/tests/one", headers=door.admin("ledger:read", name="eve")).json() == "admin:eve"
    assert door("GET", "/api/admin/tests/one", headers=door.admin("*")).json() == "admin:root"
    answer = door("GET", "/api/admin/tests/one", headers=door.admin("accounts:read"))
    assert problem(answer) == (403, "insufficient_scope")
    assert "ledger:read" in answer.json()["detail"]


def test_other_credentials_are_no_admin_key(door: Door) -> None:
    key = door.admin()["authorization"]
    over = door.admin(name="late", expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    (known,) = [key for key in admin_keys.listed(door.control.system) if key.name == "root"]
    for headers in (
        {}, ALICE, over, {"authorization": key[:-1] + "x"}, {"authorization": key[:-1]}, {"authorization": f"{key}x"},
        {"authorization": f"Bearer {known.prefix}"},
        {"authorization": "Bearer qga_"}, {"authorization": "Basic Zm9v"}, {"authorization": f"Bearer {CRON}"},
        {"authorization": "Bearer qga_ü".encode()},
    ):  # fmt: skip
        assert problem(door("GET", "/api/admin/tests/one", headers=headers)) == (401, "invalid_admin_key"), headers
    admin_keys.revoke(door.control.system, known.prefix)
    assert problem(door("GET", "/api/admin/tests/one", headers={"authorization": key})) == (401, "invalid_admin_key")


def test_an_admin_key_is_no_user(door: Door) -> None:
    answer = door("POST", "/api/tests/told", json={"amount": 1}, headers=door.admin())
    assert problem(answer) == (401, "invalid_api_key")


def test_the_cron_secret_opens_what_it_is_for_and_nothing_else(door: Door) -> None:
    by_cron = {"authorization": f"Bearer {CRON}"}
    assert door("POST", "/api/tests/cron", headers=by_cron).json() == "cron"
    assert door("POST", "/api/tests/cron", headers=door.admin("system:write")).json() == "admin:root"
    assert problem(door("POST", "/api/tests/cron", headers={"authorization": f"Bearer {CRON}x"}))[0] == 401
    assert problem(door("POST", "/api/tests/cron", headers=door.admin("ledger:read"))) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("name", "scopes"), [("", ("*",)), ("two words", ("*",)), ("x" * 101, ("*",)), ("eve", ()), ("eve", ("all",))]
)
def test_an_admin_key_needs_a_name_and_known_scopes(door: Door, name: str, scopes: tuple[str, ...]) -> None:
    with pytest.raises(RefusedInput):
        admin_keys.create(door.control.system, name, scopes)


# ── writes that may be repeated ──────────────────────────────────────────────────────────────────────────────────────


def tell(door: Door, key: str | None, amount: int = 1, headers: dict[str, str] = ALICE) -> httpx2.Response:
    more = {} if key is None else {"idempotency-key": key}
    return door("POST", "/api/tests/told", json={"amount": amount}, headers=headers | more)


def test_a_repeat_reads_what_the_first_one_read_and_acts_once(door: Door) -> None:
    first, again = tell(door, "k1"), tell(door, "k1")

    assert first.json() == again.json()
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(seen) == 1


def test_another_request_with_the_key_is_refused(door: Door) -> None:
    tell(door, "k1")
    assert problem(tell(door, "k1", amount=2)) == (422, "idempotency_key_reused")


def test_keys_belong_to_their_callers(door: Door) -> None:
    bob = ALICE | {"x-user-id": "bob"}
    assert tell(door, "k1").json()["account"] == "alice"
    assert tell(door, "k1", headers=bob).json()["account"] == "bob"
    assert len(set(seen)) == 2


def test_without_a_key_every_request_acts(door: Door) -> None:
    tell(door, None)
    tell(door, None)
    assert len(set(seen)) == 2


def test_a_write_that_was_refused_may_be_tried_again_under_the_same_id(door: Door) -> None:
    headers = ALICE | {"idempotency-key": "k1"}
    for _ in range(2):
        assert problem(door("POST", "/api/tests/fails?how=conflict", headers=headers))[0] == 409
    assert len(seen) == 2
    assert len(set(seen)) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "ä".encode(), b"\x01"])
def test_a_key_that_is_none_is_refused(door: Door, key: str | bytes) -> None:
    headers = [*ALICE.items(), ("idempotency-key", key)]
    answer = door("POST", "/api/tests/told", json={"amount": 1}, headers=headers)
    assert problem(answer)[0] in (400, 422)
    assert seen == []


# ── web pages ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pages_of_known_origins_may_call(door: Door) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    known = door("OPTIONS", "/api/tests/told", headers={"origin": "https://app.example.com"} | asked)
    other = door("OPTIONS", "/api/tests/told", headers={"origin": "https://evil.example.com"} | asked)

    assert known.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "access-control-allow-origin" not in other.headers


def test_the_document_describes_problems_once(door: Door) -> None:
    document = door("GET", "/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]
    told = document["paths"]["/api/tests/told"]["post"]
    assert told["responses"]["409"]["content"][MEDIA_TYPE]["schema"]["$ref"].endswith("/Problem")
    assert "HTTPValidationError" not in document["components"]["schemas"]
