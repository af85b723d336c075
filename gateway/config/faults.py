"""Turns what pydantic found into sentences: the key's path, what stands there, what may."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Collection
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

#: Keys whose values are never shown; of [identity] the tables themselves, where a secret may have been meant to stand.
_SECRET = re.compile(r"secret|headers|key|jwks|token(?!s)|password|identity(\.\w+(\[\d+\])?)?$", re.IGNORECASE)
#: Of a URL, what cannot carry a password: a scheme, a host, a port, a path.
_HARMLESS_URL = re.compile(r"[A-Za-z0-9.:/+\[\]_-]*")
#: Longer values are cut.
_SHOWN_CHARACTERS = 200


def describe(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """One sentence a fault, in the order of the file's keys, each key once."""
    faults: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        path, may, known = _walk(fault["loc"], root)
        if fault["type"] == "missing":
            sentence = f"is missing; it must be {may}"
        elif fault["type"] == "extra_forbidden":
            sentence = _unknown_key(str(fault["loc"][-1]), known)
        else:
            sentence = f"{_shown(path, fault['input'])}: must be {may}"
        faults.setdefault(path, f"{path} {sentence}")
    return list(faults.values())


def _unknown_key(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"is not a key here{hint} Known: {', '.join(known)}"


def _shown(path: str, value: Any) -> str:
    is_url = path.endswith(("_url", ".url"))
    if _SECRET.search(path) or (is_url and not _HARMLESS_URL.fullmatch(str(value))):
        return "(not shown)"
    if isinstance(value, str):
        return f'= "{value[:_SHOWN_CHARACTERS]}"'
    if isinstance(value, bool):
        return f"= {str(value).lower()}"
    if isinstance(value, dict | list):
        return f"is {'a' if value else 'an empty'} {'table' if isinstance(value, dict) else 'list'}"
    if isinstance(value, int) and value.bit_length() > _SHOWN_CHARACTERS:
        return "is a number of too many digits"
    return f"= {value}"


def _walk(loc: tuple[int | str, ...], root: type[BaseModel]) -> tuple[str, str, list[str]]:
    """Follows a location through the shapes: its path in the file, what may stand there, and the keys known beside
    it."""
    path, here = "", root
    may: str | None = None
    annotation: Any = root
    known = list(_keys(root))
    for place, step in enumerate(loc, start=1):
        annotation, inner_may = _strip(annotation)
        may = inner_may or may
        if isinstance(step, int):
            path += f"[{step}]"
            annotation, may = get_args(annotation)[0], None
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            here, known = annotation, list(_keys(annotation))
            path = _join(path, step)
            info = _keys(here).get(step)
            annotation, may = (info.annotation, info.description) if info else (None, None)
        elif get_origin(annotation) is dict:
            key = get_args(annotation)[0]
            path = _join(path, step)
            annotation, may = get_args(annotation)[1], None
            if loc[place:] == ("[key]",):
                return path, "named " + (_strip(key)[1] or "otherwise"), known
        # What is left are the marks pydantic adds for members of a union: not part of the file.
    kind, inner_may = _strip(annotation)
    return path, inner_may or may or _kind_of(kind), known


def _kind_of(annotation: Any) -> str:
    """What may stand at a key that is not described: a table, or a list of what is."""
    if get_origin(annotation) is not list:
        return "a table"
    _, may = _strip(get_args(annotation)[0])
    return f"a list, each item {may}" if may else "a list of tables"


def _keys(shape: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a shape as the file names them."""
    return {info.alias or name: info for name, info in shape.model_fields.items()}


def _strip(annotation: Any) -> tuple[Any, str | None]:
    """Takes Annotated and "| None" off. Returns the type and its description."""
    may = None
    while True:
        if hasattr(annotation, "__metadata__"):
            for item in annotation.__metadata__:
                if isinstance(item, FieldInfo) and item.description:
                    may = item.description
            annotation = annotation.__origin__
        elif get_origin(annotation) in (Union, types.UnionType):
            members = [member for member in get_args(annotation) if member is not type(None)]
            if len(members) != 1:
                return annotation, may
            annotation = members[0]
        else:
            return annotation, may


def _join(path: str, key: str) -> str:
    shown = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'
    return f"{path}.{shown}" if path else shown


def one_of(names: Collection[str], what: str) -> str:
    return f"must be {what} of this file: {', '.join(sorted(names)) or 'there is none'}"
