"""Answers to orders of a laboratory system: ORR^O02, ORL^O22, ORL^O34 and ORL^O36. Pure.

    MSH | their receiver | their sender | ORL^O22^ORL_O22
    MSA | AA | their MSH-10 | before 2.5 the reason of the first line that was refused
    {ERR}   from 2.5: one for each order that was refused
    {PID {ORC | OK UA CR UC XR UX HR UH OR UR | numbers | | SC ; OBR {SPM SAC}}}     as the order had them

OK says that an order is on the worklist of LabRelay, and never that an analyzer knows it. The caller writes the answer
after the order is durable. A message without any ORC and OBR may be cut off: it is refused. A sender that asks for both
acknowledgements (MSH-15, MSH-16) gets a commit accept in front. Orders of former results (PRIOR_RESULT) and
observations are not repeated.

Source: HL7 v2.5.1 chapter 4 (4.4.2, 4.4.7, 4.4.9, 4.4.11), tables 0119, 0038 and 0357.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.codecs.hl7v2.acknowledgement import TABLE_0357, AckError, acknowledge, read_ack
from adapters.codecs.hl7v2.order_status import TASK_FIELD, header
from adapters.codecs.hl7v2.text import escape, unescape
from engine.model.message import Delimiters, Group, Parsed, Segment
from engine.model.orders import Action, AnsweredOrders, ItemReason, ItemState, LineAnswer

EVENTS = {"ORM_O01": ("ORR", "O02"), "OML_O21": ("ORL", "O22"), "OML_O33": ("ORL", "O34"), "OML_O35": ("ORL", "O36")}
"""Structure of the order -> message type and event of its answer."""

# ORC-1 of the answer (table 0119): done, not done; ORC-5 (table 0038) where it was done.
_CODES: dict[Action, tuple[str, str, str]] = {
    "new": ("OK", "UA", "SC"),
    "add": ("OK", "UA", "SC"),
    "rerun": ("OK", "UA", "SC"),
    "change": ("XR", "UX", "SC"),
    "cancel": ("CR", "UC", "CA"),
    "hold": ("HR", "UH", "HD"),
    "release": ("OR", "UR", "SC"),
    "unknown": ("UA", "UA", ""),
}
# Why a line was refused: the code of table 0357, and the segment and field at fault.
_FAULTS: dict[ItemReason, tuple[int, str, int]] = {
    ItemReason.UNKNOWN_ACTION: (103, "ORC", 1),
    ItemReason.UNKNOWN_TEST: (103, "OBR", 4),
    ItemReason.NO_SPECIMEN: (101, "OBR", 0),
    ItemReason.UNKNOWN_CHANNEL: (103, "OBR", 0),
    ItemReason.CONTROL_NUMBER: (103, "OBR", 0),
    ItemReason.ORDER_CONFLICT: (205, "ORC", 2),
    ItemReason.SPECIMEN_CONFLICT: (205, "OBR", 0),
    ItemReason.TOO_MANY_LINES: (207, "ORC", 1),
    ItemReason.TOO_MANY_ITEMS: (207, "OBR", 0),
}
# ORC-5 of an order that an act came too late for: it goes on, or has its result.
_GOES_ON: Mapping[ItemState, str] = {
    ItemState.WAITING: "SC",
    ItemState.OFFERED: "SC",
    ItemState.ACCEPTED: "IP",
    ItemState.IN_PROGRESS: "IP",
    ItemState.RESULTED: "CM",
}
_ACTS = frozenset({"cancel", "hold", "release"})  # on an order that the line must name
_OF_ACTS = frozenset({"CA", "OC", "DC", "HD", "RL", ""})  # their ORC-1; that of an OBR without ORC
_NOT_DONE = (204, "ORC", 2)  # no such order, or too late
_SINCE_ERR = (2, 5)  # ERR with a text of its own; before, the text is in MSA-3
_SINCE_STRUCTURE = (2, 3, 1)  # MSH-9.3


_NO_ORDER = "no order (ORC, OBR) is in the message; it is kept, and nothing was ordered"
_NO_LINE = LineAnswer(action="unknown", done=False, text="no order was made of this")


_Key = tuple[str, str, str]  # the numbers of the placer and the filler, the test


@dataclass(slots=True)
class _Order:
    """One ORC, one OBR, or both, of the message that is answered."""

    orc: Segment | None = None
    obr: Segment | None = None
    outcomes: list[LineAnswer] = field(default_factory=list)

    @property
    def outcome(self) -> LineAnswer:
        """That of all its lines: it is done where each of them is."""
        return next((one for one in self.outcomes if not one.done), self.outcomes[0] if self.outcomes else _NO_LINE)


def said(
    payload: bytes,
    parsed: Parsed,
    outcomes: Sequence[LineAnswer],
    *,
    control_id: str,
    now: str,
    ack_code: str = "",
    later: bool = False,
) -> list[bytes]:
    """The answers to an order message, as its sender asks for them.

    Args:
        outcomes: of its lines, in their order.
        control_id: MSH-10 of the first. now: MSH-7. ack_code: as of `acknowledge`.
        later: a sender that asks for two gets the second one elsewhere (`later`).

    Raises:
        KeyError: the message is no order (`EVENTS`).
    """
    if not _has_orders(parsed):
        return refused(payload, _NO_ORDER, control_id=control_id, now=now, ack_code=ack_code)
    if ack_code or not any(_asked(parsed)):
        return [answer(parsed, outcomes, control_id, now)]
    first = commit_accept(payload, control_id=control_id, now=now)
    wants = _wants(parsed, outcomes) and not later
    second = answer(parsed, outcomes, f"{control_id}A", now, alone=True) if wants else None
    return [one for one in (first, second) if one is not None]


def _has_orders(parsed: Parsed) -> bool:
    return any(segment.name in ("ORC", "OBR") for segment in parsed.segments)


def later(asked: AnsweredOrders, parsed: Parsed | None, *, control_id: str, now: str, has_line: bool) -> bytes | None:
    """The answer that does not go out on the connection of the orders; None: there is none to give.

    Args:
        parsed: the message; None: no order of it was taken.
        has_line: its sender reads answers on its connection, too: those that it does not ask for elsewhere, and that a
            message is refused.
    """
    if parsed is None or parsed.structure not in EVENTS:
        text = asked.refused or "the message cannot be read any more"
        found = [] if has_line or parsed is not None else refused(asked.payload, text, control_id=control_id, now=now)
        return found[0] if found else None
    if not _has_orders(parsed):
        found = [] if has_line else refused(asked.payload, _NO_ORDER, control_id=control_id, now=now)
        return found[0] if found else None
    if not any(_asked(parsed)):
        return None if has_line else answer(parsed, asked.answers, control_id, now)
    return answer(parsed, asked.answers, control_id, now, alone=True) if _wants(parsed, asked.answers) else None


def plain(
    asked: AnsweredOrders, *, control_id: str, now: str, settings: Mapping[str, Any], names_task: bool = False
) -> bytes:
    """The answer to orders that did not come as HL7 v2, as ORR^O02: MSA-2 is the control id of their message, or its
    number. ORC-5 is also there where an act came too late: the order goes on, or has its result.

    Args:
        names_task: ORC-33 is the Task that was answered, ``Task/17``; MSA-2 has its version, too.
        settings: as of `adapters.codecs.hl7v2.order_status.message`.
    """
    code = "AR" if asked.refused else "AA"
    kind, _, version = asked.control_id.rpartition("/")
    task = _plain(kind) if names_task and version and kind.startswith("Task/") else ""
    lines = [
        "|".join([*header(settings, now, "ORR^O02^ORR_O02", control_id)]),
        "|".join(["MSA", code, _plain(asked.control_id or asked.message_id)]),
    ]
    if asked.refused:
        lines.append(
            "|".join(["ERR", "", "", f"207^{TABLE_0357[207]}^HL70357", "E", "", "", "", _plain(asked.refused)])
        )
    for place, one in enumerate(asked.answers, start=1):
        if not one.done:
            condition = _FAULTS.get(one.reason, _NOT_DONE)[0]
            coded = f"{condition}^{TABLE_0357[condition]}^HL70357"
            lines.append("|".join(["ERR", "", f"ORC^{place}", coded, "E", "", "", "", _plain(_words(one))]))
    for place, one in enumerate(asked.answers, start=1):
        done, not_done, status = _CODES[one.action]
        numbers = [_plain(one.placer), _plain(one.filler)]
        if not one.done:
            status = _GOES_ON.get(one.state, "") if one.state is not None else ""
        common = ["ORC", done if one.done else not_done, *numbers, "", status]
        lines.append("|".join([*common, *[""] * (TASK_FIELD - len(common)), task]))
        lines.append("|".join(["OBR", str(place), *numbers, _plain(one.test)]))
    return "".join(line.rstrip("|") + "\r" for line in lines).encode("utf-8", "replace")


def _plain(value: object) -> str:
    return escape(str(value), Delimiters())


def _asked(parsed: Parsed) -> tuple[str, str]:
    """MSH-15 and MSH-16."""
    return _raw(parsed.segments[0], 15).strip().upper(), _raw(parsed.segments[0], 16).strip().upper()


def _wants(parsed: Parsed, outcomes: Sequence[LineAnswer]) -> bool:
    """Whether the sender asks for the application's answer (MSH-16)."""
    wanted = _asked(parsed)[1]
    return wanted == "AL" or wanted == ("SU" if all(one.done for one in outcomes) else "ER")


