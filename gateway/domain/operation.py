"""Operations: what a call does, by a name that prices, limits, scopes and ledger rows share."""

from __future__ import annotations

from dataclasses import dataclass

#: Those of the API itself, which no config has to name: units that are used at once, usage reported from outside, and
#: one use of a license.
TOKEN_USE = "token_use"  # noqa: S105  no secret
REPORT = "report"
LICENSE_USE = "license_use"
OWN = (TOKEN_USE, REPORT, LICENSE_USE)
#: Scopes that price and limit nothing: what a credential with scopes needs to have rewards given, and to buy, subscribe
#: and cancel.
REWARDS = "rewards"
PAYMENTS = "payments"


@dataclass(frozen=True, slots=True)
class Holding:
    """How long the API holds what an operation costs, for a caller who says later whether it was done."""

    lease_ms: int = 600_000
    #: What becomes of a hold that nobody commits or cancels: "release" or "charge_hold".
    on_lost: str = "release"
