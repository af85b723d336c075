"""A gateway that dies in the middle of a call with an Idempotency-Key: the call is never made again under it."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.faults.test_kill import ASK, assert_whole, system
from tests.support.processes import GatewaySystem
from tests.support.upstream import Pause, Upstream, Wait, json_answer, openai_json
from tests.support.waiting import until

__all__ = ["system"]


def ask(system: GatewaySystem, key: str) -> httpx2.Response:
    headers = {"x-api-key": key, "idempotency-key": "order-1"}
    return httpx2.post(f"{system.url}/v1/chat/completions", content=json.dumps(ASK), headers=headers, timeout=60)


def code(answer: httpx2.Response) -> str:
    return str(answer.json()["error"]["code"])


def test_a_gateway_killed_in_the_middle_of_a_call_never_makes_it_again(
    system: GatewaySystem, upstream: Upstream
) -> None:
    key = system.key("killed", "pro")
    upstream.script = lambda request: [Wait()]
    body = json.dumps(ASK).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nx-api-key: {key}\r\nIdempotency-Key: order-1\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", system.port)) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: upstream.requests, what="the call upstream")
        system.kill(system.gateway)
    upstream.script = lambda request: json_answer(openai_json())
    system.start_gateway()

    answers = []

    def is_over() -> bool:
        answers.append(ask(system, key))
        return code(answers[-1]) != "idempotency_in_progress"

    until(is_over, what="the end of the dead gateway's claim")
    assert {answer.status_code for answer in answers} == {409}
    assert code(answers[-1]) == code(ask(system, key)) == "idempotency_outcome_unknown"
    assert len(upstream.requests) == 1
    assert_whole(system, "killed", settled=0)


def test_fifty_clients_at_once_with_one_key_are_one_call_and_one_charge(
    system: GatewaySystem, upstream: Upstream
) -> None:
    key = system.key("crowd", "pro")
    upstream.script = lambda request: [Pause(0.5), *json_answer(openai_json())]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(system, key), range(50)))

    served = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len({answer.content for answer in served}) == 1
    assert {(answer.status_code, code(answer)) for answer in refused} <= {(409, "idempotency_in_progress")}
    again = ask(system, key)
    assert (again.content, again.headers["idempotent-replayed"]) == (served[0].content, "true")
    assert len(upstream.requests) == 1
    assert_whole(system, "crowd", settled=1)
