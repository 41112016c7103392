"""The tests in a document: one row for each result, with its codes, value, unit and status. Pure.

Read are FHIR Bundles (each Observation and component that `engine.model.content.results` calls a result), HL7 v2
messages (each OBX, with the PID, OBR and SPM before it; HL7 v2.5.1, chapter 7) and E1394 messages (each R, with the P
and O before it). Other documents have no common structure, and get no rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from engine.model.content.results import Result, results_of
from engine.model.errors import UnreadableResultsError

LOINC = "http://loinc.org"
_LOINC_IN_HL7 = "LN"  # table 0396


@dataclass(frozen=True, slots=True, kw_only=True)
class TestedResult:
    """One result of a document.

    Attributes:
        key: the same in each version of the result.
        code: the analyzer's or the site's own code; else the first one. codes: all of them.
        loinc: empty where the result has none.
        patient: pseudonym of the patient: `Token` of the first number, else the id of a Patient without one; empty
            where none is named.
        specimen, value: patient data.
        rest: everything else that the document says of it, to be compared.
    """

    key: str
    code: str
    codes: tuple[str, ...]
    loinc: str
    patient: str
    specimen: str
    value: str
    unit: str
    status: str
    rest: str


Token = Callable[[str], str]


def tests_in(body: bytes, token: Token) -> list[TestedResult]:
    """The results of a document, in its order; none where it is none of these formats.

    Args:
        token: makes the pseudonym of a patient's number.
    """
    if body.startswith(b"MSH") and len(body) > 8:
        return _numbered(_of_message(body, token))
    if body.startswith(b"H") and len(body) > 5 and not body[1:2].isalnum():
        return _numbered(_of_records(body, token))
    try:
        return _numbered(_of_bundle(results_of(body), orjson.loads(body), token))
    except (UnreadableResultsError, ValueError, AttributeError, KeyError, TypeError):  # or not as a mapping writes it
        return []


# Of Observations and DiagnosticReports: that a delivered result was wrong, changed or withdrawn.
_CORRECTING = frozenset({"corrected", "amended", "appended", "entered-in-error", "cancelled"})
_CORRECTING_HL7 = frozenset({"C", "D", "W", "X", "A"})  # OBX-11 and OBR-25, tables 0085 and 0123


def corrects(body: bytes) -> bool | None:
    """Whether a document corrects or withdraws a result; None if it does not say."""
    if body.startswith(b"MSH") and len(body) > 8:
        fields = [line.split(body[3:4]) for line in body.split(b"\r")]
        places = {b"OBX": 11, b"OBR": 25}
        found = {
            one[at].decode("latin-1") for one in fields if (at := places.get(one[0], 0)) and at < len(one) and one[at]
        }
        return bool(found & _CORRECTING_HL7) if found else None
    try:
        entries = orjson.loads(body)["entry"]
        resources = [entry["resource"] for entry in entries]
        stated = {
            one.get("status", "") for one in resources if one["resourceType"] in ("Observation", "DiagnosticReport")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return bool(stated & _CORRECTING) if stated else None


def _numbered(found: Iterator[TestedResult]) -> list[TestedResult]:
    """Give each result a key of its own: results with the same key are numbered in their order."""
    seen: dict[str, int] = {}
    made: list[TestedResult] = []
    for one in found:
        seen[one.key] = seen.get(one.key, 0) + 1
        if seen[one.key] == 1:
            made.append(one)
        else:
            made.append(replace(one, key=f"{one.key} {seen[one.key]}"))
    return made


# -- FHIR ----------------------------------------------------------------------------------------------------------


def _of_bundle(results: list[Result], bundle: dict[str, Any], token: Token) -> Iterator[TestedResult]:
    resources = {entry.get("fullUrl", ""): entry.get("resource", {}) for entry in bundle.get("entry", ())}
    observations = {
        str(one.get("id") or url.removeprefix("urn:uuid:")): one
        for url, one in resources.items()
        if one.get("resourceType") == "Observation"
    }
    for result in results:
        own = observations.get(result.run) or observations.get(result.run.rpartition(".")[0]) or {}
        loinc = next((code for system, code in result.codes if system == LOINC), "")
        local = next((code for system, code in result.codes if system != LOINC), "")
        yield TestedResult(
            key=result.run,
            code=local or loinc,
            codes=tuple(code for _, code in result.codes),
            loinc=loinc,
            patient=_patient(own, resources, token) or result.subject,
            specimen=_specimen(own, resources),
            value=result.text or "",
            unit=result.units[-1] if result.units else "",
            status=result.status,
            rest=orjson.dumps(own, option=orjson.OPT_SORT_KEYS).decode(),
        )


def _patient(observation: dict[str, Any], resources: dict[str, Any], token: Token) -> str:
    patient = resources.get(observation.get("subject", {}).get("reference", ""), {})
    number = next((one["value"] for one in patient.get("identifier", ()) if one.get("value")), "")
    return token(number) if number else ""


def _specimen(observation: dict[str, Any], resources: dict[str, Any]) -> str:
    """The number of the specimen, else of the order."""
    specimen = resources.get(observation.get("specimen", {}).get("reference", ""), {})
    orders = [resources.get(one.get("reference", ""), {}) for one in observation.get("basedOn", ())]
    numbers = [
        identifier.get("value", "")
        for one in (specimen, *orders)
        for identifier in (one.get("accessionIdentifier", {}), *one.get("identifier", ()))
    ]
    return next((str(number) for number in numbers if number), "")


# -- HL7 v2 --------------------------------------------------------------------------------------------------------


def _of_message(body: bytes, token: Token) -> Iterator[TestedResult]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    separator, component = text[3], text[4]
    patient = order = specimen = ""
    for line in text.split("\r"):
        fields = line.split(separator)

        def field(number: int, fields: list[str] = fields) -> str:
            return fields[number] if number < len(fields) else ""

        if fields[0] == "PID":
            number = field(3).split(text[5])[0].split(component)[0]
            patient, order, specimen = token(number) if number else "", "", ""
        elif fields[0] == "OBR":
            order = (field(3) or field(2)).split(component)[0]
            specimen = order
        elif fields[0] == "SPM":
            parts = [part for part in field(2).replace(text[7], component).split(component) if part]
            specimen = parts[0] if parts else specimen
        elif fields[0] == "OBX":
            codes = field(3).split(component)
            loinc = _loinc(codes)
            yield TestedResult(
                key=component.join((order, codes[0], field(4))),
                codes=tuple(codes[at] for at in (0, 3) if at < len(codes) and codes[at]),
                code=codes[0] if codes[0] != loinc or len(codes) < 4 else codes[3] or codes[0],
                loinc=loinc,
                patient=patient,
                specimen=specimen,
                value=field(5),
                unit=field(6).split(component)[0],
                status=field(11),
                rest=separator.join(fields[2:]),
            )


# -- E1394 ---------------------------------------------------------------------------------------------------------


def _of_records(body: bytes, token: Token) -> Iterator[TestedResult]:
    text = body.decode("latin-1")
    separator, component = text[1], text[3]  # repeats are distinguished by text[2]
    patient = specimen = ""
    for line in text.replace("\n", "\r").split("\r"):
        fields = line.split(separator)
        found = dict(enumerate(fields, start=1))  # a record counts its own name as the first field
        if fields[0] == "P":
            number = next((found[at] for at in (3, 4, 5) if found.get(at)), "").split(component)[0]
            patient, specimen = token(number) if number else "", ""
        elif fields[0] == "O":
            specimen = found.get(3, "").split(component)[0]
        elif fields[0] == "R":
            codes = [code for code in found.get(3, "").split(component) if code]
            yield TestedResult(
                key=component.join((specimen, found.get(3, ""))),
                code=codes[0] if codes else "",
                codes=tuple(codes),
                loinc="",
                patient=patient,
                specimen=specimen,
                value=found.get(4, ""),
                unit=found.get(5, ""),
                status=found.get(9, ""),
                rest=separator.join(fields[2:]),
            )


def _loinc(codes: list[str]) -> str:
    """The code of a CWE whose system is LOINC: components 1 and 3, or 4 and 6."""
    for at in (0, 3):
        if len(codes) > at + 2 and codes[at + 2] == _LOINC_IN_HL7:
            return codes[at]
    return ""
