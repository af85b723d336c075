"""Where the config file and the data folder are: what is given, the environment, this folder, what ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config as config_files
from gateway.domain.errors import RefusedInput
from gateway.launch.places import DEFAULT_CONFIG, config_file, data_folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that nothing in the environment points away from."""
    monkeypatch.delenv("QUOTAGATE_CONFIG", raising=False)
    monkeypatch.delenv("QUOTAGATE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file(path: Path) -> Path:
    path.write_text("")
    return path


def test_a_given_config_goes_first(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, named, _ = file(here / "a.toml"), file(here / "b.toml"), file(here / "config.toml")
    monkeypatch.setenv("QUOTAGATE_CONFIG", str(named))

    assert config_file(given) == given
    assert config_file(None) == named


@pytest.mark.parametrize("unset", [None, ""])
def test_without_a_word_it_is_the_config_of_this_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, unset: str | None
) -> None:
    if unset is not None:
        monkeypatch.setenv("QUOTAGATE_CONFIG", unset)
    local = file(here / "config.toml")

    assert config_file(None).resolve() == local


def test_where_there_is_none_it_is_the_one_that_ships_and_it_is_good() -> None:
    found = config_file(None)

    assert found == DEFAULT_CONFIG
    assert config_files.load(found, {}).default_tier == "free"


def test_a_config_that_was_named_is_never_replaced_by_another(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(here / "config.toml")
    monkeypatch.setenv("QUOTAGATE_CONFIG", "missing.toml")

    with pytest.raises(RefusedInput, match=r"there is no config file missing\.toml"):
        config_file(None)
    with pytest.raises(RefusedInput, match="there is no config file"):
        config_file(here)


def test_a_given_data_folder_goes_first_and_is_made_with_its_parents(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTAGATE_DATA", str(here / "named"))

    assert data_folder(here / "a" / "b") == here / "a" / "b"
    assert (here / "a" / "b").is_dir()
    assert not (here / "named").exists()
    assert data_folder(None) == here / "named"
    assert (here / "named").is_dir()


@pytest.mark.parametrize("unset", [None, ""])
def test_without_a_word_it_is_data_in_this_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, unset: str | None
) -> None:
    if unset is not None:
        monkeypatch.setenv("QUOTAGATE_DATA", unset)

    assert data_folder(None) == here / "data"


def test_a_data_folder_is_named_in_full_so_that_it_stays_the_same_in_another_folder() -> None:
    assert data_folder(Path("some")).is_absolute()


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_data_folder_that_cannot_be_made_is_refused_by_its_name(here: Path, path: str) -> None:
    file(here / "file")

    with pytest.raises(RefusedInput, match=f"the data folder {path} cannot be made"):
        data_folder(Path(path))
