"""The errors of Quotagate. Expected outcomes (a denial, a conflict) are values, not errors."""

from __future__ import annotations


class QuotagateError(Exception):
    """Root of every error that Quotagate raises on purpose."""


class ConfigError(QuotagateError):
    """Raised when a config file cannot be used. Carries every fault found, one sentence each."""

    def __init__(self, source: str, faults: list[str]) -> None:
        self.source = source
        self.faults = faults
        super().__init__("\n".join([f"{source}: {len(faults)} fault(s)", *(f"  {fault}" for fault in faults)]))


class StoreUnavailable(QuotagateError):
    """Raised when Redis could not be asked before the deadline. Nothing was changed."""


class StoreUnready(StoreUnavailable):
    """Raised when an account is unknown to a Redis that has no epoch: it was emptied, perhaps, and what the ledger
    knows must be restored first."""


class Indeterminate(StoreUnavailable):
    """Raised when a script was sent and its reply was lost: it may have run or not.

    The caller repeats it with the same id, never with a new one.
    """


class ScriptFault(QuotagateError):
    """Raised when a script answered with an error or with the reply of another call: a defect, never a user's fault."""


class UpstreamError(QuotagateError):
    """Root of what can go wrong between the gateway and an upstream."""

    #: The machine-readable word that refusals carry.
    code = "upstream_error"


class UpstreamUnreachable(UpstreamError):
    """Raised when no connection to the upstream could be made: the request was never sent."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """Raised when the upstream kept silent for longer than the route allows."""

    code = "upstream_timeout"


class UpstreamBroken(UpstreamError):
    """Raised when the upstream closed the connection, or answered what is not HTTP, before its answer was whole."""

    code = "upstream_broken"


class LedgerError(QuotagateError):
    """Raised when the ledger's database refuses an operation for a reason the operator must mend."""


class RefusedInput(QuotagateError):
    """Raised when a person's or program's input cannot be taken; the message names what and where."""


class NotFound(RefusedInput):
    """Raised when there is no such thing: an account, a key."""


class Conflicting(RefusedInput):
    """Raised when what is asked for contradicts what stands, such as a grant that was credited with another amount."""
