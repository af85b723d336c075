"""Codes: made, shown, read back."""

from __future__ import annotations

import re

import pytest

from gateway.domain.errors import RefusedInput
from gateway.rewards import words


def test_a_code_that_is_made_up_has_eighty_bits_and_no_look_alikes() -> None:
    made = {words.new() for _ in range(500)}

    assert len(made) == 500
    assert all(re.fullmatch("[0-9A-HJKMNP-TV-Z]{16}", code) for code in made)


def test_a_code_is_shown_in_groups_and_one_that_was_chosen_in_one_piece() -> None:
    assert words.grouped("7H3K9M2PX4QD0RTW") == "7H3K-9M2P-X4QD-0RTW"
    assert words.grouped("XMAS2026") == "XMAS2026"


@pytest.mark.parametrize(
    "typed",
    ["7H3K-9M2P-X4QD-01TW", "7h3k9m2px4qd01tw", " 7H3K 9M2P X4QD O1TW ", "7h3k–9m2p–x4qd–oltw", "7H3K9M2PX4QDOITW"],
)
def test_a_code_is_read_however_it_is_typed(typed: str) -> None:
    assert words.readings(typed)[-1] == "7H3K9M2PX4QD01TW"


def test_what_stands_there_comes_before_what_may_be_meant() -> None:
    assert words.readings("welcome-2026") == ("WELCOME2026", "WE1C0ME2026")
    assert words.readings("xmas2026") == ("XMAS2026",)


@pytest.mark.parametrize("typed", ["", "   ", "abc", "x" * 33, "ÄÖÜß1234", "1234\0", "'; DROP TABLE codes"])
def test_what_cannot_be_a_code_is_none(typed: str) -> None:
    assert words.readings(typed) == ()
    with pytest.raises(RefusedInput, match="choose 4-32 letters and digits"):
        words.chosen(typed)
