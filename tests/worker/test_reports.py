"""Reports of usage that waited for Redis are counted by the worker, once, on each kind of database."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import select

from gateway.accounts import reporting
from gateway.accounts.reporting import Report
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting
from gateway.domain.principal import Principal
from gateway.ledger.tables import reports_to_apply
from worker.reports import apply

ADA = Principal("ada")


def used(system: System, account: str = "ada") -> int:
    return int(system.redis.hget(system.keys.account(account), "used_tokens") or 0)


def test_all_that_waits_is_counted_and_forgotten(system: System, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(250):
        reporting.keep(system, Principal(f"user-{number % 7}"), f"api-{number}", Report(number + 1, model="größer"))
    with pytest.raises(Conflicting, match="used before for something else"):
        reporting.keep(system, ADA, "api-0", Report(5))

    with caplog.at_level(logging.INFO, "quotagate.worker"):
        assert apply() == 250

    assert sum(used(system, f"user-{n}") for n in range(7)) == sum(range(1, 251))
    with system.ledger.connect() as connection:
        assert connection.execute(select(reports_to_apply)).all() == []
    assert "250 report(s)" in caplog.text


def test_when_nothing_waits_nothing_happens(system: System, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "quotagate.worker"):
        assert apply() == 0
    assert caplog.records == []


def test_an_account_that_nobody_knew_is_opened_on_the_tier_its_credential_named(system: System) -> None:
    reporting.keep(system, ADA, "api-1", Report(5, tier="pro"))
    reporting.keep(system, Principal("bob"), "api-2", Report(6))

    apply()

    assert system.redis.hget(system.keys.account("ada"), "tier") == b"pro"
    assert system.redis.hget(system.keys.account("bob"), "tier") == b"free"
    assert (used(system), used(system, "bob")) == (5, 6)
