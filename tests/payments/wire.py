"""A provider that answers as it is told to, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import httpx2

from gateway.domain.money import Money
from gateway.domain.order import CREATED, QRIS, TOPUP, Order

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)

#: An answer: its status and its body, as JSON unless it is text or bytes; or what is raised in its place.
Answer = tuple[int, Any] | Exception


@dataclass
class Wire:
    """What stands in the place of the network."""

    #: By "GET /path"; a list is given one after the other, and its last one for good.
    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    asked: list[httpx2.Request] = field(default_factory=list)

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._answer)

    @property
    def paths(self) -> list[str]:
        return [f"{each.method} {each.url.path}" for each in self.asked]

    def body(self, number: int = -1) -> Any:
        """What was sent, as JSON or as the fields of a form."""
        request = self.asked[number]
        text = request.content.decode()
        return json.loads(text) if request.headers["content-type"] == "application/json" else dict(parse_qsl(text))

    def query(self, number: int = -1) -> dict[str, str]:
        return dict(self.asked[number].url.params.multi_items())

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.asked.append(request)
        answer = self.answers.get(f"{request.method} {request.url.path}", (404, {"error_code": "DATA_NOT_FOUND"}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        sent = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        return httpx2.Response(status, content=sent)


def an_order(**changes: Any) -> Order:
    """An order of 10 000 rupiah by QRIS that nobody was asked about yet."""
    facts: dict[str, Any] = {
        "id": "ord_1", "account": "ann", "purpose": TOPUP, "item": "small", "units": 500, "bonus": 0, "valid_days": 0,
        "price": Money(1_000_000, "IDR"), "provider": "xendit", "method": QRIS, "channel": "", "state": CREATED,
        "created_at": NOW, "updated_at": NOW, "expires_at": NOW + timedelta(hours=24),
    }  # fmt: skip
    return Order(**facts | changes)


def message_of(act: Callable[[], object], kind: type[Exception]) -> str:
    """What an act that must fail says."""
    try:
        act()
    except kind as error:
        return str(error)
    raise AssertionError(f"{kind.__name__} was not raised")
