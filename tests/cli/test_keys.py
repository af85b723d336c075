"""`quotagate keys create|list|revoke`."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest

from tests.cli.command import FORKS, Command

pytestmark = FORKS
KEY = re.compile(r"qg_[A-Za-z0-9]{40}")


# ── create ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_printed_alone_so_that_a_script_can_take_it(quotagate: Command) -> None:
    done = quotagate("keys", "create", "--user", "ada", "--tier", "pro")

    assert (done.code, done.err) == (0, "")
    assert KEY.fullmatch(done.out.removesuffix("\n"))
    assert quotagate("balance", "ada", "--json").only()["tier"] == "pro"


def test_an_account_without_a_named_tier_is_opened_on_the_default_one(quotagate: Command) -> None:
    quotagate.key("ada")

    assert quotagate("balance", "ada", "--json").only()["tier"] == "free"


def test_a_key_as_json_is_one_object(quotagate: Command) -> None:
    made = quotagate("keys", "create", "--user", "ada", "--json").only()

    assert made == {"account": "ada", "key": made["key"], "prefix": made["key"][:11]}
    assert KEY.fullmatch(made["key"])


def test_a_file_of_accounts_gives_a_line_for_each_in_its_order(quotagate: Command) -> None:
    users = [f"user-{number}@example.com" for number in range(1000)]
    (quotagate.folder / "users.txt").write_text("\n".join(users))

    done = quotagate("keys", "create", "--from", "users.txt", "--tier", "pro")

    assert (done.code, done.err) == (0, "")
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert [account for account, _ in lines] == users
    assert all(KEY.fullmatch(key) for _, key in lines)
    assert len({key for _, key in lines}) == 1000
    assert quotagate("balance", users[-1], "--json").only()["tier"] == "pro"


def test_blank_lines_and_spaces_around_an_id_are_no_part_of_it(quotagate: Command) -> None:
    (quotagate.folder / "users.txt").write_bytes(b"\n  ada \r\n\n\tbob\r\n\r\n")

    done = quotagate("keys", "create", "--from", "users.txt")

    assert [line.split("\t")[0] for line in done.out.splitlines()] == ["ada", "bob"]


def test_a_file_of_accounts_as_json_is_an_object_a_line(quotagate: Command) -> None:
    (quotagate.folder / "users.txt").write_text("ada\njosé\n")

    made = quotagate("keys", "create", "--from", "users.txt", "--json").json()

    assert [(one["account"], one["key"][:11]) for one in made] == [
        ("ada", made[0]["prefix"]),
        ("josé", made[1]["prefix"]),
    ]


@pytest.mark.parametrize("choice", [[], ["--user", "ada", "--from", "users.txt"]])
def test_either_one_account_or_a_file_is_named(cold: Command, choice: list[str]) -> None:
    (cold.folder / "users.txt").write_text("ada\n")

    done = cold("keys", "create", *choice)

    assert (done.code, done.out) == (2, "")
    assert "either --user or --from" in done.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"\xff\xfea", "cannot be read"),
        (b"", "names no account"),
        (b" \n\t\n", "names no account"),
        (b"ada\nbob and eve\n", "account 2, 'bob and eve'"),
        (b"ada\n" + b"b" * 201, "account 2, "),
        (b"\xef\xbb\xbfada\nbob", "account 1, "),
    ],
)
def test_a_file_that_is_no_list_of_accounts_is_refused_and_no_key_is_made(
    quotagate: Command, content: bytes | None, said: str
) -> None:
    if content is not None:
        (quotagate.folder / "users.txt").write_bytes(content)

    done = quotagate("keys", "create", "--from", "users.txt")

    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert quotagate("keys", "list", "--json").json() == []


@pytest.mark.parametrize("user", ["", "a b", "a\nb"])
def test_an_account_id_that_is_none_is_refused(quotagate: Command, user: str) -> None:
    done = quotagate("keys", "create", "--user", user)

    assert (done.code, done.out) == (1, "")
    assert "an id is 1-200 printable characters" in done.err


def test_an_unknown_tier_is_refused_with_the_known_ones(quotagate: Command) -> None:
    done = quotagate("keys", "create", "--user", "ada", "--tier", "gold")

    assert (done.code, done.out) == (1, "")
    assert done.err == f"quotagate: 'gold' is no tier of {quotagate.config}: free, payg, pro\n"


def test_a_key_does_not_move_an_account_to_another_tier(quotagate: Command) -> None:
    quotagate.key("ada", "--tier", "pro")

    done = quotagate("keys", "create", "--user", "ada", "--tier", "free")

    assert (done.code, done.out) == (1, "")
    assert "account ada is on tier pro, not free" in done.err


def test_a_key_is_made_with_what_it_may_do_and_listed_so(quotagate: Command) -> None:
    quotagate.key(
        "ada", "--name", "web shop", "--scope", "chat", "--scope", "free", "--limit", "60 requests/minute",
        "--limit", "4 concurrent", "--team", "blue", "--organisation", "acme", "--expires", "2099-01-31T00:00:00+07:00",
    )  # fmt: skip

    (key,) = quotagate("keys", "list", "--json").json()

    assert {name: key[name] for name in ("name", "scopes", "limits", "team", "organisation", "expires_at")} == {
        "name": "web shop", "scopes": "chat free", "limits": "60 requests/minute, 4 concurrent", "team": "blue",
        "organisation": "acme", "expires_at": "2099-01-30T17:00:00+00:00",
    }  # fmt: skip
    assert key["last_used_at"] is None
    assert "web shop" in quotagate("keys", "list").out


def test_a_key_may_end_after_some_days(quotagate: Command) -> None:
    quotagate.key("ada", "--expires", "30d")

    (key,) = quotagate("keys", "list", "--json").json()

    lasts = datetime.fromisoformat(key["expires_at"]) - datetime.fromisoformat(key["created_at"])
    assert abs(lasts.total_seconds() - 30 * 86_400) < 60


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--expires", "soon", "'soon' is no expiry"),
        ("--expires", "2020-01-01T00:00:00Z", "is in the past"),
        ("--scope", "chats", "'chats' is no operation of"),
        ("--limit", "", "limit ''"),
        ("--team", "a b", "team 'a b'"),
    ],
)
def test_terms_that_cannot_be_kept_are_refused(quotagate: Command, option: str, value: str, said: str) -> None:
    done = quotagate("keys", "create", "--user", "ada", option, value)

    assert (done.code, done.out) == (1, "")
    assert said in done.err


# ── list ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_listed_by_prefix_without_their_secrets(quotagate: Command) -> None:
    ada, bob = quotagate.key("ada"), quotagate.key("bob")

    plain, listed = quotagate("keys", "list"), quotagate("keys", "list", "--json")

    assert [(key["prefix"], key["account"], key["revoked_at"]) for key in listed.json()] == [
        (ada[:11], "ada", None),
        (bob[:11], "bob", None),
    ]
    assert datetime.fromisoformat(listed.json()[0]["created_at"]).tzinfo is not None
    assert ada[:11] in plain.out
    assert ada[11:] not in plain.out + listed.out


def test_keys_of_one_account_are_listed_alone(quotagate: Command) -> None:
    quotagate.key("ada")
    bob = quotagate.key("bob")

    assert [key["prefix"] for key in quotagate("keys", "list", "--user", "bob", "--json").json()] == [bob[:11]]


def test_no_keys_are_said_to_be_none(quotagate: Command) -> None:
    assert quotagate("keys", "list").out == "API keys: none\n"
    assert quotagate("keys", "list", "--json").out == ""


# ── revoke ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("whole", [True, False])
def test_a_key_is_revoked_by_its_prefix_or_as_a_whole(quotagate: Command, whole: bool) -> None:
    key, kept = quotagate.key("ada"), quotagate.key("ada")

    done = quotagate("keys", "revoke", key if whole else key[:11])

    assert (done.code, done.out) == (0, f"{key[:11]} of account ada is revoked\n")
    revoked = {one["prefix"]: one["revoked_at"] is not None for one in quotagate("keys", "list", "--json").json()}
    assert revoked == {key[:11]: True, kept[:11]: False}


def test_a_revocation_as_json_is_one_object(quotagate: Command) -> None:
    key = quotagate.key("ada")

    done = quotagate("keys", "revoke", key, "--json")

    assert json.loads(done.out) == {"prefix": key[:11], "account": "ada", "revoked": True}


def test_a_key_that_is_not_there_cannot_be_revoked(quotagate: Command) -> None:
    done = quotagate("keys", "revoke", "qg_AAAAAAAA" + "s" * 32)

    assert (done.code, done.out) == (1, "")
    assert done.err == "quotagate: there is no key qg_AAAAAAAA\n"


def test_a_revocation_without_redis_is_said_in_a_sentence(quotagate: Command) -> None:
    key = quotagate.key("ada")
    quotagate.config.write_text(
        quotagate.config.read_text().replace('redis_url = ""', 'redis_url = "redis://127.0.0.1:1"')
    )

    done = quotagate("keys", "revoke", key)

    assert done.code == 3
    assert done.err.startswith("quotagate: ")
