"""Relate results to each other where the message says so, never by the apparent meaning of a code.

HL7 v2.5.1 chapter 7 relates a child order to the result that caused it, in microbiology the susceptibilities of an
isolate to its identification:

    OBR-29  parent       placer & namespace & ... ^ filler & namespace & ...       the order that has the result
    OBR-26  result       code & text & system ^ sub-id ^ text of the value         OBX-3, OBX-4 and OBX-5 of the result
    OBR-50  service      code of the order (OBR-4), where several have its number

    OBR|1|O1|F1|630-4^Bacteria identified^LN
    OBX|1|CWE|630-4^Bacteria identified^LN|1|112283007^Escherichia coli^SCT
    OBR|2|O1|F2|50545-3^Susceptibility panel^LN|...|630-4&Bacteria identified&LN^1|||O1^F1

Other senders put both below one order and group them by OBX-4, which does not show the head: the channel names it
(setting `head_codes`). From v2.8.2 on OBX-4 is a group and a sequence; the group counts.

ASTM E1394 has neither parents nor sub-ids. There a result with a head code is the head of those that follow it in its
order, until the next head.
"""

from dataclasses import dataclass, field
from typing import Any

from engine.mapping.functions.astm import astm_test_code
from engine.mapping.functions.identifiers import make_identifier
from engine.mapping.functions.registry import function
from engine.mapping.functions.systems import authority
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Segment

Json = dict[str, Any]

_PLACER, _FILLER = 2, 3
# Table 0078: susceptible, intermediate, resistant, moderately, very, not, dose dependent.
SUSCEPTIBILITY = frozenset(["S", "I", "R", "MS", "VS", "NS", "SDD", "SYN-R", "SYN-S", "S-DD"])
_MOST_ORDERS = 100  # of one number: more than a laboratory gives to a culture, and a message stays cheap


@dataclass(slots=True)
class _Order:
    """An OBR with its results.

    Attributes:
        patient: position of the PID before it.
        common: the ORC before it, which may hold its numbers.
        index: its results by code (or words) and sub-id, and by code alone; built on first use.
    """

    segment: Segment
    patient: int
    common: Segment | None
    results: list[Segment] = field(default_factory=list)
    index: dict[tuple[str, str | None], list[Segment]] = field(default_factory=dict)


@dataclass(slots=True)
class _Results:
    """The orders of a message, by their numbers and by the position of their results; read once.

    Attributes:
        settled: positions of results with a known head, or with a warning that there is none.
    """

    orders: dict[tuple[int, int, str], list[_Order]] = field(default_factory=dict)
    of_order: dict[int, _Order] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    of_result: dict[int, _Order] = field(default_factory=dict)
    heads: dict[int, dict[str, list[Segment]]] = field(default_factory=dict)


def _results(run: MessageContext) -> _Results:
    if isinstance(run.results, _Results):
        return run.results
    made = run.results = _Results()
    patient, common, order = 0, None, None
    for segment in run.parsed.segments:
        match segment.name:
            case "PID":
                patient, order = patient + 1, None
            case "ORC":
                common = segment
            case "OBR":
                order = _Order(segment, patient, common)
                common = None
                made.of_order[segment.position] = order
                for number in (_PLACER, _FILLER):
                    if value := run.text(_number(order, number)):
                        made.orders.setdefault((patient, number, value), []).append(order)
            case "OBX" if order is not None:
                order.results.append(segment)
                made.of_result[segment.position] = order
    return made


def _number(order: _Order, field_number: int) -> str:
    """OBR-2 or OBR-3, else the same of the ORC before it."""
    return order.segment.get(field_number) or ("" if order.common is None else order.common.get(field_number))


def _texts(run: MessageContext, raw: str, separator: str) -> list[str | None]:
    return [run.text(part) if part else None for part in raw.split(separator)]


def _agree(left: list[str | None], right: list[str | None]) -> bool:
    """Whether two numbers are one: the same value, and no part in which both say something else."""
    return left[0] == right[0] and all(a == b for a, b in zip(left, right, strict=False) if a and b)


@function("parent_result(order: segment) -> Reference")
def parent_result(run: MessageContext, order: Segment) -> Json | None:
    """The Observation that an OBR names as the result which its own results belong to: by the order's number (OBR-29,
    OBR-50), code and sub-id (OBR-26). Absent without OBR-26; where the message does not hold exactly one such result,
    absent as well, with the warning `PARENT`."""
    found = _parent(run, order)
    return None if found is None else run.accounted.get(found.position)


