"""Verbs for ABDM: whose a report is, that it goes out no more, once more, and a consent that is in force again."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from engine.abdm import consents, later, retrying
from engine.actions.control import Request
from engine.config.destination_abdm import AbdmDestination
from engine.model.errors import LabRelayError
from engine.model.phrases import R_
from engine.runtime.control_requests import AbdmContext, AbdmLink, AbdmResume, AbdmRetry
from engine.runtime.verbs.running_site import Result, RunningSite
from engine.store.core.batch import Batch
from engine.store.operations.abdm.patients import Person

NO_ABDM = R_("this site has no destination of kind abdm; docs/abdm.md says how to add one")
P = ParamSpec("P")
T = TypeVar("T")


async def link(site: RunningSite, request: Request, asked: AbdmLink) -> Result:
    typed = Person(
        address=asked.address, number=asked.number, name=asked.name, gender=asked.gender, year=asked.year,
        mobile=asked.mobile, patient=asked.patient,
    )  # fmt: skip
    number = await _run(
        site, later.link, _ours(site), asked.context, typed,
        who=request.actor, readmit=asked.readmit, confirmed=asked.confirmed, reason=asked.reason,
    )  # fmt: skip
    return {"context": number, "was": asked.context}


async def withdraw(site: RunningSite, request: Request, asked: AbdmContext) -> Result:
    await _run(site, later.withdraw, asked.context, asked.reason, who=request.actor)
    return {"context": asked.context}


async def retry(site: RunningSite, request: Request, asked: AbdmRetry) -> Result:
    who, reason = request.actor, asked.reason
    if asked.context:
        ours, confirmed = _ours(site), asked.confirmed
        await _run(site, retrying.context, ours, asked.context, reason, who=who, confirmed=confirmed)
        return {"context": asked.context}
    if asked.transfer:
        await _run(site, retrying.transfer, asked.transfer, reason, who=who)
        return {"transfer": asked.transfer}
    await _run(site, retrying.call, asked.call, reason, who=who)
    return {"call": asked.call}


async def resume(site: RunningSite, request: Request, asked: AbdmResume) -> Result:
    await _run(site, consents.resume, asked.consent, asked.reason, who=request.actor, looked=asked.looked)
    return {"consent": asked.consent}


def _ours(site: RunningSite) -> AbdmDestination:
    """The configuration that calls are made with: that of the daemon, until its next start."""
    if site.running is not None and site.running.parts.abdm is not None:
        return site.running.parts.abdm.ours
    for one in site.loaded().config.destinations.values():
        if isinstance(one, AbdmDestination):
            return one
    raise LabRelayError(NO_ABDM)


async def _run(site: RunningSite, act: Callable[Concatenate[Batch, P], T], /, *args: P.args, **more: P.kwargs) -> T:
    """Do it in one transaction, and have the calls made that it queued."""
    done = await site.journal.run(act, *args, **more)
    if site.running is not None and site.running.parts.abdm is not None:
        site.running.parts.abdm.dispatcher.changed()
    return done
