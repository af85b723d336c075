"""What a hand-written answer is."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.usage import Usage

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"
NDJSON = "application/x-ndjson"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """One answer of a provider."""

    #: What the answer shows.
    title: str
    dialect: str
    content_type: str
    text: str
    #: What must be reported; None: nothing.
    usage: Usage | None
    failed: bool = False
    usage_path: str | None = None

    @property
    def body(self) -> bytes:
        return self.text.encode()