def refused(payload: bytes, text: str, *, control_id: str, now: str, ack_code: str = "") -> list[bytes]:
    """The answer to a message of which no order was taken. ``text``: why, for a person."""
    error = AckError(207, text=text, reject=True)
    found = acknowledge(payload, now_text=now, control_id=control_id, ack_code=ack_code, error=error)
    return [] if found is None else [found]


def commit_accept(payload: bytes, *, control_id: str, now: str) -> bytes | None:
    """CA, which says that a message is kept, and nothing of its orders; None where its sender wants none (MSH-15)."""
    said = acknowledge(payload, now_text=now, control_id=control_id)
    return said if said is not None and read_ack(said).code == "CA" else None


def answer(parsed: Parsed, outcomes: Sequence[LineAnswer], control_id: str, now: str, *, alone: bool = False) -> bytes:
    """The answer to an order message, with a CR after each segment.

    Args:
        outcomes: of its lines, in their order.
        control_id: MSH-10 of the answer. now: MSH-7, ``YYYYMMDDHHMMSS`` in the channel's zone.
        alone: a commit accept went before it, so it asks for none itself.

    Raises:
        KeyError: the message is no order (`EVENTS`).
    """
    kind, event = EVENTS[parsed.structure]
    parts = list(_parts(parsed, kind))
    orders = [part for part in parts if isinstance(part, _Order)]
    _give(parsed, orders, outcomes)
    version = _version(_raw(parsed.segments[0], 12))
    refused = [order for order in orders if not order.outcome.done]
    asks = "NE" if alone else ""
    lines = [_header(parsed, kind, event, control_id, now, version, asks), _acknowledged(parsed, refused, version)]
    if version >= _SINCE_ERR:
        lines += [_error(parsed, order) for order in refused]
    for part in parts:
        lines += _order(parsed, part) if isinstance(part, _Order) else [_echoed(parsed, part)]
    return "".join(line.rstrip(parsed.delimiters.field) + "\r" for line in lines).encode(parsed.charset, "replace")


