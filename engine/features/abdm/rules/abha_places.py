"""Where a message carries its patient's ABHA number and address, and which ones are there. Pure.

    HL7 v2    PID-2, PID-3, PID-4: each repetition whose type (CX.5) is HIN or ABHA
    all       the places that the channel names: ``PID-19``, ``P-4``, ``$.patient.abha``

Nothing else is one: fourteen digits without a type may be any number of the laboratory, and E1394 has no place for an
ABHA at all. The form says which is the number and which the address. Text at one of these places that is neither is
counted as unreadable; it is never corrected, and the patient is taken as unknown.

Sources: HL7 v2.5.1, 3.4.2; ASTM E1394-97, 7; NRCeS' types of identifiers.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.profiles import ADDRESS, NUMBER
from engine.model.message import Parsed, Segment
from engine.model.values import value

PATIENT_RECORDS = {"hl7v2": "PID", "astm": "P"}
_TYPED = (2, 3, 4)  # of PID
_MEANT = re.compile(r"[@1-9]")  # any other text says that there is none: NA, 00-0000-0000-0000
_PLACE = re.compile(r"(PID|P)-([1-9][0-9]?)")
_PATH = re.compile(r"\$(\.[A-Za-z_][A-Za-z0-9_]{0,63}){1,16}")


@value()
class Place:
    """A field of a patient's record by its number, or the names on the way through JSON."""

    record: str = ""
    number: int = 0
    path: tuple[str, ...] = ()


@value()
class Captured:
    """The ABHA of one patient.

    Attributes:
        unreadable: how many texts are neither a number nor an address.
    """

    numbers: frozenset[AbhaNumber] = frozenset()
    addresses: frozenset[AbhaAddress] = frozenset()
    unreadable: int = 0

    @property
    def number(self) -> AbhaNumber | None:
        """The number; None: there is none, or there are two, or its check digit does not fit, or one is unreadable."""
        (first, *others) = (*self.numbers, None)
        return first if first and not any(others) and first.fits and not self.unreadable else None

    @property
    def is_doubtful(self) -> bool:
        """Whether a person has to look: something is there, and it is not one number that can be one."""
        return bool(self.unreadable or (self.numbers and self.number is None))


def place_of(text: str) -> Place:
    """A place, as a channel names it.

    Raises:
        ValueError: it is none.
    """
    if found := _PLACE.fullmatch(text):
        return Place(record=found[1], number=int(found[2]))
    if _PATH.fullmatch(text):
        return Place(path=tuple(text.split(".")[1:]))
    raise ValueError("expected a field of the patient, as PID-19 or P-4, or a path, as $.patient.abha")


def captured(parsed: Parsed, places: Sequence[Place] = ()) -> tuple[Captured, ...]:
    """The ABHA of each patient of a message, in the order of their records; of JSON one.

    Args:
        places: that the channel names.
    """
    if parsed.format == "json":
        found = [text for place in places if place.path for text in _at(parsed.tree, place.path)]
        return (_read(found),)
    name = PATIENT_RECORDS.get(parsed.format, "")
    numbers = [place.number for place in places if place.record == name]
    return tuple(_read([*_texts(parsed, one, numbers)]) for one in parsed.segments if one.name == name)


def _texts(parsed: Parsed, patient: Segment, numbers: Sequence[int]) -> Iterator[str]:
    cut = parsed.delimiters
    for at in dict.fromkeys((*(_TYPED if patient.name == "PID" else ()), *numbers)):
        field = patient.get(at)
        for repetition in field.split(cut.repetition) if cut.repetition else [field]:
            parts = repetition.split(cut.component) if cut.component else [repetition]
            kind = parts[4].strip() if len(parts) > 4 else ""
            if at in numbers or kind in (NUMBER, ADDRESS):
                yield parts[0]


def _at(tree: Any, path: tuple[str, ...]) -> Iterator[str]:
    """The texts at a path; of a list on the way each member."""
    if isinstance(tree, list):
        for one in tree:
            yield from _at(one, path)
    elif path and isinstance(tree, dict):
        yield from _at(tree.get(path[0]), path[1:])
    elif not path and isinstance(tree, str):
        yield tree


def _read(texts: Sequence[str]) -> Captured:
    given = [text for one in texts if _MEANT.search(text := one.strip())]
    numbers = [AbhaNumber.read(text) for text in given]
    addresses = [AbhaAddress.read(text) for text in given]
    return Captured(
        numbers=frozenset(filter(None, numbers)),
        addresses=frozenset(filter(None, addresses)),
        unreadable=sum(not (number or address) for number, address in zip(numbers, addresses, strict=True)),
    )
