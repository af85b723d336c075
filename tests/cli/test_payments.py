"""`quotagate payments`, over a data folder and the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway import config
from gateway.accounts.epoch import ensure_epoch
from gateway.accounts.system import System
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.payments import orders, providers
from gateway.store.runner import connect
from tests.api.market import FOR_NOTHING
from tests.cli.command import FORKS, Command
from tests.support.config import config_text
from tests.support.sandbox import Clock, SandboxServer

pytestmark = FORKS
UNKNOWN = "ord_00000000000000000000"


class Till:
    """The command line, and a payment that waits for its payer."""

    def __init__(self, command: Command, sandbox: SandboxServer, order: str) -> None:
        self.command, self.sandbox, self.order = command, sandbox, order

    def __call__(self, *arguments: str) -> Any:
        return self.command("payments", *arguments)


@pytest.fixture
def till(quotagate: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Till]:
    sandbox = SandboxServer(clock=Clock(datetime.now(UTC)))
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    quotagate.config.write_text(config_text(more=FOR_NOTHING))
    settings = config.load(quotagate.config)
    client = connect(f"unix://{quotagate.data.resolve() / 'redis' / 'redis.sock'}")
    engine = database.connect(database.sqlite_url(quotagate.data.resolve()))
    migrate(engine)
    system = System(settings, client, engine)
    ensure_epoch(system)
    order = orders.top_up(
        system, providers.of(settings).for_new_orders(), "ada", package="small", units=None, method="va",
        channel="BCA", write_id="w1",
    )  # fmt: skip
    client.close()
    engine.dispose()
    yield Till(quotagate, sandbox, order.id)
    providers.of(settings).close()
    sandbox.close()


def test_a_payment_is_listed_and_shown_without_how_it_is_paid(till: Till) -> None:
    number = next(iter(till.sandbox.bank.requests.values()))["actions"][0]["value"]

    listed = till("list", "--state", "pending", "--json").only()
    shown = till("show", till.order, "--json").only()

    assert (listed["id"], listed["price"], listed["method"], listed["channel"]) == (
        till.order,
        "50000 IDR",
        "va",
        "BCA",
    )
    assert shown.items() >= listed.items()
    assert [step["state"] for step in shown["steps"]] == ["created", "pending"]
    for told in (till("list"), till("show", till.order)):
        assert till.order in told.out
        assert number not in told.out
    assert till("list", "--account", "grace").out == "payments: none\n"


def test_a_payment_is_checked_reviewed_and_given_back(till: Till) -> None:
    till.sandbox.pay(till.order, 49_000)

    checked = till("check", till.order)
    decided = till("review", till.order, "--decision", "credit", "--reason", "near it")
    refunded = till("refund", till.order, "--reason", "asked for", "--amount", "49000 IDR", "--json").only()

    before = f"payment {till.order} of account ada is"
    assert checked.out == f"{before} review: 49000 IDR was paid, and 50000 IDR was ordered\n"
    assert decided.out.startswith(f"{before} credited")
    assert refunded["id"] == till.order
    (given_back,) = till("show", till.order, "--json").only()["refunds"]
    assert (given_back["amount"], given_back["units"], given_back["reason"]) == (4_900_000, 5500, "asked for")


def test_a_comparison_shows_what_differs_and_exits_with_1(till: Till) -> None:
    assert till("compare").out == "differences that nobody has looked at: none\n"
    till.sandbox.call(
        "POST",
        "/v3/payment_requests",
        {
            "reference_id": "ord_of_nobody", "type": "PAY", "country": "ID", "currency": "IDR",
            "request_amount": 10_000, "capture_method": "AUTOMATIC", "channel_code": "QRIS", "channel_properties": {},
        },
    )  # fmt: skip
    till.sandbox.pay("ord_of_nobody")

    done = till("compare", "--json")

    assert (done.code, done.err) == (1, "")
    assert '"kind": "unknown_payment"' in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", UNKNOWN), 1, f"there is no payment '{UNKNOWN}'"),
        (("check", UNKNOWN), 1, "there is no payment"),
        (("refund", "ORDER", "--reason", "r"), 1, "is pending, and cannot be refunded"),
        (("refund", "ORDER", "--reason", "r", "--amount", "ten"), 1, "--amount 'ten': must be an amount"),
        (("refund", "ORDER", "--reason", " "), 1, "the reason must be given"),
        (("review", "ORDER", "--decision", "credit", "--reason", "r"), 1, "there is nothing to review"),
        (("review", "ORDER", "--decision", "burn", "--reason", "r"), 2, "burn"),
        (("list", "--state", "gone"), 1, 'state = "gone": must be one of'),
        (("list", "--limit", "0"), 2, "or equal to"),
        (("compare", "--days", "91"), 2, "or equal to"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(till: Till, arguments: Any, code: int, said: str) -> None:
    done = till(*(till.order if word == "ORDER" else word for word in arguments))

    assert (done.code, done.out) == (code, "")
    assert said in done.err
