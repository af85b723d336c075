"""The recorded answers of real providers, through the running gateway: every byte unchanged, every token charged."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.config import ROUTES
from tests.support.processes import CHECKOUT, GatewaySystem
from tests.support.upstream import END, Upstream, chunk, stream_head

FOLDER = Path(os.environ.get("QUOTAGATE_TRANSCRIPTS") or CHECKOUT.parent / "shared" / "transcripts")
MANIFEST: list[dict[str, Any]] = (
    json.loads((FOLDER / "manifest.json").read_text()) if (FOLDER / "manifest.json").is_file() else []
)
PATHS = {dialect: path.replace("/*", "/m:generateContent") for path, dialect in ROUTES.items()}
#: Streams whose events carry `event: TYPE` too.
NAMED_EVENTS = ("anthropic-messages", "openai-responses", "cohere")

if not MANIFEST:
    pytest.skip(f"no recorded answers at {FOLDER}", allow_module_level=True)


def body_of(item: dict[str, Any]) -> bytes:
    """The answer as its provider sends it: see the README beside the recordings."""
    text: str = (FOLDER / item["file"]).read_text()
    if not item["stream"]:
        return text.encode()
    events = []
    for line in text.splitlines():
        if item["dialect"] in NAMED_EVENTS:
            events.append(f"event: {json.loads(line)['type']}\n")
        events.append(f"data: {line}\n\n")
    if item["dialect"] == "openai-chat":
        events.append("data: [DONE]\n\n")
    return "".join(events).encode()


def answer(item: dict[str, Any], body: bytes, piece_bytes: int, encoding: str = "") -> list[bytes]:
    kind = "text/event-stream" if item["stream"] else "application/json"
    encoded = gzip.compress(body) if encoding else body
    head = stream_head(kind, f"Content-Encoding: {encoding}\r\n" if encoding else "")
    return [head, *(chunk(encoded[n : n + piece_bytes]) for n in range(0, len(encoded), piece_bytes)), END]


@pytest.mark.parametrize("piece_bytes", [37, 10**9], ids=["in-pieces", "whole"])
def test_every_recorded_answer_passes_unchanged_and_is_charged_as_recorded(
    system: GatewaySystem, shared_upstream: Upstream, piece_bytes: int
) -> None:
    account = f"transcripts-{piece_bytes}"
    key = system.key(account, "pro")
    expected = []
    with httpx2.Client(base_url=system.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        for item in MANIFEST:
            body = body_of(item)
            # Very large recordings in very small pieces would only test patience.
            step = max(piece_bytes, len(body) // 2000)
            shared_upstream.script = lambda request, item=item, body=body, step=step: answer(item, body, step)  # type: ignore[misc]
            got = client.post(PATHS[item["dialect"]], json=_request(item))
            assert got.status_code == 200, (item["file"], got.content)
            assert got.content == body, item["file"]
            expected.append(item)
    system.drained()

    events = system.usage(account)
    assert len(events) == len(expected)
    for item, event in zip(expected, events, strict=True):
        usage = item["usage"]
        found = {
            name: event[f"{name}_tokens"] for name in ("input", "cached", "cache_write", "output", "reasoning", "total")
        }
        assert found == usage, item["file"]
        assert event["cost"] == usage["total"], item["file"]
        assert event["estimated"] is False
    spent = -sum(entry["amount"] for entry in system.ledger(account) if entry["kind"] in ("USAGE", "WRITE_OFF"))
    assert spent == sum(item["usage"]["total"] for item in expected)
    balance = system.balance(account)
    assert (balance["spent"], balance["held"]) == (spent, 0)


def test_gzip_encoded_answers_pass_as_they_are_and_are_metered_on_a_decoded_copy(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    account = "transcripts-gzip"
    key = system.key(account, "pro")
    some = MANIFEST[::6]
    with httpx2.Client(base_url=system.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        for item in some:
            body = body_of(item)
            shared_upstream.script = lambda request, item=item, body=body: answer(item, body, 512, "gzip")  # type: ignore[misc]
            got = client.post(PATHS[item["dialect"]], json=_request(item))
            assert got.headers["content-encoding"] == "gzip"
            assert got.content == body, item["file"]
    system.drained()
    assert [event["total_tokens"] for event in system.usage(account)] == [item["usage"]["total"] for item in some]


def _request(item: dict[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": "recorded", "messages": [], "max_tokens": 10_000_000, "stream": item["stream"]}
    if item["stream"] and item["dialect"] == "openai-chat":
        asked["stream_options"] = {"include_usage": True}
    return asked
