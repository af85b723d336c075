"""`[api]`: what frontends and operators call, beside the governed routes."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool

from gateway.config.shapes.common import Shape


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if text != "*" and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query):
        raise ValueError("not an origin")
    return text


Origin = Annotated[
    str, AfterValidator(_origin), Field(description='an origin such as "https://app.example.com", or "*" for any')
]


class ApiShape(Shape):
    enabled: Annotated[StrictBool, Field(description="true or false")] = True
    docs: Annotated[StrictBool, Field(description="true or false")] = True
    cron_secret: Annotated[str, Field(description="a secret, or nothing")] = ""
    cors_origins: Annotated[list[Origin], Field(description="a list of origins")] = []
