"""Who calls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The account a call is charged to, and the credential it came with."""

    account: str
    #: The public prefix of the API key, for ledger rows; "" for a trusted header.
    key: str = ""
    #: Groups above the account, whose policies count its calls too; "" for none.
    team: str = ""
    organisation: str = ""
    #: The tier that the credential itself names; "": the account's own, or the default one for a new account.
    tier: str = ""
    #: What the credential may be used for; empty: for everything.
    scopes: frozenset[str] = frozenset()
    #: Limits of the credential itself, as config.toml would write them: "60 requests/minute", "4 concurrent".
    limits: tuple[str, ...] = ()

    def may(self, operation: str) -> bool:
        return not self.scopes or operation in self.scopes


@dataclass(slots=True)
class AccountView:
    """What this process believes of an account. A script that knows better answers "stale", and the view is renewed."""

    #: The Redis key of the account's hash, which each of its calls names.
    key: str
    tier: str
    version: int = 0
    zone: str = ""
    #: The local date on which it was opened; "": not known yet.
    anchor: str = ""


#: What the ids of anonymous callers begin with.
ANONYMOUS = "ip:"

#: What the ids of the accounts of license keys begin with; the key's public prefix follows.
LICENSE = "license:"

#: The longest account id: it is part of Redis keys and of ledger rows.
MAX_ACCOUNT_LENGTH = 200


def is_account_id(text: str) -> bool:
    """An account id is 1–200 printable characters without white space: an e-mail address or a UUID will do."""
    return 0 < len(text) <= MAX_ACCOUNT_LENGTH and text.isprintable() and not any(c.isspace() for c in text)


def is_named(account: str) -> bool:
    """True for an id that a token or a header may name: those of anonymous callers are addresses, "ip:203.0.113.7", and
    those of licenses are drawn on by who shows the key, or owns it."""
    return is_account_id(account) and not account.startswith((ANONYMOUS, LICENSE))


def is_license(account: str) -> bool:
    return account.startswith(LICENSE)


def is_grant_id(text: str) -> bool:
    """A grant id follows the same rule, and has no "=" or ";", which separate parts of a hold and of an event."""
    return is_account_id(text) and "=" not in text and ";" not in text
