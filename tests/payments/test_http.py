"""A provider over HTTP, whichever it is: a slow one takes no more than its share of this process's threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from gateway.payments import http
from gateway.payments.http import Api
from gateway.payments.provider import ProviderUnavailable


def test_a_slow_provider_keeps_no_more_threads_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "AT_ONCE", 2)
    monkeypatch.setattr(http, "TURN_S", 0.01)
    asked, released = threading.Semaphore(0), threading.Event()

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.release()
        assert released.wait(30)
        return httpx2.Response(200, json={})

    api = Api("Slow", "https://slow.test", "key", {}, lambda body: ("", ""), transport=httpx2.MockTransport(answer))
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(api.get, "/x", dict) for _ in range(2)]
        for _ in waiting:
            assert asked.acquire(timeout=30)

        with pytest.raises(ProviderUnavailable, match="Slow is slow: 2 calls"):
            api.get("/x", dict)

        released.set()
        assert [each.result() for each in waiting] == [{}, {}]
    assert api.get("/x", dict) == {}
