"""Meters: the bytes of an answer in, its `Usage` out. Pure: no input or output, no clock, no event loop."""

from gateway.meters.dialect import Dialect, Reading
from gateway.meters.estimate import tokens_of_json_request, tokens_of_text
from gateway.meters.meter import Meter
from gateway.meters.registry import METERS, open_meter
from gateway.meters.sse import SseSplitter, event_data

__all__ = [
    "METERS",
    "Dialect",
    "Meter",
    "Reading",
    "SseSplitter",
    "event_data",
    "open_meter",
    "tokens_of_json_request",
    "tokens_of_text",
]
