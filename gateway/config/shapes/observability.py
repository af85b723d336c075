"""`[observability]`: what the system tells its operator."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool

from gateway.config.shapes.common import Shape


def _traces_endpoint(url: str) -> str:
    parts = urlsplit(url)  # Like `port`, it raises ValueError for what no one could connect to.
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0):
        raise ValueError("not a URL of HTTP")
    if "@" in parts.netloc or parts.query or parts.fragment or not url.isascii() or " " in url:
        raise ValueError("more than a host and a path")
    return url


class ObservabilityShape(Shape):
    metrics: Annotated[StrictBool, Field(description="true or false")] = True
    metrics_token: Annotated[
        str,
        Field(pattern=r"^$|^[!-~]{16,}$", description="at least 16 characters from the environment, or empty: open"),
    ] = ""
    log_format: Annotated[Literal["text", "json"], Field(description='"text" or "json"')] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description='"debug", "info", "warning" or "error"')
    ] = "info"
    access_log: Annotated[StrictBool, Field(description="true or false")] = False
    traces_endpoint: Annotated[
        str,
        AfterValidator(_traces_endpoint),
        Field(description="http:// or https://, a host and a path, without user, query and fragment; or empty: off"),
    ] = ""
