"""Fixtures that the tests of the proxy share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.config import Config, parse
from gateway.proxy.gate import Gate
from tests.proxy.pools import CountingUpstream
from tests.proxy.stores import FakeStore
from tests.support.config import config_text


@pytest.fixture
def server() -> Iterator[CountingUpstream]:
    """A scriptable upstream that tells its connections apart."""
    upstream = CountingUpstream()
    yield upstream
    upstream.close()


@pytest.fixture
def store() -> Iterator[FakeStore]:
    store = FakeStore()
    yield store
    store.client.close()


@pytest.fixture(scope="session")
def config() -> Config:
    return parse(config_text(), "config.toml", {})


@pytest.fixture
def gate(config: Config, store: FakeStore) -> Gate:
    return Gate(config, store)
