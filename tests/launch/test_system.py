"""A system, opened from a config and a data folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from gateway.accounts import api_keys
from gateway.domain.errors import ConfigError, LedgerError, RefusedInput
from gateway.launch.system import open_system
from gateway.ledger.migrate import HEAD, current
from tests.support.config import config_text
from tests.support.servers import RedisServer

#: Redis is started beside pytest-xdist's threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(config_text())
    return path


def test_an_empty_folder_becomes_a_system_and_stays_one(config: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with open_system(config, data) as system:
        assert current(system.ledger) == HEAD
        (key,) = api_keys.create(system, ["ada"])
        process = int(system.redis.info("server")["process_id"])

    assert not Path(f"/proc/{process}").exists()
    with open_system(config, data) as system:
        assert [found.prefix for found in api_keys.listed(system)] == [key[:11]]
        assert system.redis.exists("qg:{p00}:account:ada")


def test_servers_that_the_config_names_are_used_in_place_of_the_embedded_ones(
    config: Path, tmp_path: Path, real_redis: RedisServer
) -> None:
    database = tmp_path / "elsewhere.sqlite3"
    config.write_text(config_text(redis_url=real_redis.url, database_url=f"sqlite:///{database}"))

    with open_system(config, tmp_path / "data") as system:
        api_keys.create(system, ["ada"])

    assert real_redis.client.exists("qg:{p00}:account:ada")
    assert database.is_file()
    assert list((tmp_path / "data").iterdir()) == []


def test_a_config_that_is_wrong_is_refused_before_anything_is_made(config: Path, tmp_path: Path) -> None:
    config.write_text("")

    with pytest.raises(ConfigError), open_system(config, tmp_path / "data"):
        pass
    with pytest.raises(RefusedInput), open_system(tmp_path / "missing.toml", tmp_path / "data"):
        pass
    assert not (tmp_path / "data").exists()


def test_a_ledger_that_cannot_be_used_ends_the_redis_that_was_started_for_it(config: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "ledger.sqlite3").write_bytes(b"no database" * 1000)

    with pytest.raises(LedgerError), open_system(config, data):
        pass

    with pytest.raises(redis.ConnectionError), redis.Redis(unix_socket_path=str(data / "redis/redis.sock")) as client:
        client.ping()


@pytest.mark.parametrize("name", ["with space", "josé", "ha#sh", "per%41cent", "que?stion"])
def test_the_embedded_ledger_stands_in_its_data_folder_whatever_that_is_called(
    config: Path, tmp_path: Path, real_redis: RedisServer, name: str
) -> None:
    config.write_text(config_text(redis_url=real_redis.url))

    with open_system(config, tmp_path / name) as system:
        api_keys.create(system, ["ada"])

    assert (tmp_path / name / "ledger.sqlite3").is_file()
