"""Reads the scripts of `lua/` and makes each one self-contained.

A script names the parts it needs as any Lua file would: `local clock = require("lib.clock")`. Redis has no `require`,
so the loader puts what the script uses of each part in front of it. For that, parts keep to one form: statements begin
at the margin, and a part ends with `return NAME`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

_REQUIRE = re.compile(r'^local (\w+) = require\("lib\.(\w+)"\)\n', re.MULTILINE)
_STATEMENT = re.compile(r"^(?:local )?(?:function )?([\w.]+)(?=\(| =)", re.MULTILINE)
_CHAIN = re.compile(r"(?<![\w.])\w[\w.]*")
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)

#: In a checkout `lua/` stands at the top; a wheel carries it inside the package.
_PACKAGE = Path(__file__).resolve().parent.parent
FOLDER = _PACKAGE / "_lua" if (_PACKAGE / "_lua").is_dir() else _PACKAGE.parent / "lua"

SCRIPTS = (
    "reserve", "settle", "release", "renew", "expire", "grant", "open", "peek", "limits", "override", "remember",
    "keep", "annotate", "use", "adjust", "void", "status", "report", "reset", "inspect", "restore",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script:
    """One script, ready to be sent to one kind of server."""

    name: str
    text: str
    sha: str


@cache
def load(name: str, *, flagged: bool) -> Script:
    """The script `lua/NAME.lua` with its parts. `flagged`: with the `#!lua` line that servers from 7.0 on understand,
    which refuses a script before its first write when memory is out (FACTS section 3)."""
    text = _bundle((FOLDER / f"{name}.lua").read_text(encoding="utf-8"))
    if flagged:
        text = "#!lua\n" + text
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def load_all(server_version: str) -> dict[str, Script]:
    """Every script, as a server of this version wants it, by name."""
    flagged = int(server_version.split(".", maxsplit=1)[0]) >= 7
    return {name: load(name, flagged=flagged) for name in SCRIPTS}


def _bundle(source: str) -> str:
    """The script with the parts it needs in front of it, as locals of one chunk.

    Redis runs the whole chunk for each call, and making a function nobody calls, or a table to keep it in, costs as
    much as many a decision: measured, a fifth of a reservation. So only what is used is there, and without its table.
    """
    names = list(dict.fromkeys(_parts_of(source)))
    items = [item for name in names for item in _items_of(name)]
    needed = [True] * len(items)
    while True:
        text = "\n".join([*(item.text for item, keep in zip(items, needed, strict=True) if keep), source])
        stand = _names_in(text)
        now = [keep and stand[item.name] > 1 for item, keep in zip(items, needed, strict=True)]
        if now == needed:
            break
        needed = now
    offered = [re.escape(item.name) for item, keep in zip(items, needed, strict=True) if keep and "." in item.name]
    text = re.sub(rf"(?<![\w.])(?:{'|'.join(offered)})\b", lambda found: found[0].replace(".", "_"), text)
    return _REQUIRE.sub("", text)


@dataclass(frozen=True, slots=True)
class _Item:
    """One statement at the top of a part: a function, or a local."""

    #: As others call it: `split`, or `buckets.plan` for what the part offers.
    name: str
    text: str


def _parts_of(source: str) -> list[str]:
    """The parts that a text requires, each after those that it requires itself."""
    found: list[str] = []
    for _, part in _REQUIRE.findall(source):
        found += [*_parts_of(_read(part)), part]
    return found


def _items_of(part: str) -> list[_Item]:
    """A part's statements. What is indented, or closes a block, belongs to the statement above it."""
    body = _REQUIRE.sub("", _read(part)).replace(f"local {part} = {{}}\n", "").removesuffix(f"return {part}\n")
    starts = [found.start() for found in _STATEMENT.finditer(body)]
    pieces = [body[begin:end] for begin, end in pairwise([*starts, len(body)])]
    texts = [_COMMENT.sub("", piece).strip() for piece in pieces]
    return [
        _Item(_STATEMENT.match(text)[1], text if text.startswith("local ") else f"local {text}")  # type: ignore[index]
        for text in texts
    ]


def _names_in(text: str) -> Counter[str]:
    """How often each name stands in a text, its definition included: `a.b` is once `a` and once `a.b`.

    All in one pass: a look for each name by itself costs a command that calls one script a second.
    """
    stand: Counter[str] = Counter()
    for chain, times in Counter(_CHAIN.findall(text)).items():
        name = ""
        for word in chain.split("."):
            name = f"{name}.{word}" if name else word
            stand[name] += times
    return stand


def _read(part: str) -> str:
    return (FOLDER / "lib" / f"{part}.lua").read_text(encoding="utf-8")
