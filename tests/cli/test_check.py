"""`quotagate check FILE`: good or not, and what is wrong."""

from __future__ import annotations

import pytest

from tests.cli.command import Command
from tests.support.config import config_text, route


def test_a_good_config_is_said_to_be_good(cold: Command) -> None:
    done = cold.plain("check", str(cold.config))

    assert done.code == 0
    assert done.out == f"{cold.config}: good; 3 tier(s), 1 upstream(s)\n"
    assert done.err == ""


def test_every_fault_is_named_by_its_key_and_the_exit_code_is_1(cold: Command) -> None:
    broken = config_text().replace("signup = 15", 'signup = "many"').replace('"Asia/Jakarta"', '"Asia/Djakarta-2"')
    cold.config.write_text(broken)

    done = cold.plain("check", str(cold.config))

    assert (done.code, done.out) == (1, "")
    assert f"quotagate: {cold.config}: 2 fault(s)" in done.err
    assert 'tiers.free.signup = "many": must be' in done.err
    assert 'gateway.timezone = "Asia/Djakarta-2": must be' in done.err


def test_what_is_probably_not_meant_is_a_warning_and_the_exit_code_is_0(cold: Command) -> None:
    routes = route("/one", "openai-chat", extra='on_store_outage = "allow"')
    cold.config.write_text(config_text(routes=routes))

    done = cold.plain("check", str(cold.config))

    assert done.code == 0
    assert done.err.startswith('warning: routes[0].on_store_outage = "allow" never applies')
    assert "good" in done.out


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"gateway = ", b"[gateway"])
def test_what_is_no_config_is_refused(cold: Command, content: bytes) -> None:
    cold.config.write_bytes(content)

    done = cold.plain("check", str(cold.config))

    assert done.code == 1
    assert str(cold.config) in done.err


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_refused(cold: Command, name: str) -> None:
    done = cold.plain("check", str(cold.folder / name))

    assert done.code == 1
    assert "cannot be read" in done.err


def test_no_file_is_a_wrong_command_line(cold: Command) -> None:
    assert cold.plain("check").code == 2


def test_checking_starts_nothing_and_makes_nothing(cold: Command) -> None:
    cold.plain("check", str(cold.config))

    assert [path.name for path in cold.folder.iterdir()] == [cold.config.name]
