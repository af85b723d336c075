"""What is noted of one call while it runs. Metrics, access log and traces are all made from it when the call has ended.

The proxy fills it in as things become known; nothing here decides anything about the call.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from gateway.domain.usage import Usage

#: How a call can end, as metrics and logs name it.
OUTCOMES = ("served", "denied", "refused", "upstream_refused", "upstream_failed", "client_left", "cut", "replayed")


class Observation:
    """One call. Instants are `perf_counter` seconds, 0.0 where the call has not come to; those of the loop's own clock
    are whole milliseconds under uvloop. Defaults stand in the class, because every call makes one."""

    account = key = tier = model = ""
    #: HTTP status the client was answered with; 0 without one.
    status = 0
    #: Why it was refused, as the refusal's code says it; "" when it was not.
    code = ""
    #: The policy that denied it.
    policy: str | None = None
    client_left = was_cut = is_broken = was_replayed = False
    #: What it was charged for; None: nothing was.
    usage: Usage | None = None
    cost = written_off = 0

    #: The request is read; its hold stands; the answer's head came; its end came; it is settled; all is over.
    read_at = reserved_at = answering_at = answered_at = settled_at = ended_at = 0.0
    #: What `tracing.py` keeps of it, when it is on.
    trace: Any = None
    upstream_span: Any = None

    def __init__(self, request_id: str, route: str, upstream: str) -> None:
        self.request_id = request_id
        self.route = route
        self.upstream = upstream
        self.arrived_at = perf_counter()

    def identified(self, account: str, key: str) -> None:
        self.account, self.key = account, key

    def read(self, model: str) -> None:
        """The request has been read; what comes now is the hold."""
        self.model = model
        self.read_at = perf_counter()

    def reserved(self, tier: str) -> None:
        """`reserve` has answered; unless it denied the call, what comes now is the backend."""
        self.tier = tier
        self.reserved_at = perf_counter()

    def answering(self) -> None:
        """The head of the answer has come."""
        self.answering_at = perf_counter()

    def answered(self, status: int, client_left: bool, is_broken: bool, charged: tuple[int, Usage] | None) -> None:
        """The answer has ended, however it did; what comes now is `settle` or `release`."""
        self.answered_at = perf_counter()
        self.status = status
        self.client_left = client_left
        self.is_broken = is_broken
        if charged is not None:
            self.cost, self.usage = charged

    def settled(self, written_off: int) -> None:
        self.settled_at = perf_counter()
        self.written_off = written_off

    def replayed(self, status: int) -> None:
        """The client was given the stored answer of an earlier call."""
        self.status, self.was_replayed = status, True

    def refused(self, status: int, code: str, policy: str | None = None) -> None:
        """The client was told why not."""
        self.status, self.code, self.policy = status, code, policy

    @property
    def outcome(self) -> str:
        """One of OUTCOMES."""
        if self.was_cut:
            return "cut"
        if self.was_replayed:
            return "replayed"
        if self.code and not self.code.startswith("upstream_"):
            return "refused" if self.policy is None else "denied"
        if self.client_left or not self.answered_at:
            return "client_left"
        if self.is_broken or self.status >= 500:
            return "upstream_failed"
        return "served" if self.status < 400 else "upstream_refused"
