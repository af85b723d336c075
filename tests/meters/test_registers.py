"""Estimates against the counts of a real tokenizer, in the four languages that estimates are promised for.

`registers/*.txt` were written for this: five registers a language. `true_tokens.json` holds what npm's gpt-tokenizer
counted in them, by o200k_base, which the rates are for, and by the older cl100k_base.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.meters import tokens_of_text

FOLDER = Path(__file__).parent / "registers"
TRUE_TOKENS: dict[str, dict[str, int]] = json.loads((FOLDER / "true_tokens.json").read_text(encoding="utf-8"))


def ratio(name: str, vocabulary: str) -> float:
    """Estimated tokens to true ones."""
    return tokens_of_text((FOLDER / f"{name}.txt").read_bytes()) / TRUE_TOKENS[name][vocabulary]


def test_every_text_has_been_counted() -> None:
    assert sorted(TRUE_TOKENS) == sorted(path.stem for path in FOLDER.glob("*.txt"))
    assert len(TRUE_TOKENS) == 4 * 5


@pytest.mark.parametrize("name", TRUE_TOKENS)
def test_an_estimate_is_at_most_15_percent_below_the_truth_and_a_third_above(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("estimate_to_truth", f"{ratio(name, 'o200k_base'):.2f}")

    assert 0.85 <= ratio(name, "o200k_base") <= 1.3, f"{name}: {ratio(name, 'o200k_base'):.2f} of the truth"


@pytest.mark.parametrize("name", [name for name in TRUE_TOKENS if name.startswith("english")])
def test_english_is_estimated_as_well_for_an_older_vocabulary(name: str) -> None:
    assert 0.85 <= ratio(name, "cl100k_base") <= 1.3


def test_estimates_lie_a_little_above_the_truth_on_the_whole(record_property: Callable[[str, object], None]) -> None:
    ratios = [ratio(name, "o200k_base") for name in TRUE_TOKENS]
    mean = sum(ratios) / len(ratios)
    record_property("mean_estimate_to_truth", f"{mean:.2f}")

    assert 1.0 <= mean <= 1.2
