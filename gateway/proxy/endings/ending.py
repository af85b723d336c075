"""What the ending of every dialect is, and what several of them share."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import msgspec

from gateway.domain.usage import Usage

#: One JSON document of a stream, or its bytes where they are no JSON.
Document = dict[str, Any] | bytes


class Cut(NamedTuple):
    """Why a stream ends here, and what of it is paid."""

    #: The call's own id, for a stream that has named none.
    id: str
    model: str
    usage: Usage
    #: The client asked for usage in the stream.
    asks_usage: bool
    #: insufficient_quota, or store_unavailable.
    code: str
    message: str


class Ending(Protocol):
    """Follows one stream and knows how to end it. It never raises on what a provider sends."""

    @property
    def names_events(self) -> bool:
        """Server-sent events carry the document's `type` as their name."""

    def note(self, document: bytes) -> None:
        """Takes the next document that the client has."""

    def end(self, cut: Cut) -> list[Document]:
        """The documents that end the stream."""


def fields_of(document: bytes) -> dict[str, Any]:
    """The members of a JSON object; none when it is something else."""
    try:
        value = msgspec.json.decode(document)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The objects among the elements of what should be an array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def object_at(value: Any) -> dict[str, Any]:
    """What should be an object."""
    return value if isinstance(value, dict) else {}


def index_of(event: dict[str, Any], name: str = "index") -> int:
    """The position that an event names; the first when it names none."""
    value = event.get(name)
    return value if type(value) is int else 0


def some_of(event: dict[str, Any], *names: str) -> dict[str, Any]:
    """The members of these names that are there."""
    return {name: event[name] for name in names if name in event}
