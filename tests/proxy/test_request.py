"""What a request says of its own cost, in every dialect and in every disguise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.route import Route
from gateway.proxy.request import MAX_TOKENS, RequestFacts, UnreadableBody, read

JSON = b"application/json"


def facts_of(body: Any, dialect: str = "openai-chat", path: str = "/v1/x", content_type: bytes = JSON) -> RequestFacts:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(Route(path=path, upstream="main", operation="chat", dialect=dialect), path, content_type, data)


# ── every dialect ────────────────────────────────────────────────────────────────────────────────────────────────────

GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"
GEMINI_STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
ASKED = {"include_usage": True}

#: Dialect, path, body, and what is read: model, stream, output limit.
DIALECTS: list[tuple[str, str, dict[str, Any], tuple[str, bool, int | None]]] = [
    ("openai-chat", "/v1/chat/completions", {"model": "gpt-4o", "max_tokens": 100}, ("gpt-4o", False, 100)),
    ("openai-chat", "/v1/chat/completions", {"model": "o3", "max_completion_tokens": 7}, ("o3", False, 7)),
    ("openai-chat", "/v1/chat/completions", {"model": "m", "n": 3, "max_tokens": 10, "stream": True}, ("m", True, 30)),
    ("openai-responses", "/v1/responses", {"model": "m", "max_output_tokens": 50, "stream": True}, ("m", True, 50)),
    ("openai-embeddings", "/v1/embeddings", {"model": "e", "input": ["a", "b"]}, ("e", False, 0)),
    ("openai-images", "/v1/images/generations", {"model": "gpt-image-1", "n": 2}, ("gpt-image-1", False, None)),
    ("anthropic-messages", "/v1/messages", {"model": "claude", "max_tokens": 9, "stream": True}, ("claude", True, 9)),
    ("gemini", GEMINI, {"generationConfig": {"maxOutputTokens": 64}}, ("gemini-2.5-flash", False, 64)),
    (
        "gemini", GEMINI_STREAM, {"generationConfig": {"maxOutputTokens": 64, "candidateCount": 2}},
        ("gemini-2.5-flash", True, 128),
    ),
    # Google's JSON takes both spellings.
    ("gemini", GEMINI, {"generation_config": {"max_output_tokens": 64}}, ("gemini-2.5-flash", False, 64)),
    (
        "gemini-interactions", "/v1beta/interactions",
        {"model": "gemini-3", "stream": True, "generation_config": {"max_output_tokens": 32}},
        ("gemini-3", True, 32),
    ),
    ("dify", "/v1/chat-messages", {"query": "hi", "response_mode": "streaming"}, ("", True, None)),
    ("dify", "/v1/chat-messages", {"query": "hi", "response_mode": "blocking"}, ("", False, None)),
    ("ollama", "/api/chat", {"model": "llama3"}, ("llama3", True, None)),
    ("ollama", "/api/chat", {"model": "l", "stream": False, "options": {"num_predict": 5}}, ("l", False, 5)),
    ("ollama", "/api/chat", {"model": "l", "options": {"num_predict": -1}}, ("l", True, None)),
    ("cohere", "/v2/chat", {"model": "command", "max_tokens": 4, "stream": True}, ("command", True, 4)),
    ("path", "/x", {"model": "own"}, ("own", False, None)),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "path", "body", "expected"), DIALECTS)
def test_every_dialect_is_read(
    dialect: str, path: str, body: dict[str, Any], expected: tuple[str, bool, int | None]
) -> None:
    facts = facts_of(body, dialect, path)

    assert (facts.model, facts.stream, facts.output_limit) == expected


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        ({"stream_options": ASKED}, True),
        ({"stream_options": {"include_usage": False}}, False),
        ({"stream_options": {"include_usage": 1}}, False),
        ({"stream_options": {}}, False),
        ({"stream_options": None}, False),
        ({}, False),
    ],
)
def test_a_client_that_asks_for_usage_itself_is_known(body: dict[str, Any], asks: bool) -> None:
    assert facts_of(body | {"stream": True}).asks_usage is asks


def test_the_input_is_estimated_from_the_whole_body() -> None:
    short, long = (facts_of({"messages": [{"role": "user", "content": "word " * count}]}) for count in (10, 1000))

    assert 10 <= short.input_tokens < 100
    assert 1000 <= long.input_tokens < 3000


def test_a_call_without_a_body_has_no_cost_of_its_own() -> None:
    assert facts_of(b"", "gemini", GEMINI) == RequestFacts(model="gemini-2.5-flash")
    assert facts_of(b"") == RequestFacts()


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limit", "read_as"),
    [
        (1, 1),
        (10**9, 10**9),
        ("200", 200),
        (12.0, 12),
        (12.3, 13),
        (1e3, 1000),
        (0.5, 1),
        # Beyond all sense it is the largest: an upstream may cut it to its own.
        (10**9 + 1, 10**9),
        (10**30, 10**9),
        (1e300, 10**9),
        ("99999999999", 10**9),
        # What an upstream would refuse or ignore is no limit.
        (0, None),
        (-1, None),
        (-0.5, None),
        (True, None),
        (False, None),
        (None, None),
        ("", None),
        ("-1", None),
        ("many", None),
        ("1e3", None),
        ("٣", None),
        ([100], None),
        ({"value": 100}, None),
    ],
)
def test_a_limit_of_every_type_is_read_or_left_alone(limit: object, read_as: int | None) -> None:
    assert facts_of({"max_tokens": limit}).output_limit == read_as


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 10, "max_completion_tokens": 500},
        {"max_tokens": 500, "max_completion_tokens": 10, "max_output_tokens": 1},
        {"max_tokens": "junk", "max_output_tokens": 500},
        {"max_tokens": 10, "options": {"num_predict": 500}},
        {"max_tokens": 10, "generationConfig": {"maxOutputTokens": 500}},
        {"generationConfig": {"maxOutputTokens": 1}, "generation_config": {"maxOutputTokens": 500}},
    ],
)
def test_of_several_limits_the_largest_is_believed(body: dict[str, Any]) -> None:
    """An upstream may follow any of them."""
    assert facts_of(body).output_limit == 500


@pytest.mark.parametrize(
    ("n", "limit"), [(1, 10), (4, 40), ("4", 40), (2.5, 30), (0, 10), (-3, 10), (True, 10), (None, 10), ("x", 10)]
)
def test_each_answer_asked_for_may_reach_the_limit(n: object, limit: int) -> None:
    assert facts_of({"max_tokens": 10, "n": n}).output_limit == limit


def test_no_call_is_held_for_more_than_a_billion_tokens() -> None:
    assert facts_of({"max_tokens": 10**9, "n": 10**9}).output_limit == MAX_TOKENS


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "gpt-4o"),
        ("ft:gpt-4o:acme::id", "ft:gpt-4o:acme::id"),
        ("模型-😀", "模型-😀"),
        ("", ""),
        (None, ""),
        (5, ""),
        (["gpt-4o"], ""),
        ("a\nb\x00", "a\\nb\\x00"),
        ("\u202egpt", "\\u202egpt"),
    ],
)
def test_a_model_is_named_as_a_ledger_row_takes_it(model: object, name: str) -> None:
    assert facts_of({"model": model}).model == name


@pytest.mark.parametrize("model", ["m" * 5000, "\n" * 5000, "😀" * 5000])
def test_a_models_name_has_a_bounded_length(model: str) -> None:
    assert len(facts_of({"model": model}).model) == 200


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (GEMINI, "gemini-2.5-flash"),
        ("/v1beta/models/gemini-embedding-001:embedContent", "gemini-embedding-001"),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-3:generateContent", "gemini-3"),
        ("/v1beta/models/gemini-2.5-flash", ""),
        ("/v1beta/models", ""),
        ("/v1beta/models/a:b/c:d", ""),
    ],
)
def test_gemini_names_its_model_in_the_path(path: str, model: str) -> None:
    assert facts_of({"contents": []}, "gemini", path).model == model


# ── bodies that are not what they should be ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body",
    [
        b"not JSON",
        b"{",
        b'{"model": "m"',
        b'{"model": "m"}}',
        b'{"model": "m"} {}',
        b"{'model': 'm'}",
        b'{"model": "m",}',
        b'{"temperature": NaN}',
        b'{"temperature": Infinity}',
        b'{"temperature": -Infinity}',
        b'{"max_tokens": 01}',
        b'{"max_tokens": 1e999}',
        b'{"model": "\xff"}',
        b'{"model": "\\ud800"}',
        b'\xef\xbb\xbf{"model": "m"}',
        b"\x1f\x8b\x08\x00",
        b"[]",
        b'[{"model": "m"}]',
        b'"text"',
        b"5",
        b"null",
        b" ",
        b'{"stream_options": []}',
        b'{"stream_options": "yes"}',
        b'{"options": 5}',
        b'{"generationConfig": []}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"max_tokens":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableBody, match="not a JSON object that can be read"):
        facts_of(body)


@pytest.mark.parametrize("key", ["model", "max_tokens", "stream", "n", "response_mode"])
@pytest.mark.parametrize("value", [None, True, 5, 1.5, "x", [], [[1]], {}, {"a": 1}])
def test_no_type_of_a_field_upsets_the_reader(key: str, value: object) -> None:
    facts_of({key: value})


def test_what_no_price_depends_on_may_be_anything() -> None:
    body = b'{"model": "m", "seed": 123456789012345678901234567890, "x": 1.000000000000000000001, "y": [{"z": [[]]}]}'

    assert facts_of(body).model == "m"


def test_of_a_key_that_stands_twice_the_last_one_counts() -> None:
    """As the JSON parsers of upstreams have it."""
    facts = facts_of(b'{"model": "cheap", "max_tokens": 1, "model": "dear", "max_tokens": 900}')

    assert (facts.model, facts.output_limit) == ("dear", 900)


def test_a_key_that_is_written_with_escapes_is_the_same_key() -> None:
    facts = facts_of(rb'{"\u006dodel": "m", "max\u005ftokens": 7}')

    assert (facts.model, facts.output_limit) == ("m", 7)


# ── multipart ────────────────────────────────────────────────────────────────────────────────────────────────────────


def form(*parts: bytes, content_type: bytes = b"multipart/form-data; boundary=B") -> RequestFacts:
    body = b"".join(b"--B\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--B--\r\n"
    return facts_of(body, "openai-audio", "/v1/audio/transcriptions", content_type)


FILE = b'name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
MODEL = b'name="model"\r\n\r\nwhisper-1'


def test_a_form_names_its_model() -> None:
    assert form(FILE + b"\x00" * 50_000, MODEL).model == "whisper-1"
    assert form(MODEL, FILE + b"RIFF").model == "whisper-1"


@pytest.mark.parametrize(
    "part",
    [
        b'name="model"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nwhisper-1',
        b'name="model"\r\nContent-Length: 9\r\n\r\nwhisper-1',
        b"name=model\r\n\r\nwhisper-1",
        b'name="model"; x=y\r\n\r\nwhisper-1',
    ],
    ids=["type", "length", "unquoted", "more"],
)
def test_a_form_names_its_model_in_every_clients_way(part: bytes) -> None:
    """OkHttp writes a length into each part, Apache a type: such a call must not go at another model's price."""
    assert form(FILE + b"RIFF", part).model == "whisper-1"


def test_a_file_cannot_name_the_model() -> None:
    trick = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\ncheap\r\n'

    assert form(FILE + b"RIFF" + trick + b"more", MODEL).model == "whisper-1"


def test_a_form_of_endless_parts_is_refused() -> None:
    with pytest.raises(UnreadableBody, match="more than 1000 parts"):
        form(*[b'name="a"\r\n\r\n'] * 2000)


def test_the_model_in_the_path_is_the_one_that_is_served() -> None:
    """So it is the one that is priced, whatever the body says."""
    assert facts_of({"model": "cheap"}, "gemini", GEMINI).model == "gemini-2.5-flash"


def test_a_form_without_a_model_has_none() -> None:
    assert form(FILE + b"RIFF").model == ""
    assert facts_of(b"junk", content_type=b"multipart/form-data").model == ""


def test_a_media_type_is_known_in_any_case() -> None:
    assert form(MODEL, content_type=b"Multipart/Form-Data; boundary=B").model == "whisper-1"
