"""What `[api]` says."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.config.shapes.api import ApiShape

#: A shorter secret could be guessed.
_LEAST_SECRET = 16


@dataclass(frozen=True, slots=True)
class Api:
    """What is served beside the governed routes."""

    enabled: bool = True
    #: Whether `/api-docs` and `/openapi.json` are.
    docs: bool = True
    #: Whoever sends it may open the periods that are due; "": nobody but an admin.
    cron_secret: str = field(default="", repr=False)
    #: Web pages of these origins may call the API.
    cors_origins: tuple[str, ...] = ()


def build_api(shape: ApiShape, faults: list[str]) -> Api:
    if shape.cron_secret and len(shape.cron_secret) < _LEAST_SECRET:
        faults.append(f"api.cron_secret is shorter than {_LEAST_SECRET} characters: take a longer one, or none")
    return Api(shape.enabled, shape.docs, shape.cron_secret, tuple(shape.cors_origins))
