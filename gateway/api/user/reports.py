"""`/api/user/update-tokens`: usage that a backend had elsewhere, reported afterwards."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field, model_validator

from gateway.accounts import reporting
from gateway.accounts.reporting import Report
from gateway.api.callers import Caller
from gateway.api.control import ControlOf
from gateway.api.models import Answer, Input, SomeUnits, Units, Words
from gateway.api.problems import problems
from gateway.api.user.sessions import Session
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.errors import StoreUnavailable
from gateway.domain.operation import REPORT
from gateway.proxy.identity.refusals import INSUFFICIENT_SCOPE
from gateway.proxy.refusals import CallRefused

router = APIRouter(tags=["usage"], route_class=RepeatableRoute)

_SomeTokens = Annotated[SomeUnits, Field(description="All tokens, the others included.")]
_Tokens = Annotated[Units, Field(description="A number of tokens.")]


class ReportInput(Input):
    total: Annotated[_SomeTokens, Field(alias="totalTokens")]
    input: Annotated[_Tokens | None, Field(alias="inputTokens")] = None
    output: Annotated[_Tokens | None, Field(alias="outputTokens")] = None
    model: Words = ""
    session: Words = Field("", description="In place of the header X-Session-Id.")

    @model_validator(mode="after")
    def _is_a_sum(self) -> ReportInput:
        if (self.input or 0) + (self.output or 0) > self.total:
            raise ValueError("totalTokens is less than inputTokens and outputTokens together")
        return self


class ReportAnswer(Answer):
    success: bool
    tokensUsed: int | None = Field(description="All that the account ever used; null while the report waits.")  # noqa: N815
    pending: bool = Field(False, description="True: Redis is away, and the report is counted when it is back.")


_KEPT: dict[int | str, dict[str, Any]] = {
    202: {"model": ReportAnswer, "description": "The report is kept, and counted later."}
}


@router.post(
    "/api/user/update-tokens",
    response_model=ReportAnswer,
    responses=problems(409) | _KEPT,
    summary="Report tokens that were used elsewhere",
)
def report_tokens(
    told: ReportInput, caller: Caller, control: ControlOf, id: WriteId, session: Session, response: Response
) -> dict[str, Any]:
    """Adds to what the account used in its life. Nothing is charged. A credential with scopes needs `report` among
    them."""
    if not caller.may(REPORT):
        raise CallRefused(INSUFFICIENT_SCOPE)
    system = control.system
    report = Report(
        told.total, told.input or 0, told.output or 0, told.model, told.session or session, caller.tier, caller.key
    )
    try:
        used = reporting.report(system, caller.account, id, report)
    except StoreUnavailable:
        reporting.keep(system, caller, id, report)
        response.status_code = 202
        return {"success": True, "tokensUsed": None, "pending": True}
    control.gate.settled()
    return {"success": True, "tokensUsed": used}
