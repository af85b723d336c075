"""A file of accounts to import, read and checked line by line: what `bulk_import` writes."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.accounts.expiry import expiry_s
from gateway.accounts.profile import email_fault
from gateway.accounts.terms import check_zone
from gateway.domain.errors import RefusedInput
from gateway.domain.principal import is_account_id, is_grant_id
from gateway.domain.tier import MAX_UNITS, Tier

COLUMNS = ("id", "tier", "zone", "email", "credits", "grant_id", "reason", "expires")
REASON = "import"

_AMOUNT = re.compile(r"\d{1,16}")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one cell, or with a line."""

    line: int
    #: "" for the whole line.
    column: str
    what: str

    def __str__(self) -> str:
        return f"line {self.line}{', ' + self.column if self.column else ''}: {self.what}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One account as the file wants it. What is None stays as it is."""

    line: int
    id: str
    tier: str | None
    zone: str | None
    email: str | None
    #: Units to credit; 0: none.
    credits: int
    grant_id: str
    reason: str
    #: When they lapse, in seconds since 1970; 0: never.
    expires_s: int


def read(content: bytes, tiers: Mapping[str, Tier], now_s: int) -> tuple[list[Wanted], list[Fault]]:
    """The accounts of a file, and all that is wrong with it. UTF-8, with or without a byte order mark; lines end in LF
    or CRLF. The first line names the columns, in any order; only `id` must be among them."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return [], [Fault(line, "", "is not UTF-8: save the file as CSV UTF-8")]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        if faults := list(_faults_of_header(names)):
            return [], faults
        return _lines(reader, names, tiers, now_s)
    except csv.Error as error:
        return [], [Fault(reader.line_num, "", f"is not CSV: {error}")]


def grant_id_of(credits: int, reason: str, expires: str) -> str:
    """The id of a grant that the file gives none: made of the grant itself, whatever file and line it stands in. So the
    same line never credits its account twice, and another grant of as much needs another reason, or an id of its
    own."""
    told = "\n".join((str(credits), reason, expires))
    return f"import:{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _faults_of_header(names: list[str]) -> Iterator[Fault]:
    if not any(names):
        yield Fault(1, "", "is empty: it must name the columns, such as id,tier,credits")
        return
    for name in names:
        if name not in COLUMNS:
            yield Fault(1, name, f"is no column; known are {', '.join(COLUMNS)}")
        elif names.count(name) > 1:
            yield Fault(1, name, "stands there twice")
    if "id" not in names:
        yield Fault(1, "id", "is missing: every line must name its account")


def _lines(
    reader: Iterator[list[str]], names: list[str], tiers: Mapping[str, Tier], now_s: int
) -> tuple[list[Wanted], list[Fault]]:
    wanted: list[Wanted] = []
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    zones = _Zones()
    number = reader.line_num + 1  # type: ignore[attr-defined]
    for cells in reader:
        line, number = number, reader.line_num + 1  # type: ignore[attr-defined]
        if not cells:
            continue
        if len(cells) != len(names):
            faults.append(Fault(line, "", f"has {len(cells)} cell(s), the header has {len(names)}"))
            continue
        found = dict.fromkeys(COLUMNS, "") | {n: cell.strip() for n, cell in zip(names, cells, strict=True)}
        wrong = list(_faults_of_line(line, found, tiers, zones))
        first = seen.setdefault(found["id"], line)
        if first != line and found["id"]:
            wrong.append(Fault(line, "id", f"{found['id']!r} stands on line {first} too"))
        expires_s = 0
        try:
            expires_s = expiry_s(found["expires"], now_s) if found["expires"] else 0
        except RefusedInput as error:
            wrong.append(Fault(line, "expires", str(error)))
        faults += wrong
        if not wrong:
            wanted.append(_wanted(line, found, expires_s))
    return wanted, faults


class _Zones:
    """Looks each zone up once."""

    def __init__(self) -> None:
        self._faults: dict[str, str | None] = {}

    def fault(self, name: str) -> str | None:
        if name not in self._faults:
            try:
                check_zone(name)
                self._faults[name] = None
            except RefusedInput as error:
                self._faults[name] = str(error)
        return self._faults[name]


def _faults_of_line(line: int, found: Mapping[str, str], tiers: Mapping[str, Tier], zones: _Zones) -> Iterator[Fault]:
    credits = found["credits"]
    if not is_account_id(found["id"]):
        yield Fault(line, "id", f"{found['id']!r} is no account id: 1-200 printable characters without white space")
    if found["tier"] and found["tier"] not in tiers:
        yield Fault(line, "tier", f"{found['tier']!r} is no tier: {', '.join(sorted(tiers))}")
    if found["zone"] and (fault := zones.fault(found["zone"])):
        yield Fault(line, "zone", fault)
    if found["email"] and (fault := email_fault(found["email"])):
        yield Fault(line, "email", f"{found['email']!r} {fault}")
    if credits and not (_AMOUNT.fullmatch(credits) and credits.isascii() and int(credits) <= MAX_UNITS):
        yield Fault(line, "credits", f"{credits[:40]!r} is no amount: a whole number from 0 to {MAX_UNITS}, in digits")
    if found["grant_id"] and not is_grant_id(found["grant_id"]):
        yield Fault(line, "grant_id", 'must be 1-200 printable characters without white space, "=" and ";"')
    if len(found["reason"]) > 1000 or not found["reason"].isprintable():
        yield Fault(line, "reason", "must be at most 1000 printable characters")
    if not credits.strip("0"):
        for column in ("grant_id", "expires"):
            if found[column]:
                yield Fault(line, column, "stands beside no credits")


def _wanted(line: int, found: Mapping[str, str], expires_s: int) -> Wanted:
    credits, reason = int(found["credits"] or 0), found["reason"] or REASON
    grant_id = found["grant_id"] or grant_id_of(credits, reason, found["expires"])
    return Wanted(
        line,
        found["id"],
        found["tier"] or None,
        found["zone"] or None,
        found["email"] or None,
        credits,
        grant_id if credits else "",
        reason,
        expires_s,
    )
