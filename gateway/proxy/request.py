"""What a request says of its own cost: model, stream or not, and the most it may produce."""

from __future__ import annotations

import email
import math
import re
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

import msgspec

from gateway.domain.route import Route
from gateway.meters import tokens_of_json_request

_GEMINI_PATH = re.compile(r"/models/([^/:]+):(\w+)$")

#: What one call may be held for at the most, in tokens: a limit beyond it is a slip or an attack, not a wish.
MAX_TOKENS = 10**9


@dataclass(slots=True)
class RequestFacts:
    """What the hold, the price and the meter need to know before the call goes upstream."""

    model: str = ""
    #: The client asked for a stream.
    stream: bool = False
    #: The request's own output limit, over all answers it asks for; None: it names none.
    output_limit: int | None = None
    #: How many answers it asks for.
    answers: int = 1
    #: What it may think beyond its answer, where it names no limit for both.
    thinking_tokens: int = 0
    #: Audio and images that it is held for, and charged for when its answer does not tell of them.
    audio_ms: int = 0
    images: int = 0
    #: The client itself asked for usage in the stream.
    asks_usage: bool = False
    #: What `input_tokens` counts, when it is first asked for: most calls have a fixed price, and never ask.
    countable: bytes = field(default=b"", repr=False, compare=False)
    #: What is added for each input that it only names.
    tokens_per_unseen: int = field(default=0, repr=False, compare=False)
    counted: int | None = field(default=None, repr=False, compare=False)

    @property
    def input_tokens(self) -> int:
        """An upper bound of the input, in tokens."""
        if self.counted is None:
            unseen = len(_UNSEEN.findall(self.countable)) * self.tokens_per_unseen if self.tokens_per_unseen else 0
            self.counted = min(tokens_of_json_request(self.countable) + unseen, MAX_TOKENS) if self.countable else 0
        return self.counted


#: Inputs that a request only names: earlier answers, conversations, files, and images at an address. The names stand as
#: keys: within a JSON string their quotes would be escaped.
_UNSEEN = re.compile(
    rb'"(?:previous_response_id|previous_interaction_id|conversation_id|cached_?[cC]ontent|file_id|upload_file_id|file_url'
    rb'|file_?[uU]ri)"\s{0,8}:\s{0,8}"[^"]'
    rb'|"(?:url|image_url)"\s{0,8}:\s{0,8}"https?:'
    rb'|"conversation"\s{0,8}:\s{0,8}["{]'
)


class UnreadableBody(Exception):
    """Raised when a body that must be JSON is not. The message is for the client."""


class _GenerationConfig(msgspec.Struct):
    maxOutputTokens: Any = None  # noqa: N815  the provider's name
    max_output_tokens: Any = None
    candidateCount: Any = None  # noqa: N815
    candidate_count: Any = None
    thinkingConfig: Any = None  # noqa: N815
    thinking_config: Any = None


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
    best_of: Any = None
    thinking: Any = None
    reasoning: Any = None
    thinking_budget: Any = None
    stream_options: _StreamOptions | None = None
    generationConfig: _GenerationConfig | None = None  # noqa: N815
    generation_config: _GenerationConfig | None = None
    options: _Options | None = None


_decoder = msgspec.json.Decoder(_Body)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def must_be_read(content_type: bytes) -> bool:
    """True for what is, or may be, JSON. Other bodies need to be read only when the price depends on them."""
    return not content_type or b"json" in content_type.lower()


def unread(path: str) -> RequestFacts:
    """The facts of a call whose body streams to the upstream unread."""
    return RequestFacts(model=_path_model(path))


def read(route: Route, path: str, content_type: bytes, body: bytes) -> RequestFacts:
    """Reads a request's body. Raises UnreadableBody."""
    if not body:
        return RequestFacts(model=_path_model(path))
    is_form = content_type[:10].lower() == b"multipart/"
    facts = _read_form(content_type, body) if is_form else _read_json(route, path, body)
    facts.audio_ms = route.default_audio_seconds * 1000
    if route.dialect == "openai-images":
        facts.images = facts.answers
    elif route.dialect == "openai-embeddings":
        facts.output_limit = 0  # Nothing is generated.
    return facts


def _read_form(content_type: bytes, body: bytes) -> RequestFacts:
    return RequestFacts(
        model=_name(form_field(content_type, body, "model")),
        answers=max(_counts([form_field(content_type, body, "n")]), default=1),
        counted=len(body) // 1000,
    )