def _parent(run: MessageContext, order: Segment) -> Segment | None:
    if not (named := order.get(26).partition(run.R)[0].strip()):
        return None
    if run.trace is not None:
        for number in (26, 29, 50):
            run.trace.read(order, number, 0)
    known = _results(run)
    own = known.of_order.get(order.position)
    found = [] if own is None else _named_results(run, named, _parents(run, own, known))
    if own is not None:
        known.settled.update(segment.position for segment in own.results)
    if len(found) != 1:
        what = "no result" if not found else "several results"
        run.warn("PARENT", f"OBR-26 and OBR-29 name a result of another order, and {what} of the message is it")
        return None
    return found[0]


def _parents(run: MessageContext, own: _Order, known: _Results) -> list[_Order]:
    """The orders of the same patient that OBR-29 names, without the order itself. The filler's number decides."""
    numbers = own.segment.get(29).partition(run.R)[0].split(run.C)
    wanted = {
        number: _texts(run, raw, run.S) for number, raw in zip((_PLACER, _FILLER), numbers, strict=False) if raw.strip()
    }
    first = next((number for number in (_FILLER, _PLACER) if number in wanted and wanted[number][0]), 0)
    if not first:
        return []
    service = run.text(own.segment.get(50))
    numbered = known.orders.get((own.patient, first, str(wanted[first][0])), [])
    if len(numbered) > _MOST_ORDERS:
        return []
    return [
        order
        for order in numbered
        if order is not own
        and all(
            _agree(said, theirs)
            for number, said in wanted.items()
            if said[0] and (theirs := _texts(run, _number(order, number), run.C))[0]
        )
        and (service is None or service == run.text(order.segment.get(4)))
    ]


def _named_results(run: MessageContext, named: str, orders: list[_Order]) -> list[Segment]:
    """The results of these orders that OBR-26 may mean; no more than two, for only one is a parent."""
    parts = named.split(run.C)
    code, sub_id = _texts(run, parts[0], run.S), run.part_text(parts, 1)
    names = dict.fromkeys(text for at in (0, 3, 1) if len(code) > at and (text := code[at]))
    found: dict[int, Segment] = {}
    for order in orders:
        index = _index(run, order)
        for name in names:
            for segment in index.get((name, sub_id), ()):
                if _same_code(code, _texts(run, segment.get(3), run.C)):
                    found[segment.position] = segment
                    if len(found) > 1:
                        return list(found.values())
    return list(found.values())


def _index(run: MessageContext, order: _Order) -> dict[tuple[str, str | None], list[Segment]]:
    if not order.index:
        for segment in order.results:
            code = _texts(run, segment.get(3), run.C)
            sub_ids = dict.fromkeys((None, run.text(segment.get(4)), _group(run, segment)))
            for name in dict.fromkeys(text for at in (0, 3, 1) if len(code) > at and (text := code[at])):
                for sub_id in sub_ids:
                    order.index.setdefault((name, sub_id), []).append(segment)
    return order.index


def _same_code(left: list[str | None], right: list[str | None]) -> bool:
    """Whether two CWE mean one code: the first where both have it, else the alternate, else the words."""
    left, right = left + [None] * 6, right + [None] * 6
    for at, system in ((0, 2), (3, 5), (1, 1)):
        if left[at] and right[at]:
            return left[at] == right[at] and (not left[system] or not right[system] or left[system] == right[system])
    return False


def _group(run: MessageContext, segment: Segment) -> str | None:
    """The group of a result by OBX-4: its group component (OG, 2.8.2), else its text."""
    raw = segment.get(4)
    return run.part_text(raw.split(run.C), 1) or run.text(raw)


@function("observations_of(results: segment[]) -> Reference[]")
def observations_of(run: MessageContext, results: list[Segment]) -> list[Json] | None:
    """References to the Observations that OBX or R became; those that were left out have none."""
    return [made for segment in results if (made := run.accounted.get(segment.position)) is not None] or None


@function("has_heads() -> flag!", whole_message=True, settings=("head_codes",))
def has_heads(run: MessageContext) -> bool:
    """Whether the channel names codes of results that others with the same OBX-4 belong to (setting `head_codes`)."""
    return bool(_head_codes(run))


def _head_codes(run: MessageContext) -> frozenset[str]:
    said = run.settings.get("head_codes")
    return frozenset() if not said else frozenset([said] if isinstance(said, str) else map(str, said))


@function("head_result(result: segment) -> Reference", settings=("head_codes",))
def head_result(run: MessageContext, result: Segment) -> Json | None:
    """The Observation that a result belongs to: of its order the one with the same OBX-4 whose code is one of the
    channel's `head_codes`. Absent where that is not exactly one, and for the head itself."""
    found = _head(run, result)
    return None if found is None else run.accounted.get(found.position)


