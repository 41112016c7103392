"""What validators let pass, looked at once more: codes of bindings and code systems, references, identity, real dates.

`issues(bundle, definitions)` walks a Bundle by the published structures. Errors: a code outside a value set with a
required binding, or outside the code system that it names, where FHIR published all of its codes; a reference that
leads to no entry; two entries with one fullUrl; an id, date, system or UCUM unit that is none; an attachment whose size
or hash is another's. Warnings: no code of the value set where the binding is extensible, a display that is not the
code's, a LOINC code with another check digit.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import Any

from engine.mapping.code_tables.units import loinc_check_digit_holds, ucum_problem
from tests.validation.definitions import Definitions, Element
from tests.validation.issues import Issue

UCUM, LOINC, LANGUAGES = "http://unitsofmeasure.org", "http://loinc.org", "urn:ietf:bcp:47"
DATES = ("date", "dateTime", "instant")
ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
OID = re.compile(r"urn:oid:[0-2](\.(0|[1-9]\d*))+")
UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
LOINC_CODE = re.compile(r"(L[APLG])?[1-9]\d{0,7}-\d")  # LA: answers, LP: parts, LL: lists, LG: groups

Json = dict[str, Any]


def issues(bundle: Json, definitions: Definitions) -> list[Issue]:
    """What is wrong or remarkable in a Bundle, in the order of the Bundle; paths are those of FHIRPath."""
    entries = bundle.get("entry", [])
    found = list(_identity(entries))
    found += Walk(definitions, {entry.get("fullUrl", "") for entry in entries}).resource(bundle, "Bundle")
    return found


def _identity(entries: list[Json]) -> Iterator[Issue]:
    for url, times in Counter(entry.get("fullUrl", "") for entry in entries).items():
        if times > 1:
            yield Issue("error", "identity", "Bundle.entry.fullUrl", f"used {times} times: {url}")
    for number, entry in enumerate(entries):
        path, url = f"Bundle.entry[{number}]", entry.get("fullUrl", "")
        if not UUID.fullmatch(url):
            yield Issue("error", "identity", f"{path}.fullUrl", "no urn:uuid in lower case")
        if "id" in entry["resource"] and not ID.fullmatch(entry["resource"]["id"]):
            yield Issue("error", "identity", f"{path}.resource.id", "no id of FHIR")
    own = Counter((one["resource"]["resourceType"], one["resource"].get("id")) for one in entries)
    for (kind, name), times in own.items():
        if name is not None and times > 1:
            yield Issue("error", "identity", "Bundle.entry.resource.id", f"{times} {kind} with one id")


class Walk:
    """One way through a Bundle.

    Args:
        targets: the fullUrls that references may lead to.
    """

    def __init__(self, definitions: Definitions, targets: set[str]) -> None:
        self._definitions = definitions
        self._targets = targets

    def resource(self, value: Json, path: str) -> Iterator[Issue]:
        kind = value.get("resourceType", "")
        if not self._definitions.knows(kind):
            yield Issue("error", "structure", path, "no resource of FHIR R4")
            return
        yield from self._object(value, kind, path)

    def _object(self, value: Json, kind: str, path: str) -> Iterator[Issue]:
        yield from self._facts(value, kind, path)
        elements = self._definitions.elements(kind)
        for name, content in value.items():
            if name == "resourceType" or name.startswith("_"):
                continue
            element = elements.get(name)
            if element is None:
                yield Issue("error", "structure", f"{path}.{name}", f"no element of {kind}")
                continue
            many = isinstance(content, list)
            for number, item in enumerate(content if many else [content]):
                yield from self._item(item, element, f"{path}.{name}[{number}]" if many else f"{path}.{name}")

    def _item(self, item: Any, element: Element, path: str) -> Iterator[Issue]:
        if element.type == "Resource":
            yield from self.resource(item, path)
            return
        yield from self._binding(item, element, path)
        if self._definitions.is_primitive(element.type):
            yield from _primitive(item, element.type, path)
        else:
            yield from self._object(item, element.type, path)

    def _binding(self, item: Any, element: Element, path: str) -> Iterator[Issue]:
        if element.limit.endswith("/all-languages"):
            codings = item.get("coding", []) if isinstance(item, dict) else []
            if any(one.get("system") != LANGUAGES for one in codings if "code" in one):
                yield Issue("error", "required", path, f"not of {LANGUAGES}")
        severity = {"required": "error", "extensible": "warning"}.get(element.strength)
        members = self._definitions.codes(element.value_set) if severity else None
        if severity is None or members is None:
            return
        if isinstance(item, str):
            if item not in {code for _, code in members}:
                yield Issue(severity, element.strength, path, f"not in {element.value_set}")
            return
        codings = item.get("coding", []) if element.type == "CodeableConcept" else [item]
        coded = [(one.get("system", ""), one["code"]) for one in codings if "code" in one]
        if not any(pair in members for pair in coded) and (coded or element.strength == "required"):
            yield Issue(severity, element.strength, path, f"not in {element.value_set}")

    def _facts(self, value: Json, kind: str, path: str) -> Iterator[Issue]:
        if kind == "Reference" and (target := value.get("reference")) is not None:
            if target.startswith("urn:") and target not in self._targets:
                yield Issue("error", "reference", path, "leads to no entry of the Bundle")
        elif kind == "Reference" and not value.keys() & {"identifier", "display"}:
            yield Issue("error", "reference", path, "names nothing")
        elif kind == "Coding":
            yield from self._coding(value, path)
        elif kind in {"Quantity", "Age", "Duration", "SimpleQuantity"} and value.get("system") == UCUM:
            if problem := ucum_problem(value.get("code", "")):
                yield Issue("error", "ucum", path, problem)
        elif kind == "Attachment" and "data" in value:
            yield from _attachment(value, path)
        if "system" in value and kind != "ContactPoint" and not _is_system(value["system"]):
            yield Issue("error", "system", f"{path}.system", "no absolute URI, or an OID or UUID that is none")

    def _coding(self, value: Json, path: str) -> Iterator[Issue]:
        system, code = value.get("system", ""), value.get("code")
        if code is None:
            return
        if system == LOINC and not LOINC_CODE.fullmatch(code):
            yield Issue("error", "loinc", path, "no code of LOINC")
        elif system == LOINC and not loinc_check_digit_holds(code.lstrip("LAPG")):
            yield Issue("warning", "loinc", path, "another check digit")
        published = self._definitions.code_system(system)
        if published is None:
            return
        if code not in published.displays:
            if published.complete:
                yield Issue("error", "code", path, f"not in {system}")
            return
        display = published.displays[code]
        if "display" in value and display and value["display"].casefold() != display.casefold():
            yield Issue("warning", "display", path, f"{system} says '{display}'")


def _is_system(text: str) -> bool:
    if text.startswith("urn:oid:"):
        return OID.fullmatch(text) is not None
    if text.startswith("urn:uuid:"):
        return UUID.fullmatch(text) is not None
    return ABSOLUTE.fullmatch(text) is not None


def _primitive(item: Any, kind: str, path: str) -> Iterator[Issue]:
    if kind in DATES and isinstance(item, str) and len(day := item[:10]) == len("2026-03-01"):
        try:
            date.fromisoformat(day)
        except ValueError:
            yield Issue("error", "date", path, "no day of the calendar")
    if kind == "oid" and not OID.fullmatch(item):
        yield Issue("error", "system", path, "no OID")


def _attachment(value: Json, path: str) -> Iterator[Issue]:
    try:
        data = base64.b64decode(value["data"], validate=True)
    except ValueError:
        yield Issue("error", "attachment", f"{path}.data", "no base64")
        return
    if "size" in value and int(value["size"]) != len(data):
        yield Issue("error", "attachment", f"{path}.size", f"{len(data)} bytes are there")
    sha1 = base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
    if "hash" in value and value["hash"] != sha1:
        yield Issue("error", "attachment", f"{path}.hash", "that of other bytes")
