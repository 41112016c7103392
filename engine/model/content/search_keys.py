r"""The numbers by which a message can be searched: its patient's, its specimens' and orders', its own. Pure.

A person who asks "where is the result of specimen 26-4711?" types a number as a label or a list shows it. So every
number in a place that the standards define is taken, each by itself, without its assigner:

    patient     HL7 v2 PID-2, PID-3 (each repetition), PID-4, MRG-1; E1394 P-3, P-4, P-5
    specimen    HL7 v2 ORC-2, -3, -4, OBR-2, -3, SPM-2 (placer's and filler's), SPM-30, SAC-3, SAC-4; E1394 O-3, O-4
    control     the message's own number: MSH-10, H-3

Case is ignored, and so are blanks around a number. The journal keeps keyed hashes of them
(`engine.store.operations.search_index`), never the numbers. Where not all numbers of a message are known, `NOT_ALL` is
among them, so that a search that must not miss one (`engine.store.lifecycle.erasure`) knows which messages to open.
"""

from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple

from engine.model.message import Delimiters, Parsed

NumberKind = Literal["patient", "specimen", "control", "unread"]

MOST = 200  # numbers of one message; a worklist or a batch of a whole day may have more, and is then found by these
MAX_LENGTH = 100  # a longer text is no number

# field numbers by segment; of a component list the first that is given, of EIP (SPM-2) the first of each component
_HL7: dict[str, tuple[NumberKind, tuple[int, ...]]] = {
    "PID": ("patient", (2, 3, 4)),
    "MRG": ("patient", (1,)),
    "ORC": ("specimen", (2, 3, 4)),
    "OBR": ("specimen", (2, 3)),
    "SPM": ("specimen", (2, 30)),
    "SAC": ("specimen", (3, 4)),
}
_ASTM: dict[str, tuple[NumberKind, tuple[int, ...]]] = {"P": ("patient", (3, 4, 5)), "O": ("specimen", (3, 4))}
PLACES = {"hl7v2": _HL7, "astm": _ASTM}
_PAIRS = frozenset({("SPM", 2), ("SAC", 3), ("SAC", 4)})  # EI or EIP: a number in each component


class Number(NamedTuple):
    """A number in a message, as `folded` leaves it."""

    kind: NumberKind
    text: str


_number = partial(tuple.__new__, Number)  # without a call of Python's
NOT_ALL = Number("unread", "")  # this message has numbers that are not in the index


def folded(text: str) -> str:
    """The number in a form common to all ways to write it."""
    return text.strip().upper()


def own_number(control_id: str) -> tuple[Number, ...]:
    """The message's own number, if it has one that a person can type."""
    text = folded(control_id)
    return (Number("control", text),) if text and text.isprintable() and len(text) <= MAX_LENGTH else ()


def numbers_in(parsed: Parsed) -> tuple[Number, ...]:
    """The patient's, specimens' and orders' numbers of a message, each once; of too many, `MOST` and `NOT_ALL`."""
    places = PLACES.get(parsed.format)
    if places is None:
        return (NOT_ALL,)
    found: dict[Number, None] = {}
    cut = parsed.delimiters
    component = cut.component or cut.field  # the latter is outside of a field: nothing is cut
    repeats = cut.repetition
    plain = not any(map(str.isalnum, (cut.component, cut.repetition, cut.subcomponent, cut.escape)))
    for segment in parsed.segments:
        place = places.get(segment.name)
        if place is None:
            continue
        kind, wanted = place
        fields = segment.fields
        for at in wanted:
            if at >= len(fields) or not (field := fields[at]):
                continue
            first, behind, _ = field.partition(component)
            pairs = behind and (segment.name, at) in _PAIRS
            if plain and first.isalnum() and len(first) <= MAX_LENGTH and not (pairs or (behind and repeats in field)):
                found[_number((kind, first.upper()))] = None  # the usual case, at a third of the price
                continue
            for text in _texts(field, cut, pairs=bool(pairs)):
                found[Number(kind, text)] = None
        if len(found) > MOST:
            return (*tuple(found)[:MOST], NOT_ALL)
    return tuple(found)


def _texts(field: str, cut: Delimiters, *, pairs: bool) -> Iterator[str]:
    for repetition in field.split(cut.repetition) if cut.repetition else (field,):
        components = repetition.split(cut.component) if cut.component else [repetition]
        if cut.subcomponent:
            components = [component.split(cut.subcomponent, 1)[0] for component in components]
        given = (text for component in components if (text := _plain(component, cut)))
        if pairs:
            yield from list(given)[:2]
        elif first := next(given, ""):
            yield first


def _plain(component: str, cut: Delimiters) -> str:
    text = folded(component)
    if cut.escape and cut.escape in text:
        for letter, sign in (("F", cut.field), ("S", cut.component), ("T", cut.subcomponent), ("R", cut.repetition),
                             ("E", cut.escape)):  # fmt: skip
            text = text.replace(f"{cut.escape}{letter}{cut.escape}", sign)
    return text if len(text) <= MAX_LENGTH and text != '""' and text.isprintable() else ""
