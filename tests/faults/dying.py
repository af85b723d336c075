"""A process that credits an order, or makes subscriptions keep time, and kills itself on the way.

`python -m tests.faults.dying REDIS DATABASE ORDER WHO AT [NOW]`. WHO: "poll", "webhook" or "clock". AT: "before" or
"after", the number of the call, and the function, such as "after 1 gateway.payments.books:move". NOW: what the time is
for it, as ISO 8601 has it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from datetime import datetime
from typing import Any

import redis

from gateway.accounts.system import System
from gateway.config import parse
from gateway.domain.order import SUBSCRIPTION, Found
from gateway.ledger import database
from gateway.payments import books, crediting, renewals, webhooks
from tests.payments.club import PLANS
from tests.payments.shop import SOLD, Till
from tests.support.config import config_text
from tests.support.sandbox import Clock


def main() -> None:
    redis_url, database_url, order_id, who, at, *now = sys.argv[1:]
    engine = database.connect(database_url)
    order = books.find(engine, order_id)
    sold = PLANS if order.purpose == SUBSCRIPTION else SOLD
    clock = Clock(datetime.fromisoformat(now[0])) if now else None
    system = System(parse(config_text() + sold, "config.toml", {}), redis.Redis.from_url(redis_url), engine, clock)
    found = Found(order.id, order.provider_id, "paid", f"py-{order.id}", order.price)
    till = Till(found={order.id: found})
    die(*at.split(" "))
    if who == "poll":
        crediting.take(system, order.id, found, "poll")
    elif who == "clock":
        renewals.act_due(system, till)
    else:
        body = f"payment.capture {order.id} {order.provider_id} py-{order.id}"
        webhooks.receive(system, till, "xendit", {"x-token": "right"}, body.encode())


def die(when: str, number: str, where: str) -> None:
    """Puts something in the place of a function that kills this process, as nothing can be caught of it."""
    module_name, _, name = where.partition(":")
    module: Any = importlib.import_module(module_name)
    real, calls = getattr(module, name), 0

    def deadly(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if when == "before" and calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **named)
        if when == "after" and calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(module, name, deadly)


if __name__ == "__main__":
    main()
