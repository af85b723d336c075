"""Answers of real providers: 118 recordings, and what their manifest says that each must yield.

They stand in the folder that QUOTAGATE_TRANSCRIPTS names, or in `../shared/transcripts` beside the checkout.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.usage import Usage
from gateway.meters import open_meter
from tests.meters.feeding import fed

FOLDER = Path(os.environ.get("QUOTAGATE_TRANSCRIPTS") or Path(__file__).parents[3] / "shared" / "transcripts")
CHUNK_BYTES = (1, 16, 61, 256, 4096, None)
#: These as well, unless the file is a long one: 1,000,000 chunks more would show nothing new.
SMALL_CHUNK_BYTES = (2, 3, 7)
LONG_BODY_BYTES = 10_000


@dataclass(frozen=True)
class Transcript:
    """One recorded answer."""

    file: str
    dialect: str
    stream: bool
    usage: Usage

    @property
    def content_type(self) -> str:
        return "text/event-stream" if self.stream else "application/json"

    @cached_property
    def body(self) -> bytes:
        """The answer as it came over HTTP, framed as the folder's README says."""
        recorded = (FOLDER / self.file).read_bytes()
        return self._framed(recorded) if self.stream else recorded

    def _framed(self, recorded: bytes) -> bytes:
        framed = []
        for line in recorded.splitlines():
            if self.dialect in ("anthropic-messages", "openai-responses", "cohere"):
                framed.append(b"event: " + json.loads(line)["type"].encode() + b"\n")
            framed.append(b"data: " + line + b"\n\n")
        if self.dialect == "openai-chat":
            framed.append(b"data: [DONE]\n\n")
        return b"".join(framed)


def recorded_transcripts() -> list[Any]:
    """A parameter a transcript; without the folder, one that is skipped and says why."""
    manifest = FOLDER / "manifest.json"
    if not manifest.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"there are no transcripts in {FOLDER}"))]
    return [
        pytest.param(_transcript(entry), id=entry["file"]) for entry in json.loads(manifest.read_text(encoding="utf-8"))
    ]


def _transcript(entry: dict[str, Any]) -> Transcript:
    counts = {name: count for name, count in entry["usage"].items() if name != "total"}
    usage = Usage(**counts)
    assert usage.total == entry["usage"]["total"]
    return Transcript(entry["file"], entry["dialect"], entry["stream"], usage)


each_transcript = pytest.mark.parametrize("transcript", recorded_transcripts())


@each_transcript
def test_a_transcript_yields_the_usage_of_its_manifest_at_any_chunk_size(transcript: Transcript) -> None:
    body = transcript.body
    for chunk_bytes in (*CHUNK_BYTES, *(SMALL_CHUNK_BYTES if len(body) < LONG_BODY_BYTES else ())):
        meter = fed(open_meter(transcript.dialect, transcript.content_type), body, chunk_bytes)
        assert (meter.reported(), meter.failed) == (transcript.usage, False), f"in chunks of {chunk_bytes}"


@each_transcript
def test_a_transcript_with_other_line_ends_yields_the_same(transcript: Transcript) -> None:
    for line_end in (b"\r\n", b"\r"):
        body = transcript.body.replace(b"\n", line_end)
        for chunk_bytes in (61, 4096, None):
            meter = fed(open_meter(transcript.dialect, transcript.content_type), body, chunk_bytes)
            assert meter.reported() == transcript.usage, f"{line_end!r} in chunks of {chunk_bytes}"


@each_transcript
def test_a_compressed_transcript_yields_the_same(transcript: Transcript) -> None:
    body = gzip.compress(transcript.body)
    for chunk_bytes in (16, 4096, None):
        meter = fed(open_meter(transcript.dialect, transcript.content_type, "gzip"), body, chunk_bytes)
        assert meter.reported() == transcript.usage, f"in chunks of {chunk_bytes}"


@each_transcript
def test_auto_recognises_a_transcript(transcript: Transcript) -> None:
    for chunk_bytes in (61, 4096, None):
        meter = fed(open_meter("auto", transcript.content_type), transcript.body, chunk_bytes)
        reported = meter.reported()
        assert reported is not None
        # The manifest counts tokens; a transcription also says how long it was.
        assert (reported._replace(audio_ms=0), meter.failed) == (transcript.usage, False), f"in chunks of {chunk_bytes}"
