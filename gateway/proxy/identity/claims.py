"""Reads a principal from the claims of a verified token."""

from __future__ import annotations

from typing import Any

from gateway.config import ClaimNames
from gateway.domain.principal import Principal, is_named
from gateway.proxy.identity.refusals import INSUFFICIENT_SCOPE, UNAUTHENTICATED
from gateway.proxy.refusals import CallRefused


def principal_of(claims: dict[str, Any], names: ClaimNames) -> Principal:
    """Raises CallRefused for a claim that is not what it should be."""
    account = _text(claims, names.account)
    if not account:
        raise CallRefused(UNAUTHENTICATED)
    return Principal(
        account,
        team=_text(claims, names.team),
        organisation=_text(claims, names.organisation),
        tier=_text(claims, names.tier),
        scopes=_scopes(claims, names.scopes),
    )


def _scopes(claims: dict[str, Any], name: str) -> frozenset[str]:
    """What a token may be used for. Where the config reads it, a token that names nothing may do nothing."""
    if not name:
        return frozenset()
    found = _find(claims, name)
    words = found.split() if isinstance(found, str) else found
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        words = []
    if not words:
        raise CallRefused(INSUFFICIENT_SCOPE)
    return frozenset(words)


def _text(claims: dict[str, Any], name: str) -> str:
    """A claim as a name; "" when it is not there. Numbers are taken: many databases count their users."""
    found = _find(claims, name) if name else None
    if found is None or found == "":
        return ""
    text = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    if not is_named(text):
        raise CallRefused(UNAUTHENTICATED)
    return text


def _find(claims: dict[str, Any], name: str) -> Any:
    """A claim of exactly this name, such as "https://example.com/plan", else what a dotted path leads to."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for step in name.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found
