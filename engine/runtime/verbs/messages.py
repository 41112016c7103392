"""Verbs for messages and their deliveries: retry, dismiss, release, reject, edit, set aside, erase."""

from collections.abc import Awaitable, Callable

from engine.actions.control import Request
from engine.actions.erase import erase_messages
from engine.actions.running_site import Result, RunningSite
from engine.features.results.acts.tell_apart import tell_patients_apart
from engine.features.rework.acts.edit import edit_message
from engine.features.rework.acts.retry import retry_letters
from engine.features.rework.acts.set_aside import set_aside_delivery
from engine.runtime.control_requests import (
    ActOnSelection,
    Edit,
    Erase,
    OneOperation,
    Retry,
    SetAside,
    TellApart,
)


def on_selection(
    act: Callable[..., Awaitable[Result]],
) -> Callable[[RunningSite, Request, ActOnSelection], Awaitable[Result]]:
    async def work(site: RunningSite, request: Request, asked: ActOnSelection) -> Result:
        return await act(
            site.acts,
            asked.selection,
            actor=request.actor,
            reason=asked.why,
            dry_run=asked.dry_run,
            within_s=site.within_s,
        )

    return work


async def retry(site: RunningSite, request: Request, asked: Retry) -> Result:
    return await retry_letters(
        site.acts,
        asked.selection,
        actor=request.actor,
        reason=asked.why,
        overwrite=asked.overwrite,
        dry_run=asked.dry_run,
        within_s=site.within_s,
    )


async def cancel_operation(site: RunningSite, request: Request, asked: OneOperation) -> Result:
    cancelled = await site.acts.operations.cancel(asked.number, actor=request.actor)
    return {"operation": cancelled.number, "left": cancelled.total - cancelled.position}


async def operation_waits(site: RunningSite, request: Request, asked: OneOperation) -> Result:
    return {"waits": site.acts.yielding.why(asked.number) if site.acts.yielding is not None else ""}


async def tell_apart(site: RunningSite, request: Request, asked: TellApart) -> Result:
    return await tell_patients_apart(
        site.acts, asked.message, asked.answer, actor=request.actor, reason=asked.why, dry_run=asked.dry_run
    )


async def edit(site: RunningSite, request: Request, asked: Edit) -> Result:
    return await edit_message(
        site.acts,
        asked.message,
        request.content,
        actor=request.actor,
        reason=asked.why,
        seen_with=asked.config_hash,
        dry_run=asked.dry_run,
    )


async def set_aside(site: RunningSite, request: Request, asked: SetAside) -> Result:
    return await set_aside_delivery(
        site.acts, asked.message, asked.destination or "", actor=request.actor, reason=asked.why, dry_run=asked.dry_run
    )


async def erase(site: RunningSite, request: Request, asked: Erase) -> Result:
    return await erase_messages(
        site.acts, asked.messages, asked.numbers, actor=request.actor, reason=asked.reason, more=asked.more
    )