def _parts(parsed: Parsed, kind: str) -> Iterator[_Order | Segment]:
    """The segments that the answer repeats, in the order of the message; an ORC and the OBR behind it are one."""
    former = set(_positions_of_former(parsed.root))
    order: _Order | None = None
    repeated = ("PID", "SPM", "SAC") if kind == "ORL" else ("PID",)
    for segment in parsed.segments:
        if segment.position in former:
            continue
        if segment.name == "ORC" or (segment.name == "OBR" and (order is None or order.obr is not None)):
            order = _Order(orc=segment) if segment.name == "ORC" else _Order(obr=segment)
            yield order
        elif segment.name == "OBR" and order is not None:
            order.obr = segment
        elif segment.name in repeated:
            order = None
            yield segment


def _positions_of_former(group: Group, *, inside: bool = False) -> Iterator[int]:
    inside = inside or group.name == "PRIOR_RESULT"
    if inside:
        yield from (segment.position for segments in group.segments.values() for segment in segments)
    for groups in group.groups.values():
        for one in groups:
            yield from _positions_of_former(one, inside=inside)


def _give(parsed: Parsed, orders: Sequence[_Order], outcomes: Sequence[LineAnswer]) -> None:
    """Give each order the outcomes of its lines: by its numbers and test, and by place where several have the same."""
    by_key: dict[_Key, tuple[list[_Order], list[LineAnswer]]] = {}
    known = {(one.placer, one.filler, one.test) for one in outcomes}
    acts = {(one.placer, one.filler, one.test) for one in outcomes if one.action in _ACTS}
    keys = [_key(parsed, order, acts) for order in orders]
    if not known.issubset(keys):  # OBR-2 is the number on the tube
        by_orc = [_key(parsed, order, acts, orc_first=True) for order in orders]
        keys = max(keys, by_orc, key=lambda found: len(known.intersection(found)))
    for order, key in zip(orders, keys, strict=True):
        by_key.setdefault(key, ([], []))[0].append(order)
    for one in outcomes:
        if (same_key := by_key.get((one.placer, one.filler, one.test))) is not None:
            same_key[1].append(one)
    for same, found in by_key.values():
        for at, order in enumerate(same):
            order.outcomes = [found[at]] if len(found) == len(same) else found


