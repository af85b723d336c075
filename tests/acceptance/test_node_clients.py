"""The JavaScript clients, unchanged but for their base URL. test_limited_clients.py has what they make of limits."""

from __future__ import annotations

import json
import re

import pytest

from tests.acceptance.test_cut_clients import BALANCE, CHAT, WORDS, endless, responses_stream
from tests.support.node import CLIENTS, NodeClients
from tests.support.processes import GatewaySystem
from tests.support.upstream import DONE, Upstream, json_answer, openai_json, sse, stream_answer

CONFIG = {"more": f"[tiers.tiny]\nsignup = {BALANCE}\n"}
CONFIG["routes"] = "\n".join(
    f'[[routes]]\npath = "{path}"\nupstream = "main"\ndialect = "{dialect}"\noperation = "chat"\n'
    "default_output_tokens = 40\n"
    for path, dialect in (("/v1/chat/completions", "openai-chat"), ("/v1/responses", "openai-responses"))
) + '[[routes]]\npath = "/fixed"\nupstream = "main"\ndialect = "auto"\noperation = "fixed"\n'  # fmt: skip

CHOICE = {"index": 0, "delta": {}, "finish_reason": "stop"}
FINISH = sse({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [CHOICE]})


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> NodeClients:
    return NodeClients(tmp_path_factory.mktemp("node"))


@pytest.mark.parametrize("client", ["openai", "ai-sdk"])
def test_an_answer_arrives(client: str, node: NodeClients, system: GatewaySystem, shared_upstream: Upstream) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json())

    assert node.ask(client, system.url, system.key(f"node-{client}", "pro"))["text"] == "Hello."


@pytest.mark.parametrize("client", ["openai-stream", "ai-sdk-stream"])
def test_a_stream_arrives_whole(
    client: str, node: NodeClients, system: GatewaySystem, shared_upstream: Upstream
) -> None:
    shared_upstream.script = lambda request: stream_answer([*CHAT, FINISH, DONE])

    assert node.ask(client, system.url, system.key(f"node-{client}", "pro"))["text"] == " word" * WORDS


@pytest.mark.parametrize(
    ("client", "finished"),
    [
        ("openai-stream", "length"),
        ("openai-responses-stream", "max_output_tokens"),
        ("ai-sdk-stream", "length"),
        ("ai-sdk-responses-stream", "length"),
    ],
)
def test_a_stream_that_is_cut_ends_without_an_exception(
    client: str, finished: str, node: NodeClients, system: GatewaySystem, shared_upstream: Upstream
) -> None:
    shared_upstream.script = endless(responses_stream() if "responses" in client else CHAT)
    account = f"cut-{client}"
    said = node.ask(client, system.url, system.key(account, "tiny"))

    assert said["finished"] == finished
    assert 10 < said["text"].count("word") < WORDS
    balance = system.balance(account)
    assert (balance["held"], BALANCE // 2 < balance["spent"] <= BALANCE) == (0, True)


def test_the_lock_file_pins_by_hash_and_names_no_registry() -> None:
    lock = (CLIENTS / "package-lock.json").read_text()
    packages = {name: package for name, package in json.loads(lock)["packages"].items() if name}

    assert "resolved" not in lock
    assert all(re.match("sha512-", package["integrity"]) for package in packages.values())
