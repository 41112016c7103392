"""From a delivered document to a care context: one for each report, by the number that the laboratory gave it.

The document says who the patient is. An address of another environment names no person here, and one that is not
written as addresses are is none: such a report waits for its patient (`engine.model.abha`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from engine.abdm import linking
from engine.config.destination_abdm import AbdmDestination
from engine.model.abha import AbhaAddress, AbhaNumber
from engine.model.clock import to_us
from engine.model.errors import RefusedDeliveryError
from engine.model.message import Delivery
from engine.model.reasons import ReasonCode
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.operations.abdm import contexts
from engine.store.operations.abdm.contexts import NewReport
from engine.store.operations.abdm.patients import Person

GENDERS = {"male": "M", "female": "F", "other": "O", "unknown": "U"}  # HL7's administrative-gender
ABHA_ADDRESS, ABHA_NUMBER, OWN = "ABHA", "HIN", "MR"  # types of identifiers
DISPLAY = "Lab report"


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What is read of a document. ``person``: None where it names no address at the network."""

    number: str = field(repr=False)
    issued: datetime | None
    person: Person | None = field(repr=False)
    content: dict[str, Any] = field(repr=False)


def read(body: bytes, environment: str) -> ReadReport:
    """Read a document (FHIR R4, a Bundle with a Composition).

    Raises:
        RefusedDeliveryError: it is none.
    """
    try:
        bundle = orjson.loads(body)
        resources = [entry["resource"] for entry in bundle["entry"]]
        composition = next(one for one in resources if one["resourceType"] == "Composition")
        patient: dict[str, Any] = next((one for one in resources if one["resourceType"] == "Patient"), {})
    except (ValueError, TypeError, KeyError, StopIteration):
        raise RefusedDeliveryError(
            ReasonCode.REFUSED, "the document is no report: no Bundle with a Composition"
        ) from None
    issued = _time(composition.get("date"))
    day = f" {issued:%d %b %Y}" if issued is not None else ""  # no name of a test: it could tell a diagnosis
    number = (composition.get("identifier") or {}).get("value") or (bundle.get("identifier") or {}).get("value") or ""
    person = _person(patient, environment)
    return ReadReport(str(number), issued, person, {"display": f"{DISPLAY}{day}", "patient": _shown(patient)})


@operation(priority=Priority.SETTLE)
def take(batch: Batch, ours: AbdmDestination, delivery_id: int, facility: str, channel: str, found: ReadReport) -> int:
    """Keep a delivered report as a care context, and begin to link it; return its number."""
    message_id, document_id = contexts.of_delivery(batch, delivery_id)
    new = NewReport(
        facility=facility,
        reference=linking.reference(),
        channel=channel,
        report=found.number,
        patient=0,
        message_id=message_id,
        document_id=document_id,
        issued_us=to_us(found.issued) if found.issued is not None else batch.now_us,
        content=found.content,
    )
    return linking.offer(batch, ours, new, found.person)


def facility_of(ours: AbdmDestination, delivery: Delivery) -> str:
    """
    Raises:
        RefusedDeliveryError: the channel is of no facility.
    """
    facility = ours.facility_of(delivery.channel)
    if not facility:
        words = f"no facility has channel {delivery.channel}; add it to facilities: channels of the destination"
        raise RefusedDeliveryError(ReasonCode.REFUSED, words)
    return facility


def _person(patient: Mapping[str, Any], environment: str) -> Person | None:
    address = next(
        (
            one
            for value in _identifiers(patient, ABHA_ADDRESS)
            if (one := AbhaAddress.read(value)) is not None and one.domain == environment
        ),
        None,
    )
    name, gender, born = _name(patient), GENDERS.get(str(patient.get("gender"))), str(patient.get("birthDate") or "")
    if address is None or not name or gender is None or not born[:4].isdecimal():
        return None
    numbers = [AbhaNumber.read(value) for value in _identifiers(patient, ABHA_NUMBER)]
    number = next((one for one in numbers if one is not None), None)
    own = [value for value in _identifiers(patient, OWN) if AbhaNumber.read(value) is None]
    return Person(
        address=address.text,
        number=number.digits if number is not None else "",
        name=name,
        gender=gender,
        year=int(born[:4]),
        mobile=_mobile(patient),
        patient=own[0] if own else "",
    )


def _identifiers(patient: Mapping[str, Any], kind: str) -> Iterator[str]:
    for one in patient.get("identifier") or ():
        codes = [coding.get("code") for coding in (one.get("type") or {}).get("coding") or ()]
        if kind in codes and isinstance(one.get("value"), str):
            yield one["value"]


def _name(patient: Mapping[str, Any]) -> str:
    """Given and family names, without title."""
    one: Mapping[str, Any] = next(iter(patient.get("name") or ()), {})
    parts = [*(one.get("given") or ()), one.get("family")]
    return " ".join(part for part in parts if isinstance(part, str) and part)


def _mobile(patient: Mapping[str, Any]) -> str:
    """The digits of a number of a mobile phone (in India ten of them, the first from 6 to 9), without the country."""
    for one in patient.get("telecom") or ():
        digits = "".join(sign for sign in str(one.get("value") or "") if sign.isdecimal())
        if one.get("system") == "phone" and len(digits) >= 10 and digits[-10] in "6789":
            return digits[-10:]
    return ""


def _shown(patient: Mapping[str, Any]) -> dict[str, Any]:
    """The patient as the report has him, for the person who links it later."""
    names = ("identifier", "name", "gender", "birthDate", "telecom")
    return {name: patient[name] for name in names if name in patient}


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
