"""`quotagate notices`."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.domain.notice import Notice
from gateway.ledger import database, notices
from gateway.ledger.migrate import migrate
from tests.cli.command import FORKS, Command

pytestmark = FORKS

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def test_notices_are_listed_with_how_they_were_delivered(quotagate: Command) -> None:
    quotagate.data.mkdir(exist_ok=True)
    engine = database.connect(database.sqlite_url(quotagate.data.resolve()))
    migrate(engine)
    for account in ("ada", "bob"):
        notice = Notice(f"exhausted {account} day:1", "exhausted", account, {"left": 0})
        notices.insert(engine, [notice], ["webhook"], NOW)
    (first, second) = notices.claim(engine, NOW, 10)
    notices.sent(engine, first, NOW)
    notices.failed(engine, second, "the receiver answered 500", NOW)
    engine.dispose()

    both = quotagate("notices", "--json").json()
    bad = quotagate("notices", "--failed", "--json").only()

    assert [notice["account"] for notice in both] == ["bob", "ada"]
    assert bad["account"] == "bob"
    assert (bad["facts"], bad["deliveries"][0]["last_error"]) == ({"left": 0}, "the receiver answered 500")
    assert [notice["account"] for notice in quotagate("notices", "--account", "ada", "--json").json()] == ["ada"]
    people = quotagate("notices").out
    assert "webhook sent" in people
    assert "webhook waits until 2026-11-20T10:00:05+00:00, last: the receiver answered 500" in people


def test_no_notices_are_said_to_be_none(quotagate: Command) -> None:
    assert quotagate("notices").out == "notices: none\n"
