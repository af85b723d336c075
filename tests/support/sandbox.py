"""The sandbox for tests: without a socket (`transport`), or on a port of its own (`SandboxServer`).

Its time is the test's clock. Webhooks go out when the test says so: `deliver()` posts what there is, in the order the
faults make of it, and returns how the receiver answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from gateway.config.payments import Xendit
from gateway.sandbox import courier
from gateway.sandbox.app import create_app
from gateway.sandbox.bank import Bank
from gateway.sandbox.desk import API_VERSION, Desk, Request
from gateway.sandbox.outbox import Message, Outcome
from tests.support.servers import free_port
from tests.support.waiting import until

SECRET, TOKEN = "xnd_development_sandbox", "the token of the sandbox's webhooks"

#: Where receivers without a socket pretend to be.
WEBHOOK_URL = "http://gateway.test/api/webhooks/xendit"


class Clock:
    """A time that tests move."""

    def __init__(self, now: datetime = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        """forward(hours=48)"""
        self.now += timedelta(**by)


class Sandbox:
    """A sandbox without a socket: its bank and its desk, and transports that lead to it."""

    def __init__(self, clock: Clock | None = None, state: Path | None = None, **faults: Any) -> None:
        self.clock = clock or Clock()
        self.bank = Bank(clock=self.clock, state=state)
        self.bank.address = "http://sandbox.test"
        self.desk = Desk(self.bank, secret=SECRET, token=TOKEN)
        self.fault(**faults)

    # ── for what is tested ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def transport(self) -> httpx2.MockTransport:
        """For a client of the provider's. A lost answer is a broken connection, a slow one a timeout."""
        return httpx2.MockTransport(self._handle)

    def settings(self) -> Xendit:
        """How the gateway would be set up to reach it."""
        banks = ("BCA", "BNI", "BRI", "MANDIRI", "PERMATA", "BSI")
        return Xendit(SECRET, TOKEN, self.bank.address, ("qris", "va", "link"), banks, "")

    # ── for the test ─────────────────────────────────────────────────────────────────────────────────────────────────

    def fault(self, **changes: Any) -> None:
        """fault(duplicate=3, late=True)"""
        self.bank.faults = self.bank.faults.with_changes(changes)

    def pay(self, reference_id: str, amount: int | None = None) -> dict[str, Any]:
        """The payer pays what was asked for under a reference, the last time that it was."""
        return self.control("pay", {"reference_id": reference_id} | ({} if amount is None else {"amount": amount}))

    def paid(self, reference_id: str) -> list[dict[str, Any]]:
        """The provider's own record: the payments that it has for a reference."""
        return [
            each
            for each in self.bank.payments.values()
            if each["reference_id"] == reference_id and each["status"] == "SUCCEEDED"
        ]

    def deliver(self, post: Callable[[dict[str, str], bytes], int]) -> list[int]:
        """Posts all webhooks there are, held back or not, once. `post(headers, body)` answers with a status."""
        statuses: list[int] = []

        def receive(request: httpx2.Request) -> httpx2.Response:
            statuses.append(post(dict(request.headers), request.read()))
            return httpx2.Response(statuses[-1])

        with self.desk.lock:
            self.bank.expire()
            self.bank.outbox.hasten(self.bank.now())
        with httpx2.Client(transport=httpx2.MockTransport(receive)) as client:
            courier.post_due(self.desk, client, WEBHOOK_URL)
        return statuses

    @property
    def posted(self) -> list[tuple[Message, Outcome]]:
        return list(self.bank.outbox.posted)

    def control(self, what: str, asked: dict[str, Any]) -> dict[str, Any]:
        """POST /sandbox/…"""
        return self.call("POST", f"/sandbox/{what}", asked)

    def call(self, method: str, path: str, asked: dict[str, Any] | None = None) -> dict[str, Any]:
        """Calls one of its paths, as who has the key. Fails for what is refused."""
        with httpx2.Client(transport=self.transport, base_url=self.bank.address, auth=(SECRET, "")) as client:
            answer = client.request(method, path, json=asked, headers={"api-version": API_VERSION})
        assert answer.is_success, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        before = self.desk.releases
        asked = Request(request.method, request.url.raw_path.decode("ascii"), headers, request.read())
        reply = self.desk.answer(asked)
        if reply.is_lost:
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        timeout = request.extensions.get("timeout", {}).get("read")
        if timeout is not None and reply.wait_s > timeout and self.desk.releases == before:
            raise httpx2.ReadTimeout("The read operation timed out", request=request)
        # A stream: one that is read already cannot be read raw, as bounded readers do.
        body = httpx2.ByteStream(reply.body)
        return httpx2.Response(reply.status, stream=body, headers={"content-type": reply.content_type})


class SandboxServer(Sandbox):
    """The same on a port, from a thread: webhooks are posted as they fall due."""

    def __init__(self, webhook_url: str = "", clock: Clock | None = None, **faults: Any) -> None:
        super().__init__(clock, None, **faults)
        port = free_port()
        self.bank.address = self.url = f"http://127.0.0.1:{port}"
        app = create_app(self.desk, webhook_url)
        self._server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical"))
        self._thread = threading.Thread(target=self._server.run, name="sandbox", daemon=True)
        self._thread.start()
        until(lambda: self._server.started, what="the sandbox")

    @property
    def environment(self) -> dict[str, str]:
        """What a gateway's process is told of it."""
        return {
            "QUOTAGATE_SANDBOX_URL": self.url, "QUOTAGATE_SANDBOX_SECRET": SECRET, "QUOTAGATE_SANDBOX_TOKEN": TOKEN,
        }  # fmt: skip

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
