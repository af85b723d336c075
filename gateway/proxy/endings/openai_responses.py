"""OpenAI Responses: open parts and items are done as they stand, and the response is incomplete by
"max_output_tokens".

Calls of tools and functions that are still being written are never said to be done, or clients would run them: they
stand in the output of the last event, as incomplete.
"""

from __future__ import annotations

from typing import Any

from gateway.domain.usage import Usage
from gateway.proxy.endings.ending import Cut, Document, fields_of, index_of, object_at

#: A delta → the list of its item that it adds to, the name of the position in it, the part it belongs to, and the
#: member that grows.
_PART_DELTAS = {
    "response.output_text.delta": ("content", "content_index", "output_text", "text"),
    "response.refusal.delta": ("content", "content_index", "refusal", "refusal"),
    "response.reasoning_text.delta": ("content", "content_index", "reasoning_text", "text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "summary_text", "text"),
}
#: The events that add a part, or say it again in full.
_PARTS = {
    "response.content_part.added": ("content", "content_index"),
    "response.content_part.done": ("content", "content_index"),
    "response.reasoning_summary_part.added": ("summary", "summary_index"),
    "response.reasoning_summary_part.done": ("summary", "summary_index"),
}
#: A kind of part → the event that ends its text, and the one that ends the part.
_PART_ENDS = {
    "output_text": ("response.output_text.done", "response.content_part.done"),
    "refusal": ("response.refusal.done", "response.content_part.done"),
    "reasoning_text": ("response.reasoning_text.done", "response.content_part.done"),
    "summary_text": ("response.reasoning_summary_text.done", "response.reasoning_summary_part.done"),
}


class OpenAIResponsesEnding:
    names_events = True

    def __init__(self) -> None:
        self._response: dict[str, Any] = {}
        self._sequence = -1
        self._items: dict[int, dict[str, Any]] = {}
        self._open_items: set[int] = set()
        #: (item, list, position) of the parts that are not done.
        self._open_parts: dict[tuple[int, str, int], None] = {}

    # ── what the client has ──────────────────────────────────────────────────────────────────────────────────────────

    def note(self, document: bytes) -> None:
        event = fields_of(document)
        kind = str(event.get("type"))
        self._sequence = index_of(event, "sequence_number") if "sequence_number" in event else self._sequence + 1
        if kind in _PART_DELTAS:
            self._note_delta(event, *_PART_DELTAS[kind])
        elif kind in _PARTS:
            self._note_part(event, *_PARTS[kind], is_done=kind.endswith(".done"))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._note_item(event, is_done=kind.endswith(".done"))
        elif kind == "response.function_call_arguments.delta":
            item = self._items.get(index_of(event, "output_index"), {})
            item["arguments"] = f"{item.get('arguments') or ''}{event.get('delta')}"
        elif "response" in event:
            self._response = object_at(event["response"])

    def _note_item(self, event: dict[str, Any], is_done: bool) -> None:
        index = index_of(event, "output_index")
        self._items[index] = object_at(event.get("item"))
        if is_done:
            self._open_items.discard(index)
            self._open_parts = {part: None for part in self._open_parts if part[0] != index}
        else:
            self._open_items.add(index)

    def _note_part(self, event: dict[str, Any], members: str, position: str, is_done: bool) -> None:
        at = (index_of(event, "output_index"), members, index_of(event, position))
        self._part_at(at).update(object_at(event.get("part")))
        if is_done:
            self._open_parts.pop(at, None)

    def _note_delta(self, event: dict[str, Any], members: str, position: str, kind: str, grows: str) -> None:
        part = self._part_at((index_of(event, "output_index"), members, index_of(event, position)), kind)
        part[grows] = f"{part.get(grows) or ''}{event.get('delta')}"

    def _part_at(self, at: tuple[int, str, int], kind: str | None = None) -> dict[str, Any]:
        """The part at this place, which is opened when it is new."""
        item = self._items.setdefault(at[0], {"type": "message", "role": "assistant", "content": []})
        if not isinstance(item.get(at[1]), list):
            item[at[1]] = []
        parts = item[at[1]]
        if at[2] >= len(parts):
            parts.append({"type": kind} if kind else {})
            self._open_parts[at] = None
        part: dict[str, Any] = parts[min(at[2], len(parts) - 1)]
        return part

    # ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def end(self, cut: Cut) -> list[Document]:
        begun = {"id": cut.id, "object": "response", "created_at": 0, "model": cut.model, "parallel_tool_calls": True,
                 "tool_choice": "auto", "tools": [], "status": "in_progress", "output": []}  # fmt: skip
        events: list[dict[str, Any]] = [] if self._response else [{"type": "response.created", "response": begun}]
        events += [event for at in self._open_parts for event in self._part_done(at)]
        for index in sorted(self._open_items):
            item = self._items[index]
            item["status"] = "incomplete"
            if item.get("type") in ("message", "reasoning"):
                events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        ended = {
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [self._items[index] for index in sorted(self._items)],
            "usage": _usage(cut.usage),
        }
        events.append({"type": "response.incomplete", "response": begun | self._response | ended})
        return [event | {"sequence_number": self._sequence + 1 + n} for n, event in enumerate(events)]

    def _part_done(self, at: tuple[int, str, int]) -> list[dict[str, Any]]:
        index, members, position = at
        part = self._items[index][members][position]
        if part.get("type") not in _PART_ENDS:
            return []
        text_done, part_done = _PART_ENDS[part["type"]]
        where: dict[str, Any] = {"item_id": self._items[index].get("id", ""), "output_index": index}
        where["content_index" if members == "content" else "summary_index"] = position
        grown = "refusal" if part["type"] == "refusal" else "text"
        part.setdefault(grown, "")
        text: dict[str, Any] = {"type": text_done, **where, grown: part[grown]}
        if part["type"] == "output_text":
            part.setdefault("annotations", [])
            text["logprobs"] = []
        return [text, {"type": part_done, **where, "part": part}]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
