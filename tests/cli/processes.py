"""Redis servers that a folder has left running."""

from __future__ import annotations

from pathlib import Path


def servers_of(folder: Path) -> list[int]:
    """The ids of the running redis-server processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:  # It has just ended.
            continue
        if b"redis-server" in words and bytes(folder) in words + bytes(_place(process)):
            found.append(int(process.name))
    return found


def _place(process: Path) -> Path:
    try:
        return (process / "cwd").readlink()
    except OSError:
        return Path()
