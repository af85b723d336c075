"""`quotagate export`."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from datetime import UTC, datetime

import pytest
from pyarrow import parquet

from gateway.accounts.export import export, slice_of
from gateway.launch.system import open_system
from tests.cli.command import FORKS, Command, call_event, grant_event

pytestmark = FORKS


def test_an_export_goes_to_standard_output_and_what_was_done_to_standard_error(quotagate: Command) -> None:
    quotagate.records(call_event(1), call_event(2), call_event(3, "bob"))

    done = quotagate("export", "usage", "--account", "ada", "--format", "jsonl")

    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["r1", "r2"]
    assert done.err.startswith("2 row(s) in ")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_export_goes_to_a_file(quotagate: Command, form: str) -> None:
    quotagate.records(call_event(1), grant_event(2))
    path = quotagate.folder / "out"

    done = quotagate("export", "ledger", "--format", form, "--output", str(path))

    assert (done.code, done.out) == (0, "")
    match form:
        case "csv":
            ids = [row["id"] for row in csv.DictReader(io.StringIO(path.read_text(), newline=""))]
        case "jsonl":
            ids = [json.loads(line)["id"] for line in path.read_text().splitlines()]
        case _:
            ids = parquet.read_table(path).column("id").to_pylist()
    assert sorted(ids) == ["grant:ada t2/1", "r1/1"]
    assert not path.with_name("out.part").exists()


def test_parquet_goes_through_a_pipe(quotagate: Command) -> None:
    """A pipe does not know its place, which the format asks for."""
    quotagate.records(call_event(1))

    path = quotagate.folder / "fifo"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    with open_system(quotagate.config, quotagate.data) as system, path.open("wb", buffering=0) as out:
        export(system, slice_of("usage", None, None, None, datetime.now(UTC)), "parquet", out)
    reader.join(20)

    assert parquet.read_table(io.BytesIO(read[0])).column("id").to_pylist() == ["r1"]


def test_only_the_asked_time_is_exported(quotagate: Command) -> None:
    quotagate.records(*(call_event(number) for number in range(5)))

    done = quotagate(
        "export", "usage", "--from", "2001-09-09T01:46:41Z", "--to", "2001-09-09T01:46:43Z", "--format", "jsonl"
    )

    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["r1", "r2"]


def test_a_time_that_is_none_is_refused_in_a_sentence(quotagate: Command) -> None:
    done = quotagate("export", "usage", "--from", "yesterday")

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("quotagate: --from 'yesterday': a date such as 2026-11-20")
