"""Exports of the ledger for spreadsheets, programs and warehouses: CSV, JSON lines, Parquet. Row by row, so that ten
million of them need no more memory than ten thousand."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Integer

from gateway.accounts.system import System, look_up
from gateway.domain.errors import RefusedInput
from gateway.ledger import streams
from gateway.ledger.streams import Slice
from gateway.ledger.tables import Instant

#: The kinds of exports, and what they can be written as.
KINDS = ("usage", "ledger")
FORMATS = ("csv", "jsonl", "parquet")
#: What makes a spreadsheet take a text for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: A row group of Parquet: large enough to be packed well, small enough to be held.
_ROW_GROUP = 20_000

Told = Callable[[int], None]


def slice_of(what: str, begin: str | None, end: str | None, account: str | None, now: datetime) -> Slice:
    """What is to be exported, as a person asks for it: dates (their first instant in UTC) or instants with an offset,
    from the first of them on and before the second; None: from the beginning, until now.

    Raises RefusedInput.
    """
    first = datetime(1970, 1, 1, tzinfo=UTC) if begin is None else _instant("--from", begin)
    last = now if end is None else _instant("--to", end)
    if first > last:
        raise RefusedInput(f"--from {begin} is after --to {end or 'now'}")
    return Slice(what, first, last, None if account is None else look_up(account))


def export(system: System, part: Slice, form: str, out: BinaryIO, told: Told = lambda rows: None) -> int:
    """Writes a slice. Returns how many rows it had; `told` hears how many more were written.

    Raises RefusedInput when the format is unknown, or needs a library that is not installed.
    """
    rows = 0
    with _writer(form, part.columns, out) as writer:
        for batch in streams.batches(system.ledger, part):
            writer.write(batch)
            rows += len(batch)
            told(len(batch))
    return rows


def as_csv(names: Sequence[str], batches: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Rows as CSV: its header, then a part for each batch."""
    part = io.BytesIO()
    writer = _Csv(names, part)
    for batch in itertools.chain([()], batches):
        writer.write(batch)
        yield part.getvalue()
        part.seek(0)
        part.truncate()


def count(system: System, part: Slice) -> int:
    """How many rows a slice has: for a progress bar."""
    return streams.count(system.ledger, part)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is whole, and not before: until then it is FILE.part."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RefusedInput(f"{path} cannot be written: {error}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Writer(Protocol):
    def write(self, rows: Sequence[Any]) -> None: ...


@contextlib.contextmanager
def _writer(form: str, columns: Sequence[Column[Any]], out: BinaryIO) -> Iterator[Writer]:
    if form == "csv":
        yield _Csv([column.name for column in columns], out)
    elif form == "jsonl":
        yield _JsonLines(columns, out)
    elif form == "parquet":
        with contextlib.closing(_Parquet(columns, out)) as writer:
            yield writer
    else:
        raise RefusedInput(f"{form} is no format of exports: {', '.join(FORMATS)}")


class _Csv:
    """RFC 4180, with a header. Numbers stay numbers; a text that a spreadsheet would run gets a ' in front."""

    def __init__(self, names: Sequence[str], out: BinaryIO) -> None:
        self._out = out
        self._buffer = io.StringIO(newline="")
        self._csv = csv.writer(self._buffer)
        self._csv.writerow(names)
        self._flush()

    def write(self, rows: Sequence[Any]) -> None:
        self._csv.writerows([[_cell(value) for value in row] for row in rows])
        self._flush()

    def _flush(self) -> None:
        self._out.write(self._buffer.getvalue().encode())
        self._buffer.seek(0)
        self._buffer.truncate()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return "'" + value if value.startswith(_FORMULA) else value
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat() + "Z"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


class _JsonLines:
    def __init__(self, columns: Sequence[Column[Any]], out: BinaryIO) -> None:
        self._names = [column.name for column in columns]
        self._out = out
        self._encoder = msgspec.json.Encoder()

    def write(self, rows: Sequence[Any]) -> None:
        names = self._names
        self._out.write(self._encoder.encode_lines([dict(zip(names, row, strict=True)) for row in rows]))


class _Parquet:
    """One row group after the other. Instants are microseconds in UTC."""

    def __init__(self, columns: Sequence[Column[Any]], out: BinaryIO) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise RefusedInput("Parquet needs pyarrow: pip install 'quotagate[parquet]'") from error
        self._arrow: Any = pyarrow
        fields = [pyarrow.field(column.name, _arrow_type(pyarrow, column), column.nullable) for column in columns]
        self._schema = pyarrow.schema(fields)
        self._writer: Any = parquet.ParquetWriter(_Stream(out), self._schema, compression="zstd")
        self._rows: list[Any] = []

    def write(self, rows: Sequence[Any]) -> None:
        self._rows += rows
        if len(self._rows) >= _ROW_GROUP:
            self._group()

    def close(self) -> None:
        if self._rows:
            self._group()
        self._writer.close()

    def _group(self) -> None:
        columns = list(zip(*self._rows, strict=True))
        arrays = [self._arrow.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._rows = []
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))


class _Stream:
    """A file that knows its place by itself: a pipe does not, and Parquet asks."""

    closed = False

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._at = 0

    def write(self, data: Any) -> int:
        written = len(data)
        self._out.write(data)
        self._at += written
        return written

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._out.flush()

    def close(self) -> None:
        """The file is its owner's to close."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def _arrow_type(arrow: Any, column: Column[Any]) -> Any:
    kind = column.type
    if isinstance(kind, Instant):
        return arrow.timestamp("us", tz="UTC")
    if isinstance(kind, BigInteger):
        return arrow.int64()
    if isinstance(kind, Integer):
        return arrow.int32()
    return arrow.bool_() if isinstance(kind, Boolean) else arrow.string()


def _instant(option: str, text: str) -> datetime:
    try:
        if len(text) == len("2026-11-20"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise RefusedInput(f"{option} {text!r}: a date such as 2026-11-20, or an instant such as 2026-11-20T08:00:00Z")
    return instant
