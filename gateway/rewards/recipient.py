"""Who can be given rewards, and how they are refused one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from gateway.accounts import epoch
from gateway.accounts.admission import NotAdmitted
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting
from gateway.domain.principal import is_named
from gateway.domain.reservation import Suspended
from gateway.domain.schedule import zone_of
from gateway.domain.tier import Tier
from gateway.store import calls


class RewardRefused(Conflicting):
    """Raised when a reward is not to be had, or not yet. Nothing was given."""

    def __init__(self, code: str, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        #: What a program can tell apart, such as "code_used_up".
        self.code = code
        #: When it can be had; None: waiting does not help.
        self.retry_after_ms = retry_after_ms


@dataclass(frozen=True, slots=True)
class Recipient:
    """An account that can be given rewards."""

    account: str
    tier: Tier
    zone: ZoneInfo
    #: None: it is not open yet, and its first grant opens it.
    first_seen_at: datetime | None


def recipient(system: System, account: str) -> Recipient:
    """The account as it stands.

    Raises RewardRefused (`account_not_eligible`) for accounts of licenses and of anonymous callers, NotAdmitted for one
    that is suspended, StoreUnready when Redis must be restored first.
    """
    if not is_named(account):
        raise RewardRefused("account_not_eligible", f"account {account} cannot have rewards: it is nobody's own")
    known = system.runner.run(calls.peek(system.keys.account(account), now_ms=system.script_ms))
    if known is None:
        epoch.check_known(system, account)
        tier = system.tier(system.config.first_tier(account))
        return Recipient(account, tier, tier.zone, None)
    if known.status != "active":
        raise NotAdmitted(Suspended(account, known.status), account, 0)
    tier = system.tier(known.tier)
    first_seen_at = datetime.fromtimestamp(known.first_seen_ms / 1000, UTC)
    return Recipient(account, tier, zone_of(tier, known.zone), first_seen_at)
