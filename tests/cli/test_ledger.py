"""`quotagate usage ID` and `quotagate ledger ID`."""

from __future__ import annotations

import sqlite3

import pytest

from tests.cli.command import FORKS, Command, call_event, grant_event

pytestmark = FORKS


def test_calls_are_listed_oldest_first_an_object_a_line(quotagate: Command) -> None:
    quotagate.records(call_event(2, model="m2"), call_event(1, status="500", estimated="1"), call_event(3, "bob"))

    first, second = quotagate("usage", "ada", "--json").json()

    assert first == {
        "reservation_id": "r1", "operation": "chat", "model": "gpt-4o", "input_tokens": 11, "cached_tokens": 5,
        "cache_write_tokens": 3, "output_tokens": 6, "reasoning_tokens": 2, "total_tokens": 17, "audio_ms": 0,
        "images": 0, "held": 0, "cost": 7,
        "estimated": True, "outcome": "settled", "status": 500, "latency_ms": 250,
        "occurred_at": "2001-09-09T01:46:41.250000+00:00",
    }  # fmt: skip
    assert (second["reservation_id"], second["model"]) == ("r2", "m2")


def test_entries_are_listed_oldest_first_an_object_a_line(quotagate: Command) -> None:
    quotagate.records(call_event(2), grant_event(1), grant_event(3, "bob"))

    assert quotagate("ledger", "ada", "--json").json() == [
        {
            "id": "grant:ada t1/1", "kind": "TOP_UP", "bucket": "credits:t1", "amount": 50, "reservation_id": None,
            "reason": "paid", "occurred_at": "2001-09-09T01:46:41+00:00",
        },
        {
            "id": "r2/1", "kind": "USAGE", "bucket": "credits:signup", "amount": -7, "reservation_id": "r2",
            "reason": None, "occurred_at": "2001-09-09T01:46:42.250000+00:00",
        },
    ]  # fmt: skip


@pytest.mark.parametrize(("command", "title"), [("usage", "calls of ada"), ("ledger", "ledger of ada")])
def test_a_table_for_people_has_a_title_and_a_row_for_each(quotagate: Command, command: str, title: str) -> None:
    quotagate.records(call_event(1), call_event(2))

    done = quotagate(command, "ada")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(title)
    assert "r1" in done.out
    assert "r2" in done.out
    assert "2001-09-09T" in done.out


@pytest.mark.parametrize(("command", "said"), [("usage", "calls of ada: none\n"), ("ledger", "ledger of ada: none\n")])
def test_nothing_is_said_to_be_none(quotagate: Command, command: str, said: str) -> None:
    assert (quotagate(command, "ada").code, quotagate(command, "ada").out) == (0, said)
    assert quotagate(command, "ada", "--json").out == ""


def test_a_long_list_is_whole(quotagate: Command) -> None:
    """It is read in pages of a thousand."""
    quotagate.records(*(call_event(number) for number in range(2001)))

    found = quotagate("usage", "ada", "--json").json()

    assert [row["reservation_id"] for row in found] == [f"r{number}" for number in range(2001)]


def test_text_that_is_not_ascii_is_printed_as_it_is(quotagate: Command) -> None:
    quotagate.records(grant_event(1, "josé", "dibayar 用户"))

    done = quotagate("ledger", "josé", "--json")

    assert done.json()[0]["reason"] == "dibayar 用户"
    assert "用户" in done.out


@pytest.mark.parametrize("reason", ["[/red] paid", "[bold]paid[/bold]", "order [4711]"])
def test_a_reason_that_looks_like_markup_is_shown_as_it_is(quotagate: Command, reason: str) -> None:
    quotagate.records(grant_event(1, reason=reason))

    done = quotagate("ledger", "ada")

    assert done.code == 0
    assert reason in done.out


@pytest.mark.parametrize("command", ["usage", "ledger"])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(quotagate: Command, command: str) -> None:
    done = quotagate(command, "[/red]")

    assert done.code == 0
    assert "of [/red]: none" in done.out


@pytest.mark.parametrize("command", [["usage"], ["ledger"], ["keys", "list", "--user"]], ids=lambda command: command[0])
def test_a_name_that_is_no_text_is_refused_in_a_sentence(quotagate: Command, command: list[str]) -> None:
    done = quotagate(*command, "\udcff")

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("quotagate: there is no account ")


def test_a_table_that_goes_into_a_pipe_has_a_line_for_each_row_however_long_it_is(quotagate: Command) -> None:
    model, reason = "m" * 200, "word " * 190 + "end"
    quotagate.records(call_event(1, model=model), grant_event(2, reason=reason))

    calls, entries = quotagate("usage", "ada").out, quotagate("ledger", "ada").out

    (call,) = [line for line in calls.splitlines() if "r1" in line]
    assert model in call
    assert "2001-09-09T01:46:41+00:00" in call
    (entry,) = [line for line in entries.splitlines() if "TOP_UP" in line]
    assert reason in entry


def test_a_value_cannot_give_orders_to_a_terminal(quotagate: Command) -> None:
    """A client chooses the name of its model."""
    quotagate.records(call_event(1, model="gpt\x1b[2J:smile:"))

    assert "gpt\ufffd[2J:smile:" in quotagate("usage", "ada").out


def test_a_ledger_that_breaks_under_a_command_is_said_in_a_sentence(quotagate: Command) -> None:
    quotagate.records(call_event(1))
    with sqlite3.connect(quotagate.data / "ledger.sqlite3") as connection:
        connection.execute("DROP TABLE usage_events")
    connection.close()

    done = quotagate("usage", "ada")

    assert (done.code, done.out) == (3, "")
    assert done.err == "quotagate: the ledger's database cannot be used: no such table: usage_events\n"
