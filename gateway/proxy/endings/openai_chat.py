"""OpenAI chat completions and the legacy completions: every choice that is still open finishes by "length"."""

from __future__ import annotations

from typing import Any

from gateway.domain.usage import Usage
from gateway.proxy.endings.ending import Cut, Document, fields_of, index_of, objects_in, some_of


class OpenAIChatEnding:
    names_events = False

    def __init__(self) -> None:
        #: What every chunk of the stream repeats.
        self._common: dict[str, Any] = {}
        #: The choices that have begun, and whether they have finished.
        self._finished: dict[int, bool] = {}
        self._is_legacy = False

    def note(self, document: bytes) -> None:
        chunk = fields_of(document)
        choices = objects_in(chunk.get("choices"))
        if choices:  # Azure begins with a chunk that has neither choices nor an id.
            self._common = some_of(chunk, "id", "object", "created", "model", "system_fingerprint")
        for choice in choices:
            self._is_legacy = "text" in choice
            index = index_of(choice)
            self._finished[index] = self._finished.get(index, False) or bool(choice.get("finish_reason"))

    def end(self, cut: Cut) -> list[Document]:
        named = {"id": cut.id, "object": "chat.completion.chunk", "created": 0, "model": cut.model}
        common = named | self._common
        finished = self._finished or {0: False}
        unfinished = [self._finish(index) for index in sorted(finished) if not finished[index]]
        documents: list[Document] = []
        if unfinished:
            documents.append(common | {"choices": unfinished})
        if cut.asks_usage:
            documents.append(common | {"choices": [], "usage": _usage(cut.usage)})
        return [*documents, b"[DONE]"]

    def _finish(self, index: int) -> dict[str, Any]:
        """A tool call in the middle of its arguments stays as it is: "length" tells clients not to run it."""
        begun: dict[str, Any] = {} if self._finished else {"role": "assistant", "content": ""}
        said: dict[str, Any] = {"text": ""} if self._is_legacy else {"delta": begun}
        return {"index": index, **said, "logprobs": None, "finish_reason": "length"}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
