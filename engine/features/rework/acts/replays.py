"""Verbs that make or send documents again: replay, reprocess."""

import asyncio

from engine.actions.control import Request
from engine.actions.running_site import Result, RunningSite, known
from engine.features.rework.acts.replay import media_type_of, replay_documents
from engine.features.rework.acts.reprocess import reprocess_messages
from engine.model.errors import RefusedError
from engine.processing.reprocessing import with_mapping
from engine.runtime.control_requests import Replay, Reprocess


async def replay(site: RunningSite, request: Request, asked: Replay) -> Result:
    return await replay_documents(
        site.acts,
        asked.selection,
        actor=request.actor,
        reason=asked.why,
        to=asked.to or "",
        takes=media_type_of(site.loaded(), asked.to) if asked.to else "",
        rate=asked.rate,
        dry_run=asked.dry_run,
        within_s=site.within_s,
    )


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
