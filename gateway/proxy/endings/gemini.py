"""Google Gemini: candidates that are still open finish by "MAX_TOKENS"; an interaction is completed as incomplete."""

from __future__ import annotations

from typing import Any

from gateway.domain.usage import Usage
from gateway.proxy.endings.ending import Cut, Document, fields_of, index_of, object_at, objects_in, some_of


class GeminiEnding:
    names_events = False

    def __init__(self) -> None:
        self._common: dict[str, Any] = {}
        self._finished: dict[int, bool] = {}

    def note(self, document: bytes) -> None:
        chunk = fields_of(document)
        self._common |= some_of(chunk, "modelVersion", "createTime", "responseId")
        for candidate in objects_in(chunk.get("candidates")):
            index = index_of(candidate)
            self._finished[index] = self._finished.get(index, False) or bool(candidate.get("finishReason"))

    def end(self, cut: Cut) -> list[Document]:
        finished = self._finished or {0: False}
        nothing = {"role": "model", "parts": [{"text": ""}]}
        candidates = [
            {"content": nothing, "finishReason": "MAX_TOKENS", "index": index}
            for index in sorted(finished)
            if not finished[index]
        ]
        return [{"candidates": candidates, "usageMetadata": _usage(cut.usage), **self._common}]


def _usage(usage: Usage) -> dict[str, Any]:
    counts = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "totalTokenCount": usage.total,
    }
    parts = {"cachedContentTokenCount": usage.cached, "thoughtsTokenCount": usage.reasoning}
    return counts | {name: count for name, count in parts.items() if count}


class GeminiInteractionsEnding:
    names_events = False

    def __init__(self) -> None:
        self._interaction: dict[str, Any] = {}
        self._open: dict[int, None] = {}

    def note(self, document: bytes) -> None:
        event = fields_of(document)
        match event.get("event_type"):
            case "interaction.created":
                self._interaction = object_at(event.get("interaction"))
            case "step.start":
                self._open[index_of(event)] = None
            case "step.stop":
                self._open.pop(index_of(event), None)

    def end(self, cut: Cut) -> list[Document]:
        usage = cut.usage
        counts = {
            "total_input_tokens": usage.input,
            "total_cached_tokens": usage.cached,
            "total_output_tokens": usage.output - usage.reasoning,
            "total_thought_tokens": usage.reasoning,
            "total_tokens": usage.total,
        }
        unnamed = {"id": cut.id, "object": "interaction", "model": cut.model}
        interaction = unnamed | self._interaction | {"status": "incomplete", "usage": counts}
        stops: list[Document] = [{"event_type": "step.stop", "index": index} for index in self._open]
        return [*stops, {"event_type": "interaction.completed", "interaction": interaction}]
