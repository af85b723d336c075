"""Whatever a provider sends, a meter does not raise, and its counts are consistent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.usage import Usage
from gateway.meters import METERS, Meter, open_meter
from tests.meters.answers import ANSWERS, JSON, NDJSON, SSE, Answer
from tests.meters.feeding import CODINGS, fed, meter_for

CONTENT_TYPES = (SSE, JSON, NDJSON, "text/plain", "audio/mpeg", "", ";;", "\x00")
CONTENT_ENCODINGS = ("", "gzip", "deflate", "br", "gzip, br", "zstd", ",,", "gzip, gzip, gzip, gzip, gzip")

thoroughly = settings(max_examples=80, deadline=None, derandomize=True, database=None)

dialects = st.sampled_from(sorted(METERS))
answers = st.sampled_from(ANSWERS)
#: What may stand where a count belongs: JSON values, and some that are none.
values = st.one_of(
    st.sampled_from(
        ["null", "true", "-1", "-0.0", "1.5", "1e3", "1e400", "-1e400", "9007199254740993", "1e15", "1e16"]
    ),
    st.sampled_from(["NaN", "Infinity", "01", "0x1", "", "[]", "{}", "9" * 5000, "[" * 2000]),
    st.integers().map(str),
    st.floats().map(json.dumps),
    st.text(max_size=9).map(json.dumps),
)


def assert_consistent(meter: Meter) -> None:
    usage = meter.reported()
    if usage is not None:
        counts = (usage.input, usage.cached, usage.cache_write, usage.output, usage.reasoning)
        assert all(type(count) is int and count >= 0 for count in counts), usage
        assert usage.cached + usage.cache_write <= usage.input, usage
        assert usage.reasoning <= usage.output, usage
        assert 0 < usage.total + usage.audio_ms + usage.images < 2**53, usage
        assert usage.estimated is False
    assert type(meter.failed) is bool
    counted = meter.counted_output()
    assert type(counted) is int
    assert counted >= 0
    assert meter.counted_output() == counted


@thoroughly
@given(
    dialects,
    st.sampled_from(CONTENT_TYPES),
    st.sampled_from(CONTENT_ENCODINGS),
    st.lists(st.binary(max_size=60), max_size=9),
)
def test_random_bytes_are_survived(dialect: str, content_type: str, coding: str, chunks: list[bytes]) -> None:
    meter = open_meter(dialect, content_type, coding, usage_path="a.0.b" if dialect == "path" else None)

    for chunk in chunks:
        meter.feed(chunk)
        assert_consistent(meter)
    meter.finish()

    assert_consistent(meter)


@thoroughly
@given(answers, st.lists(values, min_size=1, max_size=6), st.booleans(), st.integers(1, 400))
def test_random_values_in_the_fields_of_usage_are_survived(
    answer: Answer, instead: list[str], as_auto: bool, chunk_bytes: int
) -> None:
    replacements = iter(instead * 99)
    body = re.sub(r'(?<=[sStT]":)( ?)[0-9.]+', lambda count: count[1] + next(replacements), answer.text).encode()

    assert_consistent(fed(meter_for(answer, "auto" if as_auto else None), body, chunk_bytes))


@thoroughly
@given(answers, values, st.integers(0))
def test_a_value_of_another_shape_is_survived(answer: Answer, instead: str, which: int) -> None:
    keys = re.findall(r'"\w+": ?(?=[{\[])', answer.text)
    if keys:
        key = keys[which % len(keys)]
        body = answer.text.replace(key, f'{key}{instead},"_":').encode()
        assert_consistent(fed(meter_for(answer), body, 50))


@thoroughly
@given(answers, st.integers(0, 2000), st.integers(1, 100))
def test_a_truncated_answer_is_survived(answer: Answer, length: int, chunk_bytes: int) -> None:
    meter = fed(meter_for(answer), answer.body[:length], chunk_bytes)

    assert_consistent(meter)
    assert meter.reported() is None or answer.usage is not None


@thoroughly
@given(
    answers,
    st.sampled_from(CODINGS),
    st.lists(st.tuples(st.integers(0), st.integers(1, 255)), min_size=1, max_size=3),
)
def test_a_corrupt_compressed_answer_is_survived(
    answer: Answer, coding: tuple[str, Callable[[bytes], bytes]], damage: list[tuple[int, int]]
) -> None:
    content_encoding, encode = coding
    body = bytearray(encode(answer.body))
    for place, bits in damage:
        body[place % len(body)] ^= bits

    assert_consistent(fed(meter_for(answer, content_encoding=content_encoding), bytes(body), 32))


@thoroughly
@given(st.lists(answers, max_size=3), dialects, st.sampled_from(CONTENT_TYPES))
def test_an_answer_in_the_wrong_dialect_is_survived(wrong: list[Answer], dialect: str, content_type: str) -> None:
    assert_consistent(fed(open_meter(dialect, content_type), b"".join(answer.body for answer in wrong), 70))


@pytest.mark.parametrize(
    ("given_value", "count"),
    [
        ("7", 7),
        ("7.0", 7),
        ("7.2", 8),
        ("7e2", 700),
        ("0.001", 1),
        ("null", None),
        ('"7"', None),
        ("true", None),
        ("-7", None),
        ("1e400", None),
        ("9007199254740993", None),
        ("[7]", None),
        ("{}", None),
    ],
)
def test_a_count_is_a_finite_number_rounded_up(given_value: str, count: int | None) -> None:
    body = f'{{"choices":[],"usage":{{"prompt_tokens":3,"completion_tokens":{given_value}}}}}'.encode()

    assert fed(open_meter("openai-chat", JSON), body).reported() == Usage(input=3, output=count or 0)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ('{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9}}', Usage(5, 5, 0, 2, 0)),
        (
            '{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":4}}',
            Usage(5, 4, 1, 2, 0),
        ),
        (
            '{"prompt_tokens":5,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":9}}',
            Usage(5, 0, 0, 2, 2),
        ),
        ('{"prompt_tokens":5,"total_tokens":12}', Usage(5, 0, 0, 7, 0)),
        ('{"completion_tokens":5,"total_tokens":12}', Usage(7, 0, 0, 5, 0)),
        ('{"prompt_tokens":5,"total_tokens":2}', Usage(5, 0, 0, 0, 0)),
        ('{"total_tokens":12}', Usage(0, 0, 0, 12, 0)),
        ('{"prompt_tokens":5,"completion_tokens":7,"total_tokens":99}', Usage(5, 0, 0, 7, 0)),
        ('{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}', None),
        ("{}", None),
        ("[]", None),
        ("null", None),
    ],
)
def test_usage_nests_whatever_the_provider_says(usage: str, expected: Usage | None) -> None:
    body = f'{{"choices":[],"usage":{usage}}}'.encode()

    assert fed(open_meter("openai-chat", JSON), body).reported() == expected


def test_a_document_nested_too_deeply_costs_only_its_own_usage() -> None:
    deep = b'data: {"choices":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"usage":{"prompt_tokens":9}}\n\n'
    body = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n' + deep

    assert fed(open_meter("openai-chat", SSE), body, 4096).reported() == Usage(input=1, output=2)
