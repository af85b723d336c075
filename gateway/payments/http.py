"""A provider over HTTP: what it is asked, and what it posts. Whatever goes wrong becomes an error of ours here.

Refused: the provider has said no, and will say it again. Unavailable: it may have done what was asked for or not; no
answer in time, one that cannot be read, or a key that it refuses, which is the operator's to mend and not the payer's.
Neither says anything of the key, nor of what was sent. Redirects are not followed: they would take the key along.
"""

from __future__ import annotations

import logging
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from time import monotonic
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import httpx2
import msgspec

from gateway.domain.order import Found
from gateway.payments.provider import MalformedWebhook, ProviderRefused, ProviderUnavailable, ProviderUnclear

#: Each step of a call may take so long, and the whole of it.
TIMEOUT_S, DEADLINE_S = 10.0, 30.0
#: So many calls of a process are under way at once, and one more waits so long for its turn: the threads that they wait
#: in serve balances and everything else as well.
AT_ONCE, TURN_S = 16, 1.0
#: No answer is read any further.
MAX_ANSWER_BYTES = 1 << 20
#: No webhook is larger.
MAX_WEBHOOK_BYTES = 256 * 1024
#: What was asked for may succeed when it is asked for again: a conflict is one with our own call that still runs.
_LATER = frozenset((408, 409, 425, 429))

# At INFO it logs the URL of each request.
logging.getLogger("httpx2").setLevel(logging.WARNING)


class Item(Protocol):
    """What is listed."""

    @property
    def id(self) -> str: ...


T = TypeVar("T")
ItemT = TypeVar("ItemT", bound=Item)

Query = Sequence[tuple[str, str]]


class Page(msgspec.Struct, Generic[T]):
    """A part of a list, as both providers have it."""

    data: list[T]
    has_more: bool = False


