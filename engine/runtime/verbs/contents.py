"""Verbs that record who is about to see patient data, and the tap, which shows it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from engine.actions.control import Request
from engine.actions.running_site import Result, RunningSite, known
from engine.model.errors import LabRelayError
from engine.model.search_keys import folded
from engine.monitoring.taps import STAGES
from engine.runtime.control_requests import ContentsExported, ContentsShown, PatientSearched, Tap, TapContents, read
from engine.store.operations import audit

if TYPE_CHECKING:
    from engine.runtime.app import App

T = TypeVar("T", bound=Tap)


async def shown(site: RunningSite, request: Request, asked: ContentsShown) -> Result:
    """A person is about to see contents; recorded before they do."""
    await site.journal.run(audit.note, request.actor, "unmask", {"message": asked.message, "purpose": asked.purpose})
    return {}


async def searched(site: RunningSite, request: Request, asked: PatientSearched) -> Result:
    """A person is about to learn whether a patient was here. The row has the keyed hash: two for one number agree."""
    token = site.journal.vault.search_token("patient", folded(asked.number)).hex()
    await site.journal.run(audit.note, request.actor, "search", {"patient_token": token})
    return {}


async def exported(site: RunningSite, request: Request, asked: ContentsExported) -> Result:
    await site.journal.run(audit.note, request.actor, "unmask", {"export": asked.what, "purpose": asked.purpose})
    return {}


async def tap(app: "App", request: Request) -> AsyncGenerator[dict[str, Any], None]:
    asked = _tapped(app, request, Tap)
    async with aclosing(app.parts.taps.follow(asked.channel, asked.stages, unmask=False)) as lines:
        async for line in lines:
            yield line


async def tap_contents(app: "App", request: Request) -> AsyncGenerator[dict[str, Any], None]:
    asked = _tapped(app, request, TapContents)
    what = {"export": {"tap": asked.channel, "stages": asked.stages}, "purpose": asked.purpose}
    act = await app.journal.run(audit.begin, request.actor, "unmask", what)
    shown: set[int] = set()
    try:
        async with aclosing(app.parts.taps.follow(asked.channel, asked.stages, unmask=True)) as lines:
            async for line in lines:
                if "message" in line:
                    shown = {min(shown | {line["message"]}), max(shown | {line["message"]})}
                yield line
    finally:
        await app.journal.run(audit.end, act, {"first": min(shown, default=None), "last": max(shown, default=None)})


def _tapped(app: "App", request: Request, model: type[T]) -> T:
    asked = read(model, request)
    known(app.parts.built.channels, asked.channel)
    if not set(asked.stages) <= set(STAGES):
        raise LabRelayError(f"stages are some of {', '.join(STAGES)}")
    return asked
