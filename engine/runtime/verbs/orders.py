"""Verbs for orders: a person enters them, changes one, or is about to see whose it is."""

import asyncio

from engine.actions.control import Request
from engine.model.errors import LabRelayError
from engine.model.orders import ItemState, OrderedPatient, OrderLine, item_id
from engine.model.phrases import N_, Said
from engine.model.worklist import LineOutcome
from engine.ordering import by_hand, fetching
from engine.ordering.sheets import MOST, Sheet, sheets
from engine.ordering.taking import take_settings
from engine.runtime.control_requests import OrderAdd, OrderChange, OrderFetch, OrderMatch, OrderShown, OrderWorklist
from engine.runtime.verbs.running_site import Result, RunningSite, known
from engine.store.operations import audit, worklist
from engine.store.queries import worklist as reading

WRONG_CHANNEL = N_("no channel with orders has the name {name}; these have orders: {names}")
PATIENT = ("number", "family", "given", "birth_date", "sex")  # parts of a patient that a worklist has


async def add(site: RunningSite, request: Request, asked: OrderAdd) -> Result:
    settings = take_settings(site.loaded().channels)
    runners = {*settings.known_channels, *settings.groups}
    if not runners:
        raise LabRelayError("no channel has orders:, so no analyzer would get it (docs/questions.md)")
    if wrong := [name for name in asked.targets if name not in runners]:
        raise LabRelayError(Said(WRONG_CHANNEL, name=wrong[0], names=", ".join(sorted(runners))))
    patient = OrderedPatient(
        number=asked.patient,
        family=asked.family,
        given=asked.given,
        birth_date=asked.birth_date,
        sex=asked.sex,
    )
    lines = [
        OrderLine(
            action="new",
            placer=asked.placer,
            specimen=asked.specimen,
            specimen_type=asked.specimen_type,
            patient=patient,
            test=test,
            priority=asked.priority,
            targets=tuple(asked.targets),
        )
        for test in asked.tests
    ]
    act, outcomes = await site.journal.run(by_hand.add, request.actor, lines, settings)
    return {"act": act, "orders": [_outcome(lines[one.line_index], one) for one in outcomes]}


def _outcome(line: OrderLine, one: LineOutcome) -> Result:
    return {
        "order": item_id(one.number) if one.number else None,
        "test": line.test,
        "state": one.state.value,
        "reason": one.reason.value,
        "repeat": one.repeat,
    }


async def cancel(site: RunningSite, request: Request, asked: OrderChange) -> Result:
    state = await site.journal.run(worklist.cancel, asked.order, actor=request.actor, reason=asked.reason)
    return {"order": item_id(asked.order), "state": state.value}


async def release(site: RunningSite, request: Request, asked: OrderChange) -> Result:
    state = await site.journal.run(worklist.release, asked.order, actor=request.actor, reason=asked.reason)
    return {"order": item_id(asked.order), "state": state.value}


async def resend(site: RunningSite, request: Request, asked: OrderChange) -> Result:
    state = await site.journal.run(worklist.resend, asked.order, actor=request.actor, reason=asked.reason)
    return {"order": item_id(asked.order), "state": state.value}


async def fetch(site: RunningSite, request: Request, asked: OrderFetch) -> Result:
    """Ask an analyzer for results that it keeps. The act names no tube."""
    source = known(site.app.parts.sources, asked.channel)
    if source.desk is None or source.built.asking is None:
        raise LabRelayError(f"channel {asked.channel} has no orders:, so nothing is sent to its analyzer")
    outlet = source.desk.outlet()
    if outlet is None:
        raise LabRelayError(f"the analyzer of channel {asked.channel} is not connected")
    what = {"channel": asked.channel, "by": "specimen" if asked.specimen else "time"}
    act = await site.journal.run(audit.note, request.actor, "order-fetch", what)
    await fetching.fetch(
        outlet, source.built.asking, site.app.parts.clock, specimen=asked.specimen, since_us=asked.since_us
    )
    return {"act": act, "channel": asked.channel}


async def match(site: RunningSite, request: Request, asked: OrderMatch) -> Result:
    state = await site.journal.run(worklist.match, asked.order, asked.message, actor=request.actor, reason=asked.reason)
    return {"order": item_id(asked.order), "state": state.value}


async def unmatch(site: RunningSite, request: Request, asked: OrderChange) -> Result:
    state = await site.journal.run(worklist.unmatch, asked.order, actor=request.actor, reason=asked.reason)
    return {"order": item_id(asked.order), "state": state.value}


async def shown(site: RunningSite, request: Request, asked: OrderShown) -> Result:
    """A person is about to see tube and patient of an order; recorded before they do."""
    what = {"order": item_id(asked.order), "purpose": asked.purpose}
    await site.journal.run(audit.note, request.actor, "unmask", what)
    return {}


async def worklist_sheets(site: RunningSite, request: Request, asked: OrderWorklist) -> Result:
    """The waiting orders of each analyzer, for paper; recorded before they are read."""
    channels = site.loaded().channels
    runners = {name: one.orders for name, one in channels.items() if one.orders is not None}
    if wrong := [name for name in asked.channels if name not in runners]:
        raise LabRelayError(Said(WRONG_CHANNEL, name=wrong[0], names=", ".join(sorted(runners)) or "-"))
    what = {"export": {"worklist": asked.channels or "all"}, "purpose": asked.purpose}
    await site.journal.run(audit.note, request.actor, "unmask", what)
    wanted = reading.ItemFilter(states=(ItemState.WAITING,))
    found = await asyncio.to_thread(reading.items, site.journal, wanted, limit=MOST + 1)
    made = sheets(found[:MOST], {name: (one.codes, frozenset(one.groups)) for name, one in runners.items()})
    return {
        "sheets": [_sheet(one) for one in made if not asked.channels or one.channel in asked.channels],
        "cut": len(found) > MOST,
    }


def _sheet(one: Sheet) -> Result:
    return {
        "channel": one.channel,
        "tubes": [
            {
                "specimen": tube.specimen,
                "urgent": tube.is_urgent,
                "patient": {name: getattr(tube.patient, name) for name in PATIENT},
                "tests": [
                    {
                        "order": test.item.item_id,
                        "test": test.item.line.test,
                        "name": test.item.line.test_name,
                        "code": test.code,
                        "reason": test.item.reason.value,
                        "also": list(test.also),
                    }
                    for test in tube.tests
                ],
            }
            for tube in one.tubes
        ],
    }
