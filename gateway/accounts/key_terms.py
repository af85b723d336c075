"""What an API key may be used for, how often and how long, as a person or a program asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.accounts.system import System
from gateway.domain.errors import RefusedInput
from gateway.domain.operation import OWN, PAYMENTS, REWARDS
from gateway.domain.policy import Rate, default_name, parse_rate
from gateway.domain.principal import is_account_id
from gateway.store.api_keys import LIMIT_SEPARATOR

#: As long as the columns of the ledger take.
MAX_NAME_LENGTH = 100
MAX_LIST_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key is made with, beside its account."""

    #: For people: where the key is used.
    name: str = ""
    team: str = ""
    organisation: str = ""
    #: Operations it may be used for; (): all.
    scopes: tuple[str, ...] = ()
    #: Limits of its own, "60 requests/minute".
    limits: tuple[str, ...] = ()
    #: None: never.
    expires_at: datetime | None = None


#: Of a key that may do all its account may.
NO_TERMS = KeyTerms()


def check(terms: KeyTerms, system: System, now: datetime) -> None:
    """Raises RefusedInput for terms that cannot be kept."""
    if len(terms.name) > MAX_NAME_LENGTH or not terms.name.isprintable():
        raise RefusedInput(f"name {terms.name!r}: it is at most {MAX_NAME_LENGTH} printable characters")
    for what, group in (("team", terms.team), ("organisation", terms.organisation)):
        if group and not is_account_id(group):
            raise RefusedInput(f"{what} {group!r}: it is 1-200 printable characters without white space")
    for scope in terms.scopes:
        if scope not in system.config.operations and scope not in (*OWN, PAYMENTS, REWARDS):
            known = ", ".join(sorted(system.config.operations))
            raise RefusedInput(f"{scope!r} is no operation of {system.config.source}: {known}")
    names = {default_name(_rate(limit)) for limit in terms.limits}
    if len(names) < len(terms.limits):
        raise RefusedInput(f"limits {'; '.join(terms.limits)}: a key has one limit of a measure and period")
    for what, words in (("scopes", terms.scopes), ("limits", terms.limits)):
        if len(LIMIT_SEPARATOR.join(words)) > MAX_LIST_LENGTH:
            raise RefusedInput(f"{what}: together they have more than {MAX_LIST_LENGTH} characters")
    if terms.expires_at is not None and terms.expires_at <= now:
        raise RefusedInput(f"a key that expires at {terms.expires_at.isoformat()} would never be valid")


def _rate(limit: str) -> Rate:
    try:
        return parse_rate(limit)
    except ValueError as error:
        raise RefusedInput(f"limit {limit!r}: it must be {error}") from None