def _key(parsed: Parsed, order: _Order, acts: Container[_Key], *, orc_first: bool = False) -> _Key:
    """The numbers and test of an order, as its line has them.

    Args:
        acts: those of the lines that act on an order. One has no number where only that on the tube is there.
        orc_first: the number in ORC-2 counts before that in OBR-2.
    """
    by_orc, by_obr = _text(parsed, order.orc, 2), _text(parsed, order.obr, 2)
    filler = _text(parsed, order.obr, 3) or _text(parsed, order.orc, 3)
    key = (by_orc or by_obr) if orc_first else (by_obr or by_orc), filler, _text(parsed, order.obr, 4)
    nameless = "", *key[1:]
    may_be_nameless = not by_orc and _text(parsed, order.orc, 1) in _OF_ACTS
    return nameless if may_be_nameless and key not in acts and nameless in acts else key


def _header(
    parsed: Parsed, kind: str, event: str, control_id: str, now: str, version: tuple[int, ...], asks: str
) -> str:
    msh, component = parsed.segments[0], parsed.delimiters.component
    names = (kind, event, f"{kind}_{event}") if version >= _SINCE_STRUCTURE else (kind, event)
    fields = [f"MSH{parsed.delimiters.field}{_raw(msh, 2)}", *(_raw(msh, number) for number in (5, 6, 3, 4))]
    fields += [now, "", component.join(names), control_id, _raw(msh, 11), _raw(msh, 12)]
    fields += ["", "", asks, asks, "", _raw(msh, 18)]
    return parsed.delimiters.field.join(fields)


def _acknowledged(parsed: Parsed, refused: Sequence[_Order], version: tuple[int, ...]) -> str:
    fields = ["MSA", "AA", _raw(parsed.segments[0], 10)]
    if refused and version < _SINCE_ERR:
        fields.append(escape(_words(refused[0].outcome), parsed.delimiters))
    return parsed.delimiters.field.join(fields)


def _error(parsed: Parsed, order: _Order) -> str:
    outcome = order.outcome
    condition, name, number = _FAULTS.get(outcome.reason, _NOT_DONE)
    segment = order.obr if name == "OBR" and order.obr is not None else order.orc or order.obr
    assert segment is not None
    place = [segment.name, str(segment.ordinal), *([str(number)] if number and segment.name == name else [])]
    coded = [str(condition), TABLE_0357[condition], "HL70357"]
    join = parsed.delimiters.component.join
    words = escape(_words(outcome), parsed.delimiters)
    return parsed.delimiters.field.join(["ERR", "", join(place), join(coded), "E", "", "", "", words])


def _order(parsed: Parsed, order: _Order) -> Iterator[str]:
    """ORC, and OBR with its numbers and test."""
    outcome = order.outcome
    done, refused, status = _CODES[outcome.action]
    numbers = [_raw(order.orc, number) or _raw(order.obr, number) for number in (2, 3)]
    code = done if outcome.done else refused
    yield parsed.delimiters.field.join(["ORC", code, *numbers, _raw(order.orc, 4), status if outcome.done else ""])
    if order.obr is not None:
        yield parsed.delimiters.field.join(["OBR", *(_raw(order.obr, number) for number in range(1, 5))])


def _echoed(parsed: Parsed, segment: Segment) -> str:
    """A segment that says whose the orders are, or of which tube; of PID its numbers and name alone."""
    return parsed.delimiters.field.join(segment.fields[:6] if segment.name == "PID" else segment.fields)


def _words(outcome: LineAnswer) -> str:
    return outcome.text or outcome.reason.value or "the order could not be carried out"


def _raw(segment: Segment | None, number: int) -> str:
    return segment.fields[number] if segment is not None and len(segment.fields) > number else ""


def _text(parsed: Parsed, segment: Segment | None, number: int) -> str:
    """The first component of a field, as a mapping reads it."""
    signs = parsed.delimiters
    raw = _raw(segment, number)
    for sign in (signs.repetition, signs.component, signs.subcomponent):
        raw = raw.partition(sign)[0] if sign else raw
    text = unescape(raw, signs, parsed.charset).strip()
    return "" if text == '""' else text


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.partition("^")[0].split(".") if part.isdecimal())
