"""Limits over several accounts, where accounts may live in several partitions."""

from __future__ import annotations

import pytest

from gateway.config import parse
from gateway.domain.errors import ConfigError
from tests.config.test_load import ENVIRONMENT, SKETCH

OLD = 'limits = ["20 requests/minute", "2 concurrent"]'


def sketch(by: str, partitions: int) -> str:
    limits = f'limits = [{{ limit = "20 requests/minute", by = {by} }}]'
    return SKETCH.replace(OLD, limits).replace("[store]", f"[store]\npartitions = {partitions}")


@pytest.mark.parametrize("by", ['"team"', '"organisation"', '"ip"', '["team", "model"]'])
def test_a_limit_over_accounts_is_refused_where_they_lie_in_several_partitions(by: str) -> None:
    parse(sketch(by, 1), "config.toml", ENVIRONMENT)

    with pytest.raises(ConfigError, match=r"tiers\.free\.limits: .* needs store\.partitions = 1, which is 3"):
        parse(sketch(by, 3), "config.toml", ENVIRONMENT)


@pytest.mark.parametrize("by", ['"account"', '"key"', '["team", "account"]'])
def test_a_limit_of_one_account_can_be_kept_in_any_number_of_partitions(by: str) -> None:
    assert parse(sketch(by, 3), "config.toml", ENVIRONMENT).tiers["free"].limits.policies
