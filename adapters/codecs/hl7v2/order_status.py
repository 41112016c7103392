"""A change of an order as a message for its laboratory system: ORM^O01. Pure.

    ORC-1  ORC-5
    SC     SC      released: the hold that the answer spoke of is over
    SC     IP      an analyzer has accepted it, or has begun it
    SC     CM      its final result came
    UA     CA      the analyzer has refused it
    OC     CA      cancelled here; its time is over

ORC-2, ORC-3, OBR-2 and OBR-3 are as the order had them. OBR-4 is the test or panel that the order named; where one test
of a panel has ended without a result, it is that test. ORC-16 is REFUSED, CANCELLED or EXPIRED. NTE has the analyzer's
words; of a complete panel the tests without a result. A delimiter in a text is escaped. ORC-33 is the
Task of the laboratory system, where that is to be changed, too: ``Task/17``.

Of a reflex that an analyzer made itself OBR-11 is G, ORC-8 and OBR-29 have the numbers of the order that it is of,
ORC-2 is empty, and ORC-3 is our number of it.

Source: HL7 v2.5.1 chapter 4 (4.4.1), tables 0119, 0038 and 0065.
"""

from collections.abc import Mapping
from typing import Any

from adapters.codecs.hl7v2.text import escape
from engine.model.message import Delimiters
from engine.model.orders import OrderedPatient, Status, StatusChange, item_id

TYPE = "ORM^O01"
REFLEX, FILLER = "G", "LABRELAY"  # OBR-11; who gives the number of an order that no laboratory system ordered
TASK_FIELD = 33  # ORC-33, Alternate Placer Order Number
_CODES: dict[Status, tuple[str, str]] = {
    Status.ACCEPTED: ("SC", "IP"),
    Status.IN_PROGRESS: ("SC", "IP"),
    Status.COMPLETED: ("SC", "CM"),
    Status.REFUSED: ("UA", "CA"),
    Status.CANCELLED: ("OC", "CA"),
    Status.EXPIRED: ("OC", "CA"),
    Status.RELEASED: ("SC", "SC"),
}
_WORDS: dict[Status, str] = {
    Status.REFUSED: "the analyzer has refused it",
    Status.CANCELLED: "cancelled in the laboratory",
    Status.EXPIRED: "its time is over",
}
_SIGNS = Delimiters()


def control_id(change: StatusChange) -> str:
    """MSH-10: the number of the order and of the row of its history, and P where it is of a panel; no two changes
    share one."""
    return f"{item_id(change.item)}.{change.n}{'P' if change.of_panel else ''}"


def message(change: StatusChange, *, at: str, settings: Mapping[str, Any], names_task: bool = False) -> bytes:
    """The message, with a CR after each segment, as UTF-8.

    Args:
        names_task: ORC-33 names the Task of the order; not of a change of one test of a panel alone.
        at: the time of the change, ``YYYYMMDDHHMMSS+ZZZZ``.
        settings: of the channel: ``sending_application``, ``sending_facility``, ``receiving_application``,
            ``receiving_facility``, ``hl7_version``.
    """
    line = change.line
    code, state = _CODES[change.status]
    placer, filler = _joined(line.placer, line.placer_namespace), _text(line.filler)
    task = line.task if names_task and (change.of_panel or not line.panel) else ""
    order = ["OBR", "1", placer, filler, _joined(change.test, change.test_name, line.test_system)]
    parent = ""
    if change.parent is not None:
        of = change.parent
        parent = "^".join([_joined(of.placer, of.placer_namespace, between="&"), _text(of.filler)]).rstrip("^")
        order[3] = filler = _joined(item_id(change.item), FILLER)
        order += [""] * 6 + [REFLEX] + [""] * 17 + [parent]
    segments = [
        header(settings, at, TYPE, control_id(change)),
        *_patient(line.patient),
        [
            *("ORC", code, placer, filler, _text(line.group), state, "", "", parent, at),
            *([""] * 6 + [_why(change)] + [""] * (TASK_FIELD - 17) + [_text(task)]),
        ],
        order,
        *(["NTE", str(at), "", _text(words)] for at, words in enumerate(_notes(change), start=1)),
    ]
    return "".join(f"{'|'.join(fields).rstrip('|')}\r" for fields in segments).encode("utf-8", "replace")


def header(settings: Mapping[str, Any], at: str, kind: str, control_id: str) -> list[str]:
    """MSH of a message of ours. ``settings``, ``at``: as of `message`."""
    names = [_text(settings.get(name, usual)) for name, usual in _NAMES]
    version = _text(settings.get("hl7_version", "2.5.1"))
    return ["MSH", "^~\\&", *names, at, "", kind, control_id, "P", version, "", "", "", "", "", "UNICODE UTF-8"]


_NAMES = (
    ("sending_application", "LABRELAY"),
    ("sending_facility", ""),
    ("receiving_application", ""),
    ("receiving_facility", ""),
)


def _why(change: StatusChange) -> str:
    """ORC-16, a code of ours."""
    words = _WORDS.get(change.status, "")
    if words and change.line.panel and not change.of_panel:
        words += f"; this test of {change.line.panel} alone"
    return _joined(change.status.name, words, "L") if words else ""


def _notes(change: StatusChange) -> list[str]:
    without = f"without a result: {', '.join(change.without)}" if change.without else ""
    return [words for words in (change.text, without) if words]


def _patient(one: OrderedPatient) -> list[list[str]]:
    if one == OrderedPatient():
        return []
    number, name = _joined(one.number, "", "", one.namespace), _joined(one.family, one.given)
    return [["PID", "1", "", number, "", name, "", _text(one.birth_date), _text(one.sex)]]


def _joined(*texts: str, between: str = "^") -> str:
    return between.join(map(_text, texts)).rstrip(between)


def _text(value: object) -> str:
    return escape(str(value), _SIGNS)
