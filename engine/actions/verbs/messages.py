"""Acts on messages of any kind: the end of an operation, erasure."""

from typing import Any

from pydantic import Field

from engine.actions.control import Request
from engine.actions.declaring import Declared, NoArguments, RowNumber
from engine.actions.erase import erase_messages
from engine.actions.running_site import Result, RunningSite
from engine.model.permissions import ACTING, ADMINISTERING, LOOKING

ACTS = Declared(3)


@ACTS.act("operation_cancel", ACTING, api="end an operation; letters that it has not come to stay as they are")
async def cancel_operation(site: RunningSite, request: Request, *, number: RowNumber) -> Result:
    cancelled = await site.acts.operations.cancel(number, actor=request.actor)
    return {"operation": cancelled.number, "left": cancelled.total - cancelled.position}


@ACTS.act("operation_waits", LOOKING, not_in_api="a resource")
async def operation_waits(site: RunningSite, request: Request, *, number: RowNumber) -> Result:
    return {"waits": site.acts.yielding.why(number) if site.acts.yielding is not None else ""}


class Erase(NoArguments):
    messages: list[int]
    numbers: list[str]
    reason: str
    more: dict[str, Any] = Field(default={})


@ACTS.act("erase", ADMINISTERING, not_in_api="an erasure is a command: a person looks at each message")
async def erase(site: RunningSite, request: Request, asked: Erase) -> Result:
    return await erase_messages(
        site.acts, asked.messages, asked.numbers, actor=request.actor, reason=asked.reason, more=asked.more
    )
