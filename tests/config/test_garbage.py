"""Whatever stands in a config, it loads or it is refused in words: nothing else ever comes out."""

from __future__ import annotations

import contextlib
import datetime
import json
import tomllib
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.config import parse
from gateway.domain.errors import ConfigError
from tests.config.test_load import ENVIRONMENT, SKETCH

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return str(value)


def loads_or_is_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse(text, "config.toml", ENVIRONMENT)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\ud83d\x00"), max_size=12).filter(str.isprintable)
VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | TEXTS
    | st.sampled_from(["", "env:REDIS_URL", "env:NOT_SET", "tokens", "day", "free", "main", "chat", "*", "/x", "1"])
    | st.datetimes(timezones=st.just(datetime.UTC))
    | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)

SKETCHED = tomllib.loads(SKETCH)


def paths(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every key of the sketch, tables included."""
    steps: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in steps for path in paths(item, (*at, key)))]


def replaced(value: Any, path: tuple[str | int, ...], by: Any) -> Any:
    if not path:
        return by
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


@relaxed
@given(st.sampled_from(paths(SKETCHED)[1:]), VALUES)
@example(("gateway", "listen"), "²:²")
@example(("gateway", "listen"), "h:٣")
@example(("upstreams", "main", "base_url"), "http://[")
@example(("upstreams", "main", "base_url"), "http://]/")
@example(("upstreams", "main", "base_url"), "//\u2100")
@example(("upstreams",), {"": {}})
@example(("tiers", "free", "allowance"), [{}, 5, {"every": []}])
@example(("routes", 0, "methods"), [["POST"]])
@example(("prices",), {"[": {"input": 1, "output": 1}})
def test_anything_under_any_key_loads_or_is_refused(path: tuple[str | int, ...], value: Any) -> None:
    tables = replaced(SKETCHED, path, value)

    loads_or_is_refused("\n".join(f"{key} = {toml(item)}" for key, item in tables.items()))


@relaxed
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_any_tables_load_or_are_refused(tables: dict[str, Any]) -> None:
    loads_or_is_refused("\n".join(f"{json.dumps(key)} = {toml(item)}" for key, item in tables.items()))


@relaxed
@given(st.text(max_size=60))
def test_any_text_loads_or_is_refused(text: str) -> None:
    loads_or_is_refused(text)


@relaxed
@given(st.integers(0, len(SKETCH)), st.integers(0, 30), st.text(max_size=8))
def test_a_config_with_a_slip_in_it_loads_or_is_refused(at: int, length: int, slip: str) -> None:
    loads_or_is_refused(SKETCH[:at] + slip + SKETCH[at + length :])


@pytest.mark.parametrize(
    "line",
    [
        "decimals = " + "9" * 5000,
        "decimals = 0x" + "f" * 5000,
        "decimals = " + "[" * 20_000,
        "decimals = " + "[" * 400 + "]" * 400,
        "decimals = " + "{a=" * 20_000,
        "decimals" + ".a" * 5000 + " = 1",
        "decimals = 1e999999",
        "decimals = 9999-12-31T23:59:59+23:59",
        'timezone = "' + "a" * 5000 + '"',
        'timezone = "a\\u0000b"',
        'listen = "h:' + "9" * 5000 + '"',
    ],
    ids=[
        "digits",
        "hexadecimal",
        "open lists",
        "lists",
        "open tables",
        "dots",
        "exponent",
        "date",
        "zone",
        "NUL",
        "port",
    ],
)
def test_a_monstrous_value_is_refused_in_words(line: str) -> None:
    key = line.partition(" ")[0].partition(".")[0]
    lines = [old for old in SKETCH.splitlines() if not old.startswith(f"{key} = ")]
    lines.insert(lines.index("[gateway]") + 1, line)

    with pytest.raises(ConfigError):
        parse("\n".join(lines), "config.toml", ENVIRONMENT)
