"""Cohere, Ollama, Dify, the AI SDK's data stream, and backends of nobody known."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.proxy.endings.ending import Cut, Document, fields_of, index_of, some_of


class CohereEnding:
    """Open contents end, and the message by "MAX_TOKENS". An open tool call does not end, or clients would run it."""

    names_events = True

    def __init__(self) -> None:
        self._open: dict[int, None] = {}

    def note(self, document: bytes) -> None:
        event = fields_of(document)
        match event.get("type"):
            case "content-start":
                self._open[index_of(event)] = None
            case "content-end":
                self._open.pop(index_of(event), None)

    def end(self, cut: Cut) -> list[Document]:
        counts = {"input_tokens": cut.usage.input, "output_tokens": cut.usage.output}
        delta = {"finish_reason": "MAX_TOKENS", "usage": {"billed_units": counts, "tokens": counts}}
        ends: list[Document] = [{"type": "content-end", "index": index} for index in self._open]
        return [*ends, {"type": "message-end", "delta": delta}]


class OllamaEnding:
    """The last line says `done` by "length"."""

    names_events = False

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}

    def note(self, document: bytes) -> None:
        self._last = fields_of(document) or self._last

    def end(self, cut: Cut) -> list[Document]:
        said: dict[str, Any] = {"response": ""} if "response" in self._last else {"message": _SILENT}
        common = {"model": cut.model, "created_at": "1970-01-01T00:00:00Z"}
        common |= some_of(self._last, "model", "created_at")
        counts = {"prompt_eval_count": cut.usage.input, "eval_count": cut.usage.output}
        return [common | said | {"done": True, "done_reason": "length"} | counts]


_SILENT = {"role": "assistant", "content": ""}


class DifyEnding:
    """Dify knows no answer that ends for want of tokens. It says an error, as it does when its own quota is used up."""

    names_events = False

    def __init__(self) -> None:
        self._common: dict[str, Any] = {}

    def note(self, document: bytes) -> None:
        self._common |= some_of(fields_of(document), "task_id", "message_id", "conversation_id", "workflow_run_id")

    def end(self, cut: Cut) -> list[Document]:
        status = 503 if cut.code == "store_unavailable" else 429
        fault = {"code": cut.code, "status": status, "message": cut.message}
        return [{"event": "error", "task_id": cut.id} | self._common | fault]


class VercelDataEnding:
    """The lines that end a step (`e:`) and the message (`d:`)."""

    names_events = False

    def __init__(self) -> None:
        self._in_step = True

    def note(self, document: bytes) -> None:
        self._in_step = not document.startswith(b"e:")

    def end(self, cut: Cut) -> list[Document]:
        usage = {"promptTokens": cut.usage.input, "completionTokens": cut.usage.output}
        finished: dict[str, Any] = {"finishReason": "length", "usage": usage}
        step = b"e:" + msgspec.json.encode(finished | {"isContinued": False})
        message = b"d:" + msgspec.json.encode(finished)
        return [step, message] if self._in_step else [message]


class OtherEnding:
    """Streams of which nothing is known but that they are documents: the last one is an error that says why."""

    names_events = True

    def note(self, document: bytes) -> None:
        """Nothing in it is understood."""

    def end(self, cut: Cut) -> list[Document]:
        error = {"message": cut.message, "type": cut.code, "param": None, "code": cut.code}
        return [{"type": "error", "error": error}]
