"""Where commands look: --config and --data, QUOTAGATE_CONFIG and QUOTAGATE_DATA, this folder. And how they fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import FORKS, Command
from tests.cli.processes import servers_of
from tests.support.config import config_text
from tests.support.processes import CHECKOUT, QUOTAGATE

pytestmark = FORKS


def made(folder: Path) -> bool:
    """Whether a folder was used as a data folder."""
    return (folder / "ledger.sqlite3").is_file() and (folder / "redis").is_dir()


def test_the_options_say_where(cold: Command) -> None:
    other = cold.folder / "elsewhere" / "deep"

    done = cold.plain("keys", "list", "--config", str(cold.config), "--data", str(other))

    assert done.code == 0
    assert made(other)


def test_the_environment_says_where(cold: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTAGATE_CONFIG", str(cold.config))
    monkeypatch.setenv("QUOTAGATE_DATA", str(cold.folder / "from-environment"))
    cold.config.write_text(config_text().replace("[tiers.payg]", "[tiers.only_here]"))

    done = cold.plain("keys", "create", "--user", "ada", "--tier", "only_here")

    assert done.code == 0
    assert made(cold.folder / "from-environment")


def test_an_option_goes_before_the_environment(cold: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTAGATE_CONFIG", str(cold.folder / "missing.toml"))
    monkeypatch.setenv("QUOTAGATE_DATA", str(cold.folder / "unused"))

    assert cold("keys", "list").code == 0
    assert made(cold.data)
    assert not (cold.folder / "unused").exists()


def test_config_and_data_of_this_folder_are_used_when_nothing_is_said(cold: Command) -> None:
    cold.config.rename(cold.folder / "config.toml")

    assert cold.plain("keys", "list").code == 0
    assert made(cold.folder / "data")


def test_a_config_that_is_not_there_is_said_in_a_sentence(cold: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = cold.folder / "missing.toml"
    said = f"quotagate: there is no config file {missing}\n"

    by_option = cold.plain("keys", "list", "--config", str(missing))
    monkeypatch.setenv("QUOTAGATE_CONFIG", str(missing))
    by_environment = cold.plain("keys", "list")

    assert [(done.code, done.err) for done in (by_option, by_environment)] == [(1, said)] * 2


@pytest.mark.parametrize(
    "command",
    [
        ["keys", "create", "--user", "ada"],
        ["keys", "list"],
        ["keys", "revoke", "qg_AAAAAAAA"],
        ["balance", "ada"],
        ["grant", "ada", "5", "--id", "t1", "--reason", "paid"],
        ["usage", "ada"],
        ["ledger", "ada"],
        ["top", "--once"],
    ],
)
def test_a_broken_config_is_refused_with_its_key_before_anything_starts(cold: Command, command: list[str]) -> None:
    cold.config.write_text(config_text().replace("signup = 15", 'signup = "many"'))

    done = cold(*command)

    assert (done.code, done.out) == (1, "")
    assert "tiers.free.signup" in done.err
    assert not cold.data.exists()


def test_a_data_folder_that_is_a_file_is_said_in_a_sentence(cold: Command) -> None:
    cold.data.write_text("")

    done = cold("keys", "list")

    assert done.code == 1
    assert f"quotagate: the data folder {cold.data} cannot be made" in done.err


@pytest.mark.parametrize(
    "command", [["keys", "create", "--user", "ada"], ["balance", "ada"], ["top", "--once"]], ids=lambda c: c[0]
)
def test_a_redis_that_cannot_be_reached_is_exit_code_3(cold: Command, command: list[str]) -> None:
    cold.config.write_text(config_text(redis_url="redis://127.0.0.1:1/0"))

    done = cold(*command)

    assert (done.code, done.out) == (3, "")
    assert "Redis" in done.err


def test_a_ledger_that_cannot_be_used_is_exit_code_3(cold: Command) -> None:
    cold.data.mkdir()
    (cold.data / "ledger.sqlite3").write_bytes(b"this is no database" * 100)

    done = cold("keys", "list")

    assert done.code == 3
    assert "the ledger's database cannot be prepared" in done.err


@pytest.mark.parametrize("url", ["redis://127.0.0.1:many/0", "redis://[::1/0"])
def test_a_redis_url_that_cannot_be_read_is_said_in_a_sentence(cold: Command, url: str) -> None:
    cold.config.write_text(config_text(redis_url=url))

    done = cold("keys", "create", "--user", "ada")

    assert done.code in (1, 3)
    assert "redis_url" in done.err


@pytest.mark.parametrize("words", [["keys"], ["nonsense"], ["keys", "make"], ["balance"], ["usage", "a", "b"]])
def test_a_command_line_that_is_none_is_exit_code_2(cold: Command, words: list[str]) -> None:
    assert cold.plain(*words).code == 2


@pytest.mark.parametrize("command", ["up", "serve", "worker", "check", "keys", "balance", "grant", "usage", "ledger"])
def test_every_command_explains_itself(cold: Command, command: str) -> None:
    done = cold.plain(command, "--help")

    assert (done.code, done.err) == (0, "")
    assert f"quotagate {command}" in done.out


def test_what_one_command_wrote_the_next_one_reads_though_redis_ended_in_between(cold: Command) -> None:
    key = cold.key("ada")
    assert servers_of(cold.folder) == []
    cold("grant", "ada", "50", "--id", "t1", "--reason", "paid")

    assert cold("balance", "ada", "--json").only()["left"] == 65
    assert cold("keys", "list", "--json").only()["prefix"] == key[:11]


def test_the_installed_command_runs_as_a_process_of_its_own_and_leaves_none_behind(cold: Command) -> None:
    environment = os.environ | {
        "QUOTAGATE_CONFIG": str(cold.config), "QUOTAGATE_DATA": str(cold.data), "PYTHONPATH": str(CHECKOUT),
    }  # fmt: skip

    def run(*arguments: str | bytes) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*QUOTAGATE, *arguments], env=environment, capture_output=True, text=True, timeout=60, cwd=cold.folder
        )

    made_key, unknown = run("keys", "create", "--user", "ada"), run("balance", "nobody")

    assert (made_key.returncode, made_key.stderr) == (0, "")
    assert made_key.stdout.startswith("qg_")
    assert (unknown.returncode, unknown.stderr) == (1, "quotagate: there is no account nobody\n")
    assert servers_of(cold.folder) == []


def test_commands_side_by_side_share_one_redis(cold: Command) -> None:
    """Whichever starts it keeps it until the others have finished."""
    environment = os.environ | {
        "QUOTAGATE_CONFIG": str(cold.config), "QUOTAGATE_DATA": str(cold.data), "PYTHONPATH": str(CHECKOUT),
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [*QUOTAGATE, "grant", "ada", "1", "--id", f"t{number}", "--reason", "paid"],
                    env=environment, cwd=cold.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                )
            )
            for number in range(4)
        ]  # fmt: skip
        ended = [(process.communicate(timeout=60)[1], process.returncode) for process in running]

    assert ended == [("", 0)] * 4
    assert cold("balance", "ada", "--json").only()["left"] == 15 + 4
