"""`quotagate accounts set ID`, and grants that lapse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.command import FORKS, Command

pytestmark = FORKS


def test_an_account_is_put_on_a_tier_and_in_a_zone(quotagate: Command) -> None:
    quotagate.key("ada")

    done = quotagate("accounts", "set", "ada", "--tier", "pro", "--zone", "America/Havana", "--json")

    assert done.only() == {"account": "ada", "tier": "pro", "zone": "America/Havana", "moved": True}
    found = quotagate("balance", "ada", "--json").only()
    assert (found["tier"], found["zone"]) == ("pro", "America/Havana")


def test_people_are_told_where_an_account_is_now(quotagate: Command) -> None:
    quotagate.key("ada")

    done = quotagate("accounts", "set", "ada", "--tier", "pro")

    assert (done.code, done.out) == (0, "account ada is on tier pro, in the zone of its tier\n")


@pytest.mark.parametrize(("options", "code"), [((), 2), (("--tier", "gold"), 1), (("--zone", "Mars"), 1)])
def test_a_change_that_cannot_be_made_is_refused(quotagate: Command, options: tuple[str, ...], code: int) -> None:
    quotagate.key("ada")

    assert quotagate("accounts", "set", "ada", *options).code == code


def test_a_grant_may_lapse_and_has_its_place_in_the_burn_order(quotagate: Command) -> None:
    quotagate.key("ada")

    quotagate("grant", "ada", "50", "--id", "t1", "--reason", "trial", "--expires", "30d", "--priority", "2")

    bucket = next(b for b in quotagate("balance", "ada", "--json").only()["buckets"] if b["id"] == "t1")
    ends_at = datetime.fromisoformat(bucket["ends_at"])
    assert abs(ends_at - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)


@pytest.mark.parametrize("options", [("--expires", "soon"), ("--priority", "1001"), ("--priority", "-1")])
def test_a_grant_whose_terms_make_no_sense_is_refused(quotagate: Command, options: tuple[str, str]) -> None:
    assert quotagate("grant", "ada", "50", "--id", "t1", "--reason", "trial", *options).code == 1
