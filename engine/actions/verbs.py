"""All acts: those of the core, about messages of any kind, the site and its parts, and who sees patients; and each
feature's.

Erasing a patient's messages while the site runs stops their deliveries first, then erases in small steps.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from engine.actions import declaring
from engine.actions.control import Request
from engine.actions.operations import BulkAct
from engine.actions.pause_resume import SwitchOrder, target_of
from engine.actions.running_site import Result, RunningSite, known
from engine.actions.selection import chunks
from engine.actions.underway import Acts
from engine.config.findings.changes import changes
from engine.feature import Hook
from engine.model.content.search_keys import MAX_LENGTH, folded
from engine.model.errors import LabRelayError, RefusedError, StoreError
from engine.model.site.permissions import ACTING, ADMINISTERING, CHANGING, LOOKING, SEEING_PATIENTS, Permission
from engine.store.journal import keys
from engine.store.lifecycle import erasure, key_rotation
from engine.store.operations import audit
from engine.store.queries.messages import lanes_of

OF_FEATURES: Hook[declaring.Declared] = Hook("acts")


@cache
def all_acts() -> Mapping[str, declaring.Act]:
    """By name, in the order of documents."""
    every = (ACTS, OF_SITE, *OF_FEATURES.each())
    acts = [act for one in every for act in one.acts]
    return {act.name: act for act in sorted(acts, key=lambda act: act.place)}


def of_api() -> Mapping[str, declaring.Act]:
    """Those that the API gives."""
    return {name: act for name, act in all_acts().items() if act.api}


def verbs_of(site: RunningSite) -> Mapping[str, declaring.Verb]:
    return {name: declaring.Verb(act.needs, act.arguments, partial(act.work, site)) for name, act in all_acts().items()}


def needs() -> Mapping[str, frozenset[Permission]]:
    """The permissions of each verb, also of those that are followed."""
    followed = {name: one.needs for name, one in FOLLOWED.items()}
    return {name: act.needs for name, act in all_acts().items()} | followed


def bulk_acts(acts: Acts) -> Mapping[str, BulkAct]:
    """The slices of each act that is an operation; a restart goes on with them."""
    return {name: act.slices(acts) for name, act in all_acts().items() if act.slices is not None}


ACTS = declaring.Declared(3)
NOTHING = declaring.Names(declaring.NOTHING)
Operation = Annotated[declaring.RowNumber, declaring.Names("operation.number")]
Place = Annotated[str | None, declaring.Names(declaring.PLACE)]


@ACTS.act("shown", SEEING_PATIENTS, not_in_api="the contents of a message are a resource, which records each reveal")
async def shown(
    site: RunningSite, request: Request, *, message: declaring.Message, purpose: declaring.Purpose
) -> Result:
    """A person is about to see contents; recorded before they do."""
    await site.journal.run(audit.note, request.actor, "unmask", {"message": message, "purpose": purpose})
    return {}


@ACTS.act("searched", SEEING_PATIENTS, not_in_api="a look, which message-search records by itself")
async def searched(
    site: RunningSite, request: Request, *, number: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH), NOTHING]
) -> Result:
    """A person is about to learn whether a patient was here. The row has the keyed hash: two for one number agree."""
    token = site.journal.vault.search_token("patient", folded(number)).hex()
    await site.journal.run(audit.note, request.actor, "search", {"patient_token": token})
    return {}


class ContentsExported(declaring.NoArguments):
    what: Annotated[dict[str, Any], NOTHING]
    purpose: str

    @model_validator(mode="after")
    def _states_a_purpose(self) -> Self:
        """An export without patients (``deid``) needs none."""
        if not self.purpose and not self.what.get("deid"):
            raise ValueError("an export of patient data needs a purpose")
        return self


@ACTS.act("exported", SEEING_PATIENTS, not_in_api="an export is a command")
async def exported(site: RunningSite, request: Request, asked: ContentsExported) -> Result:
    await site.journal.run(audit.note, request.actor, "unmask", {"export": asked.what, "purpose": asked.purpose})
    return {}


# -- the tap -----------------------------------------------------------------------------------------------------------


class Tap(declaring.NoArguments):
    channel: str
    stages: Annotated[list[str], Field(min_length=1)]


class TapContents(Tap):
    purpose: declaring.Purpose


T = TypeVar("T", bound=Tap)


async def tap(site: RunningSite, request: Request) -> AsyncGenerator[dict[str, Any], None]:
    asked = _tapped(site, request, Tap)
    async with aclosing(site.app.parts.taps.follow(asked.channel, asked.stages, unmask=False)) as lines:
        async for line in lines:
            yield line


async def tap_contents(site: RunningSite, request: Request) -> AsyncGenerator[dict[str, Any], None]:
    asked = _tapped(site, request, TapContents)
    what = {"export": {"tap": asked.channel, "stages": asked.stages}, "purpose": asked.purpose}
    act = await site.journal.run(audit.begin, request.actor, "unmask", what)
    shown: set[int] = set()
    try:
        async with aclosing(site.app.parts.taps.follow(asked.channel, asked.stages, unmask=True)) as lines:
            async for line in lines:
                if "message" in line:
                    shown = {min(shown | {line["message"]}), max(shown | {line["message"]})}
                yield line
    finally:
        await site.journal.run(audit.end, act, {"first": min(shown, default=None), "last": max(shown, default=None)})


def _tapped(site: RunningSite, request: Request, model: type[T]) -> T:
    asked = declaring.read(model, request)
    known(site.app.parts.built.channels, asked.channel)
    stages = site.app.parts.taps.stages
    if not set(asked.stages) <= set(stages):
        raise LabRelayError(f"stages are some of {', '.join(stages)}")
    return asked


@dataclass(frozen=True, slots=True)
class Followed:
    """A verb with a stream of items; ``needs`` as `Act` has them."""

    needs: frozenset[Permission]
    items: Callable[[RunningSite, Request], AsyncGenerator[dict[str, Any], None]]


FOLLOWED: Mapping[str, Followed] = {
    "tap": Followed(LOOKING, tap),
    "tap_contents": Followed(SEEING_PATIENTS, tap_contents),
}


ERASED_AT_ONCE = 25  # messages in one transaction, so that no sender waits long for an acknowledgement


async def erase_messages(
    acts: Acts, messages: Sequence[int], numbers: Sequence[str], *, actor: str, reason: str, more: dict[str, Any]
) -> dict[str, Any]:
    """Erase these messages, a few in each transaction. Each step has its own audit row; after an interruption, the same
    command does the rest.

    Args:
        numbers: the patient's, for traces of lines and the audit trail's tokens.
        more: further contents of the audit row.

    Raises:
        LabRelayError: the step failed; its text has the reason. Earlier steps are done.
    """
    if not reason.strip():
        raise RefusedError("erasing needs a reason")
    if not any(number.strip() for number in numbers):
        raise RefusedError("whose messages are erased?")
    done = {"messages": 0, "frames": 0, "documents": 0, "closed": 0, "values": 0, "lines": 0}
    act = 0
    for part in chunks(messages, ERASED_AT_ONCE) if messages else [()]:  # orders of a patient without a message
        lanes: set[tuple[str, str]] = set()
        for message in part:
            lanes |= await asyncio.to_thread(lanes_of, acts.journal, message)
        await acts.let_attempts_end(*part)
        for lane in lanes:
            acts.reclaim(*lane)  # from here on no attempt begins: deliveries in memory are given back
        try:
            erased = await acts.journal.run(erasure.erase, part, numbers, actor=actor, reason=reason, more=more)
        except StoreError as error:
            raise StoreError(f"{error}; {done['messages']} messages are erased, give the command again") from error
        finally:
            for lane in lanes:
                acts.reclaim(*lane)
        act = erased.act
        for name in done:
            done[name] += getattr(erased, name)
    return {"act": act, **done}


@ACTS.act("operation_cancel", ACTING, api="end an operation; letters that it has not come to stay as they are")
async def cancel_operation(site: RunningSite, request: Request, *, number: Operation) -> Result:
    cancelled = await site.acts.operations.cancel(number, actor=request.actor)
    return {"operation": cancelled.number, "left": cancelled.total - cancelled.position}


@ACTS.act("operation_waits", LOOKING, not_in_api="a resource")
async def operation_waits(site: RunningSite, request: Request, *, number: Operation) -> Result:
    return {"waits": site.acts.yielding.why(number) if site.acts.yielding is not None else ""}


class Erase(declaring.NoArguments):
    messages: list[int]
    numbers: list[str]
    reason: str
    more: dict[str, Any] = Field(default={})


@ACTS.act("erase", ADMINISTERING, not_in_api="an erasure is a command: a person looks at each message")
async def erase(site: RunningSite, request: Request, asked: Erase) -> Result:
    return await erase_messages(
        site.acts, asked.messages, asked.numbers, actor=request.actor, reason=asked.reason, more=asked.more
    )


OF_SITE = declaring.Declared(12)
KEY_ACTS = {"show": "key-shown", "restored": "key-restored"}  # use of the key by a command -> its action


@OF_SITE.act("status", LOOKING, not_in_api="a resource")
async def status(site: RunningSite, request: Request) -> Result:
    shown = site.app.observer.snapshot()
    return (shown if request.reads_notes else shown.without_notes()).to_json()


class Reload(declaring.NoArguments):
    """``dry_run``: the files are read and checked, and nothing of them comes into force."""

    dry_run: bool = False


@OF_SITE.act("reload", CHANGING, api="read the configuration again; a dry run says what that changes")
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


@OF_SITE.act(
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


@OF_SITE.act("prune", ADMINISTERING, api="let retention delete now what it may")
async def prune(site: RunningSite, request: Request) -> Result:
    site.journal.upkeep.walk_now()
    return {}


@OF_SITE.act("key", ADMINISTERING, not_in_api="the key is changed at the machine")
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


@OF_SITE.act("restart", ACTING, api="close and open it, or try its deliveries at once", place=7)
@OF_SITE.act("resume", ACTING, api="resume it", place=7)
@OF_SITE.act("pause", ACTING, api="pause a channel, a destination, a lane, or all deliveries", place=7)
async def switch(
    site: RunningSite, request: Request, *, kind: str, name: Place = None, reason: str = "", dry_run: bool = False
) -> Result:
    order = SwitchOrder(request.verb, target_of(kind, name), request.actor, reason)
    return await site.switches.carry_out(order, site.loaded(), dry_run=dry_run)


@OF_SITE.act("underway", LOOKING, not_in_api="a look, of which the status has the counts")
async def underway(site: RunningSite, request: Request, *, kind: str, name: Place = None) -> Result:
    return await asyncio.to_thread(site.switches.underway, target_of(kind, name))
