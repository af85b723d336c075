"""`quotagate accounts override ID`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.command import FORKS, Command

pytestmark = FORKS


def test_an_override_says_what_and_until_when(quotagate: Command) -> None:
    quotagate.key("ada")

    done = quotagate("accounts", "override", "ada", "--limits", "2x", "--until", "3d", "--json").only()

    assert (done["account"], done["limits"]) == ("ada", "2x")
    ends_at = datetime.fromisoformat(done["until"])
    assert abs(ends_at - datetime.now(UTC) - timedelta(days=3)) < timedelta(minutes=1)


def test_people_are_told_in_a_sentence(quotagate: Command) -> None:
    quotagate.key("ada")

    done = quotagate("accounts", "override", "ada", "--limits", "1/2", "--until", "2099-01-01T00:00:00Z")

    assert (done.code, done.err) == (0, "")
    (sentence,) = done.out.splitlines()
    assert [word for word in ("account ada", "1/2", "2099-01-01T00:00:00+00:00") if word not in sentence] == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("bob", "--limits", "2x", "--until", "3d"), 1, "quotagate: there is no account bob"),
        (("ada", "--limits", "0", "--until", "3d"), 1, "quotagate: '0' is no factor"),
        (("ada", "--limits", "2x", "--until", "soon"), 1, "quotagate: 'soon' is no expiry"),
        (("ada", "--limits", "2x"), 2, "--until"),
        (("ada", "--until", "3d"), 2, "--limits"),
        (("--limits", "2x", "--until", "3d"), 2, "account"),
    ],
)
def test_an_override_that_cannot_be_made_is_refused(
    quotagate: Command, words: tuple[str, ...], code: int, said: str
) -> None:
    quotagate.key("ada")

    done = quotagate("accounts", "override", *words)

    assert (done.code, done.out) == (code, "")
    assert said in done.err
