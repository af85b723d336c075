"""Asking for usage on a client's behalf: one member more, and not a byte else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.request import ask_for_usage

ASKED = b'"stream_options":{"include_usage":true}'


def test_a_request_without_options_gets_them() -> None:
    asked = ask_for_usage(b'{"model":"m","stream":true}')

    assert json.loads(asked) == {"model": "m", "stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"null", {"include_usage": True}),
        (b"{}", {"include_usage": True}),
        (b'{"include_usage":false}', {"include_usage": True}),
        (b'{"include_usage":null}', {"include_usage": True}),
        (b'{"include_obfuscation":false}', {"include_obfuscation": False, "include_usage": True}),
        (b'{"continuous_usage_stats":true,"x":[1]}', {"continuous_usage_stats": True, "x": [1], "include_usage": True}),
    ],
)
def test_options_that_stand_there_stay(options: bytes, expected: dict[str, Any]) -> None:
    asked = ask_for_usage(b'{"stream_options":' + options + b',"model":"m"}')

    assert json.loads(asked) == {"model": "m", "stream_options": expected}


@pytest.mark.parametrize(
    "value",
    [
        b"123456789012345678901234567890",
        b"-9223372036854775809",
        b"1.10",
        b"1e5",
        b"1E+005",
        b"-0.0",
        b"0.1000000000000000055511151231257827",
        b"1.7976931348623157e308",
        b'"\\u00e9\\/\\ud83d\\ude00"',
        '"é😀"'.encode(),
        b'{"b":1,"a":2,"b":3}',
        b"[ 1 , 2 ]",
        b'{ "nested" : { "stream_options" : null } }',
        b'"{\\"stream_options\\":1}"',
        b"[" * 200 + b"]" * 200,
    ],
)
def test_a_value_keeps_its_bytes(value: bytes) -> None:
    asked = ask_for_usage(b'{"model":"m","x":' + value + b',"stream":true}')

    assert b'"x":' + value + b"," in asked


@pytest.mark.parametrize("value", [b"123456789012345678901234567890", b"1.10", b"1e5", b'"\\u00e9"'])
def test_an_option_keeps_its_bytes(value: bytes) -> None:
    asked = ask_for_usage(b'{"stream_options":{"x":' + value + b'},"model":"m"}')

    assert b'"x":' + value in asked
    assert json.loads(asked)["stream_options"]["include_usage"] is True


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m", "stream": true}',
        b'{\n  "model": "m",\n  "stream": true\n}\n',
        b'{"\\u006dodel":"m","stream":true}',
        '{"modèle":"é","stream":true}'.encode(),
        b'{"a":1,"a":2,"stream":true}',
        b"{}",
    ],
)
def test_every_other_byte_stays_where_it_was(body: bytes) -> None:
    """Taking the member out again gives the body back, but for the one comma that parts it from another."""
    asked = ask_for_usage(body)

    assert ASKED in asked
    before, _, after = asked.partition(ASKED)
    assert body in (before + after, before + after.removeprefix(b","), before.removesuffix(b",") + after)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=9), JSON, max_size=6))
def test_whatever_the_request_says_it_says_the_same_and_asks_for_usage(body: dict[str, Any]) -> None:
    asked = json.loads(ask_for_usage(json.dumps(body).encode()))

    assert asked == body | {"stream_options": {"include_usage": True}}


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=9), JSON, max_size=6))
def test_asking_twice_is_asking_once(options: dict[str, Any]) -> None:
    once = ask_for_usage(json.dumps({"model": "m", "stream_options": options}).encode())

    assert json.loads(ask_for_usage(once)) == json.loads(once)
