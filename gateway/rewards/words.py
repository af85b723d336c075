"""Codes as people write them: made, shown, and read back however they were typed."""

from __future__ import annotations

import re
import secrets

from gateway.domain.errors import RefusedInput

#: Crockford's base 32: no letter that looks like a digit, and no U.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LOOK_ALIKES = str.maketrans("ILO", "110")
_IGNORED = re.compile(r"[\s\-‐‑‒–—]+")
_NAME = re.compile(r"[A-Z0-9]{4,32}")
#: Eighty bits.
LENGTH = 16
_GROUP = 4


def new(characters: int = LENGTH) -> str:
    """A code that nobody can guess: five bits a character."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(characters))


def grouped(code: str) -> str:
    """A code as it is shown: XXXX-XXXX-XXXX-XXXX. One of another length was chosen, and stays in one piece."""
    if len(code) != LENGTH:
        return code
    return "-".join(code[start : start + _GROUP] for start in range(0, len(code), _GROUP))


def readings(text: str) -> tuple[str, ...]:
    """What somebody may have meant, the likeliest first: as it stands, and without letters that look like digits."""
    plain = _IGNORED.sub("", text).upper()
    if not _NAME.fullmatch(plain):
        return ()
    return tuple(dict.fromkeys((plain, plain.translate(_LOOK_ALIKES))))


def chosen(text: str) -> str:
    """A code that an operator chose, as it is kept. Raises RefusedInput."""
    if not (found := readings(text)):
        raise RefusedInput(f"the code {text!r} cannot be: choose 4-32 letters and digits, such as WELCOME2026")
    return found[0]
