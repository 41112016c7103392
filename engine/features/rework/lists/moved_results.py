"""Result lines of an edited message that are under another patient or specimen than before. Pure.

A line is known again by its text without its set ID, else by its code. Where several lines are alike, it is not known
which of them moved: such a finding says so.

    the same text                       moved where its owner differs
    the same owner and code             edited: no finding, the texts are compared elsewhere
    the same code, elsewhere            moved, and edited
    the same owner, another code alone  edited
    all others                          gone, or new
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

from engine.diagnostics.deidentified import cut_up
from engine.model.content.search_keys import PLACES
from engine.model.errors import UnknownFormatError

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
