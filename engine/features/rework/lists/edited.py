"""An edited message beside the one before: the lines that differ, the fields that say whose results these are. Pure.

Result lines of an edited message that are under another patient or specimen than before. Pure.

A line is known again by its text without its set ID, else by its code. Where several lines are alike, it is not known
which of them moved: such a finding says so.

    the same text                       moved where its owner differs
    the same owner and code             edited: no finding, the texts are compared elsewhere
    the same code, elsewhere            moved, and edited
    the same owner, another code alone  edited
    all others                          gone, or new
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
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


_CODES = {"OBX": 3, "R": 2}  # where the code is, after the name of the line; the set ID is always the first
_PATIENTS = ("PID", "P")
_OWNERS = (*_PATIENTS, "SPM", "OBR", "O")


class Moved(NamedTuple):
    """A result line whose owner differs.

    Attributes:
        line: as it is now; of one that is gone, as it was.
        old: what it was under, as ``PID[1] 7^^^H, OBR[1] O1``; empty: no patient or order; None: it is new.
        new: what it is under; None: it is gone.
        in_doubt: others are alike, so it may be one of these.
    """

    line: str
    old: str | None
    new: str | None
    in_doubt: bool


class _Result(NamedTuple):
    at: int
    line: str
    text: str
    code: str
    rest: str
    owner: tuple[str, ...]
    shown: str


_Key = Callable[[_Result], Hashable]


def results_moved(before: bytes, after: bytes, charset: str) -> list[Moved]:
    """The result lines that moved, are gone or are new; none where the format is neither HL7 v2 nor E1394.

    Args:
        charset: Python's name of the character set.
    """
    try:
        old, new = list(_results(before, charset)), list(_results(after, charset))
    except UnknownFormatError:
        return []
    texts = _alike(old, new, lambda one: one.text)
    _, old, new = _paired(old, new, lambda one: (one.owner, one.text))
    whole, old, new = _paired(old, new, lambda one: one.text)
    _, old, new = _paired(old, new, lambda one: (one.owner, one.code))
    codes = _alike(old, new, lambda one: one.code)
    edited, old, new = _paired(old, new, lambda one: one.code)
    _, old, new = _paired(old, new, lambda one: (one.owner, one.rest))
    return [
        *(Moved(now.line, was.shown, now.shown, now.text in texts) for was, now in whole),
        *(Moved(now.line, was.shown, now.shown, now.code in codes) for was, now in edited),
        *(Moved(was.line, was.shown, None, was.text in texts) for was in old),
        *(Moved(now.line, None, now.shown, now.text in texts) for now in new),
    ]


def _results(payload: bytes, charset: str) -> Iterator[_Result]:
    """
    Raises:
        UnknownFormatError: neither HL7 v2 nor E1394.
    """
    lines, cut = cut_up(payload)
    places = PLACES["hl7v2" if cut.is_hl7 else "astm"]
    first = 0 if cut.is_hl7 else 1  # E1394 counts the name of a record as its field 1
    counts: Counter[str] = Counter()
    owners: dict[str, str] = {}
    for at, line in enumerate(lines[::2]):
        fields = line.split(cut.field)
        name = fields[0].strip()
        if name in _OWNERS:
            counts[name] += 1
            if name in _PATIENTS:
                owners.clear()
            found = (fields[one - first] for one in places[name][1] if one - first < len(fields))
            number = next(filter(None, found), "")
            owners.pop(name, None)  # the newest is the last
            owners[name] = f"{name}[{counts[name]}] {_text(number, charset)}".rstrip()
        elif name in _CODES:
            code = _CODES[name]
            yield _Result(
                at,
                _text(line, charset),
                cut.field.join([name, *fields[2:]]),
                cut.field.join(fields[code : code + 1]),
                cut.field.join([name, *fields[2:code], *fields[code + 1 :]]),
                tuple(f"{owner}[{counts[owner]}]" for owner in owners),
                ", ".join(owners.values()),
            )


def _text(text: str, charset: str) -> str:
    return text.encode("latin-1").decode(charset, "backslashreplace")


def _alike(old: Sequence[_Result], new: Sequence[_Result], key: _Key) -> set[Hashable]:
    """Keys that a message has more than once."""
    return {one for lines in (old, new) for one, count in Counter(map(key, lines)).items() if count > 1}


def _paired(
    old: Sequence[_Result], new: Sequence[_Result], key: _Key
) -> tuple[list[tuple[_Result, _Result]], list[_Result], list[_Result]]:
    """Lines of the two with the same key, one by one in their order; and those of each that are left."""
    waiting: defaultdict[Hashable, deque[_Result]] = defaultdict(deque)
    for one in new:
        waiting[key(one)].append(one)
    pairs, left = [], []
    for one in old:
        if same := waiting[key(one)]:
            pairs.append((one, same.popleft()))
        else:
            left.append(one)
    return pairs, left, sorted(one for lines in waiting.values() for one in lines)
