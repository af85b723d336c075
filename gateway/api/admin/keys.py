"""API keys of accounts: made, listed, revoked."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field, StringConstraints

from gateway.accounts import api_keys, issued_keys
from gateway.accounts.api_keys import ApiKey
from gateway.accounts.key_terms import MAX_LIST_LENGTH, MAX_NAME_LENGTH, KeyTerms
from gateway.accounts.lifecycle import opened
from gateway.api.admin.common import Account, ReadsAccounts, WritesKeys, by
from gateway.api.control import SystemOf
from gateway.api.models import Answer, Input, Instant
from gateway.api.problems import problems
from gateway.api.writes import RepeatableRoute, WriteId

router = APIRouter(prefix="/api/admin", tags=["API keys"], route_class=RepeatableRoute)

Word = Annotated[str, StringConstraints(max_length=200)]
_Lists = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=MAX_LIST_LENGTH)]], Field(max_length=100)
]


class NewKey(Input):
    name: Annotated[str, StringConstraints(max_length=MAX_NAME_LENGTH)] = Field("", description="What it is for.")
    team: Word = Field("", description="The team whose limits count its calls too.")
    organisation: Word = ""
    scopes: _Lists = Field([], description="Operations it may be used for; none: all.", examples=[["chat"]])
    limits: _Lists = Field([], description="Limits of its own.", examples=[["60 requests/minute"]])
    expires_at: Instant | None = None


class KeyAnswer(Answer):
    prefix: str = Field(description="Its public beginning, which names it.")
    account: str
    name: str
    team: str
    organisation: str
    scopes: list[str]
    limits: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To about a minute.")
    revoked_at: datetime | None


class MadeKey(Answer):
    key: str = Field(description="The whole key. It is shown here and nowhere else.")
    prefix: str


class Keys(Answer):
    items: list[KeyAnswer]


@router.get("/account/keys", response_model=Keys, responses=problems(), summary="List an account's keys")
def list_keys(account: Account, admin: ReadsAccounts, system: SystemOf) -> Keys:
    """All of them, revoked ones too, oldest first."""
    opened(system, account)
    return Keys(items=[key_answer(key) for key in api_keys.listed(system, account)])


@router.post("/account/keys", status_code=201, response_model=MadeKey, responses=problems(409), summary="Make a key")
def create_key(account: Account, new: NewKey, admin: WritesKeys, id: WriteId, system: SystemOf) -> MadeKey:
    """A new key of the account. A repeat with the same `Idempotency-Key` shows it again for as long as answers are
    kept; after that it is a conflict, as no key is stored."""
    terms = KeyTerms(
        new.name, new.team, new.organisation, tuple(new.scopes), tuple(new.limits), new.expires_at
    )  # fmt: skip
    key = issued_keys.create(system, by(admin, id), account, terms)
    return MadeKey(key=key, prefix=key[: api_keys.PREFIX_LENGTH])


@router.delete("/keys/{prefix}", response_model=KeyAnswer, responses=problems(409), summary="Revoke a key")
def revoke_key(
    prefix: Annotated[str, Path(pattern="^qg_[A-Za-z0-9]{8}$", examples=["qg_AbCdEfGh"])],
    admin: WritesKeys,
    id: WriteId,
    system: SystemOf,
) -> KeyAnswer:
    """Ends a key. Gateways refuse it within five seconds."""
    return key_answer(issued_keys.revoke(system, by(admin, id), prefix))


def key_answer(key: ApiKey) -> KeyAnswer:
    terms = key.terms
    return KeyAnswer(
        prefix=key.prefix,
        account=key.account,
        name=terms.name,
        team=terms.team,
        organisation=terms.organisation,
        scopes=list(terms.scopes),
        limits=list(terms.limits),
        created_at=key.created_at,
        expires_at=terms.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )
