"""When the results of a message were collected and measured: for the reports on turnaround. Pure.

They are made of every message. This reads its segments: reading its facts takes four times as long.

    result      HL7 v2 each OBX but those whose OBX-2 is a setting, an attachment, a time (`_NO_RESULTS`), and answers
                at order entry (OBX-29); E1394 each R
    specimen    SAC-3, else SPM-2, else OBR-3, OBR-2; O-3, else O-4 where that is no count of the instrument's
    collected   SPM-17.1, else OBR-7; O-8
    resulted    OBX-19, else OBX-14, OBR-22; R-13
    test        OBX-3 whole, with OBX-4; R-3 whole: several results of one specimen may have one code (GeneXpert)
    state       as `engine.model.content.order_results` reads it

A control is no result here: one that the mapping's filter takes out, or whose specimen or order says so. A time
without minutes is none, since its turnaround would be a guess, and so is one of a clock that has lost its battery.
Formats other than these two have no common place for times, and no results here.
Of a tube's number in several components (Sysmex: rack ^ tube ^ number ^ attribute) the number is the third, where the
fourth is one of the maker's attributes; else the first. One that the analyzer has counted (A) is none.
"""

from collections.abc import Callable, Container, Mapping
from functools import lru_cache
from typing import NamedTuple

from engine.model.content.order_results import CORRECTS, FINAL, MOST, RESULTS, WITHDRAWN, states_of
from engine.model.content.quality_controls import ASTM_ROLE, PATIENT, ROLES, SPECIMEN_ROLES
from engine.model.message import Delimiters, Group, Parsed, Segment
from engine.model.values import value

MAX_CODE = 40  # characters of a code
_ANSWERS = frozenset({"QST", "SCI"})  # HL7 table 0936: who orders says it, and no analyzer measures it
_AROUND = frozenset({"PID", "SPM", "SAC", "OBR", "P", "O"})
_OF_RESULTS = ("OBSERVATION", "RESULT")  # groups of one result each
_SPECIMENS = ("SPM", "SAC")
_COUNTED = "A"
_ATTRIBUTES = frozenset("ABCM")  # Sysmex: counted, read, given by the host, typed in
_NO_RESULTS = frozenset({"IS", "ED", "RP", "DT", "TM", "TS", "DTM"})
_FIELDS = 30
FINAL_RESULT, CORRECTION, PRELIMINARY = "F", "C", "P"
_STATES = {
    kind: dict.fromkeys(FINAL[kind], FINAL_RESULT) | dict.fromkeys(CORRECTS[kind] | WITHDRAWN[kind], CORRECTION)
    for kind in FINAL
}


@value()
class ResultGroup:
    """Results of a message that have the specimen, the times and the state in common.

    Attributes:
        patient, specimen: numbers, patient data; empty where the message names none.
        collected_us, resulted_us: microseconds since 1970; 0: the message has no such time.
        state: `FINAL_RESULT`, `CORRECTION` (also a withdrawal), `PRELIMINARY`.
        codes: of each result, as the analyzer writes it, for people; empty where no code table had it.
        tests: of each result, the same where it is a result of the same test; the sender's text, as patient data.
    """

    patient: str
    specimen: str
    collected_us: int
    resulted_us: int
    state: str
    codes: tuple[str, ...]
    tests: tuple[str, ...]


def result_groups(
    parsed: Parsed,
    at: Callable[[str], int],
    controls: Container[int] = (),
    without_row: Container[int] = (),
    *,
    counts: bool = False,
) -> tuple[ResultGroup, ...]:
    """The results of a message by what they have in common.

    Args:
        at: reads a time (`engine.processing.process.exact_times`): microseconds since 1970; 0: it is none.
        controls: positions of the segments that the mapping's filter has taken out.
        without_row: positions of those whose code no code table had.
        counts: O-4 is a number of the instrument's own, which is never that of a tube.
    """
    kind = parsed.format
    if kind not in FINAL:
        return ()
    hl7, cut = kind == "hl7v2", parsed.delimiters
    states = _STATES[kind]
    known: dict[str, int] = {"": 0}

    def time(text: str) -> int:
        found = known.get(text)
        if found is None:
            found = known[text] = at(first_of(text, cut))
        return found

    read = _hl7 if hl7 else _astm
    rows: list[tuple[_Of, Segment]] = []
    _collect(parsed.root, {}, RESULTS[kind], lambda near: read(near, cut, counts), rows)
    del rows[MOST:]
    whole = [_whole(result.fields) for _, result in rows]
    named = [_named(fields[3], fields[4] if hl7 else "", cut.component, hl7) for fields in whole]
    told = [fields[11 if hl7 else 9].strip() for fields in whole]
    if not all(told):
        said = [
            ((of.patient, of.specimen, code), own, of.report)
            for (of, _), (code, _), own in zip(rows, named, told, strict=True)
        ]
        told = states_of(said, kind)
    found: dict[tuple[str, str, int, int, str], list[tuple[str, str]]] = {}
    before: _Of | None = None
    alike: dict[tuple[str, str, str], list[tuple[str, str]]] = {}  # of what the results at hand are of
    collected = around = 0
    for (of, result), fields, (code, test), status in zip(rows, whole, named, told, strict=True):
        if of is not before:
            before, collected, around = of, time(of.drawn) or time(of.collected), time(of.issued)
            alike = {}
        if of.control or result.position in controls or (hl7 and _is_none(fields, cut)):
            continue
        when = (fields[19], fields[14], status) if hl7 else (fields[13], "", status)
        if (mine := alike.get(when)) is None:
            resulted = time(when[0]) or time(when[1]) or around
            key = of.patient, of.specimen, collected, resulted, states.get(status, PRELIMINARY)
            mine = alike[when] = found.setdefault(key, [])
        mine.append(("" if result.position in without_row else code[:MAX_CODE], test))
    return tuple(
        ResultGroup(*key, tuple(code for code, _ in rows), tuple(test for _, test in rows))
        for key, rows in found.items()
    )


