"""Acts on ABDM: whose a report is, that it goes out no more, once more, and a consent that is in force again."""

from collections.abc import Callable
from typing import Annotated, Concatenate, ParamSpec, Self, TypeVar

from pydantic import Field, model_validator

from engine.actions.control import Request
from engine.actions.declaring import Declared, NoArguments, NumberOrNone, RowNumber, Why
from engine.actions.running_site import Result, RunningSite
from engine.features.abdm.config.destination import AbdmDestination, found_in
from engine.features.abdm.flows import consents, later
from engine.features.abdm.rows.patients import Person
from engine.features.abdm.service.service import Abdm, AbdmService
from engine.model.errors import LabRelayError
from engine.model.site.permissions import ACTING
from engine.model.texts.phrases import R_
from engine.store.core.writing.batch import Batch

NO_ABDM = R_("this site has no destination of kind abdm; docs/abdm.md says how to add one")
P = ParamSpec("P")
T = TypeVar("T")

ACTS = Declared(9)
LONGEST_TYPED = 200  # characters of what a person types of a patient
Typed = Annotated[str, Field(max_length=LONGEST_TYPED, repr=False)]


class Link(NoArguments):
    """A report, and its patient as typed from the card: ``number`` or ``address`` of ABHA, and what is compared.

    Attributes:
        gender: of the network: M, F, O, D, T or U.
        patient: the laboratory's own number.
        confirmed: the report, or the network, says otherwise, and the person has looked at both.
        readmit: the patient has left the network, and asks to come back.
    """

    context: RowNumber
    reason: Why
    number: Typed = ""
    address: Typed = ""
    name: Typed
    gender: Annotated[str, Field(max_length=1, repr=False)]
    year: Annotated[int, Field(ge=0, le=9999, repr=False)]
    mobile: Typed = ""
    patient: Typed = ""
    confirmed: bool = False
    readmit: bool = False


@ACTS.act("abdm_link", ACTING, api="link a report at ABDM with the patient whose card a person has seen")
async def link(site: RunningSite, request: Request, asked: Link) -> Result:
    typed = Person(
        address=asked.address, number=asked.number, name=asked.name, gender=asked.gender, year=asked.year,
        mobile=asked.mobile, patient=asked.patient,
    )  # fmt: skip
    number = await _run(
        site, later.link, _ours(site), asked.context, typed,
        who=request.actor, readmit=asked.readmit, confirmed=asked.confirmed, reason=asked.reason,
    )  # fmt: skip
    return {"context": number, "was": asked.context}


@ACTS.act("abdm_withdraw", ACTING, api="give nothing of a report out at ABDM any more")
async def withdraw(site: RunningSite, request: Request, *, context: RowNumber, reason: Why) -> Result:
    """``context``: a care context, by its number in the journal."""
    await _run(site, later.withdraw, context, reason, who=request.actor)
    return {"context": context}


class Retry(NoArguments):
    """Made once more: the next step of one context, the report of one transfer, or one call.

    ``confirmed``: the network has refused the patient's data, and the person means that they are right.
    """

    context: NumberOrNone = 0
    transfer: NumberOrNone = 0
    call: NumberOrNone = 0
    confirmed: bool = False
    reason: Why

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(map(bool, (self.context, self.transfer, self.call))) != 1:
            raise ValueError("give one of context, transfer and call")
        if self.confirmed and not self.context:
            raise ValueError("confirmed is for a context alone")
        return self


@ACTS.act("abdm_retry", ACTING, api="have a link, a notice to a patient's app, or a call to ABDM made once more")
async def retry(site: RunningSite, request: Request, asked: Retry) -> Result:
    who, reason = request.actor, asked.reason
    if asked.context:
        ours, confirmed = _ours(site), asked.confirmed
        await _run(site, later.context, ours, asked.context, reason, who=who, confirmed=confirmed)
        return {"context": asked.context}
    if asked.transfer:
        await _run(site, later.transfer, asked.transfer, reason, who=who)
        return {"transfer": asked.transfer}
    await _run(site, later.call, asked.call, reason, who=who)
    return {"call": asked.call}


@ACTS.act(
    "abdm_resume",
    ACTING,
    api="put a suspended consent in force again, once a person has looked at the network's own list",
)
async def resume(
    site: RunningSite, request: Request, *, consent: RowNumber, looked: bool = False, reason: Why
) -> Result:
    """A suspended consent, by its number in the journal; ``looked``: the network's own list has it as granted."""
    await _run(site, consents.resume, consent, reason, who=request.actor, looked=looked)
    return {"consent": consent}


def _ours(site: RunningSite) -> AbdmDestination:
    """The configuration that calls are made with: that of the daemon, until its next start."""
    if (abdm := _running(site)) is not None:
        return abdm.ours
    if (found := found_in(site.loaded().config.destinations)) is not None:
        return found[1]
    raise LabRelayError(NO_ABDM)


async def _run(site: RunningSite, act: Callable[Concatenate[Batch, P], T], /, *args: P.args, **more: P.kwargs) -> T:
    """Do it in one transaction, and have the calls made that it queued."""
    done = await site.journal.run(act, *args, **more)
    if (abdm := _running(site)) is not None:
        abdm.dispatcher.changed()
    return done


def _running(site: RunningSite) -> Abdm | None:
    return None if site.running is None else site.running.service(AbdmService).abdm
