"""An edited message beside the one before: the lines that differ, the fields that say whose results these are. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import NamedTuple

from engine.diagnostics.deidentified import cut_up
from engine.model.content.search_keys import PLACES
from engine.model.errors import UnknownFormatError

AROUND = 2  # unchanged lines that are shown before and after a change
MOST_COMPARED = 1000  # lines from the first to the last difference; of more, all of them count as changed
MOST_SHOWN = 500  # lines of the old text, of the new one, and of both


class Line(NamedTuple):
    """A line of either text, in three parts: the middle one differs from the other text.

    Attributes:
        sign: ``-`` in the old text, ``+`` in the new one, a space in both, ``…`` where lines are left out.
        cut: how many changed lines are left out here, since there are too many.
    """

    sign: str
    parts: tuple[str, str, str] = ("", "", "")
    cut: int = 0


class Field(NamedTuple):
    """A field that says whose results these are, and that differs.

    Attributes:
        place: ``PID[1]-3``.
        is_patient: else it is a number of a specimen or an order.
    """

    place: str
    old: str
    new: str
    is_patient: bool


def lines_changed(old: str, new: str) -> list[Line]:
    """The changed lines of a text and those around them; of a very long list the first ones of each text."""
    before, after = old.splitlines(), new.splitlines()
    return list(_cut(line for group in _groups(before, after) for line in _lines(group, before, after)))


def _cut(lines: Iterable[Line]) -> Iterator[Line]:
    """The first lines of each sign, so that a long part of the old text hides nothing of the new one."""
    seen: Counter[str] = Counter()

    def is_over(line: Line) -> bool:
        seen[line.sign] += 1
        return seen[line.sign] > MOST_SHOWN

    for over, run in groupby(lines, is_over):
        if over:
            yield Line("…", cut=sum(line.sign in "-+" for line in run))
        else:
            yield from run


_Code = tuple[str, int, int, int, int]


def _groups(before: Sequence[str], after: Sequence[str]) -> Iterator[list[_Code]]:
    """Changes with the lines around them, as `difflib` writes them."""
    head = max(_common(before, after) - AROUND, 0)
    tail = max(_common(before[head:][::-1], after[head:][::-1]) - AROUND, 0)
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    if max(len(old), len(new)) > MOST_COMPARED:
        yield [("replace", head, head + len(old), head, head + len(new))]
        return
    for group in SequenceMatcher(None, old, new).get_grouped_opcodes(AROUND):
        yield [(kind, a + head, b + head, c + head, d + head) for kind, a, b, c, d in group]


def _lines(group: Sequence[_Code], before: Sequence[str], after: Sequence[str]) -> Iterator[Line]:
    if group[0][1] or group[0][3]:
        yield Line("…")
    for kind, old_from, old_to, new_from, new_to in group:
        gone, come = before[old_from:old_to], after[new_from:new_to]
        if kind == "equal":
            yield from (Line(" ", (text, "", "")) for text in gone)
            continue
        if len(gone) == len(come):
            for was, now in zip(gone, come, strict=True):
                yield Line("-", _parts(was, now))
                yield Line("+", _parts(now, was))
        else:
            yield from (Line("-", ("", text, "")) for text in gone)
            yield from (Line("+", ("", text, "")) for text in come)


def _parts(text: str, other: str) -> tuple[str, str, str]:
    head = _common(text, other)
    tail = _common(text[head:][::-1], other[head:][::-1])
    return text[:head], text[head : len(text) - tail], text[len(text) - tail :]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many first items are the same."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def whose_changed(before: bytes, after: bytes, charset: str) -> list[Field] | None:
    """The fields about the patient, and the numbers of specimens and orders, that differ.

    Args:
        charset: Python's name of the character set.

    Returns: None where it is not known which fields these are: neither HL7 v2 nor E1394.
    """
    try:
        old, new = _whose(before, charset), _whose(after, charset)
    except UnknownFormatError:
        return None
    return [
        Field(place, old.get(place, ""), new.get(place, ""), is_patient)
        for (place, is_patient) in dict.fromkeys([*_kinds(old), *_kinds(new)])
        if old.get(place, "") != new.get(place, "")
    ]


def _kinds(found: dict[str, str]) -> Iterator[tuple[str, bool]]:
    return ((place, place.partition("[")[0] in ("PID", "MRG", "P")) for place in found)


def _whose(payload: bytes, charset: str) -> dict[str, str]:
    """Place -> value of the fields that say whose results these are.

    Raises:
        UnknownFormatError: neither HL7 v2 nor E1394.
    """
    lines, cut = cut_up(payload)
    places = PLACES["hl7v2" if cut.is_hl7 else "astm"]
    first = 0 if cut.is_hl7 else 1  # E1394 counts the name of a record as its field 1
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    for line in lines[::2]:
        name, *fields = line.split(cut.field)
        name = name.strip()
        if name not in places:
            continue
        seen[name] = seen.get(name, 0) + 1
        kind, wanted = places[name]
        for at, value in enumerate(fields, start=1 + first):
            is_counter = name in ("PID", "P") and at == 1 + first
            if value and not is_counter and (kind == "patient" or at in wanted):
                found[f"{name}[{seen[name]}]-{at}"] = value.encode("latin-1").decode(charset, "backslashreplace")
    return found
