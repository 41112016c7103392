"""Acts that do messages and their deliveries again, or otherwise: retry, edit, set aside, replay, reprocess."""

import asyncio
from typing import Annotated

from pydantic import Field

from engine.actions.control import Request
from engine.actions.declaring import Declared, NoArguments, Rate, Reason, RowNumber, Selected
from engine.actions.running_site import Result, RunningSite, known
from engine.actions.underway import DEFAULT_RATE
from engine.features.rework.acts.edit import edit_message
from engine.features.rework.acts.replay import media_type_of, replay_documents, replaying
from engine.features.rework.acts.reprocess import reprocess_messages, reprocessing
from engine.features.rework.acts.retry import retry_letters, retrying
from engine.features.rework.acts.set_aside import set_aside_delivery
from engine.model.errors import RefusedError
from engine.model.permissions import ACTING, CHANGING, EDITING
from engine.processing.reprocessing import with_mapping

ACTS = Declared(5)
Hash = Annotated[str, Field(min_length=12)]


@ACTS.act("retry", ACTING, api="try dead letters again", counted=True, slices=retrying, place=1)
async def retry(
    site: RunningSite,
    request: Request,
    *,
    reason: Reason = None,
    dry_run: bool = False,
    selection: Selected,
    overwrite: bool = False,
) -> Result:
    """``overwrite``: our version replaces the server's where that is another one; needs a reason."""
    return await retry_letters(
        site.acts,
        selection,
        actor=request.actor,
        reason=reason or "",
        overwrite=overwrite,
        dry_run=dry_run,
        within_s=site.within_s,
    )


@ACTS.act("edit", EDITING, api="correct a dead message; `content` is the whole message in base 64")
async def edit(
    site: RunningSite,
    request: Request,
    *,
    reason: Reason = None,
    dry_run: bool = False,
    message: RowNumber,
    config_hash: Hash | None = None,
) -> Result:
    """``config_hash``: of the configuration that the person has seen the outcome with, as the dry run says it; its
    first 12 digits are enough. None: the outcome was not looked at.
    """
    return await edit_message(
        site.acts,
        message,
        request.content,
        actor=request.actor,
        reason=reason or "",
        seen_with=config_hash,
        dry_run=dry_run,
    )


@ACTS.act("set_aside", ACTING, api="set one waiting delivery aside")
async def set_aside(
    site: RunningSite,
    request: Request,
    *,
    reason: Reason = None,
    dry_run: bool = False,
    message: RowNumber,
    destination: str | None = None,
) -> Result:
    return await set_aside_delivery(
        site.acts, message, destination or "", actor=request.actor, reason=reason or "", dry_run=dry_run
    )


@ACTS.act("replay", ACTING, api="send stored documents again", counted=True, slices=replaying)
async def replay(
    site: RunningSite,
    request: Request,
    *,
    reason: Reason = None,
    dry_run: bool = False,
    selection: Selected,
    to: str | None = None,
    rate: Rate = DEFAULT_RATE,
) -> Result:
    return await replay_documents(
        site.acts,
        selection,
        actor=request.actor,
        reason=reason or "",
        to=to or "",
        takes=media_type_of(site.loaded(), to) if to else "",
        rate=rate,
        dry_run=dry_run,
        within_s=site.within_s,
    )


class Reprocess(NoArguments):
    """The command compares first, without the daemon, so there is no ``dry_run``.

    ``config_hash``: of the configuration that was compared with; its first 12 digits are enough.
    """

    selection: Selected
    reason: str = ""
    rate: Rate
    config_hash: Hash
    mapping: str | None = None
    mapping_hash: str | None = None


@ACTS.act("reprocess", CHANGING, api="map stored messages anew, and deliver the changes", slices=reprocessing)
async def reprocess(site: RunningSite, request: Request, asked: Reprocess) -> Result:
    loaded, tried, named = site.loaded(), None, ""
    routes = known(site.acts.channels(), asked.selection.channel)
    if not loaded.hash.startswith(asked.config_hash):
        raise RefusedError(
            "the daemon runs a different configuration from that of the differences: give "
            "`labrelay reload`, and look at them again"
        )
    if asked.mapping is not None:
        tried, program = await asyncio.to_thread(with_mapping, loaded, routes, asked.mapping)
        if program.content_hash != asked.mapping_hash:
            raise RefusedError(f"{asked.mapping} has changed since the differences were made; look at them again")
        named = f"{program.name}@{program.content_hash[:12]}"
    return await reprocess_messages(
        site.acts,
        asked.selection,
        config=loaded.hash[:12],
        actor=request.actor,
        reason=asked.reason,
        tried=tried,
        mapping=named,
        rate=asked.rate,
        within_s=site.within_s,
    )
