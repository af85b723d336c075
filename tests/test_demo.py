"""The demo backend, as far as `tests/acceptance/test_up.py` does not call it."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from gateway.demo import app


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/v1/chat-messages"])
@pytest.mark.parametrize("body", [b"", b"nonsense", b"\xff"])
def test_what_is_no_json_is_refused_in_json(path: str, body: bytes) -> None:
    answer = TestClient(app).post(path, content=body)

    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]
