"""Acts that record who is about to see patient data, and the tap, which shows it."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, model_validator

from engine.actions.control import Request
from engine.actions.declaring import Declared, NoArguments, Purpose, RowNumber, read
from engine.actions.running_site import Result, RunningSite, known
from engine.model.errors import LabRelayError
from engine.model.permissions import LOOKING, SEEING_PATIENTS, Permission
from engine.model.search_keys import MAX_LENGTH, folded
from engine.store.operations import audit

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
