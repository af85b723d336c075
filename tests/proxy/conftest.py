"""Fixtures of the upstream pool's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proxy.pools import CountingUpstream


@pytest.fixture
def server() -> Iterator[CountingUpstream]:
    """A scriptable upstream that tells its connections apart."""
    upstream = CountingUpstream()
    yield upstream
    upstream.close()
