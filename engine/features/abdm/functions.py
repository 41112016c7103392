"""Requirements of the profiles of the National Resource Centre for EHR Standards (NRCeS, India) beyond FHIR R4.

Source: its implementation guide for ABDM (`https://nrces.in/ndhm/fhir/r4`). Identifiers carry a type with its code and
display, names a text, codings only the terminologies that a profile names; a reference in a document's section names
the type of its target. Guide 2.0.1 knows types of HL7 table 0203 only; from 6 on NRCeS has codes of its own for the
ABHA number (`HIN`) and the ABHA address (`ABHA`).
"""

import re
from datetime import UTC, datetime
from html import escape
from typing import Any

from engine.features.abdm.rules import abha
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.mapping.functions.identifiers import type_of
from engine.mapping.functions.registry import function
from engine.mapping.functions.systems import IDENTIFIER_TYPE
from engine.mapping.message.message_context import MessageContext
from engine.model.texts.reasons import ReasonCode

Json = dict[str, Any]

_DISPLAYS = {  # of HL7 table 0203, as its code system has them
    "MR": "Medical record number",
    "PI": "Patient internal identifier",
    "PT": "Patient external identifier",
    "MD": "Medical License number",
    "PRN": "Provider number",
}
_TIME = re.compile(r"((?:[0-9]{2}){4,7})(?:\.[0-9]+)?([+-][0-9]{4})?")


def _type(code: str) -> Json:
    """A type of table 0203; without a known display it becomes text, not an incomplete coding."""
    if code in _DISPLAYS:
        return {"coding": [{"system": IDENTIFIER_TYPE, "code": code, "display": _DISPLAYS[code]}]}
    return {"text": code}


@function("abha_ids(ids: Identifier[], system: text) -> Identifier[]", settings=("abdm_profile",))
def abha_ids(run: MessageContext, ids: list[Json], system: str) -> list[Json] | None:
    """The ABHA number and address among a patient's identifiers, as the profile of Patient wants them.

    Those are of this system, or of type `HIN` or `ABHA` (CX.5); the form says which is the number, which the address.
    One that is neither, and two numbers, make the message dead: the document would go to another person. A number of
    which the check digit does not fit goes out with the warning `ABHA_CHECK_DIGIT`. A number is there twice, typed `MR`
    and `HIN`, because receivers read either; once with `abdm_profile: 2.0.1`, which knows no `HIN`.
    """
    profile = _profile(run)
    made: list[Json] = []
    numbers: set[AbhaNumber] = set()
    for one in ids:
        if type_of(one) not in (abha.NUMBER, abha.ADDRESS) and one.get("system") != system:
            continue
        if AbhaAddress.read(one["value"]) is not None:
            made.append(abha.address_identifier(one["value"].strip(), profile))
        elif (number := AbhaNumber.read(one["value"])) is not None:
            if number not in numbers:
                made += abha.number_identifiers(number, system, profile)
            numbers.add(number)
        else:
            raise run.dead(
                ReasonCode.BAD_VALUE,
                "an id of ABHA is neither a number (14 digits that are not all 0) nor an address (name@domain)",
            )
        _lasts(run, one)
    if len(numbers) > 1:
        raise run.dead(ReasonCode.BAD_VALUE, "the patient has two ABHA numbers")
    if any(not number.fits for number in numbers):
        run.warn("ABHA_CHECK_DIGIT", "the check digit of the ABHA number does not fit: ask the patient for the card")
    return made or None


def _profile(run: MessageContext) -> abha.Profile:
    said = str(run.setting("abdm_profile") or abha.PROFILES[-1])
    if not abha.is_profile(said):
        raise run.dead(ReasonCode.BAD_VALUE, f"setting abdm_profile is one of {', '.join(abha.PROFILES)}")
    return said


def _lasts(run: MessageContext, one: Json) -> None:
    """A number of the country's register is one person's for good, also where the channel's own are counters."""
    run.lasting.add((one.get("system"), one["value"]))
    run.counted.discard((one.get("system"), one["value"]))


