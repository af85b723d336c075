"""Errors: one root, and sentences that say where."""

from __future__ import annotations

import inspect

import pytest

from gateway.domain import errors
from gateway.domain.errors import (
    ConfigError,
    Conflicting,
    Indeterminate,
    NotFound,
    QuotagateError,
    RefusedInput,
    StoreUnavailable,
    UpstreamError,
)


def test_a_config_error_says_the_file_the_number_and_every_fault() -> None:
    error = ConfigError("config.toml", ["tiers.free is wrong", "routes[0] is wrong"])

    assert str(error) == "config.toml: 2 fault(s)\n  tiers.free is wrong\n  routes[0] is wrong"
    assert (error.source, error.faults) == ("config.toml", ["tiers.free is wrong", "routes[0] is wrong"])


@pytest.mark.parametrize("error", [e for _, e in inspect.getmembers(errors, inspect.isclass)])
def test_every_error_has_one_root_and_says_when_it_is_raised(error: type[Exception]) -> None:
    assert issubclass(error, QuotagateError)
    assert error.__doc__


def test_a_lost_reply_is_an_outage_of_the_store() -> None:
    """Whoever refuses a call for an outage refuses it for a lost reply too."""
    assert issubclass(Indeterminate, StoreUnavailable)


def test_what_is_not_there_and_what_contradicts_are_refused_input() -> None:
    """Whoever says a refusal to a person, as the command line does, says these too."""
    assert issubclass(NotFound, RefusedInput)
    assert issubclass(Conflicting, RefusedInput)


def test_each_fault_of_an_upstream_has_a_code_of_its_own() -> None:
    codes = [UpstreamError.code, *(error.code for error in UpstreamError.__subclasses__())]

    assert len(codes) == len(set(codes)) == 4
