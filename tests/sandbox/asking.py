"""Bodies that the sandbox takes, and calls of it."""

from __future__ import annotations

from typing import Any

import httpx2

from gateway.sandbox.desk import API_VERSION
from tests.support.sandbox import SECRET, Sandbox


def qris(**change: Any) -> dict[str, Any]:
    return {
        "reference_id": "ord_1", "type": "PAY", "country": "ID", "currency": "IDR", "request_amount": 10_000,
        "capture_method": "AUTOMATIC", "channel_code": "QRIS", "channel_properties": {}, "description": "Credits",
        "metadata": {"order": "ord_1"},
    } | change  # fmt: skip


def va(bank: str = "BCA", **properties: Any) -> dict[str, Any]:
    named = {"display_name": "Quotagate"} | properties
    return qris(channel_code=f"{bank}_VIRTUAL_ACCOUNT", channel_properties=named)


def link(**change: Any) -> dict[str, Any]:
    return {
        "reference_id": "ord_1", "session_type": "PAY", "mode": "PAYMENT_LINK", "country": "ID", "currency": "IDR",
        "amount": 10_000, "description": "Credits", "success_return_url": "https://shop.example/thanks?a=1&b=2",
    } | change  # fmt: skip


def made(sandbox: Sandbox, **change: Any) -> str:
    """The id of a new QRIS request."""
    id: str = sandbox.call("POST", "/v3/payment_requests", qris(**change))["payment_request_id"]
    return id


def client(sandbox: Sandbox, secret: str = SECRET, **headers: str) -> httpx2.Client:
    """One that hears refusals, too."""
    return httpx2.Client(
        transport=sandbox.transport, base_url=sandbox.bank.address, auth=(secret, ""),
        headers={"api-version": API_VERSION} | headers,
    )  # fmt: skip


def refused(sandbox: Sandbox, method: str, path: str, asked: Any = None) -> tuple[int, str]:
    """Status and error code of a call that is refused."""
    with client(sandbox) as caller:
        answer = caller.request(method, path, json=asked)
    error = answer.json()
    assert set(error) == {"error_code", "message"}
    return answer.status_code, error["error_code"]
