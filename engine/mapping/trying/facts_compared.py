"""Facts and the document of a mapping, place by place: whether both say the same of each result (`FACTS_DIFFER`).

What judges reads facts, and what is delivered is the document. A mapping may leave a result out, and may say less of
it; what it does say is compared: status, codes, digits, words, unit, time, tube and patient. Of lists and of HL7 v2,
which name these as they like, the status and the number. No text here names a value.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from orjson import Fragment

from engine.mapping.functions.coding import codes_in
from engine.mapping.language.targets import Target
from engine.mapping.outputs.collected import Part
from engine.mapping.values.json_text import as_text
from engine.model.content.facts import LEFT_OUT, Facts, Order, Person, Result
from engine.model.journal.document_facts import OWN_SYSTEM
from engine.model.message import Issue, Mapped, Parsed

PART = "isolate"  # the code of the tag that the head of a culture has
_ENCLOSED = ("document", "picture", "data")
_HL7_STATES = {"F": "final", "P": "preliminary", "C": "corrected", "X": "cancelled", "W": "entered-in-error"}

Json = dict[str, Any]
Said = dict[str, Any]  # what is compared -> how it is written


def differing(facts: Facts, mapped: Mapped, parsed: Parsed, target: Target) -> Iterator[Issue]:
    """What the only document of a message says otherwise than its facts."""
    if not mapped.documents:
        return
    name = "OBX" if parsed.format == "hl7v2" else "R"
    positions = {one.ordinal: one.position for one in parsed.segments if one.name == name}
    resources = _resources(mapped.documents[0].body) if target.kind == "fhir" else {}
    heads = _heads(mapped, parsed, resources)
    for person, order, result in facts.results():
        made = mapped.places.get(positions.get(result.place, 0))
        if made is None or result.kind in _ENCLOSED:
            continue
        if result.kind == LEFT_OUT:
            yield _issue(name, result, "the facts leave it out, and the document has it")
            continue
        if isinstance(made, Part):
            told, meant = _of_part(made, target), _in_short(result)
        else:
            observation = resources.get(made.get("reference", ""), {})
            told, meant = _of_observation(observation, resources), _in_full(person, order, result)
            told["head"] = heads.get(made.get("reference", ""))
            _compare_as_text(told, result)
        for what in sorted(told.keys() & meant.keys()):
            if not _agrees(what, told[what], meant[what]):
                yield _issue(name, result, f"{what}: the document says another than the facts")


def _compare_as_text(told: Said, result: Result) -> None:
    """A value that the document has as text is compared as that."""
    value, unit = result.value, result.measure.unit
    if "words" in told and unit:  # a number that stays text keeps its unit
        told["words"] = told["words"].replace(f" {unit}", "")
    if "words" in told and told["words"] in (value.sent, value.number):
        for what in ("words", "digits", "comparator", "unit"):
            del told[what]


def _agrees(what: str, told: Any, meant: Any) -> bool:
    if (told is None and what in ("tube", "time", "unit")) or (told is False and what == "isolate"):
        return True  # it says less
    match what:
        case "codes":  # it may say fewer
            return set(told) <= set(meant or ())
        case "flags":
            return set(told) <= set(meant)
        case "patient":  # of one who has no number nothing is compared
            return not told or not meant or not set(told).isdisjoint(meant)
        case "status" | "number":  # of a list, which has fewer words for what is no number
            return told in meant
    return bool(told == meant)


def _issue(name: str, result: Result, text: str) -> Issue:
    return Issue(code="FACTS_DIFFER", text=text, place=f"{name}[{result.place}]")


# -- facts -------------------------------------------------------------------------------------------------------------


def _in_full(person: Person, order: Order, result: Result) -> Said:
    measure, value = result.measure, result.value
    return {
        "status": (measure.state,),
        "codes": measure.own if result.misfit else measure.codes,
        "flags": tuple(dict.fromkeys((*(measure.meant or ()), *((value.call,) if value.call else ())))),
        "digits": value.meant,
        "comparator": value.comparator,
        "unit": measure.ucum if value.number and not (result.misfit or value.unit) else None,
        "words": value.words if not value.code else None,
        "reason for no value": value.missing,
        "time": result.at,
        "head": result.head,
        "isolate": bool(result.isolate),
        "tube": result.tube or _tube(order),
        "patient": tuple(map(_bare, (*((person.number,) if person.number else ()), *(person.others or ())))),
    }


def _tube(order: Order) -> str | None:
    """The number of the only specimen; without one, of the order that it was taken for."""
    numbers = [one.number or one.counted for one in order.samples]
    if len(numbers) != 1:
        return None
    return numbers[0] or order.filler or order.placer


def _in_short(result: Result) -> Said:
    """What a list, or a segment, may say: the status is also that of a value that is none."""
    state, value = result.measure.state, result.value
    texts = (value.number and f"{value.comparator or ''}{value.number}", value.words, value.sent)
    return {
        "status": (state, "cancelled") if value.missing else (state,),
        "number": (None, *(text.replace(" ", "") for text in texts if text)),
    }


# -- documents ---------------------------------------------------------------------------------------------------------


def _resources(body: bytes) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for entry in as_text(body).get("entry", ()):
        resource = entry["resource"]
        found[entry.get("fullUrl", "")] = resource
        found[f"{resource['resourceType']}/{resource.get('id', '')}"] = resource
    return found


def _heads(mapped: Mapped, parsed: Parsed, resources: Mapping[str, Json]) -> dict[str, int]:
    """Reference of a member -> the number of the OBX or R that its head became."""
    found: dict[str, int] = {}
    for position, made in mapped.places.items():
        head = resources.get(made.get("reference", ""), {}) if isinstance(made, dict) else {}
        for member in head.get("hasMember", ()):
            found[member["reference"]] = parsed.segments[position - 1].ordinal
    return found


def _of_observation(observation: Json, resources: Mapping[str, Json]) -> Said:
    quantity = observation.get("valueQuantity", {})
    reason = observation.get("dataAbsentReason", {}).get("coding", [{}])[0].get("code")
    code = observation.get("code", {})
    specimen = resources.get(observation.get("specimen", {}).get("reference", ""), {})
    told: Said = {
        "status": observation.get("status"),
        "codes": tuple(codes_in([code]) or ()) if code.get("coding") else (),
        "flags": tuple(codes_in(observation.get("interpretation", []), "plain") or ()),
        "digits": quantity.get("value"),
        "comparator": quantity.get("comparator"),
        "unit": quantity.get("code"),
        "reason for no value": reason,
        "time": observation.get("effectiveDateTime"),
        "isolate": any(one.get("code") == PART for one in observation.get("meta", {}).get("tag", ())),
        "tube": next((one.get("value") for one in specimen.get("identifier", ())), None),
        "patient": _patient(observation, resources),
    }
    if "valueString" in observation:
        told["words"] = observation["valueString"]
    return told


def _patient(observation: Json, resources: Mapping[str, Json]) -> tuple[str, ...]:
    """The numbers of a patient, without those that LabRelay gives."""
    patient = resources.get(observation.get("subject", {}).get("reference", ""), {})
    sent = (one for one in patient.get("identifier", ()) if one.get("system") != OWN_SYSTEM)
    return tuple(_bare(one.get("value", "")) for one in sent)


def _bare(number: str) -> str:
    """A number without the signs that group its digits (an ABHA number has some)."""
    return "".join(filter(str.isalnum, number))


def _of_part(part: Part, target: Target) -> Said:
    """Of a segment, a row or a record."""
    if part.name == "OBX":
        state = _HL7_STATES.get(str(part.content.get(11)))
        return {"status": state} if state else {}
    said = target.results or {}
    names = {what: said.get(what, ("",))[0].rpartition(".")[2] for what in ("status", "value")}
    told: Said = {}
    if names["status"] in part.content:
        told["status"] = part.content[names["status"]]
    if target.kind == "json":
        number = part.content.get(names["value"])
        if isinstance(number, Fragment):
            told["number"] = f"{part.content.get('comparator', '')}{orjson.dumps(number).decode()}"
    return told
