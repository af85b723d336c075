"""The audit log: a row an act, once, and nothing secret in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, select

from gateway.accounts.audit import about, note
from gateway.domain.errors import RefusedInput
from gateway.ledger.tables import audit_log

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def _note(ledger: Engine, id: str = "act-1", **change: object) -> bool:
    act: dict[str, object] = {"actor": "cli:ada", "action": "account.set_tier", "target": "account:bob", "now": NOW}
    return note(ledger, id=id, **(act | change))  # type: ignore[arg-type]


def test_an_act_is_noted_with_what_it_changed(ledger: Engine) -> None:
    assert _note(ledger, reason="paid", before={"tier": "free"}, after={"tier": "pro", "until": NOW, "left": 3})

    (noted,) = about(ledger, "account:bob")
    assert (noted.id, noted.actor, noted.action, noted.reason) == ("act-1", "cli:ada", "account.set_tier", "paid")
    assert noted.occurred_at == NOW
    assert noted.before == {"tier": "free"}
    assert noted.after == {"tier": "pro", "until": "2026-11-20T12:00:00+00:00", "left": 3}


def test_a_repeat_is_silent_and_changes_nothing(ledger: Engine) -> None:
    assert _note(ledger, reason="first")
    assert not _note(ledger, reason="second", now=NOW + timedelta(hours=1))

    assert [noted.reason for noted in about(ledger, "account:bob")] == ["first"]


def test_a_note_on_a_connection_belongs_to_its_transaction(ledger: Engine) -> None:
    with ledger.connect() as connection:
        assert note(connection, id="a", actor="cron", action="x", target="account:bob", now=NOW)
        connection.rollback()

    assert about(ledger, "account:bob") == []


def test_what_was_done_is_listed_oldest_first_and_only_of_the_target(ledger: Engine) -> None:
    _note(ledger, "later", now=NOW + timedelta(seconds=1))
    _note(ledger, "first", now=NOW.astimezone(timezone(timedelta(hours=7))))
    _note(ledger, "other", target="account:carl")

    assert [noted.id for noted in about(ledger, "account:bob")] == ["first", "later"]


def test_no_secret_is_written(ledger: Engine) -> None:
    key = "qg_AbCdEfGh" + "s" * 32
    _note(
        ledger,
        reason=f"leaked {key}",
        before={"password": "hunter2", "nested": [{"client_secret": "hunter2"}], "api_key": "hunter2"},
        after={"note": f"was {key} once", "webhook": "whsec_aHVudGVyMg==", "used_tokens": 7},
    )

    with ledger.connect() as connection:
        row = str(connection.execute(select(audit_log)).mappings().one())
    assert "hunter2" not in row
    assert "ssss" not in row
    assert "aHVud" not in row
    (noted,) = about(ledger, "account:bob")
    assert noted.reason == "leaked qg_AbCdEfGh…"
    assert noted.after["used_tokens"] == 7


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"reason": "x" * 1001}, "the reason"),
        ({"reason": "two\nlines"}, "the reason"),
        ({"actor": ""}, "the actor"),
        ({"target": "account:" + "x" * 220}, "the target"),
        ({"id": "x" * 201}, "the id of the act"),
    ],
)
def test_what_cannot_be_kept_is_refused(ledger: Engine, change: dict[str, str], what: str) -> None:
    with pytest.raises(RefusedInput, match=what):
        _note(ledger, **change)
    assert about(ledger, "account:bob") == []
