"""`[ledger]`: how long what is in the database is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictInt

from gateway.config.shapes.common import Shape


class LedgerShape(Shape):
    keep_usage_months: Annotated[
        StrictInt, Field(ge=0, le=1200, description="a whole number of months from 1 to 1200, or 0: for ever")
    ] = 0
