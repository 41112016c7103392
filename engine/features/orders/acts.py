"""Acts on orders: a person enters them, changes one, or is about to see whose it is."""

import asyncio
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.actions.control import Request
from engine.actions.declaring import CHANNEL, Declared, Message, Names, NoArguments, Purpose, RowNumber, Why
from engine.actions.running_site import Result, RunningSite, known
from engine.features.orders import rows as worklist
from engine.features.orders.config.orders import orders_of
from engine.features.orders.exchange import taking
from engine.features.orders.exchange.desk import Desk
from engine.features.orders.exchange.service import OrderService
from engine.features.orders.exchange.taking import take_settings
from engine.features.orders.rows import reading, reflex
from engine.features.orders.rules.sheets import MOST, Sheet, sheets
from engine.model.errors import LabRelayError
from engine.model.orders import SPECIMEN_LENGTH, ItemState, OrderedPatient, OrderLine, Priority, item_id
from engine.model.site.permissions import ACTING, SEEING_PATIENTS
from engine.model.texts.phrases import N_, Said
from engine.model.worklist import LineOutcome
from engine.store.operations import audit

WRONG_CHANNEL = N_("no channel with orders has the name {name}; these have orders: {names}")
PATIENT = ("number", "family", "given", "birth_date", "sex")  # parts of a patient that a worklist has

ACTS = Declared(8)
Order = Annotated[RowNumber, Names("order_item.number")]
Proposal = Annotated[RowNumber, Names("order_reflex.id")]
OrderText = Annotated[str, Field(max_length=SPECIMEN_LENGTH)]
# No question over ASTM names a tube with a delimiter in its number.
TypedSpecimen = Annotated[str, Field(min_length=1, max_length=SPECIMEN_LENGTH, pattern=r"^[^|\\^&]+$", repr=False)]


class OrderAdd(NoArguments):
    """Tests of one tube. ``targets``: channels or groups that may run them; none: each that has a code for the test."""

    specimen: TypedSpecimen
    tests: Annotated[list[Annotated[str, Field(min_length=1, max_length=50)]], Field(min_length=1, max_length=200)]
    priority: Priority = "routine"
    placer: OrderText = ""
    specimen_type: OrderText = ""
    patient: OrderText = Field(default="", repr=False)
    family: OrderText = Field(default="", repr=False)
    given: OrderText = Field(default="", repr=False)
    birth_date: Annotated[str, Field(pattern=r"^([0-9]{4}([0-9]{2}([0-9]{2})?)?)?$", repr=False)] = ""
    sex: Literal["", "F", "M", "O", "U", "A", "N"] = ""
    targets: Annotated[list[OrderText], Names(CHANNEL)] = Field(default=[])


