"""Anthropic Messages: open blocks stop, and the message does by "max_tokens"."""

from __future__ import annotations

from typing import Any

from gateway.proxy.endings.ending import Cut, Document, fields_of, index_of


class AnthropicEnding:
    names_events = True

    def __init__(self) -> None:
        self._started = self._stopped = False
        #: The blocks that have started and not stopped, in order.
        self._open: dict[int, None] = {}
        #: The message has said why it stops.
        self._said_why = False

    def note(self, document: bytes) -> None:
        event = fields_of(document)
        match event.get("type"):
            case "message_start":
                # Proxies join several messages into one stream.
                self._started, self._stopped, self._said_why = True, False, False
                self._open.clear()
            case "content_block_start":
                self._open[index_of(event)] = None
            case "content_block_stop":
                self._open.pop(index_of(event), None)
            case "message_delta":
                self._said_why = True
            case "message_stop":
                self._stopped = True

    def end(self, cut: Cut) -> list[Document]:
        if self._stopped:
            return []
        documents: list[Document] = [] if self._started else [_start(cut)]
        documents += [{"type": "content_block_stop", "index": index} for index in self._open]
        if not self._said_why:
            why = {"stop_reason": "max_tokens", "stop_sequence": None}
            documents.append({"type": "message_delta", "delta": why, "usage": {"output_tokens": cut.usage.output}})
        return [*documents, {"type": "message_stop"}]


def _start(cut: Cut) -> dict[str, Any]:
    usage = {"input_tokens": cut.usage.input, "output_tokens": 0}
    message: dict[str, Any] = {"id": cut.id, "type": "message", "role": "assistant", "model": cut.model, "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": usage}  # fmt: skip
    return {"type": "message_start", "message": message}
