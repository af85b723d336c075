"""`[idempotency]`: what becomes of calls with an `Idempotency-Key`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StrictInt

from gateway.config.shapes.common import Shape


class IdempotencyShape(Shape):
    enabled: Annotated[StrictBool, Field(description="true or false")] = True
    keep_s: Annotated[StrictInt, Field(ge=1, le=30 * 86_400, description="whole seconds, 1 to 2592000")] = 86_400
    max_bytes: Annotated[
        StrictInt, Field(ge=0, le=64 * 2**20, description="a whole number of bytes from 0 to 67108864")
    ] = 2**20
