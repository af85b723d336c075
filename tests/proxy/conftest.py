"""Fixtures that the tests of the proxy share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proxy.pools import CountingUpstream
from tests.proxy.stores import FakeStore


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
