"""A gateway that sells: Xendit's client speaks with the sandbox, without a socket between them."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import redis
from sqlalchemy import update

from gateway.accounts import admin_keys, balances
from gateway.launch.places import SANDBOX_SECRET, SANDBOX_TOKEN, SANDBOX_URL
from gateway.ledger.sales import orders
from gateway.payments.providers import Providers
from tests.api.user.door import Door
from tests.payments.shop import SOLD
from tests.support.sandbox import SECRET, TOKEN, Clock, Sandbox

#: Without a key it is the sandbox.
FOR_NOTHING = SOLD.replace('secret_key = "xnd_test"\ncallback_token = "token"\n', "")
WEBHOOKS = "/api/webhooks/xendit"


class Market(Door):
    def __init__(self, client: redis.Redis, folder: Path, sold: str = FOR_NOTHING) -> None:
        self.sandbox = Sandbox(Clock(datetime.now(UTC)))
        environ = {SANDBOX_URL: self.sandbox.bank.address, SANDBOX_SECRET: SECRET, SANDBOX_TOKEN: TOKEN}
        providers = functools.cache(lambda sold: Providers(sold, environ, transport=self.sandbox.transport))
        super().__init__(client, folder, sold, providers_of=lambda config: providers(config.payments))
        self.admin = admin_keys.create(self.system, "olga", ("*",))

    def buy(self, again: str = "", **wanted: Any) -> dict[str, Any]:
        """A payment that waits for its payer. `again`: the request's Idempotency-Key."""
        headers = {"idempotency-key": again} if again else {}
        asked = {"package": "small", "method": "qris"} | wanted
        account = asked.pop("account", "ada")
        return self.post("/api/payments/topup", asked, account=account, status=201, headers=headers)

    def deliver(self) -> list[int]:
        """The sandbox posts its webhooks. Returns how the gateway answered."""
        return self.sandbox.deliver(lambda headers, body: self.hear(body, headers=headers).status_code)

    def hear(self, body: bytes, headers: dict[str, str], path: str = WEBHOOKS) -> httpx2.Response:
        return self.together(("POST", path, {"content": body, "headers": headers}))[0]

    def operate(self, method: str, path: str, body: Any = None, key: str = "", **more: Any) -> httpx2.Response:
        """As an operator asks."""
        headers = {"authorization": f"Bearer {key or self.admin}"} | more.pop("headers", {})
        return self.together((method, f"/api/admin/{path}", {"headers": headers, "json": body} | more))[0]

    def left(self, account: str = "ada") -> int:
        return balances.read(self.system, account).account.left

    def stale(self) -> None:
        """As if the provider was asked about nothing for a while."""
        with self.ledger.begin() as connection:
            connection.execute(update(orders).values(asked_at=None))
