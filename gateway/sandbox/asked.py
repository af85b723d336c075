"""What Xendit's paths take, and how they refuse what they do not: in its words, as far as they are documented."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, StrictInt, ValidationError

from gateway.sandbox.numbers import BANKS


class Refusal(Exception):
    """Raised when what was asked for is refused. Nothing of it was done."""

    def __init__(self, status: HTTPStatus, error_code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.message = message


def invalid(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "API_VALIDATION_ERROR", message)


def not_found(what: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, "DATA_NOT_FOUND", f"{what} not found")


#: Rupiah of one payment.
_MOST = 10**12


def _rupiah(value: Any) -> int:
    """Compared before it is written out: 1e99999999 would fill the memory."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 1 <= value <= _MOST or value % 1:
        raise ValueError(f"must be a whole number of rupiah from 1 to {_MOST}")
    return int(value)


def _instant(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError("must be an instant of ISO 8601, with its zone")


Rupiah = Annotated[int, BeforeValidator(_rupiah)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
_Reference = Annotated[str, Field(min_length=1, max_length=255)]
_Metadata = Annotated[dict[str, Any], Field(max_length=50)]


class Channel(BaseModel):
    """`channel_properties`."""

    display_name: Annotated[str, Field(max_length=255)] = ""
    expires_at: Instant | None = None


class AskedRequest(BaseModel):
    """POST /v3/payment_requests."""

    reference_id: _Reference
    type: Literal["PAY"]
    country: Literal["ID"]
    currency: Literal["IDR"]
    request_amount: Rupiah
    capture_method: Literal["AUTOMATIC"] = "AUTOMATIC"
    channel_code: Literal["QRIS", *(f"{bank}_VIRTUAL_ACCOUNT" for bank in BANKS)]  # type: ignore[valid-type]
    channel_properties: Channel = Channel()
    description: Annotated[str, Field(max_length=1000)] = ""
    metadata: _Metadata = {}


class AskedSession(BaseModel):
    """POST /sessions: a page of the provider's, on which the payer chooses how to pay."""

    reference_id: _Reference
    session_type: Literal["PAY"]
    mode: Literal["PAYMENT_LINK"]
    country: Literal["ID"]
    currency: Literal["IDR"]
    amount: Rupiah
    expires_at: Instant | None = None
    locale: str = "en"
    description: Annotated[str, Field(max_length=1000)] = ""
    metadata: _Metadata = {}
    success_return_url: Annotated[str, Field(max_length=2000)] = ""
    cancel_return_url: Annotated[str, Field(max_length=2000)] = ""


class AskedRefund(BaseModel):
    """POST /refunds."""

    payment_request_id: str
    reference_id: Annotated[str, Field(max_length=255)] = ""
    currency: str = ""
    #: All that is left of the payment, where it is not said.
    amount: Rupiah | None = None
    reason: Literal["FRAUDULENT", "DUPLICATE", "REQUESTED_BY_CUSTOMER", "CANCELLATION", "OTHERS"]
    metadata: _Metadata = {}


class AskedTransactions(BaseModel):
    """GET /transactions."""

    types: list[Literal["PAYMENT", "REFUND"]] = []
    statuses: list[str] = []
    #: A part of it is enough.
    reference_id: str = ""
    created_from: Instant | None = Field(None, alias="created[gte]")
    created_until: Instant | None = Field(None, alias="created[lte]")
    limit: Annotated[int, Field(ge=1, le=50)] = 10
    after_id: str = ""


class AskedPayment(BaseModel):
    """POST …/simulate, and what else happens to something that was asked for."""

    #: Of a request or a session, or by its reference the last of them.
    id: str = ""
    reference_id: str = ""
    #: All that was asked for, where it is not said.
    amount: Rupiah | None = None
    #: What is to be told of it.
    event: str = ""


class AskedTime(BaseModel):
    """POST /sandbox/clock."""

    now: Instant | None = None
    forward_s: Annotated[StrictInt, Field(ge=0, le=10**9)] = 0


Asked = TypeVar("Asked", bound=BaseModel)


def read(shape: type[Asked], body: bytes) -> Asked:
    """A body of JSON as a shape. Raises Refusal."""
    return check(shape, read_object(body))


def read_object(body: bytes) -> dict[str, Any]:
    """A body that is one object of JSON, or empty. Raises Refusal."""
    try:
        found = json.loads(body or b"{}", parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "INVALID_JSON_FORMAT", "The request body is not valid JSON") from error
    if not isinstance(found, dict):
        raise invalid("The request body must be an object")
    return found


def check(shape: type[Asked], given: Mapping[str, Any]) -> Asked:
    """Raises Refusal, which names the first key that is wrong."""
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise invalid(f'"{".".join(map(str, first["loc"]))}" {first["msg"]}') from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
