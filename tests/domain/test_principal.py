"""Which texts can name an account or a grant: both become parts of Redis keys and of ledger rows."""

from __future__ import annotations

import pytest

from gateway.domain.principal import MAX_ACCOUNT_LENGTH, is_account_id, is_grant_id

GOOD = ["a", "0", "bob@example.com", "3f2504e0-4f89-11d3", "josé", "用户", "a:b{c}", "[x]", "a" * MAX_ACCOUNT_LENGTH]
BAD = ["", " ", "a b", "a\tb", "a\n", "\x00", "\x7f", "a\u00a0b", "\u202e", "\ufeffa", "\udcff", "a" * 201]


@pytest.mark.parametrize("text", GOOD)
def test_printable_text_without_white_space_names_an_account_and_a_grant(text: str) -> None:
    assert is_account_id(text)
    assert is_grant_id(text)


@pytest.mark.parametrize("text", BAD)
def test_other_text_names_neither(text: str) -> None:
    assert not is_account_id(text)
    assert not is_grant_id(text)


@pytest.mark.parametrize("text", ["a=b", "a;b", "=", ";"])
def test_a_grant_id_has_no_separator_of_holds_and_events(text: str) -> None:
    assert is_account_id(text)
    assert not is_grant_id(text)
