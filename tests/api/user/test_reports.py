"""`/api/user/update-tokens`: usage from elsewhere is counted once, and waits in SQL while Redis is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.accounts import api_keys, reporting
from gateway.accounts.key_terms import KeyTerms
from gateway.domain.errors import StoreUnavailable
from gateway.domain.tier import MAX_UNITS
from gateway.ledger.queries import usage_of
from gateway.ledger.tables import api_keys as api_key_rows
from gateway.ledger.tables import reports_to_apply
from gateway.store import runner
from tests.api.user.door import Door

REPORT = "/api/user/update-tokens"
KEYED = {"idempotency-key": "k1"}


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Redis is away for acts, until it is called."""
    real = runner.Runner.run_many

    def fail(*_: object) -> Any:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(runner.Runner, "run_many", fail)
    return lambda: monkeypatch.setattr(runner.Runner, "run_many", real)


def waiting(door: Door) -> int:
    with door.ledger.connect() as connection:
        return len(connection.execute(select(reports_to_apply)).all())


def test_a_report_is_counted_for_life_and_charged_for_nothing(door: Door) -> None:
    assert door.post(REPORT, {"totalTokens": 1916}) == {"success": True, "tokensUsed": 1916, "pending": False}
    assert door.post(REPORT, {"totalTokens": 84})["tokensUsed"] == 2000
    assert door.get("/api/chat/token")["remaining"] == 20


def test_the_ledger_hears_of_it(door: Door) -> None:
    told = {"totalTokens": 100, "inputTokens": 60, "outputTokens": 30, "model": "m1", "session": "s1"}
    door.post(REPORT, told, headers={"x-session-id": "another"})
    door.post(REPORT, {"totalTokens": 5}, headers={"x-session-id": "another"})
    door.drain()

    first, second = usage_of(door.ledger, "ada")
    assert (first["input_tokens"], first["output_tokens"], first["reported_tokens"], first["total_tokens"]) == (
        60, 30, 10, 100,
    )  # fmt: skip
    assert (first["outcome"], first["model"], first["operation"], first["session"], first["cost"]) == (
        "reported", "m1", "report", "s1", 0,
    )  # fmt: skip
    assert (second["reported_tokens"], second["session"]) == (5, "another")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"totalTokens": 0}, {"totalTokens": -1}, {"totalTokens": 1.0}, {"totalTokens": True}, {"totalTokens": "1"},
        {"totalTokens": None}, {"totalTokens": MAX_UNITS + 1}, {"totalTokens": 10, "inputTokens": 1.0},
        {"totalTokens": 10, "outputTokens": -1}, {"totalTokens": 10, "inputTokens": 6, "outputTokens": 5},
        {"totalTokens": 10, "inputTokens": 11}, {"totalTokens": 10, "more": 1}, {"total": 10}, {"input": 1},
        {"totalTokens": 10, "model": "x" * 201}, {"totalTokens": 10, "session": "a\nb"}, [], None, 1,
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(door: Door, body: Any) -> None:
    assert door.post(REPORT, body, status=422)["code"] == "invalid_request"
    assert list(door.system.redis.scan_iter("*:ada*")) == []


def test_a_report_that_is_repeated_is_counted_once(door: Door) -> None:
    first = door.post(REPORT, {"totalTokens": 10}, headers=KEYED)
    for key in door.system.redis.scan_iter("qg:{p00}:idempotent:*"):
        door.system.redis.delete(key)

    assert door.post(REPORT, {"totalTokens": 10}, headers=KEYED) == first
    assert door.field("used_tokens") == "10"


def test_more_than_can_be_counted_is_refused(door: Door) -> None:
    door.post(REPORT, {"totalTokens": MAX_UNITS})

    assert door.post(REPORT, {"totalTokens": 1}, status=409)["code"] == "conflict"


def test_a_credential_for_other_things_reports_nothing(door: Door) -> None:
    [answer] = door.together(("POST", REPORT, {"headers": door.publish(scopes=("chat",)), "json": {"totalTokens": 1}}))

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


