"""`[observability]`: what the system tells its operator."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool

from gateway.config.shapes.common import Shape, host_and_path


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
        AfterValidator(host_and_path),
        Field(description="http:// or https://, a host and a path, without user, query and fragment; or empty: off"),
    ] = ""
