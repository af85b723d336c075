"""The loader: a script and its parts, put together once, in the order of use. `tests/lua/test_bundles.py` runs them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gateway.store import loader
from gateway.store.loader import SCRIPTS, load, load_all
from tests.support.processes import CHECKOUT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of scripts of a test's own; what was loaded from it is forgotten with it."""
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(loader, "FOLDER", tmp_path)
    monkeypatch.setattr(loader, "load", load.__wrapped__)
    return tmp_path


def part(folder: Path, name: str, *requires: str) -> None:
    needs = "".join(f'local {other} = require("lib.{other}")\n' for other in requires)
    (folder / "lib" / f"{name}.lua").write_text(f"{needs}local {name} = {{}}\nreturn {name}\n")


def test_every_file_of_the_folder_is_a_script_that_is_loaded() -> None:
    assert {path.stem for path in (CHECKOUT / "lua").glob("*.lua")} == set(SCRIPTS)


def test_what_a_script_uses_of_a_part_stands_before_it_as_locals(folder: Path) -> None:
    (folder / "lib" / "clock.lua").write_text(
        "-- The clock.\nlocal clock = {}\n\nlocal TICK = 5\nlocal UNUSED = 6\n\n-- Now.\nfunction clock.now()\n"
        "  return TICK\nend\n\nfunction clock.never()\n  return UNUSED\nend\n\nreturn clock\n"
    )
    (folder / "lib" / "holds.lua").write_text(
        'local clock = require("lib.clock")\n\nlocal holds = {}\n\nfunction holds.open(a)\n'
        "  return clock.now() + a.clock.now\nend\n\nreturn holds\n"
    )
    (folder / "x.lua").write_text(
        'local holds = require("lib.holds")\nlocal clock = require("lib.clock")\nreturn holds.open({})\n'
    )

    assert loader.load("x", flagged=False).text == (
        "local TICK = 5\nlocal function clock_now()\n  return TICK\nend\n"
        "local function holds_open(a)\n  return clock_now() + a.clock.now\nend\n"
        "return holds_open({})\n"
    )


def test_a_script_without_parts_is_sent_as_it_is(folder: Path) -> None:
    (folder / "x.lua").write_text("return 1\n")

    assert loader.load("x", flagged=False).text == "return 1\n"
    assert loader.load("x", flagged=True).text == "#!lua\nreturn 1\n"


def test_only_what_a_script_names_is_put_before_it(folder: Path) -> None:
    part(folder, "clock")
    part(folder, "unused")
    (folder / "x.lua").write_text('local clock = require("lib.clock")\nreturn 1\n')

    assert "unused" not in loader.load("x", flagged=False).text


def test_a_part_that_is_not_there_is_told(folder: Path) -> None:
    (folder / "x.lua").write_text('local gone = require("lib.gone")\n')

    with pytest.raises(FileNotFoundError, match="gone"):
        loader.load("x", flagged=False)


def test_a_script_that_is_not_there_is_told() -> None:
    with pytest.raises(FileNotFoundError, match="dance"):
        load("dance", flagged=True)


def test_a_script_is_another_one_with_the_flag_line() -> None:
    plain, flagged = load_all("6.2.14"), load_all("7.0.0")

    assert {plain[name].sha for name in SCRIPTS} & {flagged[name].sha for name in SCRIPTS} == set()
    assert [flagged[name].text for name in SCRIPTS] == ["#!lua\n" + plain[name].text for name in SCRIPTS]


def test_text_beyond_ascii_is_hashed_as_it_is_sent(folder: Path) -> None:
    (folder / "x.lua").write_text('return "Ådå"\n', encoding="utf-8")

    script = loader.load("x", flagged=False)

    assert script.sha == hashlib.sha1('return "Ådå"\n'.encode()).hexdigest()
