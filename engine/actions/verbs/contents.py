"""Acts that record who is about to see patient data, and the tap, which shows it.

Erase a patient's messages while the site runs: their deliveries stop first, then they are erased in small steps.

Acts on messages of any kind: the end of an operation, erasure.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, model_validator

from engine.actions.control import Request
from engine.actions.declaring import Declared, NoArguments, Purpose, RowNumber, read
from engine.actions.running_site import Result, RunningSite, known
from engine.actions.selection import chunks
from engine.actions.underway import Acts
from engine.model.content.search_keys import MAX_LENGTH, folded
from engine.model.errors import LabRelayError, RefusedError, StoreError
from engine.model.site.permissions import ACTING, ADMINISTERING, LOOKING, SEEING_PATIENTS, Permission
from engine.store.lifecycle import erasure
from engine.store.operations import audit
from engine.store.queries.messages import lanes_of

ACTS = Declared(3)


@ACTS.act("shown", SEEING_PATIENTS, not_in_api="the contents of a message are a resource, which records each reveal")
async def shown(site: RunningSite, request: Request, *, message: RowNumber, purpose: Purpose) -> Result:
    """A person is about to see contents; recorded before they do."""
    await site.journal.run(audit.note, request.actor, "unmask", {"message": message, "purpose": purpose})
    return {}


@ACTS.act("searched", SEEING_PATIENTS, not_in_api="a look, which message-search records by itself")
async def searched(
    site: RunningSite, request: Request, *, number: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]
) -> Result:
    """A person is about to learn whether a patient was here. The row has the keyed hash: two for one number agree."""
    token = site.journal.vault.search_token("patient", folded(number)).hex()
    await site.journal.run(audit.note, request.actor, "search", {"patient_token": token})
    return {}


class ContentsExported(NoArguments):
    what: dict[str, Any]
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


class Tap(NoArguments):
    channel: str
    stages: Annotated[list[str], Field(min_length=1)]


class TapContents(Tap):
    purpose: Purpose


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
    asked = read(model, request)
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