@function("local_patient_ids(ids: Identifier[], system: text) -> Identifier[]", steady=True)
def local_patient_ids(run: MessageContext, ids: list[Json], system: str) -> list[Json] | None:
    """A patient's other identifiers, with a type: those that are neither of this system nor of type `HIN` or `ABHA`."""
    made = []
    for one in ids:
        kind = type_of(one)
        if kind not in (abha.NUMBER, abha.ADDRESS) and one.get("system") != system:
            made.append({**one, "type": _type(kind or "patient number")})
    return made or None


@function("lasting_ids(ids: Identifier[]) -> Identifier[]")
def lasting_ids(run: MessageContext, ids: list[Json]) -> list[Json] | None:
    """Those identifiers that are one person's for good (`patient_numbers`, `namespaces`), and no counters."""
    return [one for one in ids if (one.get("system"), one["value"]) in run.lasting] or None


@function("registry_identifier(type: literal, system: text, value: text) -> Identifier", pure=True)
def registry_identifier(kind: str, system: str, value: str) -> Json:
    """A registered number with its type in full: `PRN` of a facility (HFR), `MD` of a doctor."""
    return {"type": _type(kind), "system": system, "value": value}


@function("codings_of(code: CodeableConcept, system: text...) -> CodeableConcept", pure=True)
def codings_of(code: Json, *systems: str) -> Json | None:
    """A concept with only the codings of these systems, each with its display; the others are left to the words.

    A sender's own code goes into `text` where there are no words beside it.
    """
    codings = code.get("coding", [])
    kept = [one for one in codings if one.get("system") in systems and "code" in one and "display" in one]
    words = code.get("text") or next((said for one in codings if (said := one.get("display") or one.get("code"))), None)
    made: Json = {"coding": kept} if kept else {}
    if words:
        made["text"] = words
    return made or None


@function("full_name(name: HumanName) -> HumanName", pure=True)
def full_name(name: Json) -> Json:
    """A name with its text: prefix, given names, family name, suffix."""
    if "text" in name:
        return name
    words = [*name.get("prefix", ()), *name.get("given", ()), name.get("family", ""), *name.get("suffix", ())]
    return {**name, "text": " ".join(filter(None, words))}


@function("named(text: text) -> HumanName", pure=True)
def named(text: str) -> Json:
    """A name in one piece."""
    return {"text": text}


@function("reference_as(type: literal, reference: Reference) -> Reference", pure=True)
def reference_as(kind: str, reference: Json) -> Json:
    """A reference that says what it points to, as slices by type want it."""
    return {**reference, "type": kind}


@function("document_identifier(of: Reference) -> Identifier", pure=True)
def document_identifier(of: Json) -> Json:
    """The identifier of a document by the id of one of its resources: the same for each issue of it."""
    return {"system": "urn:ietf:rfc:3986", "value": of["reference"]}


@function("embedded(documents: Attachment[]) -> Attachment[]")
def embedded(run: MessageContext, documents: list[Json]) -> list[Json]:
    """Documents that are carried whole; one by address or without its type makes the message dead."""
    for one in documents:
        if "data" not in one:
            raise run.dead(ReasonCode.BAD_VALUE, "a document by address (RP); send it inside the message (ED)")
        if "contentType" not in one:
            raise run.dead(ReasonCode.REQUIRED_ABSENT, "a document without its type; OBX-5.2 and OBX-5.3 say it")
    return documents


@function("issue_number(issued: text) -> text")
def issue_number(run: MessageContext, issued: str) -> str | None:
    """A number that rises with each issue of a document: the time of issue in UTC, as digits to the second.

    Parts that the sender left out of the time count as zero: the number is for comparison, it is not a time.
    """
    match = _TIME.fullmatch(issued)
    at = run.times.instant(match[1].ljust(14, "0") + (match[2] or "")) if match else None
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y%m%d%H%M%S") if at else None


@function("narrative(lines: whole[]) -> Narrative", pure=True)
def narrative(lines: list[str]) -> Json:
    """Lines of text for people who see no more of a resource than that."""
    paragraphs = "".join(f"<p>{escape(line, quote=False)}</p>" for line in lines)
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'}