def test_without_redis_a_report_waits_and_is_counted_once(door: Door, away: Any) -> None:
    kept = {"success": True, "tokensUsed": None, "pending": True}
    told = {"totalTokens": 1916, "inputTokens": 1000, "model": "größer"}
    assert door.post(REPORT, told, status=202, headers=KEYED) == kept
    assert door.post(REPORT, told, status=202, headers=KEYED) == kept
    assert waiting(door) == 1
    with pytest.raises(StoreUnavailable):
        reporting.apply_kept(door.system)
    assert waiting(door) == 1

    away()
    assert reporting.apply_kept(door.system) == 1
    assert reporting.apply_kept(door.system) == 0

    assert (door.field("used_tokens"), waiting(door)) == ("1916", 0)
    door.drain()
    (row,) = usage_of(door.ledger, "ada")
    assert (row["input_tokens"], row["reported_tokens"], row["model"]) == (1000, 916, "größer")


def test_a_report_that_was_counted_and_not_forgotten_is_counted_once(door: Door, away: Any) -> None:
    door.post(REPORT, {"totalTokens": 10}, status=202)
    with door.ledger.connect() as connection:
        (row,) = connection.execute(select(reports_to_apply)).all()
    away()
    reporting.apply_kept(door.system)

    with door.ledger.begin() as connection:
        connection.execute(reports_to_apply.insert().values(row._asdict()))
    assert reporting.apply_kept(door.system) == 1

    assert (door.field("used_tokens"), waiting(door)) == ("10", 0)


def test_a_report_that_can_never_be_counted_keeps_no_other_waiting(door: Door, away: Any) -> None:
    for tokens in (MAX_UNITS, 5, 1):
        door.post(REPORT, {"totalTokens": tokens}, status=202, account="ada" if tokens != 1 else "bob")
    away()

    assert reporting.apply_kept(door.system) == 3
    assert (waiting(door), door.field("used_tokens"), door.field("used_tokens", "bob")) == (0, str(MAX_UNITS), "1")


def test_without_redis_and_sql_a_report_is_refused(door: Door, away: Any) -> None:
    with door.ledger.begin() as connection:
        connection.exec_driver_sql("DROP TABLE reports_to_apply")

    refused = door.post(REPORT, {"totalTokens": 10}, status=503)

    assert refused["code"] == "ledger_unavailable"


def test_without_redis_even_a_report_with_a_key_waits(door: Door, away: Any) -> None:
    """The key's answer cannot be remembered then; the row's id makes its repeats one."""
    door.store.fault = StoreUnavailable("gone")

    for _ in range(2):
        assert door.post(REPORT, {"totalTokens": 10}, status=202, headers=KEYED)["pending"]
    assert waiting(door) == 1


def test_without_redis_another_report_of_the_same_key_is_refused(door: Door, away: Any) -> None:
    door.store.fault = StoreUnavailable("gone")
    door.post(REPORT, {"totalTokens": 10}, status=202, headers=KEYED)

    assert door.post(REPORT, {"totalTokens": 11}, status=409, headers=KEYED)["code"] == "conflict"
    assert waiting(door) == 1


def test_without_redis_whoever_has_an_api_key_reports_all_the_same_and_does_nothing_else(door: Door, away: Any) -> None:
    away()
    keys = api_keys.create(door.system, ["ada", "bob"], terms=KeyTerms(scopes=("chat", "report")))
    chat, gone, late = api_keys.create(door.system, ["ada"] * 3, terms=KeyTerms(scopes=("chat",)))
    api_keys.revoke(door.system, gone)
    with door.ledger.begin() as connection:
        is_it = api_key_rows.c.prefix == late[:11]
        ended = datetime.now(UTC) - timedelta(days=1)
        connection.execute(update(api_key_rows).where(is_it).values(expires_at=ended, scopes=""))
    door.store.fault = StoreUnavailable("gone")

    def ask(key: str, path: str = REPORT) -> int:
        headers = {"authorization": f"Bearer {key}"} | KEYED
        body = {"totalTokens": 10} if path == REPORT else {}
        return door.together(("POST", path, {"headers": headers, "json": body}))[0].status_code

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner.Runner, "run_many", _fail)
        assert [ask(keys[0]), ask(keys[0]), ask(keys[1])] == [202] * 3
        assert [ask(chat), ask(gone), ask(late), ask(keys[0][:-1] + "?"), ask("qg_nobody")] == [403, *[503] * 4]
        assert ask(keys[0], "/api/chat/token/use") == 503
    assert waiting(door) == 2
    assert reporting.apply_kept(door.system) == 2
    assert (door.field("used_tokens"), door.field("used_tokens", "bob")) == ("10", "10")


def _fail(*_: object) -> Any:
    raise StoreUnavailable("gone")
