"""An account's tier and zone: changed one at a time or together, and taken up at the next reset."""

from __future__ import annotations

import pytest

from gateway.accounts import api_keys, balances, terms
from gateway.accounts.system import System
from gateway.domain.errors import NotFound, RefusedInput
from gateway.domain.reservation import Opened


def test_a_tier_and_a_zone_are_set_apart(system: System) -> None:
    api_keys.create(system, ["ada"])

    assert terms.move(system, "ada", tier="pro") == Opened("moved", 2, "pro", "")
    assert terms.move(system, "ada", zone="America/Havana") == Opened("moved", 3, "pro", "America/Havana")
    assert terms.move(system, "ada", zone="") == Opened("moved", 4, "pro", "")
    assert balances.read(system, "ada").account.tier == "pro"


def test_what_is_so_already_stays(system: System) -> None:
    api_keys.create(system, ["ada"])

    assert terms.move(system, "ada", tier="free") == Opened("exists", 1, "free", "")


@pytest.mark.parametrize(
    ("account", "changes", "error", "said"),
    [
        ("bob", {"tier": "pro"}, NotFound, "there is no account bob"),
        ("a b", {"tier": "pro"}, NotFound, "there is no account"),
        ("ada", {"tier": "gold"}, RefusedInput, "'gold' is no tier of config.toml: free, payg, pro"),
        ("ada", {"zone": "Asia"}, RefusedInput, "'Asia' is no time zone"),
        ("ada", {"zone": "../etc"}, RefusedInput, "is no time zone"),
    ],
)
def test_a_move_to_nowhere_is_refused(
    system: System, account: str, changes: dict[str, str], error: type[RefusedInput], said: str
) -> None:
    api_keys.create(system, ["ada"])

    with pytest.raises(error, match=said):
        terms.move(system, account, **changes)

    assert balances.read(system, "ada").account.version == 1
