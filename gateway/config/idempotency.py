"""What `[idempotency]` says."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config.shapes.idempotency import IdempotencyShape


@dataclass(frozen=True, slots=True)
class Idempotency:
    """How outcomes of calls with an `Idempotency-Key` are remembered."""

    keep_ms: int
    #: Of a larger answer only the fact that there was one is kept.
    max_bytes: int


def build_idempotency(shape: IdempotencyShape) -> Idempotency | None:
    """None: the header means nothing here."""
    return Idempotency(shape.keep_s * 1000, shape.max_bytes) if shape.enabled else None
