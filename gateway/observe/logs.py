"""Logs as text or as JSON, alike for every process. One record is one line that nobody else can begin.

What a client chose (a model's name, a path, an upstream's words) may stand in a record, never as a line of its own:
JSON escapes it; as text, the further lines of a record are indented and control characters are spelled out.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from gateway.config.observability import Observability
from gateway.observe import access

_LINE_ENDS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_FIELDS = frozenset(RESERVED_ATTRS) | {"message", "asctime", "color_message"}
_PLAIN = re.compile(r"[!#-<>-~]+")


def set_up(observability: Observability, stream: TextIO | None = None) -> None:
    """Sends all records of this process to standard error, or to `stream`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_json() if observability.log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(observability.log_level.upper())
    # Whether it is written is for `access_log` to say, whatever the level of the rest.
    logging.getLogger(access.log.name).setLevel(logging.INFO)
    # Their own words on every connection, and on every job, are for whoever debugs them.
    for name in ("rq.worker", "urllib3", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _json() -> logging.Formatter:
    return JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
    )


class TextFormatter(logging.Formatter):
    """Time, level, logger and message, then the record's own fields as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name of logging
        fields = [f"{name}={_value(value)}" for name, value in record.__dict__.items() if name not in _NOT_FIELDS]
        return " ".join([super().formatMessage(record), *fields])

    def format(self, record: logging.LogRecord) -> str:
        lines = _LINE_ENDS.sub("\n    ", super().format(record))
        return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", lines)


def _value(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else repr(text)
