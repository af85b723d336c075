"""`[identity]`: who calls."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.config.shapes.common import HeaderName, Shape


class TrustedHeaderShape(Shape):
    header: HeaderName = "X-User-Id"
    secret_header: HeaderName = "X-Gateway-Secret"  # noqa: S105  a name, not a secret
    secret: Annotated[
        str, Field(pattern=r"^$|^.{16,}$", description="at least 16 characters from the environment, or empty: off")
    ] = ""


class IdentityShape(Shape):
    trusted_header: TrustedHeaderShape | None = None
