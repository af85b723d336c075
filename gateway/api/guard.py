"""What stands before every request of the control plane: its id, and what is wrong with it as HTTP."""

from __future__ import annotations

from gateway.api.control import Control
from gateway.proxy.middleware import ASGIApp, Message, Receive, Scope, Send, fault_in, refuse
from gateway.proxy.refusals import Refusal

#: A larger body is refused. A thousand lines of a bulk use, each with its metadata, fit.
MAX_BODY_BYTES = 2 * 2**20


class Guard:
    """ASGI middleware: names each request, and refuses what two readers could read in two ways."""

    def __init__(self, app: ASGIApp, control: Control) -> None:
        self._app = app
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        gate = self._control.gate
        gate.start()
        id = gate.new_id()
        scope["state"] = {**scope.get("state", {}), "request_id": id}

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = {name.lower() for name, _ in message["headers"]}
                more = [(b"x-request-id", id.encode()), (b"cache-control", b"no-store")]
                message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in sent)]
            await send(message)

        headers = dict(scope["headers"])
        fault = fault_in(scope, headers, gate.config) or _too_large(headers)
        if fault is not None:
            await refuse(fault, "problem", id, named)
        else:
            await self._app(scope, receive, named)


def _too_large(headers: dict[bytes, bytes]) -> Refusal | None:
    """A body that says how long it is. One that does not is counted as it comes."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        return Refusal(413, "request_too_large", f"The request body is larger than {MAX_BODY_BYTES} bytes.")
    return None
