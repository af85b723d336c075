"""`quotagate balance ID`, `quotagate grant ID AMOUNT` and `quotagate top`."""

from __future__ import annotations

from datetime import datetime

import pytest

from gateway.launch.embedded import embedded_redis
from tests.cli.command import FORKS, Command
from tests.support.config import config_text

pytestmark = FORKS
GRANT = ("--id", "t1", "--reason", "paid")


# ── balance ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_balance_as_json_says_all_that_an_account_has(quotagate: Command) -> None:
    quotagate.key("ada")
    quotagate("grant", "ada", "50", *GRANT)

    found = quotagate("balance", "ada", "--json").only()

    day = found["buckets"][-1]
    said = {
        "account": "ada", "tier": "free", "zone": "Asia/Jakarta", "status": "active", "left": 65, "held": 0, "spent": 0,
        "granted": 65,
    }  # fmt: skip
    assert {name: found[name] for name in said} == said
    assert (found["available"], found["requests"], found["used_tokens"]) == (70, 0, 0)
    assert [(bucket["kind"], bucket["id"], bucket["left"], bucket["open"]) for bucket in found["buckets"]] == [
        ("credits", "signup", 15, True),
        ("credits", "t1", 50, True),
        ("day", day["id"], 5, False),
    ]
    assert datetime.fromisoformat(found["resets_at"]) == datetime.fromisoformat(day["ends_at"])
    assert datetime.fromisoformat(found["resets_at"]).tzinfo is not None
    assert "qg:{p00}:account:ada" in found["redis_keys"]


def test_a_balance_for_people_says_the_same_and_the_redis_keys(quotagate: Command) -> None:
    quotagate.key("ada")

    done = quotagate("balance", "ada")

    assert (done.code, done.err) == (0, "")
    assert "ada (free, active)" in done.out
    assert "credits:signup" in done.out
    assert "spent 0 in 0 call(s), 0 tokens" in done.out
    assert "what is dim is opened by the next call" in done.out
    assert "qg:{p00}:account:ada" in done.out


def test_the_redis_keys_that_a_balance_names_can_be_read(quotagate: Command) -> None:
    import redis

    quotagate.key("ada")
    names = quotagate("balance", "ada", "--json").only()["redis_keys"]

    with embedded_redis(quotagate.data) as url, redis.Redis.from_url(url) as client:
        assert client.exists(*names) == len(names) > 1


def test_amounts_for_people_have_their_point_and_those_for_programs_are_whole(quotagate: Command) -> None:
    text = config_text().replace('default_tier = "free"', 'default_tier = "free"\ndecimals = 2\nunit = "rupiah"')
    quotagate.config.write_text(text)
    quotagate.key("ada")
    quotagate("grant", "ada", "123456", *GRANT)

    assert "1234.56" in quotagate("balance", "ada").out
    assert quotagate("balance", "ada", "--json").only()["left"] == 123471


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_an_account_that_is_not_there_is_said_in_a_sentence(quotagate: Command, json: tuple[str, ...]) -> None:
    done = quotagate("balance", "nobody", *json)

    assert (done.code, done.out, done.err) == (1, "", "quotagate: there is no account nobody\n")


def test_an_account_whose_name_looks_like_markup_is_shown_as_it_is(quotagate: Command) -> None:
    quotagate.key("[/red]")

    assert "[/red] (free, active)" in quotagate("balance", "[/red]").out


def test_a_name_that_is_no_text_is_refused_in_a_sentence(quotagate: Command) -> None:
    """Bytes of a command line that are not UTF-8 arrive as lone surrogates."""
    done = quotagate("balance", "\udcff")

    assert done.code == 1


# ── grant ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_grant_says_what_the_account_has_left(quotagate: Command) -> None:
    quotagate.key("ada")

    done = quotagate("grant", "ada", "50", *GRANT)

    assert (done.code, done.err) == (0, "")
    assert done.out == "account ada has 65 token(s) left; grant t1 of 50 is in it\n"


def test_a_grant_as_json_is_one_object(quotagate: Command) -> None:
    assert quotagate("grant", "ada", "50", *GRANT, "--json").only() == {
        "account": "ada", "grant": "t1", "amount": 50, "left": 65,
    }  # fmt: skip


def test_a_grant_that_is_repeated_credits_nothing_and_succeeds(quotagate: Command) -> None:
    for _ in range(2):
        assert quotagate("grant", "ada", "50", *GRANT).code == 0

    assert quotagate("balance", "ada", "--json").only()["left"] == 65


def test_a_grant_with_a_used_id_and_another_amount_is_refused(quotagate: Command) -> None:
    quotagate("grant", "ada", "50", *GRANT)

    done = quotagate("grant", "ada", "51", *GRANT)

    assert (done.code, done.out) == (1, "")
    assert done.err == "quotagate: grant t1 was credited before with 50, not 51\n"
    assert quotagate("balance", "ada", "--json").only()["left"] == 65


@pytest.mark.parametrize(("amount", "code"), [("0", 1), (str(2**53), 1), ("1.5", 2), ("many", 2), ("1e3", 2), ("", 2)])
def test_an_amount_that_is_none_is_refused(quotagate: Command, amount: str, code: int) -> None:
    done = quotagate("grant", "ada", amount, *GRANT)

    assert (done.code, done.out) == (code, "")
    assert done.err
    assert quotagate("balance", "ada").code == 1


def test_a_negative_amount_is_refused(quotagate: Command) -> None:
    done = quotagate("grant", *GRANT, "--", "ada", "-5")

    assert (done.code, done.out) != (0, "")
    assert done.code in (1, 2)


@pytest.mark.parametrize("options", [(), ("--id", "t1"), ("--reason", "paid")])
def test_a_grant_needs_an_id_and_a_reason(cold: Command, options: tuple[str, ...]) -> None:
    assert cold("grant", "ada", "50", *options).code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a b", "5", *GRANT), "'a b' is no account id"),
        (("ada", "5", "--id", "a=b", "--reason", "paid"), "'a=b' is no grant id"),
        (("ada", "5", "--id", "t1", "--reason", ""), "the reason must be"),
    ],
)
def test_bad_words_of_a_grant_are_refused_in_a_sentence(
    quotagate: Command, arguments: tuple[str, ...], said: str
) -> None:
    done = quotagate("grant", *arguments)

    assert (done.code, done.out) == (1, "")
    assert said in done.err


# ── top ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_top_looks_once_and_shows_every_account(quotagate: Command) -> None:
    quotagate.key("ada")
    quotagate.key("bob", "--tier", "pro")

    found = quotagate("top", "--once", "--json").json()

    assert {row["account"]: (row["tier"], row["left"]) for row in found} == {
        "ada": ("free", 15),
        "bob": ("pro", 1_000_000),
    }
    assert "ada" in quotagate("top", "--once").out


def test_top_shows_no_more_than_it_is_asked_for(quotagate: Command) -> None:
    (quotagate.folder / "users.txt").write_text("\n".join(f"u{n}" for n in range(10)))
    quotagate("keys", "create", "--from", "users.txt")

    assert len(quotagate("top", "--once", "--json", "--limit", "3").json()) == 3
    assert quotagate("top", "--once", "--limit", "0").code == 2
