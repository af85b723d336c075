"""Exports: what is written can be read back, gives no spreadsheet an order, and needs little memory."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import Engine

from gateway.accounts import export as acts
from gateway.accounts.export import export, slice_of, whole_file
from gateway.accounts.system import System
from gateway.domain.errors import RefusedInput
from gateway.ledger import streams
from gateway.ledger.record import record
from tests.accounts.many_rows import fill
from tests.ledger.events import NOON_MS, grant, usage

NOW = datetime(2026, 12, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


@pytest.fixture
def books(system: System, ledger: Engine) -> System:
    """An empty ledger of each kind."""
    return replace(system, ledger=ledger)


def text_of(system: System, what: str = "usage", form: str = "csv", **part: Any) -> bytes:
    out = io.BytesIO()
    asked = {"begin": None, "end": None, "account": None, "now": NOW} | part
    export(system, slice_of(what, **asked), form, out)
    return out.getvalue()


def rows_of(system: System, what: str = "usage", **part: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(system, what, **part).decode(), newline="")))


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_csv_holds_every_column_and_every_row(books: System) -> None:
    record(books.ledger, [usage("r1"), usage("r2", "bob", at_ms=NOON_MS + 1, estimated=True, model='llm, "big"\r\nx')])

    first, second = rows_of(books)

    assert (first["id"], first["account"], first["cost"], first["estimated"]) == ("r1", "alice", "3", "false")
    assert (first["occurred_at"], first["started_at"]) == ("2026-11-20T10:00:00Z", "2026-11-20T09:59:58.500000Z")
    assert second["occurred_at"] == "2026-11-20T10:00:00.001000Z"
    assert (second["model"], second["estimated"]) == ('llm, "big"\r\nx', "true")


def test_json_lines_hold_numbers_as_numbers_and_nothing_as_null(books: System) -> None:
    record(books.ledger, [usage("r1"), grant(reason="dibayar 用户")])

    found = [json.loads(line) for line in text_of(books, "ledger", "jsonl").splitlines()]

    by_kind = {each["kind"]: each for each in found}
    assert by_kind["USAGE"]["amount"] == -3
    assert by_kind["USAGE"]["reason"] is None
    assert by_kind["TOP_UP"]["reason"] == "dibayar 用户"
    assert by_kind["TOP_UP"]["occurred_at"] == "2026-11-20T10:00:00Z"


def test_parquet_keeps_types_and_values(books: System, tmp_path: Path) -> None:
    record(books.ledger, [usage("r1", estimated=True), usage("r2", cost=2**53 - 1)])

    table = parquet.read_table(io.BytesIO(text_of(books, form="parquet")))

    assert [str(table.schema.field(name).type) for name in ("id", "cost", "status", "estimated", "occurred_at")] == [
        "string", "int64", "int32", "bool", "timestamp[us, tz=UTC]",
    ]  # fmt: skip
    assert table.column("cost").to_pylist() == [3, 2**53 - 1]
    assert table.column("estimated").to_pylist() == [True, False]
    assert table.column("occurred_at").to_pylist()[0] == NOON


def test_parquet_of_many_rows_has_a_row_group_for_some_of_them(books: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "_ROW_GROUP", 300)
    monkeypatch.setattr(streams.batches, "__defaults__", (100,))
    record(books.ledger, [usage(f"r{n:04d}") for n in range(1000)])

    found = parquet.ParquetFile(io.BytesIO(text_of(books, form="parquet")))

    assert [found.metadata.row_group(n).num_rows for n in range(found.num_row_groups)] == [300, 300, 300, 100]
    assert found.read().column("id").to_pylist() == [f"r{n:04d}" for n in range(1000)]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_export_of_nothing_can_be_read(books: System, form: str) -> None:
    found = text_of(books, "ledger", form)

    match form:
        case "csv":
            assert found.startswith(b"id,account,kind,bucket,amount,")
            assert found.count(b"\r\n") == 1
        case "jsonl":
            assert found == b""
        case _:
            assert parquet.read_table(io.BytesIO(found)).num_rows == 0


def test_parquet_without_its_library_is_refused_in_a_sentence(books: System, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(RefusedInput, match=r"pip install 'quotagate\[parquet\]'"):
        text_of(books, form="parquet")


# ── formulas ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_a_text_that_a_spreadsheet_would_run_is_marked(books: System, text: str) -> None:
    record(books.ledger, [usage("r1", model=text)])

    (row,) = rows_of(books)

    assert row["model"] == "'" + text


def test_numbers_stay_numbers_and_other_texts_as_they_are(books: System) -> None:
    record(books.ledger, [usage("r1", model="a=1-2"), grant()])

    assert sorted(row["amount"] for row in rows_of(books, "ledger")) == ["-3", "100"]
    assert rows_of(books)[0]["model"] == "a=1-2"


# ── what is in it ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slice_has_what_happened_from_its_begin_on_and_before_its_end(books: System) -> None:
    record(books.ledger, [usage(f"r{n}", at_ms=NOON_MS + n * 1000) for n in range(4)])

    found = rows_of(books, begin="2026-11-20T10:00:01Z", end="2026-11-20T17:00:03+07:00")

    assert [row["id"] for row in found] == ["r1", "r2"]


def test_dates_are_their_first_instants_in_utc(books: System) -> None:
    midnight_ms = NOON_MS - 10 * 3_600_000
    record(books.ledger, [usage(f"r{n}", at_ms=midnight_ms + n) for n in (-1, 0, 86_400_000 - 1, 86_400_000)])

    found = rows_of(books, begin="2026-11-20", end="2026-11-21")

    assert [row["id"] for row in found] == ["r0", "r86399999"]


def test_an_account_can_be_exported_alone_in_order_of_time(books: System) -> None:
    record(books.ledger, [usage("r3", "bob", at_ms=NOON_MS + 2), usage("r1", "bob"), usage("r2", "ada")])

    assert [row["id"] for row in rows_of(books, account="bob")] == ["r1", "r3"]
    assert [row["id"] for row in rows_of(books, "ledger", account="bob")] == ["r1/1", "r3/1"]


@pytest.mark.parametrize(
    ("begin", "end", "what"),
    [
        ("yesterday", None, "--from"),
        ("2026-13-01", None, "--from"),
        (None, "2026-11-20T10:00:00", "--to"),
        ("2026-11-21", "2026-11-20", "is after"),
        ("2027-01-01", None, "is after"),
    ],
)
def test_a_time_that_is_none_is_refused(begin: str | None, end: str | None, what: str) -> None:
    with pytest.raises(RefusedInput, match=what):
        slice_of("usage", begin, end, None, NOW)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    with whole_file(path) as out:
        out.write(b"new")
        assert path.read_text() == "old"
        assert (tmp_path / "out.csv.part").exists()

    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]


def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    with pytest.raises(ZeroDivisionError), whole_file(path) as out:
        out.write(bytes(1 // 0))

    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]


def test_a_place_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RefusedInput, match="cannot be written"), whole_file(tmp_path / "none" / "out.csv"):
        pass


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Nowhere(io.RawIOBase):
    """Counts what is written, and keeps none of it."""

    written = 0

    def write(self, data: Any) -> int:
        self.written += len(data)
        return len(data)


def rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def exported(system: System, what: str, form: str, rows: int) -> int:
    """Exports all, and returns by how many bytes this process grew at the most."""
    before, most, out = rss_bytes(), 0, Nowhere()
    started = time.perf_counter()

    def look(_: int) -> None:
        nonlocal most
        most = max(most, rss_bytes() - before)

    assert export(system, slice_of(what, None, None, None, NOW + timedelta(days=10_000)), form, out, look) == rows  # type: ignore[arg-type]
    took_s = time.perf_counter() - started
    dialect = system.ledger.dialect.name
    print(f"{dialect} {what} {form}: {rows / took_s:,.0f} rows/s, grew {most / 2**20:.0f} MiB, {out.written:,} bytes")
    return most


@pytest.mark.parametrize("what", ["usage", "ledger"])
def test_two_hundred_thousand_rows_need_no_more_memory_than_a_few(books: System, what: str) -> None:
    """All of them at once take some 300 MiB as rows, 100 MiB as the bytes of a client-side cursor."""
    for form in acts.FORMATS:  # What is loaded once is loaded.
        text_of(books, what, form)
    fill(books.ledger, 200_000)

    for form in acts.FORMATS:
        assert exported(books, what, form, 200_000) < 60 * 2**20


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what", ["usage", "ledger"])
def test_ten_million_rows_need_no_more_memory_than_a_few(books: System, what: str) -> None:
    fill(books.ledger, 10_000_000)

    for form in acts.FORMATS:
        assert exported(books, what, form, 10_000_000) < 120 * 2**20
