"""`/api/billing/daily-reset`: when the caller's periods turn; and, for a cron, opening all that are due."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field

from gateway.accounts.resets import next_reset, open_all_due
from gateway.api import shown
from gateway.api.callers import Actor, Caller, needs_or_cron
from gateway.api.control import ControlOf, SystemOf
from gateway.api.models import Answer
from gateway.api.problems import problems

#: Its write is no RepeatableRoute's: a repeat changes nothing whatever it is called with, and must be able to go on.
router = APIRouter(tags=["billing"])


class NextResetAnswer(Answer):
    due: bool = Field(description="Whether a new period waits for the next call to open it.")
    last: datetime | None = Field(description="When one was last opened, as far as the ledger has heard.")
    next: datetime


class ProgressAnswer(Answer):
    accounts: int = Field(description="Accounts that were looked at in this run.")
    due: int = Field(description="Those of them that had a period to open.")
    opened: int = Field(description="Periods that were opened.")
    done: bool = Field(description="False: repeat the request, and the run goes on where it was.")


_GOES_ON: dict[int | str, dict[str, Any]] = {
    202: {"model": ProgressAnswer, "description": "More accounts are left: repeat it."}
}


@router.get(
    "/api/billing/daily-reset", response_model=NextResetAnswer, responses=problems(), summary="When the periods turn"
)
def read_reset(caller: Caller, system: SystemOf) -> dict[str, Any]:
    """Of the caller's own account."""
    found = next_reset(system, caller)
    return {"due": found.is_due, "last": found.last, "next": shown.instant(found.next_ms)}


@router.post(
    "/api/billing/daily-reset",
    response_model=ProgressAnswer,
    responses=problems() | _GOES_ON,
    summary="Open all periods that are due",
)
def open_due(
    actor: Annotated[Actor, needs_or_cron("system:write")], control: ControlOf, response: Response
) -> dict[str, Any]:
    """Opens the periods of every account that are due, as their next calls would. No call waits for it, and twice
    changes nothing. It works for some 8 seconds, and answers 202 while accounts are left: the next one goes on where
    it was. A run that nobody went on with for an hour is begun again."""
    progress = open_all_due(control.system)
    if progress.opened:
        control.gate.settled()
    if not progress.is_done:
        response.status_code = 202
    return {
        "accounts": progress.accounts, "due": progress.due, "opened": progress.opened, "done": progress.is_done,
    }  # fmt: skip