def _read_json(route: Route, path: str, body: bytes) -> RequestFacts:
    """Two limits that disagree: the larger one is believed, as an upstream may. A budget for thinking lies within the
    limit of all output, and adds to the default where there is no limit."""
    try:
        fields = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableBody(f"The request body is not a JSON object that can be read: {error}.") from None
    limits = [fields.max_tokens, fields.max_completion_tokens, fields.max_output_tokens]
    asked, thinking_tokens = 1, 0
    if any((
        fields.n, fields.best_of, fields.options, fields.generationConfig, fields.generation_config,
        fields.thinking, fields.thinking_budget, fields.reasoning,
    )):  # Few requests say any of it.  # fmt: skip
        asked, thinking_tokens = _rarer(fields, limits)
    named = _counts(limits)
    return RequestFacts(
        # Where the path names the model, that is the one which is served.
        model=_path_model(path) or (_name(fields.model) if isinstance(fields.model, str) else ""),
        stream=_is_stream(route.dialect, path, fields),
        output_limit=min(max(*named, thinking_tokens) * asked, MAX_TOKENS) if named else None,
        answers=asked,
        thinking_tokens=thinking_tokens,
        asks_usage=fields.stream_options is not None and fields.stream_options.include_usage is True,
        countable=body,
        tokens_per_unseen=route.default_input_tokens,
    )


def _rarer(fields: _Body, limits: list[Any]) -> tuple[int, int]:
    """How many answers a request asks for, and what it allows for thinking. Adds what other limits it names."""
    answers = [fields.n, fields.best_of]
    budgets = [fields.thinking_budget, *_budgets(fields.thinking), *_budgets(fields.reasoning)]
    if fields.options is not None:
        limits.append(fields.options.num_predict)
    for generation in (fields.generationConfig, fields.generation_config):
        if generation is not None:  # Google's JSON takes both spellings of every name.
            limits += (generation.maxOutputTokens, generation.max_output_tokens)
            answers += (generation.candidateCount, generation.candidate_count)
            budgets += (*_budgets(generation.thinkingConfig), *_budgets(generation.thinking_config))
    return max(_counts(answers), default=1), max(_counts(budgets), default=0)


#: What a limit of thinking is called: by Anthropic, Cohere, Gemini in both of its spellings, and OpenRouter.
_BUDGETS = ("budget_tokens", "token_budget", "thinkingBudget", "thinking_budget", "max_tokens")


def _budgets(settings: Any) -> list[Any]:
    """What the settings of thinking allow it; most requests have none."""
    return [settings.get(name) for name in _BUDGETS] if isinstance(settings, dict) else []


def must_ask_for_usage(route: Route, facts: RequestFacts) -> bool:
    """True for a stream that would not tell its usage: it is asked for, and the answer's extra chunk hidden."""
    return route.include_usage and route.dialect == "openai-chat" and facts.stream and not facts.asks_usage


def ask_for_usage(body: bytes) -> bytes:
    """The body of an openai-chat stream, with `stream_options.include_usage` set. All else stays byte for byte."""
    fields = _members.decode(body)
    if "stream_options" not in fields:
        begin = body.index(b"{") + 1
        return body[:begin] + b'"stream_options":{"include_usage":true}' + (b"," if fields else b"") + body[begin:]
    options = fields["stream_options"]
    asked = {} if bytes(options) == b"null" else _members.decode(options)
    asked["include_usage"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(asked))
    return msgspec.json.encode(fields)


def form_field(content_type: bytes, body: bytes, name: str) -> str:
    """The value of a short field of a multipart form (RFC 7578); "" when there is none. Raises UnreadableBody."""
    boundary = _header(b"Content-Type: " + content_type).get_boundary("")
    if not boundary:
        return ""
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    begin = 0 if body.startswith(delimiter[2:]) else body.find(delimiter)
    parts = 0
    while begin >= 0:
        parts += 1
        if parts > MAX_PARTS:
            raise UnreadableBody(f"The form has more than {MAX_PARTS} parts.")
        end = body.find(delimiter, begin + 1)
        head, parted, value = body[begin + 2 : end if end >= 0 else len(body)][:_PART_BYTES].partition(b"\r\n\r\n")
        if (
            parted
            and name.encode() in head
            and _header(head.partition(b"\r\n")[2]).get_param("name", header="content-disposition") == name
        ):
            return value.decode("utf-8", "replace")
        begin = end
    return ""


#: A form with more parts is refused.
MAX_PARTS = 1000
#: Of one part of a form, how much is looked at: its headers, and the value if that is short.
_PART_BYTES = 4096


def _header(lines: bytes) -> Message:
    return email.message_from_bytes(lines + b"\r\n\r\n")


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
    found = _GEMINI_PATH.search(path) if "/models/" in path else None
    return _name(found[1]) if found else ""


def _name(text: str) -> str:
    """A model's name as ledger rows take it: printable and of bounded length."""
    return (text if text.isprintable() else text.encode("unicode_escape").decode())[:200]


def _counts(values: list[Any]) -> list[int]:
    """The values that are numbers of tokens, or of answers. Most requests have none."""
    if not any(values):
        return []
    return [count for value in values if value is not None and (count := _count(value)) is not None]


def _count(value: Any) -> int | None:
    """A positive number of tokens, however it is written; None for anything else. Upstream has the last word on it."""
    if type(value) is int:
        return min(value, MAX_TOKENS) if value > 0 else None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return MAX_TOKENS if len(value) > 9 else int(value)
    if isinstance(value, bool) or not isinstance(value, float) or not value > 0:
        return None
    return math.ceil(min(value, MAX_TOKENS))
