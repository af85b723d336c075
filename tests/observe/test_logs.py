"""Log records: their form, their fields, and that nobody can write one by choosing a name."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from gateway.config.observability import Observability
from gateway.domain.usage import Usage
from gateway.observe import access, logs
from gateway.observe.observation import Observation

log = logging.getLogger("quotagate.test")

Written = Callable[[], str]

#: What a client may call its model or its account, to be read as another record.
FORGED = [
    "m\n2026-11-21 15:00:00,000 ERROR quotagate.proxy: forged",
    "m\r\n2026-11-21 15:00:00,000 ERROR quotagate.proxy: forged",
    "m\u20282026-11-21 15:00:00,000 ERROR quotagate.proxy: forged",
    "m\x852026-11-21 15:00:00,000 ERROR quotagate.proxy: forged",
    'm", "level": "CRITICAL", "x": "',
    "m\x1b[2K\x1b[1G2026-11-21 ERROR forged",
    "m\x08\x08\x08",
    "m level=CRITICAL request_id=r2",
    "m\u202eback",
    "m\ud800",
]


@pytest.fixture(params=["text", "json"])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_logs() -> Iterator[Callable[..., Written]]:
    """Sets logging up as a process does, and puts it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def new(**settings: Any) -> Written:
        stream = io.StringIO()
        logs.set_up(Observability(**settings), stream)
        return stream.getvalue

    yield new
    root.handlers[:] = handlers
    root.setLevel(level)


def ended(model: str = "m1", account: str = "ada") -> Observation:
    seen = Observation("r1", "/v1/chat", "main")
    seen.identified(account, "qg_12345678")
    seen.model, seen.tier, seen.status = model, "free", 200
    seen.usage, seen.cost = Usage(21, 0, 0, 25, 0, True), 7
    seen.arrived_at, seen.reserved_at, seen.answering_at, seen.answered_at, seen.ended_at = 1.0, 1.5, 1.75, 1.8, 2.0
    return seen


def test_a_json_record_is_one_object_with_time_level_logger_and_message(new_logs: Callable[..., Written]) -> None:
    written = new_logs(log_format="json")

    log.warning("call %s broke off", "r1", extra={"request_id": "r1"})

    record = json.loads(written())
    assert datetime.fromisoformat(record.pop("time")).tzinfo is not None
    assert record == {
        "level": "WARNING", "logger": "quotagate.test", "message": "call r1 broke off", "request_id": "r1",
    }  # fmt: skip


def test_a_text_record_ends_with_its_fields(new_logs: Callable[..., Written]) -> None:
    written = new_logs()

    log.warning("broke off", extra={"request_id": "r1", "model": "a b"})

    assert written().endswith(" WARNING quotagate.test: broke off request_id=r1 model='a b'\n")


def test_records_below_the_level_are_not_written(new_logs: Callable[..., Written], log_format: str) -> None:
    written = new_logs(log_format=log_format, log_level="warning")

    log.info("unheard")

    assert written() == ""


def test_the_access_log_is_written_whatever_the_level_of_the_rest(new_logs: Callable[..., Written]) -> None:
    written = new_logs(log_level="error")

    access.write(ended())

    assert "call served" in written()


def test_an_exception_is_part_of_its_record(new_logs: Callable[..., Written]) -> None:
    written = new_logs(log_format="json")

    try:
        raise ValueError("first\nsecond")
    except ValueError:
        log.exception("failed")

    (line,) = written().splitlines()
    assert "ValueError: first\nsecond" in json.loads(line)["exc_info"]


@pytest.mark.parametrize("name", FORGED)
def test_a_name_that_a_client_chose_begins_no_record(
    new_logs: Callable[..., Written], log_format: str, name: str
) -> None:
    written = new_logs(log_format=log_format)

    access.write(ended(model=name, account=name))
    log.warning("no price for %s", name)
    try:
        raise ValueError(name)
    except ValueError:
        log.exception("failed")

    lines = [line for line in written().splitlines() if not line.startswith("    ")]
    assert len(lines) == 3
    assert all(line.isprintable() for line in written().split("\n"))
    if log_format == "json":
        assert [json.loads(line)["level"] for line in lines] == ["INFO", "WARNING", "ERROR"]
        assert json.loads(lines[0])["model"] == name
    else:
        assert "\n    " not in lines[0]
        assert " model=m level=" not in lines[0]


def test_the_access_line_says_who_called_what_and_how_it_went(new_logs: Callable[..., Written]) -> None:
    written = new_logs(log_format="json")

    access.write(ended())

    record = json.loads(written())
    record.pop("time")
    assert record == {
        "level": "INFO", "logger": "quotagate.access", "message": "call served", "request_id": "r1", "account": "ada",
        "key": "qg_12345678", "tier": "free", "route": "/v1/chat", "model": "m1", "status": 200, "outcome": "served",
        "cost": 7, "duration_ms": 1000.0, "input_tokens": 21, "output_tokens": 25, "estimated": True,
        "first_byte_ms": 250.0,
    }  # fmt: skip


def test_the_access_line_of_a_denial_names_code_and_policy(new_logs: Callable[..., Written]) -> None:
    written = new_logs(log_format="json")
    seen = Observation("r1", "/v1/chat", "main")
    seen.refused(429, "insufficient_quota", "day")

    access.write(seen)

    record = json.loads(written())
    assert (record["outcome"], record["code"], record["policy"], record["status"]) == (
        "denied", "insufficient_quota", "day", 429,
    )  # fmt: skip
    assert "input_tokens" not in record
