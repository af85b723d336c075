"""Seconds of audio as whole milliseconds: exact, whatever number stands there."""

from __future__ import annotations

import pytest

from gateway.domain.usage import Usage
from gateway.meters import open_meter
from tests.meters.feeding import fed


def heard(seconds: str) -> Usage | None:
    body = f'{{"text":"","usage":{{"type":"duration","seconds":{seconds}}}}}'.encode()
    return fed(open_meter("openai-audio", "application/json"), body).reported()


@pytest.mark.parametrize(
    ("seconds", "audio_ms"),
    [
        # As a float, 2.007 * 1000 is more than 2007.
        ("2.007", 2007), ("12.3", 12_300), ("1.005", 1005), ("4.1", 4100), ("8.2", 8200), ("0.001", 1), ("36", 36_000),
        ("1e2", 100_000), ("123456789.987", 123_456_789_987), ("0.0001", 1), ("2.0005", 2001), ('"12.3"', 12_300),
    ],
)  # fmt: skip
def test_seconds_are_read_to_the_millisecond_and_rounded_up(seconds: str, audio_ms: int) -> None:
    assert heard(seconds) == Usage(audio_ms=audio_ms)


@pytest.mark.parametrize(
    "seconds", ["0", "-1", "1e400", "1e10", '"NaN"', '"Infinity"', "null", "true", '"long"', "[]", "{}"]
)
def test_what_is_no_length_is_none(seconds: str) -> None:
    assert heard(seconds) is None


@pytest.mark.parametrize("thousandths", range(0, 60_000, 997))
def test_every_length_is_exact(thousandths: int) -> None:
    found = heard(f"{thousandths // 1000}.{thousandths % 1000:03}")

    assert (found.audio_ms if found else 0) == thousandths
