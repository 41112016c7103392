"""Verbs for the site as a whole and its parts: status, reload, backup, retention, the key, pause and resume."""

import asyncio
from dataclasses import asdict, replace

from engine.actions.control import Request
from engine.actions.pause_resume import SwitchOrder, target_of
from engine.actions.running_site import Result, RunningSite
from engine.config.changes import changes
from engine.runtime.control_requests import Backup, Key, NoArguments, Reload, Switch, Target
from engine.store.journal import keys
from engine.store.lifecycle import key_rotation
from engine.store.operations import audit

KEY_ACTS = {"show": "key-shown", "restored": "key-restored"}  # use of the key by a command -> its action


async def status(site: RunningSite, request: Request, asked: NoArguments) -> Result:
    shown = site.app.observer.snapshot()
    return (shown if request.reads_notes else shown.without_notes()).to_json()


async def reload(site: RunningSite, request: Request, asked: Reload) -> Result:
    """``changes``: what it changes, or would, as `engine.config.changes` has it."""
    before = site.app.parts.built.site
    if asked.dry_run:
        built, found = await site.app.anew()
        loaded = replace(built.site, warnings=(*built.site.warnings, *built.doubts))
    else:
        loaded = await site.app.reload()
        found = tuple(changes(before, loaded))
        await site.journal.run(audit.note, request.actor, "reload", {"from": before.hash, "to": loaded.hash})
    return {
        "config_hash": loaded.hash,
        "changed": loaded.hash != before.hash,
        "changes": [one._asdict() for one in found],
        "warnings": list(loaded.warnings),
    }


async def backup(site: RunningSite, request: Request, asked: Backup) -> Result:
    keeper = site.app.backup
    if asked.do == "go-on":
        await keeper.go_on(request.actor, asked.reason)
    elif asked.do != "state":
        keeper.ask(asked.do)
    said = keeper.snapshot()
    return {"busy": keeper.is_busy, "running": said.running, "fault": said.fault}


async def prune(site: RunningSite, request: Request, asked: NoArguments) -> Result:
    site.journal.upkeep.walk_now()
    return {}


async def key(site: RunningSite, request: Request, asked: Key) -> Result:
    if asked.step == "rotate":
        return asdict(await keys.rotate(site.journal, site.data, actor=request.actor, discard_old=asked.discard_old))
    if asked.step == "confirm":
        await site.journal.run(key_rotation.confirm_sheet, actor=request.actor)
    else:
        await site.journal.run(audit.note, request.actor, KEY_ACTS[asked.step], {"key": asked.key})
    return {}


async def switch(site: RunningSite, request: Request, asked: Switch) -> Result:
    order = SwitchOrder(request.verb, target_of(asked.kind, asked.name), request.actor, asked.reason)
    return await site.switches.carry_out(order, site.loaded(), dry_run=asked.dry_run)


async def underway(site: RunningSite, request: Request, asked: Target) -> Result:
    return await asyncio.to_thread(site.switches.underway, target_of(asked.kind, asked.name))
