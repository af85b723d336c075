"""`quotagate keys … --admin`, and what the audit log says of commands."""

from __future__ import annotations

import getpass
from typing import Any

import pytest

from gateway.accounts import audit
from gateway.ledger import database
from tests.cli.command import FORKS, Command

pytestmark = FORKS


def notes(command: Command, target: str) -> list[tuple[str, str, str]]:
    engine = database.connect(database.sqlite_url(command.data.resolve()))
    try:
        return [(noted.actor, noted.action, noted.reason) for noted in audit.about(engine, target)]
    finally:
        engine.dispose()


ME = f"cli:{getpass.getuser()}"


def test_an_admin_key_is_shown_once_listed_by_its_prefix_and_revoked(quotagate: Command) -> None:
    key = quotagate(
        "keys", "create", "--admin", "eve", "--scope", "accounts:read", "--scope", "ledger:read"
    ).out.strip()

    assert key.startswith("qga_")
    assert len(key) == 44
    listed = quotagate("keys", "list", "--admin", "--json").only()
    assert (listed["prefix"], listed["admin"], listed["scopes"]) == (key[:12], "eve", "accounts:read ledger:read")
    assert (listed["expires_at"], listed["revoked_at"]) == (None, None)
    assert key[12:] not in str(listed)

    assert quotagate("keys", "revoke", key[:12]).out == f"admin key {key[:12]} is revoked\n"
    assert quotagate("keys", "list", "--admin", "--json").only()["revoked_at"] is not None
    assert notes(quotagate, "admin:eve") == [(ME, "admin_key.create", ""), (ME, "admin_key.revoke", "")]


def test_an_admin_key_is_no_key_of_an_account(quotagate: Command) -> None:
    quotagate("keys", "create", "--admin", "eve", "--scope", "*", "--expires", "30d")

    assert quotagate("keys", "list", "--json").json() == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("create", "--admin", "eve"), 1, "needs a scope"),
        (("create", "--admin", "eve", "--scope", "fly"), 1, "'fly' is no scope"),
        (("create", "--admin", "a b", "--scope", "*"), 1, "needs a name"),
        (("create", "--admin", "", "--scope", "*"), 1, "needs a name"),
        (("create", "--admin", "x" * 101, "--scope", "*"), 1, "needs a name"),
        (("create", "--admin", "eve", "--scope", "*", "--expires", "2020-01-01T00:00:00Z"), 1, "is in the past"),
        (("create", "--admin", "eve", "--scope", "*", "--user", "ada"), 2, "--admin"),
        (("create", "--admin", "eve", "--scope", "*", "--limit", "9 requests/minute"), 2, "--admin"),
        (("list", "--admin", "--user", "ada"), 2, "--admin"),
        (("revoke", "qga_AbCdEfGh"), 1, "there is no admin key"),
        (("revoke", "qga_ä"), 1, "there is no admin key"),
    ],
)
def test_what_makes_no_sense_is_refused(quotagate: Command, words: tuple[str, ...], code: int, said: str) -> None:
    done = quotagate("keys", *words)

    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert quotagate("keys", "list", "--admin", "--json").json() == []


def test_a_right_prefix_with_a_wrong_secret_revokes_nothing(quotagate: Command) -> None:
    key = quotagate("keys", "create", "--admin", "eve", "--scope", "*").out.strip()

    assert quotagate("keys", "revoke", key[:-1] + "!").code == 1
    assert quotagate("keys", "list", "--admin", "--json").only()["revoked_at"] is None
    assert quotagate("keys", "revoke", key).code == 0


def test_what_a_command_does_to_an_account_is_noted(quotagate: Command) -> None:
    quotagate.key("ada")
    commands: list[tuple[Any, ...]] = [
        ("grant", "ada", "5", "--id", "g1", "--reason", "a gift"),
        ("grant", "ada", "5", "--id", "g1", "--reason", "a gift"),
        ("accounts", "set", "ada", "--tier", "pro", "--reason", "she paid"),
        ("accounts", "override", "ada", "--limits", "2x", "--until", "3d"),
    ]

    assert [quotagate(*words).code for words in commands] == [0, 0, 0, 0]

    assert notes(quotagate, "account:ada") == [
        (ME, "account.grant", "a gift"), (ME, "account.change", "she paid"), (ME, "account.override", ""),
    ]  # fmt: skip
    assert quotagate("grant", "ada", "6", "--id", "g1", "--reason", "a gift").code == 1
