"""`[observability]`: what may stand there, and what it means."""

from __future__ import annotations

import importlib.util

import pytest

from gateway.config import load, parse
from gateway.config.observability import Observability
from gateway.domain.errors import ConfigError
from tests.config.test_load import SHIPPED
from tests.support.config import config_text

ENDPOINT = "http://127.0.0.1:4318/v1/traces"


def read(table: str) -> Observability:
    return parse(config_text(more=f"[observability]\n{table}"), "config.toml", {}).observability


def fault_of(table: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(table)
    (fault,) = caught.value.faults
    return fault


def test_metrics_are_on_and_all_else_is_off_unless_the_config_says_so() -> None:
    assert parse(config_text(), "config.toml", {}).observability == Observability()
    assert Observability() == Observability(
        metrics=True, metrics_token="", log_format="text", log_level="info", access_log=False, traces_endpoint=""
    )


def test_the_shipped_config_documents_every_key_with_its_default() -> None:
    assert load(SHIPPED, {}).observability == Observability()
    documented = SHIPPED.read_text().partition("[observability]\n")[2]
    assert [line.partition(" = ")[0] for line in documented.splitlines() if " = " in line] == list(
        Observability.__dataclass_fields__
    )


def test_every_key_is_read() -> None:
    table = (
        f'metrics = false\nmetrics_token = "{"t" * 16}"\nlog_format = "json"\nlog_level = "debug"\naccess_log = true\n'
        f'traces_endpoint = "{ENDPOINT}"'
    )

    assert read(table) == Observability(False, "t" * 16, "json", "debug", True, ENDPOINT)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('log_format = "xml"', '"text" or "json"'),
        ('log_level = "loud"', '"debug", "info", "warning" or "error"'),
        ('access_log = "yes"', "true or false"),
        ('traces_endpoint = "collector:4318"', "http:// or https://"),
        ('traces_endpoint = "http://user:password@collector/v1/traces"', "without user"),
        ('traces_endpoint = "http://collector/v1/traces?key=1"', "without user, query"),
    ],
)
def test_what_may_not_stand_there_is_named(table: str, told: str) -> None:
    fault = fault_of(table)

    assert fault.startswith("observability." + table.partition(" ")[0])
    assert told in fault


def test_a_token_that_is_too_short_is_refused_and_not_shown() -> None:
    fault = fault_of('metrics_token = "hunter2"')

    assert "at least 16 characters" in fault
    assert "hunter2" not in fault
    assert "hunter2-hunter2-" not in repr(read('metrics_token = "hunter2-hunter2-"'))


def test_an_endpoint_with_a_password_is_not_shown() -> None:
    assert "password" not in fault_of('traces_endpoint = "http://user:password@collector/v1/traces"').partition(":")[0]


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk.trace", "opentelemetry.exporter.otlp"])
def test_traces_without_opentelemetry_say_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def found(name: str) -> object:
        if name == missing:
            return None
        if name.startswith(missing):
            raise ModuleNotFoundError(name)
        return find_spec(name)

    monkeypatch.setattr(importlib.util, "find_spec", found)

    assert fault_of(f'traces_endpoint = "{ENDPOINT}"') == (
        f'observability.traces_endpoint = "{ENDPOINT}" needs OpenTelemetry, which is not installed: '
        "pip install 'quotagate[tracing]'"
    )