@ACTS.act("order_add", ACTING, api="enter the orders of a tube")
async def add(site: RunningSite, request: Request, asked: OrderAdd) -> Result:
    settings = take_settings(site.loaded().channels)
    runners = {*settings.known_channels, *settings.groups}
    if not runners:
        raise LabRelayError("no channel has orders:, so no analyzer would get it (docs/questions.md)")
    if wrong := [name for name in asked.targets if name not in runners]:
        raise LabRelayError(Said(WRONG_CHANNEL, name=wrong[0], names=", ".join(sorted(runners))))
    patient = OrderedPatient(
        number=asked.patient, family=asked.family, given=asked.given, birth_date=asked.birth_date, sex=asked.sex
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
    act, outcomes = await site.journal.run(taking.add, request.actor, lines, settings)
    return {"act": act, "orders": [_outcome(lines[one.line_index], one) for one in outcomes]}


def _outcome(line: OrderLine, one: LineOutcome) -> Result:
    return {
        "order": item_id(one.number) if one.number else None,
        "test": line.test,
        "state": one.state.value,
        "reason": one.reason.value,
        "repeat": one.repeat,
    }


@ACTS.act("reflex_confirm", ACTING, api="make a proposed test an order")
async def confirm(site: RunningSite, request: Request, *, proposal: Proposal, reason: Why) -> Result:
    settings = take_settings(site.loaded().channels)
    by = {"actor": request.actor, "reason": reason}
    act, number = await site.journal.run(reflex.confirm, proposal, settings, **by)
    return {"act": act, "order": item_id(number)}


@ACTS.act("reflex_decline", ACTING, api="decline a proposed test")
async def decline(site: RunningSite, request: Request, *, proposal: Proposal, reason: Why) -> Result:
    return {"act": await site.journal.run(reflex.decline, proposal, actor=request.actor, reason=reason)}


@ACTS.act("order_cancel", ACTING, api="cancel an order")
async def cancel(site: RunningSite, request: Request, *, order: Order, reason: Why) -> Result:
    return _stands(order, await site.journal.run(worklist.cancel, order, actor=request.actor, reason=reason))


@ACTS.act("order_release", ACTING, api="let a held order go on")
async def release(site: RunningSite, request: Request, *, order: Order, reason: Why) -> Result:
    return _stands(order, await site.journal.run(worklist.release, order, actor=request.actor, reason=reason))


@ACTS.act("order_resend", ACTING, api="let an order wait for the analyzer once more")
async def resend(site: RunningSite, request: Request, *, order: Order, reason: Why) -> Result:
    return _stands(order, await site.journal.run(worklist.resend, order, actor=request.actor, reason=reason))


def _stands(order: int, state: ItemState) -> Result:
    return {"order": item_id(order), "state": state.value}


class OrderFetch(NoArguments):
    """Stored results: of one tube, or all since a time (microseconds since 1970)."""

    channel: Annotated[str, Names(CHANNEL)]
    specimen: Annotated[str, Field(max_length=SPECIMEN_LENGTH, repr=False)] = ""
    since_us: Annotated[int, Field(ge=0, lt=2**62)] = 0

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.specimen) == bool(self.since_us):
            raise ValueError("give either the number of a tube, or a time")
        return self


@ACTS.act("order_fetch", ACTING, api="ask an analyzer for results that it keeps")
async def fetch(site: RunningSite, request: Request, asked: OrderFetch) -> Result:
    """Ask an analyzer for results that it keeps. The act names no tube."""
    service = site.service(OrderService)
    source = known(service.sources, asked.channel)
    if not isinstance(source.desk, Desk):
        raise LabRelayError(f"channel {asked.channel} has no orders:, so nothing is sent to its analyzer")
    outlet = source.desk.outlet()
    if outlet is None:
        raise LabRelayError(f"the analyzer of channel {asked.channel} is not connected")
    what = {"channel": asked.channel, "by": "specimen" if asked.specimen else "time"}
    act = await site.journal.run(audit.note, request.actor, "order-fetch", what)
    await taking.fetch(outlet, source.built.asking, service.clock, specimen=asked.specimen, since_us=asked.since_us)
    return {"act": act, "channel": asked.channel}


@ACTS.act("order_match", ACTING, api="say that a result without an order is of this order, of the same specimen number")
async def match(site: RunningSite, request: Request, *, order: Order, message: Message, reason: Why) -> Result:
    return _stands(order, await site.journal.run(worklist.match, order, message, actor=request.actor, reason=reason))


@ACTS.act("order_unmatch", ACTING, api="take that back, until the result is delivered with it")
async def unmatch(site: RunningSite, request: Request, *, order: Order, reason: Why) -> Result:
    return _stands(order, await site.journal.run(worklist.unmatch, order, actor=request.actor, reason=reason))


@ACTS.act("order_shown", SEEING_PATIENTS, not_in_api="whose an order is, is shown by the command alone")
async def shown(site: RunningSite, request: Request, *, order: Order, purpose: Purpose) -> Result:
    """A person is about to see tube and patient of an order; recorded before they do."""
    await site.journal.run(audit.note, request.actor, "unmask", {"order": item_id(order), "purpose": purpose})
    return {}


class OrderWorklist(NoArguments):
    """Waiting orders with their tubes and patients; ``channels``: of these analyzers alone."""

    channels: Annotated[list[str], Names(CHANNEL)] = Field(default_factory=list)
    purpose: Purpose


@ACTS.act(
    "order_worklist",
    SEEING_PATIENTS,
    not_in_api="tubes and patients of waiting orders are shown by the command and on the page",
)
async def worklist_sheets(site: RunningSite, request: Request, asked: OrderWorklist) -> Result:
    """The waiting orders of each analyzer, for paper; recorded before they are read."""
    channels = site.loaded().channels
    runners = {name: orders for name, one in channels.items() if (orders := orders_of(one)) is not None}
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
