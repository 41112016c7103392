"""Acts as the running site answers them on its control socket, and what can be followed there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from engine.actions.control import Follower, Handler, RefusedError, Request
from engine.actions.edit import edit_message
from engine.actions.erase import erase_messages
from engine.actions.hold_decisions import dismiss_letters, reject_held, release_held
from engine.actions.noting import KEY_ACTS, note_exported, note_shown, rotate_key
from engine.actions.pause_resume import VERBS, Switches, SwitchOrder, target_of
from engine.actions.replay import forget_replay, media_type_of, replay_documents, resume_replay
from engine.actions.reprocess import reprocess_messages
from engine.actions.retry import retry_letters
from engine.actions.selection import Selection
from engine.actions.set_aside import set_aside_delivery
from engine.actions.tell_apart import tell_patients_apart
from engine.actions.underway import DEFAULT_RATE, Acts
from engine.model.errors import LabRelayError
from engine.monitoring.taps import STAGES
from engine.processing.reprocessing import with_mapping

if TYPE_CHECKING:
    from engine.runtime.app import App


REPLAY_ANSWER_S = 0.2  # who asked for a replay asks again for its progress


def handlers(app: "App", acts: Acts, switches: Switches) -> dict[str, Handler]:
    """What the running site answers on its control socket."""

    def switch(verb: str) -> Handler:
        async def ordered(request: Request) -> dict[str, Any]:
            target = target_of(request.args.get("kind"), request.args.get("name"))
            order = SwitchOrder(verb, target, request.actor, str(request.args.get("reason", "")))
            return await switches.carry_out(order, app.built.site, dry_run=_dry_run(request))

        return ordered

    async def underway(request: Request) -> dict[str, Any]:
        target = target_of(request.args.get("kind"), request.args.get("name"))
        return await asyncio.to_thread(switches.look, target)

    async def status(_: Request) -> dict[str, Any]:
        return app.observer.snapshot().to_json()

    async def reload(request: Request) -> dict[str, Any]:
        before = app.built.site.hash
        site = await app.reload()
        await app.journal.act_note(request.actor, "reload", {"from": before, "to": site.hash})
        return {"config_hash": site.hash, "changed": site.hash != before, "warnings": list(site.warnings)}

    async def retry(request: Request) -> dict[str, Any]:
        because = str(request.args.get("because") or "")
        return await retry_letters(
            acts, _selection(request), actor=request.actor, because=because, dry_run=_dry_run(request)
        )

    async def dismiss(request: Request) -> dict[str, Any]:
        because = str(request.args.get("because", ""))
        return await dismiss_letters(
            acts, _selection(request), actor=request.actor, because=because, dry_run=_dry_run(request)
        )

    async def release(request: Request) -> dict[str, Any]:
        because = str(request.args.get("because", ""))
        return await release_held(
            acts, _selection(request), actor=request.actor, because=because, dry_run=_dry_run(request)
        )

    async def reject(request: Request) -> dict[str, Any]:
        because = str(request.args.get("because", ""))
        return await reject_held(
            acts, _selection(request), actor=request.actor, because=because, dry_run=_dry_run(request)
        )

    async def tell_apart(request: Request) -> dict[str, Any]:
        message, said = int(request.args.get("message", 0)), str(request.args.get("answer", ""))
        because = str(request.args.get("because", ""))
        return await tell_patients_apart(
            acts, message, said, actor=request.actor, because=because, dry_run=_dry_run(request)
        )

    async def replay(request: Request) -> dict[str, Any]:
        to, rate = request.args.get("to") or "", request.args.get("rate", DEFAULT_RATE)
        takes = media_type_of(app.built.site, to) if to else ""
        return await replay_documents(
            acts,
            _selection(request),
            actor=request.actor,
            because=str(request.args.get("because") or ""),
            to=to,
            takes=takes,
            rate=_rate(rate),
            dry_run=_dry_run(request),
            within_s=REPLAY_ANSWER_S,
        )

    async def replay_resume(request: Request) -> dict[str, Any]:
        rate = request.args.get("rate")
        return await resume_replay(
            acts,
            _number(request),
            actor=request.actor,
            rate=None if rate is None else _rate(rate),
            within_s=REPLAY_ANSWER_S,
        )

    async def replay_status(request: Request) -> dict[str, Any]:
        return acts.replays.progress(_number(request))

    async def replay_stop(request: Request) -> dict[str, Any]:
        return await acts.replays.halt(_number(request))

    async def replay_forget(request: Request) -> dict[str, Any]:
        return await forget_replay(acts, _number(request), actor=request.actor)

    async def reprocess(request: Request) -> dict[str, Any]:
        args, selection = request.args, _selection(request)
        channel, mapping, rate = app.built.channels.get(selection.channel or ""), args.get("mapping"), args.get("rate")
        if channel is None:
            raise LabRelayError(f"there is no channel {selection.channel}; known: {', '.join(app.built.channels)}")
        if not isinstance(rate, int | float) or not 0 < rate <= 100_000:
            raise LabRelayError("rate must be a number of messages per second above 0")
        if args.get("config_hash") != app.built.site.hash:
            raise RefusedError(
                "the daemon runs another configuration than the one that the differences were made with: give "
                "`labrelay reload`, and look at them again"
            )
        routes, named = channel.routes, ""
        if mapping is not None:
            routes, program = await asyncio.to_thread(with_mapping, app.built.site, routes, str(mapping))
            if program.content_hash != args.get("mapping_hash"):
                raise RefusedError(f"{mapping} has changed since the differences were made; look at them again")
            named = f"{program.name}@{program.content_hash[:12]}"
        because = str(args.get("because", ""))
        return await reprocess_messages(
            acts, selection, routes=routes, actor=request.actor, because=because, mapping=named, rate=float(rate)
        )

    async def edit(request: Request) -> dict[str, Any]:
        message = request.args.get("message")
        if not isinstance(message, int):
            raise LabRelayError("which message is edited?")
        because = str(request.args.get("because", ""))
        return await edit_message(
            acts, message, request.content, actor=request.actor, because=because, dry_run=_dry_run(request)
        )

    async def set_aside(request: Request) -> dict[str, Any]:
        message = request.args.get("message")
        if not isinstance(message, int):
            raise LabRelayError("the delivery of which message is set aside?")
        destination, because = str(request.args.get("destination") or ""), str(request.args.get("because") or "")
        return await set_aside_delivery(
            acts, message, destination, actor=request.actor, because=because, dry_run=_dry_run(request)
        )

    async def erase(request: Request) -> dict[str, Any]:
        messages, numbers, more = (request.args.get(name) for name in ("messages", "numbers", "more"))
        if not isinstance(messages, list) or not all(isinstance(one, int) for one in messages):
            raise LabRelayError("which messages are erased?")
        if not isinstance(numbers, list) or not all(isinstance(one, str) for one in numbers):
            raise LabRelayError("whose messages are erased?")
        because = str(request.args.get("because") or "")
        return await erase_messages(
            acts,
            messages,
            numbers,
            actor=request.actor,
            because=because,
            more=more if isinstance(more, dict) else {},
        )

    async def backup(request: Request) -> dict[str, Any]:
        do = request.args.get("do")
        if do in ("now", "drill"):
            app.backup.ask(do)
        elif do != "state":
            raise LabRelayError("backup: now, drill or state?")
        said = app.backup.snapshot()
        return {"busy": app.backup.is_busy, "running": said.running, "fault": said.fault}

    async def prune(request: Request) -> dict[str, Any]:
        app.journal.let_go_now()
        return {}

    async def shown(request: Request) -> dict[str, Any]:
        message = request.args.get("message")
        if not isinstance(message, int):
            raise LabRelayError("which message is shown?")
        await note_shown(acts.journal, request.actor, message)
        return {}

    async def exported(request: Request) -> dict[str, Any]:
        what = request.args.get("what")
        if not isinstance(what, dict):
            raise LabRelayError("which messages are exported?")
        await note_exported(acts.journal, request.actor, what)
        return {}

    async def key(request: Request) -> dict[str, Any]:
        step = request.args.get("step")
        if step == "rotate":
            discard = request.args.get("discard_old") is True
            return await rotate_key(acts.journal, app.built.site.config.data, actor=request.actor, discard_old=discard)
        if step == "confirm":
            await acts.journal.confirm_sheet(actor=request.actor)
        elif step in KEY_ACTS:
            await acts.journal.act_note(request.actor, KEY_ACTS[step], {"key": str(request.args.get("key", ""))})
        else:
            raise LabRelayError("what about the key?")
        return {}

    return {
        "status": status,
        "key": key,
        "reload": reload,
        "retry": retry,
        "dismiss": dismiss,
        "edit": edit,
        "set_aside": set_aside,
        "erase": erase,
        "release": release,
        "reject": reject,
        "tell_apart": tell_apart,
        "replay": replay,
        "replay_resume": replay_resume,
        "replay_status": replay_status,
        "replay_stop": replay_stop,
        "replay_forget": replay_forget,
        "reprocess": reprocess,
        "prune": prune,
        "backup": backup,
        "shown": shown,
        "exported": exported,
        "underway": underway,
        **{verb: switch(verb) for verb in VERBS},
    }


def followers(app: "App") -> dict[str, Follower]:
    """What can be followed on the control socket of the running site."""

    async def tap(request: Request) -> AsyncGenerator[dict[str, Any], None]:
        channel, stages = request.args.get("channel"), request.args.get("stages")
        if channel not in app.built.channels:
            raise LabRelayError(f"there is no channel {channel}; known: {', '.join(app.built.channels)}")
        if not isinstance(stages, list) or not stages or not set(stages) <= set(STAGES):
            raise LabRelayError(f"stages are some of {', '.join(STAGES)}")
        if request.args.get("unmask") is not True:
            async with aclosing(app.taps.follow(str(channel), stages, unmask=False)) as lines:
                async for line in lines:
                    yield line
            return
        act = await app.journal.act(request.actor, "unmask", {"export": {"tap": channel, "stages": stages}})
        shown: set[int] = set()
        try:
            async with aclosing(app.taps.follow(str(channel), stages, unmask=True)) as lines:
                async for line in lines:
                    if "message" in line:
                        shown = {min(shown | {line["message"]}), max(shown | {line["message"]})}
                    yield line
        finally:
            await app.journal.act_done(act, {"first": min(shown, default=None), "last": max(shown, default=None)})

    return {"tap": tap}


def _selection(request: Request) -> Selection:
    selection = Selection.from_json(request.args.get("selection"))
    if selection.is_empty:
        raise RefusedError("nothing was selected; name messages or a filter, or say all")
    return selection


def _rate(given: Any) -> float:
    if not isinstance(given, int | float) or not 0 < given <= 100_000:
        raise LabRelayError("rate must be a number of messages per second above 0")
    return float(given)


def _number(request: Request) -> int:
    number = request.args.get("number")
    if not isinstance(number, int):
        raise LabRelayError("which replay?")
    return number


def _dry_run(request: Request) -> bool:
    return request.args.get("dry_run") is True