class Api:
    """One provider's API, with one pool of connections. Used from any thread."""

    def __init__(
        self,
        title: str,
        base_url: str,
        key: str,
        headers: Mapping[str, str],
        explain: Callable[[bytes], tuple[str, str]],
        *,
        refusals: frozenset[str] = frozenset(),
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """`title`: as people call it. `key`: the user of Basic auth. `explain`: reads an error's code and message from
        a body, "" where there is none. `refusals`: codes of 403 that do not mean the key."""
        self._title = title
        self._key = key
        self._explain = explain
        self._refusals = refusals
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._client = httpx2.Client(
            base_url=base_url,
            auth=(key, ""),
            # A compressed answer could be small here and large in memory.
            headers={**headers, "accept-encoding": "identity"},
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    def get(self, path: str, shape: type[T], query: Query = ()) -> T | None:
        """Asks for something. None: there is none. Raises ProviderRefused, ProviderUnavailable."""
        status, body = self._send("GET", path, params=list(query))
        return None if status == 404 else self._read(status, body, shape)

    def items(self, path: str, shape: type[ItemT], query: Query, cursor: str) -> Iterator[ItemT]:
        """All items of a list, page by page. `cursor`: what the last one's id is sent as, for those after it. Raises
        as get() does."""
        after: Query = ()
        while True:
            answer = self._send("GET", path, params=[*query, *after])
            page: Page[ItemT] = self._read(*answer, Page[shape])  # type: ignore[valid-type]
            yield from page.data
            if not page.has_more:
                return
            before, after = after, [(cursor, each.id) for each in page.data[-1:]]
            if not after or after == before:
                raise self.unclear(f"{path} has more, and gives none")

    def post(
        self,
        path: str,
        shape: type[T],
        *,
        json: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Asks to do something, of a JSON object (whose Decimals are numbers) or of a form. Raises as get() does."""
        sent: dict[str, Any] = {"headers": dict(headers or {})}
        if json is not None:
            sent["content"] = _ENCODER.encode(json)
            sent["headers"]["content-type"] = "application/json"
        elif form is not None:
            sent["data"] = dict(form)
        return self._read(*self._send("POST", path, **sent), shape)

    def cancel(self, path: str, fetch: Callable[[], Found | None]) -> Found:
        """Posts to a path that ends an order, and says how it stands then. Raises as get() does."""
        refusal = None
        try:
            self.post(path, dict)
        except ProviderRefused as error:
            # It is over already, perhaps paid: how it stands says more.
            refusal = error
        found = fetch()
        if found is None or (refusal is not None and found.state == "open"):
            raise refusal or self.unclear("it has canceled what it does not know")
        return found

    def unclear(self, what: str) -> ProviderUnclear:
        """To be raised where an answer does not say what it must."""
        return ProviderUnclear(f"{self._title} answered what cannot be read: {what}")

    def close(self) -> None:
        self._client.close()

    def _send(self, method: str, path: str, **sent: Any) -> tuple[int, bytes]:
        """Status and body of an answer, whatever it says."""
        if not self._turns.acquire(timeout=TURN_S):
            raise ProviderUnavailable(f"{self._title} is slow: {AT_ONCE} calls wait for its answer")
        try:
            return self._exchange(method, path, **sent)
        finally:
            self._turns.release()

    def _exchange(self, method: str, path: str, **sent: Any) -> tuple[int, bytes]:
        deadline = monotonic() + DEADLINE_S
        body = bytearray()
        try:
            with self._client.stream(method, path, **sent) as answer:
                if "content-encoding" in answer.headers:
                    raise self.unclear("it is compressed")
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise ProviderUnavailable(f"{self._title} answered more than {MAX_ANSWER_BYTES} bytes")
                    if monotonic() > deadline:
                        raise ProviderUnavailable(f"{self._title} did not finish its answer in {DEADLINE_S:g} s")
                return answer.status_code, bytes(body)
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError) as error:
            # Its name alone: its text may hold what was sent.
            raise ProviderUnavailable(f"{self._title} did not answer: {type(error).__name__}") from None

    def _read(self, status: int, body: bytes, shape: type[T]) -> T:
        if not 200 <= status < 300:
            self._fail(status, body)
        try:
            return decode(body, shape)
        except ValueError as error:
            raise self.unclear(str(error)) from None

    def _fail(self, status: int, body: bytes) -> NoReturn:
        code, message = self._explain(body)
        if status == 401 or (status == 403 and code not in self._refusals):
            raise ProviderUnavailable(f"{self._title} refuses our key ({status}{_after(' ', code)})")
        if status < 400 or status >= 500 or status in _LATER or code == "TEMPORARILY_UNAVAILABLE" or not code:
            raise ProviderUnavailable(f"{self._title} answered {status}{_after(' ', code)}")
        said = message.replace(self._key, "…")[:200]
        raise ProviderRefused(f"{self._title} refused it: {code}{_after(': ', said)}")


def decode(body: bytes, shape: type[T]) -> T:
    """Reads JSON, no number of it as a float. Raises ValueError, which says what is wrong and nothing of the body."""
    try:
        return msgspec.json.Decoder(shape, float_hook=Decimal).decode(body)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    except (msgspec.MsgspecError, ArithmeticError, ValueError, RecursionError):
        raise ValueError("it is no JSON") from None


def decode_webhook(body: bytes, shape: type[T]) -> T:
    """Reads a webhook that was proved. Raises MalformedWebhook."""
    if len(body) > MAX_WEBHOOK_BYTES:
        raise MalformedWebhook(f"the webhook is larger than {MAX_WEBHOOK_BYTES} bytes")
    try:
        return decode(body, shape)
    except ValueError as error:
        raise MalformedWebhook(f"the webhook cannot be read: {error}") from None


def id_in(data: Mapping[str, Any], name: str) -> str:
    """An id that a webhook names; "" where it names none. Raises MalformedWebhook for what is no id."""
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 120:
        raise MalformedWebhook(f"the webhook cannot be read: its {name} is no text of at most 120 characters")
    return value


def is_id(text: str) -> bool:
    """Whether a provider's id can stand in a path."""
    return _ID.fullmatch(text) is not None


def moment(text: str | None) -> datetime | None:
    """An instant of ISO 8601; None for what is none, as for a local time."""
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return None if at.tzinfo is None else at.astimezone(UTC)


_ENCODER = msgspec.json.Encoder(decimal_format="number")
_ID = re.compile(r"[A-Za-z0-9_-]{1,120}")


def _after(mark: str, text: str) -> str:
    """Text from outside, on one line, behind a mark; "" where there is none."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return f"{mark}{line}" if line else ""
