"""Specimens: what SAC segments say of their containers."""

from typing import Any

from engine.mapping.functions.identifiers import ei
from engine.mapping.functions.numbers import quantity_of
from engine.mapping.functions.registry import function
from engine.mapping.functions.segments import field_of
from engine.mapping.run import Run
from engine.message import Segment

Json = dict[str, Any]


@function("containers(tubes: segment[]?, type: CodeableConcept?, additive: CodeableConcept?) -> Specimen.container[]")
def containers(
    run: Run, tubes: list[Segment] | None, kind: Json | None = None, additive: Json | None = None
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


@function("dilution_note(kind: literal, factor: text) -> text", pure=True)
def dilution_note(kind: str, factor: str) -> str | None:
    """A dilution factor in words, `Automatic dilution 1:2`; absent where it says that there was none (1:0, 1:1)."""
    return None if factor in ("1:0", "1:1", "1", "0") else f"{kind} {factor}"
