"""Explanations for people: the requested ones, near matches of a missing one, and all as a tree.

Observation[3].valueQuantity.value      that value             OBX[3]-5     what came of this field
Observation[3]  Observation.code        all below it           OBX-5        of this field of any OBX
Observation[*].code                     of every Observation   OBX[3]       of any field of that segment

A FHIR server that refuses a document names the place in the Bundle, and each writes it in its own way:

Bundle.entry[4].resource.valueQuantity.value   Bundle.entry[4].Observation.status
Bundle.entry[4].resource.ofType(Observation).status   Bundle.entry[4].resource/*Observation/7*/.status
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from engine.mapping.explanations.explaining import ENVELOPE, LITERAL, Call, Leaf
from engine.mapping.explanations.trace import Trace
from engine.model.message import Parsed
from engine.model.texts.spelling import did_you_mean

_STEP = re.compile(r"([^.\[\]]+)(?:\[(\d+|\*)\])?")
_FIELD = re.compile(
    r"(?P<segment>[A-Z][A-Z0-9]{0,2})(?:\[(?P<which>\d+|\*)\])?(?:-(?P<field>\d+)(?P<part>(?:\.\d+)*))?"
)
_SOURCE = re.compile(r"(?P<segment>[A-Z][A-Z0-9]{0,2})\[(?P<which>\d+)\]-(?P<field>\d+)(?P<part>(?:\.\d+)*)")
_OF_SERVER = re.compile(
    r"Bundle\.entry\[(?P<entry>\d+)\]\.(?:resource(?:\.ofType\(\w+\))?|[A-Z]\w+)(?:\.(?P<rest>.+))?"
)
_REMARK = re.compile(r"/\*.*?\*/")
MAX_NAMED = 12  # of what there is instead


def of_server(field: str, types: Sequence[str]) -> str:
    """An element as these explanations call it, where ``field`` is one as FHIR servers call it; else ``field``.

    Args:
        types: of the resources of the Bundle, in their order.
    """
    place = _OF_SERVER.fullmatch(_REMARK.sub("", field))
    if place is None or int(place["entry"]) >= len(types):
        return field
    kind = types[int(place["entry"])]
    number = types[: int(place["entry"]) + 1].count(kind)
    return f"{kind}[{number}]{'.' + place['rest'] if place['rest'] else ''}"


def chosen(leaves: Sequence[Leaf], field: str) -> list[Leaf]:
    """The values of an element and below it, or those that a field or segment went into; all where nothing is asked."""
    if not field:
        return list(leaves)
    steps = _steps(field)
    found = [leaf for leaf in leaves if steps and _is_under(leaf.path, steps)]
    if not found and (place := _FIELD.fullmatch(field)):
        found = [leaf for leaf in leaves if any(_is_of(source, place) for source in leaf.sources)]
    return found


def missing(trace: Trace, parsed: Parsed, field: str) -> str:
    """The text where a path selects nothing: what exists instead, or why a field was not used. No values."""
    place = _FIELD.fullmatch(field)
    if place is not None and (place["field"] or any(segment.name == place["segment"] for segment in parsed.segments)):
        return _missing_field(trace, parsed, place)
    if not (steps := _steps(field)):
        return f"{field}: neither an element (Observation[2].value) nor a field (OBX-5)"
    known = [leaf.path for leaf in trace.leaves]
    if not known:
        return f"{field}: nothing was made of this message"
    good = 0
    while good < len(steps) and any(_is_under(path, steps[: good + 1]) for path in known):
        good += 1
    # The elements where the path goes wrong.
    here = {
        _text(path_steps[good : good + 1]): None
        for path in known
        if (path_steps := _steps(path)) and len(path_steps) > good and _match(path_steps, steps[:good])
    }
    wrong, before = steps[good], _text(steps[:good])
    numbers = [name for name in here if name.partition("[")[0] == wrong.name]
    subject = f"{before} has" if before else "the document has"
    if numbers:
        return f"{field}: {subject} {_span(numbers)}, and no {_text([wrong])}"
    if not here:
        return f"{field}: {before} is one value"
    names = dict.fromkeys(name.partition("[")[0] for name in here)
    near = did_you_mean(wrong.name, names)
    listed = ", ".join(list(names)[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")
    return (
        f"{field}: {subject} no {wrong.name}; {near or f'it has {listed}' if before else near or f'there are {listed}'}"
    )


def lines(trace: Trace, leaves: Iterable[Leaf], *, values: bool, whole: bool) -> Iterator[str]:
    """A trace as a tree: resources, their values, then what was not read and what was noticed.

    Args:
        whole: with all that is unread and noticed; without it, each value with the places it passed.
    """
    shown = list(leaves)
    resource = ""
    width = min(60, max((len(_below(leaf.path)[1]) for leaf in shown), default=0))
    for leaf in shown:
        kind, path = _below(leaf.path)
        if kind != resource:
            resource = kind
            yield kind
        value = f" = {leaf.value}" if values else ""
        yield f"  {(path + value).ljust(width)} <- {reason(leaf)}"
        if not whole:
            yield from (f"      through {_call(call)}" for call in leaf.calls)
    if not whole:
        return
    if trace.unread:
        yield "unread: " + ", ".join(trace.unread)
    for issue in trace.issues:
        place = f" at {issue.place}" if issue.place else ""
        rule = f" ({issue.rule})" if issue.rule else ""
        yield f"{issue.severity}: {issue.code}{place}: {issue.text}{rule}"
    if trace.error is not None:
        place = f" at {trace.error.place}" if trace.error.place else ""
        yield f"dead: {trace.error.reason.value}{place}: {trace.error.detail}"


def reason(leaf: Leaf) -> str:
    """``lab.yaml:31 quantity() <- OBX[3]-5 x row HGB,g/dL factor 10 (words)``."""
    how = leaf.function or {LITERAL: "literal", ENVELOPE: "LabRelay"}.get(leaf.origin, "")
    made = f"{leaf.rule} {how}".strip()
    sources = f" <- {', '.join(leaf.sources)}" if leaf.sources else ""
    rows = f" x {', '.join(leaf.rows)}" if leaf.rows else ""
    about = f" ({leaf.about})" if leaf.about else ""
    return f"{made}{sources}{rows}{about}"


def _call(call: Call) -> str:
    if call.function == "$use":
        return f"{call.rule} $use {call.name}"
    return f"{call.rule} {call.name}: {call.function}" if call.function else f"{call.rule} {call.name}"


def _below(path: str) -> tuple[str, str]:
    """The resource, segment or record of a value, and its place there; a member of the document itself has none."""
    part, dot, rest = path.partition(".")
    return (part, rest) if dot else ("(document)", part)


# -- paths -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    """``name[3]``; ``number`` is empty where none is said, ``*`` for any."""

    name: str
    number: str


def _steps(path: str) -> list[_Step]:
    """The steps of a path; empty where it is none."""
    parts = path.split(".")
    matches = [_STEP.fullmatch(part) for part in parts]
    return [_Step(match[1], match[2] or "") for match in matches if match] if all(matches) else []


def _is_under(path: str, wanted: Sequence[_Step]) -> bool:
    return _match(_steps(path), wanted)


def _match(steps: Sequence[_Step], wanted: Sequence[_Step]) -> bool:
    return len(steps) >= len(wanted) and all(
        step.name == want.name and (want.number in ("", "*") or want.number == step.number)
        for step, want in zip(steps, wanted, strict=False)
    )


def _text(steps: Sequence[_Step]) -> str:
    return ".".join(f"{step.name}[{step.number}]" if step.number else step.name for step in steps)


def _span(names: Sequence[str]) -> str:
    """``Observation[1] to Observation[12]``, or the names where they are few."""
    return f"{names[0]} to {names[-1]}" if len(names) > 2 else " and ".join(names)


# -- fields ----------------------------------------------------------------------------------------------------------


def _is_of(source: str, wanted: re.Match[str]) -> bool:
    """Whether a source is of the field that is asked for, or of a part of it, or it of a part of the source."""
    match = _SOURCE.match(source)
    if match is None or match["segment"] != wanted["segment"]:
        return False
    if wanted["which"] not in (None, "*", match["which"]):
        return False
    if wanted["field"] is None:
        return True
    part, asked = match["part"] + ".", (wanted["part"] or "") + "."
    return match["field"] == wanted["field"] and (part.startswith(asked) or asked.startswith(part))


def _missing_field(trace: Trace, parsed: Parsed, place: re.Match[str]) -> str:
    segments = [segment for segment in parsed.segments if segment.name == place["segment"]]
    if not segments:
        names = dict.fromkeys(segment.name for segment in parsed.segments)
        near = did_you_mean(place["segment"], names) or f"it has {', '.join(list(names)[:MAX_NAMED])}"
        return f"{place[0]}: the message has no {place['segment']}; {near}"
    which = place["which"]
    if which not in (None, "*"):
        segments = [segment for segment in segments if segment.ordinal == int(which)]
        if not segments:
            count = sum(segment.name == place["segment"] for segment in parsed.segments)
            return f"{place[0]}: the message has {place['segment']}[1] to {place['segment']}[{count}]"
    number = int(place["field"] or 0)
    if number and not any(len(segment.fields) > number and segment.fields[number].strip() for segment in segments):
        return f"{place[0]}: nothing was sent there"
    name = f"{place['segment']}-{number}"
    if number and name in trace.unread:
        return f"{place[0]}: no rule reads {name}; nothing came of it"
    said = [issue for issue in trace.issues if _is_of(issue.place, place)]
    if said:
        return "; ".join(f"{issue.place}: {issue.severity}: {issue.code}: {issue.text}" for issue in said)
    return (
        f"{place[0]}: a rule reads it, and nothing in the document came of it: it decided something, or was not needed"
    )
