"""Reports without ABHA of the simulator's made-up people, the SMS service beside them, and an app that searches."""

import re
from typing import Any

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.rows.contexts import NewReport
from tests.support.abdm_site import FACILITY, AbdmSite, destination, report
from tests.support.waiting import until
from workbench.abdm.people import PEOPLE

BODY = '{"to": "91{mobile}", "text": "{code} links your reports of {facility}"}'
GENDERS = {"M": "male", "F": "female"}


def with_sms(url: str, **other: Any) -> AbdmDestination:
    """A site beside the simulator that sends SMS to it."""
    return destination(url, **({"sms": {"url": f"{url}/sms", "body": BODY}} | other))


def patient(number: int = 0, *, abha: bool = False, **other: Any) -> dict[str, Any]:
    """One of the simulator's people as a document has him."""
    one = PEOPLE[number]
    said: dict[str, Any] = {
        "own": f"PID-{number}",
        "name": one.name,
        "gender": one.gender,
        "year": one.year,
        "mobile": one.mobile,
    }
    said |= other
    identifiers = [("MR", said["own"])] if said["own"] else []
    if abha:
        identifiers.append(("ABHA", said.get("address", one.address)))
    *given, family = said["name"].split()
    return {
        "identifier": [{"type": {"coding": [{"code": code}]}, "value": value} for code, value in identifiers],
        "name": [{"given": given, "family": family}],
        "gender": GENDERS.get(said["gender"], "unknown"),
        "birthDate": f"{said['year']}-01-01",
        "telecom": [{"system": "phone", "value": said["mobile"]}] if said["mobile"] else [],
    }


def report_of(
    which: str, number: int = 0, /, *, facility: str = FACILITY, message_id: int = 1, **said: Any
) -> NewReport:
    """A report; ``said`` as of `patient`."""
    content = {"display": "Lab report 20 Nov 2026", "patient": patient(number, **said)}
    return report(which, facility=facility, message_id=message_id, content=content)


async def search(site: AbdmSite, number: int = 0, **args: Any) -> tuple[str, Any]:
    """The transaction of a search, and what the app shows once it was answered."""
    said = {"patient": PEOPLE[number].address, "facility": FACILITY} | args
    transaction: str = (await site.ask("/app/discover", said))["transactionId"]
    await moved(site, transaction, "asked")
    return transaction, await site.ask(f"/discoveries/{transaction}")


async def moved(site: AbdmSite, transaction: str, before: str) -> str:
    """The state of a search that is ``before`` no more."""
    await until(lambda: site.sandbox.state.discoveries[transaction].state != before)
    return site.sandbox.state.discoveries[transaction].state


async def choose(site: AbdmSite, transaction: str, references: list[str] | None = None) -> str:
    said = {"transactionId": transaction} | ({"references": references} if references is not None else {})
    await site.ask("/app/init", said)
    return await moved(site, transaction, "chosen")


async def type_code(site: AbdmSite, transaction: str, code: str | int) -> str:
    await site.ask("/app/confirm", {"transactionId": transaction, "otp": code})
    return await moved(site, transaction, "typed")


def codes(site: AbdmSite) -> list[tuple[str, str]]:
    """Mobile and code of each SMS."""
    found = [re.search('"91([0-9]{10})".*?"([0-9]{6}) links', one["text"]) for one in site.sandbox.state.texts]
    return [(one[1], one[2]) for one in found if one is not None]


def other_than(code: str, by: int = 1) -> str:
    return f"{(int(code) + by) % 1_000_000:06}"