def _head(run: MessageContext, result: Segment) -> Segment | None:
    codes = _head_codes(run)
    group = _group(run, result)
    known = _results(run)
    order = known.of_result.get(result.position)
    if group is None or order is None:
        return None
    heads = known.heads.get(order.segment.position)
    if heads is None:
        heads = known.heads[order.segment.position] = {}
        for segment in order.results:
            code = _texts(run, segment.get(3), run.C) + [None] * 4
            if (own := _group(run, segment)) is not None and (code[0] in codes or code[3] in codes):
                heads.setdefault(own, []).append(segment)
    if run.trace is not None:
        run.trace.read(result, 4, 0)
    found = heads.get(group, [])
    if result in found:
        return None
    if found:
        known.settled.add(result.position)
    if len(found) > 1:
        run.warn("PARENT", "several results with the same OBX-4 are heads of it (setting head_codes)")
    return found[0] if len(found) == 1 else None


@function("head_of(result: segment, order: segment?) -> decimal", settings=("head_codes",))
def head_of(run: MessageContext, result: Segment, order: Segment | None = None) -> str | None:
    """The number, among its like, of the OBX or R that a result belongs to: as `head_result` and `head_before` find it,
    else as the `order` names it (`parent_result`)."""
    if result.name == "R":
        before = head_before_at(run, result)
        return None if before is None else str(run.parsed.segments[before - 1].ordinal)
    found = _head(run, result) if _head_codes(run) else None
    if found is None and order is not None:
        found = _parent(run, order)
    return None if found is None else str(found.ordinal)


@function("is_head(result: segment) -> flag!", settings=("head_codes",))
def is_head(run: MessageContext, result: Segment) -> bool:
    """Whether the code of a result (OBX-3, R-3) is one of the channel's `head_codes`."""
    if not (codes := _head_codes(run)):
        return False
    if result.name == "R":
        return astm_test_code(run, result.get(3)) in codes
    code = _texts(run, result.get(3), run.C) + [None] * 4
    return not codes.isdisjoint((code[0], code[3]))


@function("head_before(result: segment) -> Reference", settings=("head_codes",))
def head_before(run: MessageContext, result: Segment) -> Json | None:
    """The Observation that a result of E1394 belongs to: of the results before it in its order the last whose code is
    one of the channel's `head_codes`. Absent where there is none, and for a head itself."""
    head = head_before_at(run, result)
    return None if head is None else run.accounted.get(head)


def head_before_at(run: MessageContext, result: Segment) -> int | None:
    """The position of that result."""
    if not isinstance(run.results, _Before):
        run.results = _Before(_heads_before(run))
    return run.results.heads.get(result.position)


@dataclass(slots=True)
class _Before:
    """Position of a result -> position of its head; read once."""

    heads: dict[int, int]


def _heads_before(run: MessageContext) -> dict[int, int]:
    found: dict[int, int] = {}
    head: int | None = None
    for segment in run.parsed.segments:
        if segment.name in ("P", "O"):
            head = None
        elif segment.name == "R":
            if is_head(run, segment):
                head = segment.position
            elif head is not None:
                found[segment.position] = head
    return found


@function("unlinked() -> flag!")
def unlinked(run: MessageContext) -> bool:
    """Whether nothing says to which isolate a susceptibility of the message belongs: a result with S, I or R (and the
    like) as value or flag, without a head (`parent_result`, `head_result`), where one code has several results:
    isolates, or the same antibiotic of each."""
    tested = run.tested
    if tested is None:
        says_none = SUSCEPTIBILITY.isdisjoint
        tested = run.tested = [
            segment
            for segment in run.parsed.segments
            if not says_none(segment.fields[5:9:3]) and segment.name == "OBX"  # OBX-5 and OBX-8
        ]
    if not tested:
        return False
    known = _results(run)
    loose = [one for one in tested if run.accounted.get(one.position) and one.position not in known.settled]
    if not loose:
        return False
    seen: set[tuple[int, str]] = set()
    patients = {order.patient for one in loose if (order := known.of_result.get(one.position)) is not None}
    for position, order in known.of_result.items():
        if order.patient in patients and run.accounted.get(position) and position not in known.settled:
            code = run.text(run.parsed.segments[position - 1].get(3)) or ""
            if (order.patient, code) in seen:
                return True
            seen.add((order.patient, code))
    return False


@function("parent_order(parent: field) -> Reference")
def parent_order(run: MessageContext, raw: str) -> Json | None:
    """The order that an EIP names (OBR-29, ORC-8), by its filler's number, else by its placer's."""
    parts = raw.split(run.C)
    for at, kind in ((1, "FILL"), (0, "PLAC")):
        texts = _texts(run, parts[at], run.S) if len(parts) > at else [None]
        if texts[0]:
            system = authority(run, *([*texts[1:4], None, None, None][:3])) if len(texts) > 1 else None
            return {"type": "ServiceRequest", "identifier": make_identifier(system, texts[0], kind)}
    return None
