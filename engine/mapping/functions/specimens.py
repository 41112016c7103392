"""Specimens: their origin, their containers (SAC segments), their dilution.

Fields of segments for functions that are given whole segments.
"""

import re
from typing import Any

from engine.mapping.functions.coding import coding_concept, cwe, inner_cwe
from engine.mapping.functions.identifiers import ei
from engine.mapping.functions.numbers import quantity_of
from engine.mapping.functions.registry import function
from engine.mapping.functions.systems import names_a_system
from engine.mapping.functions.texts import value_text
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Segment

Json = dict[str, Any]

_RATIO = re.compile(r"[<>=]{0,2}\s*\d{1,9}(?:[.,]\d{1,9})?(?:\s*[:/-]\s*\d{1,9}(?:[.,]\d{1,9})?|\+)?", re.ASCII)

_NOT_DILUTED = frozenset({"1:0", "1:1", "1", "0", "UNDILUTED"})
_ONE_TO = re.compile(r"1:([1-9][0-9]{0,8}(?:\.[0-9]{1,9})?)", re.ASCII)


@function("containers(tubes: segment[]?, type: CodeableConcept?, additive: CodeableConcept?) -> Specimen.container[]")
def containers(
    run: MessageContext, tubes: list[Segment] | None, kind: Json | None = None, additive: Json | None = None
) -> list[Json] | None:
    """SAC segments as containers: number (3, else 4), volume (21) and what is in them (22), both in the unit of SAC-24.

    `type` and `additive` are those of the specimen (SPM-27, SPM-6), for its only container.
    """
    made = []
    for segment in tubes or ():
        one: Json = {}
        if (number := field_of(run, segment, 3) or field_of(run, segment, 4)) and (identifier := ei(run, number)):
            one["identifier"] = [identifier]
        unit = field_of(run, segment, 24).split(run.C)[0]
        for name, field in (("capacity", 21), ("specimenQuantity", 22)):
            if (volume := field_of(run, segment, field)) and (quantity := quantity_of(run, f"{volume}{run.C}{unit}")):
                one[name] = quantity
        if one:
            made.append(one)
    if len(made) == 1:
        if kind:
            made[0]["type"] = kind
        if additive:
            made[0]["additiveCodeableConcept"] = additive
    elif not made and (kind or additive):
        made.append({name: value for name, value in (("type", kind), ("additiveCodeableConcept", additive)) if value})
    return made or None


@function("parent_specimens(parents: field[], system: text) -> Reference[]", steady=True)
def parent_specimens(run: MessageContext, parents: list[str], system: str) -> list[Json] | None:
    """The specimens that SPM-3 names (EIP: placer's number ^ filler's number), each by its number in this system."""
    found = []
    for raw in parents:
        parts = raw.split(run.C)
        number = run.text(parts[0]) or run.part_text(parts, 1)
        if number:
            found.append({"type": "Specimen", "identifier": {"system": system, "value": number}})
    return found or None


@function("specimen_note(what: literal, codes: field[]) -> Annotation", steady=True)
def specimen_note(run: MessageContext, what: str, codes: list[str]) -> Json | None:
    """Coded values that a Specimen has no element for, as a note: `Type modifier: left, upper`."""
    words = [said for raw in codes if (one := cwe(run, raw)) is not None and (said := one.get("text"))]
    return {"text": f"{what}: {', '.join(words)}"} if words else None


_SOURCE_PARTS = {"type": 0, "additive": 1, "method": 2, "site": 3}


@function("source_part(source: field, part: literal) -> CodeableConcept", steady=True, settings=("local_system",))
def source_part(run: MessageContext, raw: str, part: str) -> Json | None:
    """A part of the source of a specimen (SPS: OBR-15, SAC-6): `type`, `additive`, `method` or `site`.

    The type is a code of table 0487 unless its subcomponents name another system. Many senders write a coded value into
    the field (`122575003^Urine specimen^SCT`), where SPS has an additive and a method: a value with a coding system in
    component 3 is such a coding, and has a type only.
    """
    parts = raw.split(run.C)
    system = run.part_text(parts, 2)
    if run.S not in parts[0] and system and names_a_system(run, system):
        return cwe(run, raw) if part == "type" else None
    at = _SOURCE_PARTS.get(part, len(parts))
    if len(parts) <= at or run.present(parts[at]) is None:
        return None
    return coding_concept(run, "v2-0487", parts[at]) if at == 0 else inner_cwe(run, parts[at])


@function("dilution_note(kind: literal, factor: text) -> text", steady=True)
def dilution_note(run: MessageContext, kind: str, factor: str) -> str | None:
    """A dilution factor in words, `Automatic dilution 1:2`; absent where it says that there was none (1:0, 1:1), and
    with a warning where it is no ratio (TCD-2 to TCD-4 are of type SN)."""
    if _RATIO.fullmatch(factor) is None:
        run.warn("DILUTION", "a dilution factor (TCD-2, TCD-3, TCD-4) that is neither a ratio nor a number; left out")
        return None
    return None if factor in _NOT_DILUTED else f"{kind} {factor}"


@function("stated_dilution(result: segment) -> text")
def stated_dilution(run: MessageContext, result: Segment) -> str | None:
    """The one factor by which the specimen of an OBX was diluted, by the TCD behind it: `10` of `1:10`, 1 where all of
    TCD-2, TCD-3 and TCD-4 say that it was not; absent where one says something else, or two say that it was. Results of
    one test with the same OBX-4 may have one TCD, behind the last of them."""
    for segment in run.parsed.segments[result.position :]:
        if segment.name == "TCD":
            return factor_of(*(value_text(run, [field_of(run, segment, number)], "SN") for number in (2, 3, 4)))
        is_same = bool(result.get(4)) and all(segment.get(one) == result.get(one) for one in (3, 4))
        if segment.name != "NTE" and not (segment.name == "OBX" and is_same):
            break
    return None


def factor_of(*said: str | None) -> str | None:
    """Of factors as texts, empty ones left out."""
    known = {_factor(one) for one in said if one}
    diluted = known - {"1"}
    return None if None in known or len(diluted) > 1 else next(iter(diluted or known), None)


def _factor(text: str) -> str | None:
    if text in _NOT_DILUTED:
        return "1"
    found = _ONE_TO.fullmatch(text)
    return found[1] if found is not None else None


def field_of(run: MessageContext, segment: Segment, number: int) -> str:
    """The first repetition of a field, raw and noted as read; empty where there is none."""
    if not (raw := segment.get(number)):
        return ""
    if run.trace is not None:
        run.trace.read(segment, number, 0)
    return raw.split(run.R)[0]
