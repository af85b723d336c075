"""`[licenses]`: license keys, each an account of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.config.shapes.common import Shape


class LicensesShape(Shape):
    tier: Annotated[str, Field(description="the name of a tier of this file, or nothing")] = ""
