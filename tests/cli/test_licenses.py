"""`quotagate licenses`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.accounts.licensed import LICENSES
from tests.cli.command import FORKS, Command
from tests.support.config import config_text

pytestmark = FORKS
KEY = re.compile(r"lic_[A-Za-z0-9]{40}")


@pytest.fixture
def licensing(quotagate: Command) -> Command:
    quotagate.config.write_text(config_text(more=LICENSES))
    return quotagate


def make(licensing: Command, *more: str) -> dict[str, Any]:
    return licensing("licenses", "create", "--owner", "ada", "--amount", "5", *more, "--json").only()


def test_a_new_key_is_printed_alone_so_that_a_script_can_take_it(licensing: Command) -> None:
    done = licensing("licenses", "create", "--owner", "ada", "--amount", "5")

    assert (done.code, done.err) == (0, "")
    assert KEY.fullmatch(done.out.removesuffix("\n"))


def test_a_license_is_listed_as_it_was_made_and_without_its_secret(licensing: Command) -> None:
    made = make(licensing, "--name", "desk 4", "--trial", "--expires", "30d")

    listed = licensing("licenses", "list", "--json").only()

    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert (listed["owner"], listed["name"], listed["status"], listed["left"]) == ("ada", "desk 4", "trial", 5)
    assert made["key"][12:] not in licensing("licenses", "list").out
    assert licensing("licenses", "list", "--owner", "bob").out == "licenses: none\n"
    assert licensing("licenses", "list", "--status", "active").out == "licenses: none\n"


def test_each_act_says_how_the_license_is_then_and_is_noted_with_who_did_it(licensing: Command) -> None:
    prefix = make(licensing)["prefix"]
    said = [
        licensing("licenses", *words).out
        for words in (
            ("top-up", prefix, "7", "--id", "order-1", "--reason", "paid"),
            ("top-up", prefix, "7", "--id", "order-1", "--reason", "paid"),
            ("transfer", prefix, "bob", "--reason", "sold"),
            ("suspend", prefix),
            ("resume", prefix),
            ("revoke", prefix),
        )
    ]

    assert said == [
        f"license {prefix} of {owner} is {status}, with 12 unit(s) left\n"
        for owner, status in (
            ("ada", "active"), ("ada", "active"), ("bob", "active"), ("bob", "suspended"), ("bob", "active"),
            ("bob", "revoked"),
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("create", "--owner", "a b", "--amount", "1"), "can own no license"),
        (("create", "--owner", "ada", "--amount", "-1"), "must be from 0 to"),
        (("create", "--owner", "ada", "--amount", "9007199254740992"), "must be from 0 to"),
        (("create", "--owner", "ada", "--amount", "1", "--expires", "soon"), "is no expiry"),
        (("list", "--status", "gone"), "is no status of a license"),
        (("suspend", "lic_AbCdEfGh"), "there is no license lic_AbCdEfGh"),
        (("revoke", "qg_AbCdEfGh"), "there is no such license"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(licensing: Command, words: tuple[str, ...], why: str) -> None:
    done = licensing("licenses", *words)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("quotagate: ")
    assert why in done.err


def test_where_licenses_are_off_it_says_how_to_turn_them_on(quotagate: Command) -> None:
    done = quotagate("licenses", "create", "--owner", "ada", "--amount", "1")

    assert done.code == 1
    assert "names no tier for them, [licenses] tier" in done.err
