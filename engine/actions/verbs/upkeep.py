"""Acts on the site as a whole and its parts: status, reload, backup, retention, the key, pause and resume."""

import asyncio
from dataclasses import asdict, replace
from typing import Literal

from engine.actions.control import Request
from engine.actions.declaring import Declared, NoArguments
from engine.actions.pause_resume import SwitchOrder, target_of
from engine.actions.running_site import Result, RunningSite
from engine.config.findings.changes import changes
from engine.model.site.permissions import ACTING, ADMINISTERING, CHANGING, LOOKING
from engine.store.journal import keys
from engine.store.lifecycle import key_rotation
from engine.store.operations import audit

ACTS = Declared(12)
KEY_ACTS = {"show": "key-shown", "restored": "key-restored"}  # use of the key by a command -> its action


@ACTS.act("status", LOOKING, not_in_api="a resource")
async def status(site: RunningSite, request: Request) -> Result:
    shown = site.app.observer.snapshot()
    return (shown if request.reads_notes else shown.without_notes()).to_json()


class Reload(NoArguments):
    """``dry_run``: the files are read and checked, and nothing of them comes into force."""

    dry_run: bool = False


@ACTS.act("reload", CHANGING, api="read the configuration again; a dry run says what that changes")
async def reload(site: RunningSite, request: Request, asked: Reload) -> Result:
    """``changes``: what it changes, or would, as `engine.config.findings.changes` has it."""
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


@ACTS.act(
    "backup",
    ADMINISTERING,
    api="make a copy of the journal, try whether one can be restored, or say that the journal goes on here",
)
async def backup(
    site: RunningSite, request: Request, *, do: Literal["now", "drill", "state", "go-on"], reason: str = ""
) -> Result:
    keeper = site.app.backup
    if do == "go-on":
        await keeper.go_on(request.actor, reason)
    elif do != "state":
        keeper.ask(do)
    said = keeper.snapshot()
    return {"busy": keeper.is_busy, "running": said.running, "fault": said.fault}


@ACTS.act("prune", ADMINISTERING, api="let retention delete now what it may")
async def prune(site: RunningSite, request: Request) -> Result:
    site.journal.upkeep.walk_now()
    return {}


@ACTS.act("key", ADMINISTERING, not_in_api="the key is changed at the machine")
async def key(
    site: RunningSite,
    request: Request,
    *,
    step: Literal["rotate", "confirm", "show", "restored"],
    key: str = "",
    discard_old: bool = False,
) -> Result:
    if step == "rotate":
        return asdict(await keys.rotate(site.journal, site.data, actor=request.actor, discard_old=discard_old))
    if step == "confirm":
        await site.journal.run(key_rotation.confirm_sheet, actor=request.actor)
    else:
        await site.journal.run(audit.note, request.actor, KEY_ACTS[step], {"key": key})
    return {}


@ACTS.act("restart", ACTING, api="close and open it, or try its deliveries at once", place=7)
@ACTS.act("resume", ACTING, api="resume it", place=7)
@ACTS.act("pause", ACTING, api="pause a channel, a destination, a lane, or all deliveries", place=7)
async def switch(
    site: RunningSite, request: Request, *, kind: str, name: str | None = None, reason: str = "", dry_run: bool = False
) -> Result:
    order = SwitchOrder(request.verb, target_of(kind, name), request.actor, reason)
    return await site.switches.carry_out(order, site.loaded(), dry_run=dry_run)


@ACTS.act("underway", LOOKING, not_in_api="a look, of which the status has the counts")
async def underway(site: RunningSite, request: Request, *, kind: str, name: str | None = None) -> Result:
    return await asyncio.to_thread(site.switches.underway, target_of(kind, name))
