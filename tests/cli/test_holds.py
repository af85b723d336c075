"""`quotagate holds` and `quotagate explain`."""

from __future__ import annotations

import pytest

from gateway import config
from gateway.accounts.epoch import ensure_epoch
from gateway.accounts.system import System
from gateway.cli import explain
from gateway.domain.usage import Usage
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.store.runner import connect
from tests.accounts.calls_made import drain, hold, open_account, settle
from tests.cli.command import FORKS, Command

pytestmark = FORKS


@pytest.fixture
def calls_made(quotagate: Command) -> Command:
    """An open call of ada's, and one that has settled and is in the ledger."""
    settings = config.load(quotagate.config)
    client = connect(f"unix://{quotagate.data.resolve() / 'redis' / 'redis.sock'}")
    engine = database.connect(database.sqlite_url(quotagate.data.resolve()))
    migrate(engine)
    system = System(settings, client, engine)
    ensure_epoch(system)
    open_account(system, "ada", "pro")
    hold(system, "r1", amount=900)
    settle(system, "r1", 500, Usage(input=100, output=25))
    drain(system)
    hold(system, "r2", amount=7, api_key="qg_AbCdEfGh")
    client.close()
    engine.dispose()
    return quotagate


def test_open_holds_are_listed_and_one_is_released_with_a_note(calls_made: Command) -> None:
    listed = calls_made("holds", "--account", "ada", "--json").only()
    assert (listed["reservation"], listed["account"], listed["amount"], listed["operation"]) == ("r2", "ada", 7, "chat")
    assert listed["since"] < listed["lease_until"]
    assert "r2" in calls_made("holds").out

    done = calls_made("holds", "release", "r2", "--reason", "stuck")

    assert (done.code, done.out) == (0, "hold r2 is released: 7 unit(s) went back to account ada\n")
    assert calls_made("holds").out == "open holds: none\n"
    again = calls_made("holds", "release", "r2", "--reason", "stuck")
    assert (again.code, again.err) == (
        1, "quotagate: reservation r2 has ended: released; `quotagate holds` lists those that are open\n",
    )  # fmt: skip
    (noted,) = calls_made("explain", "r2", "--json").only()["audit"]
    assert noted["actor"].startswith("cli:")
    assert noted["reason"] == "stuck"


def test_a_call_is_explained_to_people_and_to_programs(calls_made: Command) -> None:
    told = calls_made("explain", "r1")
    assert told.code == 0, told.err
    for line in (
        "reservation r1 of account ada (tier pro): settled",
        "  input: 100 × 2500000 / 1000000 = 250",
        "  rounded up once: 500",
        "ledger r1/1: USAGE",
    ):
        assert line in told.out
    assert "it cost" not in told.out

    found = calls_made("explain", "r1", "--json").only()
    assert (found["state"], found["price"]["agrees"], found["ended"]["charged"]) == ("settled", True, 500)

    open_one = calls_made("explain", "r2").out
    assert "held 7 (7 at first)" in open_one
    assert "key qg_AbCdEfGh" in open_one


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (("chat", "gpt-4o", "/v1/chat/completions"), "chat gpt-4o at /v1/chat/completions"),
        (("create_website", "", ""), "create_website"),
        (("preview", "", "/v1/models"), "preview at /v1/models"),
    ],
)
def test_what_was_called_is_told_as_far_as_it_has_a_name(named: tuple[str, str, str], said: str) -> None:
    assert explain.called(*named) == said


def test_a_call_that_nobody_knows_is_refused_in_a_sentence(calls_made: Command) -> None:
    done = calls_made("explain", "r9")

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("quotagate: there is no reservation r9: none is open, none ended in the last 48 h")