class _Of(NamedTuple):
    """What results are of: numbers, and times as sent.

    Attributes:
        drawn: of the specimen; ``collected``, ``issued``: of the order.
        report: its status. control: the order or the specimen is no patient's.
    """

    patient: str = ""
    specimen: str = ""
    drawn: str = ""
    collected: str = ""
    issued: str = ""
    report: str = ""
    control: bool = False


_Near = Mapping[str, list[Segment]]
_NONE = [Segment("", [], 0, 0)]


def _collect(
    group: Group, near: _Near, result: str, read: Callable[[_Near], _Of], rows: list[tuple[_Of, Segment]]
) -> None:
    """The results in a group, with what they are of. ``near``: the segments around it, by name."""
    own = {name: found for name, found in group.segments.items() if name in _AROUND}
    if own:
        around = _inside(group) if "OBR" in own or "SPM" in own else {}
        near = {**near, **own, **around}
    inside = [one for name in _OF_RESULTS for one in group.groups.get(name, ())]
    if found := [segment for one in (group, *inside) for segment in one.segments.get(result, ())]:
        of = read(near)
        rows += [(of, segment) for segment in found]
    for name, groups in group.groups.items():
        for one in groups if name not in _OF_RESULTS else ():
            _collect(one, near, result, read, rows)


def _inside(group: Group) -> dict[str, list[Segment]]:
    """The specimens and containers of an order or a specimen."""
    found: dict[str, list[Segment]] = {name: group.segments[name] for name in _SPECIMENS if name in group.segments}
    for one in [*group.groups.get("SPECIMEN", ()), *group.groups.get("CONTAINER", ())]:
        for name, segments in _inside(one).items():
            found[name] = [*found.get(name, ()), *segments]
    return found


def _hl7(near: _Near, cut: Delimiters, counts: bool) -> _Of:
    order, person = near.get("OBR", _NONE)[0], near.get("PID", _NONE)[0]
    specimen = next((one for at in (3, 2) if (one := first_of(order.get(at), cut)) not in ("", '""')), "")
    side = order.get(15).split(cut.component or "^")[6:7]
    control = bool(side) and first_of(side[0], cut) in ROLES
    drawn = ""
    if specimens := near.get("SPM"):
        numbers, roles, times = ({first_of(one.get(at), cut) for one in specimens} for at in (2, 11, 17))
        specimen = "" if len(numbers) > 1 else numbers.pop() or specimen
        drawn = times.pop() if len(times) == 1 else ""
        said = {role.upper() for role in roles}
        control = said <= SPECIMEN_ROLES or (control and PATIENT not in said)
    if len(containers := near.get("SAC", [])) == 1:
        specimen = first_of(containers[0].get(3), cut) or specimen
    patient, report = first_of(person.get(3), cut), order.get(25).strip()
    return _Of(patient, specimen, drawn, order.get(7), order.get(22), report, control)


def _astm(near: _Near, cut: Delimiters, counts: bool) -> _Of:
    person, order = near.get("P", _NONE)[0], near.get("O", _NONE)[0]
    patient = first_of(person.get(3), cut) or first_of(person.get(4), cut)
    specimen = tube_of(order.get(3), cut) or ("" if counts else tube_of(order.get(4), cut))
    control = first_of(order.get(12), cut).upper() == ASTM_ROLE
    return _Of(patient, specimen, "", order.get(8), "", order.get(26).strip(), control)


def tube_of(field: str, cut: Delimiters, *, counted: bool = False) -> str:
    """The number of a tube. ``counted``: also one that the analyzer has counted."""
    parts = [part.strip() for part in field.split(cut.component)] if cut.component else [field.strip()]
    if len(parts) > 3 and parts[3] in _ATTRIBUTES:
        return "" if parts[3] == _COUNTED and not counted else parts[2]
    return parts[0]


def first_of(field: str, cut: Delimiters) -> str:
    """The first component of the first repetition, without the subcomponents behind it."""
    for sign in (cut.repetition, cut.component, cut.subcomponent):
        if sign:
            field = field.partition(sign)[0]
    return field.strip()


def _whole(fields: list[str]) -> list[str]:
    """With all fields that are read here."""
    return fields if len(fields) >= _FIELDS else [*fields, *[""] * (_FIELDS - len(fields))]


def _is_none(fields: list[str], cut: Delimiters) -> bool:
    said = fields[29]
    return fields[2] in _NO_RESULTS or (bool(said) and first_of(said, cut) in _ANSWERS)


@lru_cache(maxsize=4096)
def _named(name: str, sub: str, component: str, hl7: bool) -> tuple[str, str]:
    """The code of a result, and its test."""
    return _code(name, component, hl7), f"{name.strip()}\0{sub.strip()}" if hl7 else name.strip()


def _code(field: str, component: str, hl7: bool) -> str:
    """OBX-3.1, else OBX-3.4 (Abbott ARCHITECT); of R-3 the first of components 4 and on, else 1."""
    first, *others = field.split(component) if component else [field]
    if hl7 and first:
        return first.strip()
    other = next(filter(None, map(str.strip, others[2:3] if hl7 else others[2:])), "")
    return other or first.strip()
