"""The config file changes under a running gateway."""

from __future__ import annotations

import os
import signal
import threading

import httpx2

from tests.support.processes import GatewaySystem
from tests.support.upstream import Upstream, Wait, json_answer, openai_json
from tests.support.waiting import until

ASK = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}]}


def ask(system: GatewaySystem, key: str) -> httpx2.Response:
    return httpx2.post(f"{system.url}/fixed", json=ASK, headers={"x-api-key": key}, timeout=60)


def reload(system: GatewaySystem, text: str) -> None:
    """Returns when the new file is in force."""
    seen = system.log("gateway").count("is in force")
    system.config.write_text(text)
    until(lambda: system.log("gateway").count("is in force") > seen, 20, "the new config")


def test_a_changed_file_is_in_force_and_open_calls_keep_what_they_started_with(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    key = system.key("reload", "pro")
    before = system.config.read_text()
    gate = Wait()
    shared_upstream.script = lambda request: [gate, *json_answer(openai_json())]
    open_call = threading.Thread(target=ask, args=(system, key))
    open_call.start()
    until(lambda: system.balance("reload")["held"] == 3, what="the open call")

    reload(system, before.replace("price = 3", "price = 5"))
    gate.until.set()
    open_call.join()
    spent_by_the_open_call = system.balance("reload")["spent"]
    shared_upstream.script = lambda request: json_answer(openai_json())
    ask(system, key)

    assert spent_by_the_open_call == 3
    assert system.balance("reload")["spent"] == 3 + 5
    reload(system, before)


def test_a_broken_file_keeps_the_old_config_and_the_log_says_why(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    key = system.key("broken", "pro")
    shared_upstream.script = lambda request: json_answer(openai_json())
    before = system.config.read_text()

    system.config.write_text(before.replace("price = 3", 'price = "three"'))
    until(lambda: "the config in force stays" in system.log("gateway"), 20, "the refusal")
    ask(system, key)
    system.config.write_text(before)  # The command line reads it too.

    assert system.balance("broken")["spent"] == 3
    assert 'operations.fixed.price = "three": must be a whole number of units' in system.log("gateway")


def test_sighup_reads_the_file_again(system: GatewaySystem) -> None:
    assert system.gateway is not None
    seen = system.log("gateway").count("is in force")
    os.kill(system.gateway.pid, signal.SIGHUP)
    until(lambda: system.log("gateway").count("is in force") > seen, 20, "the reload")
