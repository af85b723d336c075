"""Types that several tables of `config.toml` share. Each description says what may stand there."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt

from gateway.domain.tier import MAX_UNITS

#: A larger one is a slip of the decimal point.
MAX_MULTIPLIER = 1000


def host_and_path(url: str) -> str:
    """A URL of HTTP that is a host and a path, or empty."""
    parts = urlsplit(url)  # Like `port`, it raises ValueError for what no one could connect to.
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0):
        raise ValueError("not a URL of HTTP")
    if "@" in parts.netloc or parts.query or parts.fragment or not url.isascii() or " " in url:
        raise ValueError("more than a host and a path")
    return url


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfo raises IsADirectoryError for "Asia"
        raise ValueError("no such time zone") from None
    return name


def _price(value: Any) -> int | str:
    if value == "tokens":
        return "tokens"
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_UNITS:
        raise ValueError("not a price")
    return value


def _multiplier(value: Any) -> str:
    """A float would not be the number that the file shows, so a fraction is written as text."""
    text = str(value) if type(value) in (str, int) else ""
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) or Fraction(text) > MAX_MULTIPLIER:
        raise ValueError("not a multiplier")
    return text


def _header_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise ValueError("not a header name")
    return name


_UNITS_MAY = f"a whole number of units from 0 to {MAX_UNITS}"
Units = Annotated[StrictInt, Field(ge=0, le=MAX_UNITS, description=_UNITS_MAY)]
MultiplierText = Annotated[
    str,
    BeforeValidator(_multiplier),
    Field(description='a whole number or a decimal as text, such as "0.8", from 0 to 1000 with up to 6 places'),
]
PerMillion = Annotated[
    StrictInt, Field(ge=0, le=10**15, description="a whole number of units per million tokens, 0 or more")
]
Seconds = Annotated[float, Field(gt=0, le=86_400, strict=True, description="seconds, more than 0 and at most 86400")]
Hour = Annotated[StrictInt, Field(ge=0, le=23, description="an hour from 0 to 23")]
Zone = Annotated[str, AfterValidator(_zone), Field(description='an IANA time zone such as "Asia/Jakarta"')]
PriceOf = Annotated[
    int | str, BeforeValidator(_price), Field(description='a whole number of units, 0 for free, or "tokens"')
]
HeaderName = Annotated[str, AfterValidator(_header_name), Field(description="the name of an HTTP header")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="1-64 letters, digits, _ . or -")]


Globs = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200, description="a model name or glob")]],
    Field(description='a list of model names or globs, such as "gpt-4o*"'),
]
Shares = Annotated[
    list[Annotated[float, Field(strict=True, ge=0.001, le=1, description="a share, from 0.001 to 1.0")]],
    Field(description="a list of shares between 0 and 1, such as [0.8, 0.95]"),
]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
