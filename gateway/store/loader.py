"""Reads the scripts of `lua/` and makes each one self-contained.

A script names the parts it needs as any Lua file would: `local clock = require("lib.clock")`. Redis has no `require`,
so the loader puts each part, once and before its users, in front of the script as a local.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_REQUIRE = re.compile(r'^local (\w+) = require\("lib\.(\w+)"\)\n', re.MULTILINE)

#: In a checkout `lua/` stands at the top; a wheel carries it inside the package.
_PACKAGE = Path(__file__).resolve().parent.parent
FOLDER = _PACKAGE / "_lua" if (_PACKAGE / "_lua").is_dir() else _PACKAGE.parent / "lua"

SCRIPTS = ("reserve", "settle", "release", "renew", "expire", "grant", "open", "peek", "remember", "keep")


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
    parts: dict[str, str] = {}

    def include(text: str) -> str:
        for _, part in _REQUIRE.findall(text):
            if part not in parts:
                body = include((FOLDER / "lib" / f"{part}.lua").read_text(encoding="utf-8"))
                parts[part] = f"local lib_{part} = (function()\n{body}end)()\n"
        return _REQUIRE.sub(lambda match: f"local {match[1]} = lib_{match[2]}\n", text)

    script = include(source)
    return "".join(parts.values()) + script
