"""What a request says of its own cost: model, stream or not, and the most it may produce."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.domain.route import Route
from gateway.meters import tokens_of_json_request

_MULTIPART_MODEL = re.compile(rb'name="model"\r\n\r\n([^\r\n]{1,200})\r\n')
_GEMINI_PATH = re.compile(r"/models/([^/:]+):(\w+)$")

#: What one call may be held for at the most, in tokens: a limit beyond it is a slip or an attack, not a wish.
MAX_TOKENS = 10**9


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What the hold, the price and the meter need to know before the call goes upstream."""

    model: str = ""
    #: The client asked for a stream.
    stream: bool = False
    #: An upper bound of the input, in tokens.
    input_tokens: int = 0
    #: The request's own output limit, over all answers it asks for; None: it names none.
    output_limit: int | None = None
    #: The client itself asked for usage in the stream.
    asks_usage: bool = False


class UnreadableBody(Exception):
    """Raised when a body that must be JSON is not. The message is for the client."""


class _GenerationConfig(msgspec.Struct):
    maxOutputTokens: Any = None  # noqa: N815  the provider's name
    candidateCount: Any = None  # noqa: N815


class _Options(msgspec.Struct):
    num_predict: Any = None


class _StreamOptions(msgspec.Struct):
    include_usage: Any = None


class _Body(msgspec.Struct):
    """The fields that matter, of all dialects. msgspec skips everything else without building it."""

    model: Any = None
    stream: Any = None
    response_mode: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None
    stream_options: _StreamOptions | None = None
    generationConfig: _GenerationConfig | None = None  # noqa: N815
    generation_config: _GenerationConfig | None = None
    options: _Options | None = None


_decoder = msgspec.json.Decoder(_Body)


def read(route: Route, path: str, content_type: bytes, body: bytes) -> RequestFacts:
    """Reads a request's body. Raises UnreadableBody.

    Two limits that disagree: the larger one is believed, as an upstream may.
    """
    if not body:
        return RequestFacts(model=_path_model(path))
    if content_type.startswith(b"multipart/"):
        found = _MULTIPART_MODEL.search(body)
        return RequestFacts(
            model=_name(found[1].decode("utf-8", "replace")) if found else "", input_tokens=len(body) // 1000
        )
    try:
        fields = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableBody(f"the request body is not a JSON object that can be read: {error}") from None
    generation = fields.generationConfig or fields.generation_config
    limits = [
        _count(fields.max_tokens),
        _count(fields.max_completion_tokens),
        _count(fields.max_output_tokens),
        _count(fields.options.num_predict) if fields.options else None,
        _count(generation.maxOutputTokens) if generation else None,
    ]
    answers = max(_count(fields.n) or 1, _count(generation.candidateCount) or 1 if generation else 1)
    named = [limit for limit in limits if limit is not None]
    return RequestFacts(
        model=_name(fields.model) if isinstance(fields.model, str) else _path_model(path),
        stream=_is_stream(route.dialect, path, fields),
        input_tokens=tokens_of_json_request(body),
        output_limit=min(max(named) * answers, MAX_TOKENS) if named else None,
        asks_usage=fields.stream_options is not None and fields.stream_options.include_usage is True,
    )


def ask_for_usage(body: bytes) -> bytes:
    """The body of an openai-chat stream, with `stream_options.include_usage` set. All else stays byte for byte."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    options = msgspec.json.decode(fields.get("stream_options", msgspec.Raw(b"{}"))) or {}
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode({**options, "include_usage": True}))
    return msgspec.json.encode(fields)


def _is_stream(dialect: str, path: str, fields: _Body) -> bool:
    if dialect.startswith("gemini"):
        return path.endswith(":streamGenerateContent") or fields.stream is True
    if dialect == "dify":
        return bool(fields.response_mode == "streaming")
    if dialect == "ollama":
        return fields.stream is not False
    return fields.stream is True


def _path_model(path: str) -> str:
    """Gemini names the model in its path: /v1beta/models/gemini-2.5-flash:generateContent."""
    found = _GEMINI_PATH.search(path)
    return _name(found[1]) if found else ""


def _name(text: str) -> str:
    """A model's name as ledger rows take it: printable and of bounded length."""
    return (text if text.isprintable() else text.encode("unicode_escape").decode())[:200]


def _count(value: Any) -> int | None:
    """A positive number of tokens, however it is written; None for anything else. Upstream has the last word on it."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_TOKENS:
        return None
    return math.ceil(value)
