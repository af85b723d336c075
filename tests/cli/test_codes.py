"""`quotagate codes`."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.cli.command import FORKS, Command

pytestmark = FORKS


def test_codes_are_made_listed_exported_and_voided(quotagate: Command, tmp_path: Path) -> None:
    terms = ("--name", "spring", "--amount", "50", "--count", "3", "--expires", "30d", "--json")
    made = quotagate("codes", "create", *terms).only()
    id = made["id"]
    assert (made["codes"], made["uses"], made["voided_at"]) == (3, 0, None)
    assert quotagate("codes", "list", "--json").only() == made

    exported = quotagate("codes", "export", id).out
    quotagate("codes", "export", id, "--out", str(tmp_path / "codes.csv"))

    assert len(list(csv.reader(exported.splitlines()))) == 4
    assert (tmp_path / "codes.csv").read_text().splitlines() == exported.splitlines()
    assert quotagate("codes", "void", id, "--reason", "leaked").out == (
        f"{id}: 3 code(s) of 50 unit(s) each; it is void\n"
    )


def test_a_code_that_is_chosen_is_the_only_one(quotagate: Command) -> None:
    done = quotagate("codes", "create", "--name", "all", "--amount", "5", "--code", "WELCOME2026", "--max-uses", "9")

    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(": 1 code(s) of 5 unit(s) each; it is taken\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("create", "--name", "spring", "--amount", "0"), "amount = 0"),
        (("create", "--name", "spring", "--amount", "5", "--code", "no"), "the code 'no' cannot be"),
        (("create", "--name", "spring", "--amount", "5", "--expires", "soon"), "is no expiry"),
        (("export", "none"), "there is no batch of codes 'none'"),
        (("void", "none"), "there is no batch of codes 'none'"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(quotagate: Command, words: tuple[str, ...], why: str) -> None:
    done = quotagate("codes", *words)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("quotagate: ")
    assert why in done.err
