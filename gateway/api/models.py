"""Shapes that several endpoints share. What comes in is taken strictly: no unknown fields, no number that is a text."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
)

from gateway.domain.principal import MAX_ACCOUNT_LENGTH, is_account_id, is_grant_id
from gateway.domain.tier import MAX_UNITS

T = TypeVar("T")

_METADATA_CHARACTERS = 1000
_METADATA_DEPTH = 16


class Input(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Answer(BaseModel):
    """An answer's body. Instants are UTC."""

    model_config = ConfigDict(frozen=True)


class Page(Answer, Generic[T]):
    """Some of a list, newest first unless it says otherwise."""

    items: list[T]
    next_cursor: str | None = Field(description="What `cursor` must be to read on; null at the end.")


def _account_id(text: str) -> str:
    if not is_account_id(text):
        raise ValueError("an account id is 1-200 printable characters without white space")
    return text


def _grant_id(text: str) -> str:
    if not is_grant_id(text):
        raise ValueError('a grant id is 1-200 printable characters without white space, "=" and ";"')
    return text


def _written_instant(value: Any) -> Any:
    """JSON has no instants, so one is text; but not the text of a number, nor a number."""
    if not isinstance(value, str | datetime) or (isinstance(value, str) and "T" not in value.upper()):
        raise ValueError("an instant is a text such as 2026-12-31T23:59:59Z")
    return value


def printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("only printable characters")
    return text


def _near(instant: datetime) -> datetime:
    """What has no instant in UTC, or none that a database keeps, is none of ours."""
    if not 1970 <= instant.year <= 9000:
        raise ValueError("an instant between the years 1970 and 9000")
    return instant.astimezone(UTC)


def _metadata(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is not None and (_depth(value) > _METADATA_DEPTH or len(metadata_text(value)) > _METADATA_CHARACTERS):
        raise ValueError(f"at most {_METADATA_CHARACTERS} characters and {_METADATA_DEPTH} levels")
    return value


def _depth(value: Any) -> int:
    """Levels of lists and objects, as far as they matter."""
    level, depth = [value], 0
    while (level := [item for item in level if isinstance(item, dict | list)]) and depth <= _METADATA_DEPTH:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def metadata_text(metadata: dict[str, Any] | None) -> str:
    """As it is kept: JSON without spaces; "" for none. Raises ValueError for what is no JSON that can be written."""
    if metadata is None:
        return ""
    text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text.encode()  # A surrogate alone is no text.
    return text


Units = Annotated[StrictInt, Field(ge=0, le=MAX_UNITS, description="Units of balance.")]
SomeUnits = Annotated[StrictInt, Field(ge=1, le=MAX_UNITS, description="Units of balance, at least one.")]
AccountId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ACCOUNT_LENGTH), AfterValidator(_account_id)]
GrantId = Annotated[str, AfterValidator(_grant_id)]
Instant = Annotated[
    AwareDatetime,
    Field(strict=False, description="An instant with its zone."),
    BeforeValidator(_written_instant),
    AfterValidator(_near),
]
Words = Annotated[str, StringConstraints(max_length=200), AfterValidator(printable)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(printable)]
Cursor = Annotated[str | None, Query(max_length=4000, description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Items a page.")]
Since = Annotated[Instant | None, Query(alias="from", description="An instant with its zone; this and later.")]
Until = Annotated[Instant | None, Query(alias="to", description="An instant with its zone; before it.")]
#: A JSON object of the caller's own, kept with the ledger row; `metadata_text` writes it.
Metadata = Annotated[
    dict[str, Any] | None,
    AfterValidator(_metadata),
    Field(description="A JSON object of yours, up to 1,000 characters and 16 levels."),
]
