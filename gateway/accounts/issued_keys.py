"""API keys that operators make and revoke, noted as what they are: acts on the account."""

from __future__ import annotations

from typing import Any

from gateway.accounts import api_keys
from gateway.accounts.api_keys import ApiKey
from gateway.accounts.key_terms import KeyTerms
from gateway.accounts.lifecycle import opened
from gateway.accounts.noting import By, of_account, once
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting


def create(system: System, by: By, account_id: str, terms: KeyTerms) -> str:
    """A new key of an account that is open; shown once. Raises RefusedInput, NotFound; Conflicting for a repeat of an
    act that is done: the key is stored nowhere."""
    opened(system, account_id)
    made: list[str] = []

    def act() -> dict[str, Any]:
        made.extend(api_keys.create(system, [account_id], terms=terms))
        return {"api_key": made[0][: api_keys.PREFIX_LENGTH]}

    known = once(system, by, "api_key.create", of_account(account_id), dict, act)
    if known is not None:
        prefix = known.after.get("api_key")
        raise Conflicting(f"this was asked for before, and made key {prefix}; it cannot be shown again: make another")
    return made[0]


def revoke(system: System, by: By, prefix: str) -> ApiKey:
    """Ends a key by its prefix. Gateways refuse it within five seconds. Raises NotFound."""
    key = api_keys.find(system, prefix)

    def act() -> dict[str, Any]:
        api_keys.revoke(system, prefix)
        return {"api_key": prefix}

    def look() -> dict[str, Any]:
        return {"revoked": api_keys.find(system, prefix).revoked_at is not None}

    once(system, by, "api_key.revoke", of_account(key.account), look, act)
    return api_keys.find(system, prefix)
