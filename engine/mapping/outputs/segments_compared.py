"""Compare two HL7 v2 messages made of one message, field by field: added, removed or changed.

    OBX-5 changed, NTE added

Segments are aligned, so a segment added at the front does not change those behind it. The fields of matching segments
are compared as they are written. MSH-10 is not compared: it differs where anything differs.
"""

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Literal

Compared = tuple[Literal["added", "removed", "changed"], str, str, str]  # what, where, before, after

_CONTROL_ID = 9  # place of MSH-10 in a line that is split at the field separator
MAX_ALIGNED = 5000  # segments that differ; of longer messages they are compared place by place


def is_message(body: bytes) -> bool:
    return body.startswith(b"MSH") and len(body) > 8


def compared(before: bytes, after: bytes) -> Iterator[Compared]:
    """The differences, in the order of the message."""
    old, new = _segments(before), _segments(after)
    for first, last, start, stop in _stretches(old, new):
        left, right = old[first:last], new[start:stop]
        while left and right:
            if left[0][0] == right[0][0]:
                yield from _fields(left.pop(0), right.pop(0))
            elif any(one[0] == left[0][0] for one in right):
                yield "added", right[0][0], "", "|".join(right.pop(0))
            else:
                yield "removed", left[0][0], "|".join(left.pop(0)), ""
        yield from (("removed", one[0], "|".join(one), "") for one in left)
        yield from (("added", one[0], "", "|".join(one)) for one in right)


def _segments(body: bytes) -> list[list[str]]:
    """Lines as fields; bytes of any character set stay apart as they were."""
    text = body.decode("latin-1")
    found = [line.split(text[3]) for line in text.split("\r") if line]
    if len(found[0]) > _CONTROL_ID:
        found[0][_CONTROL_ID] = ""
    return found


def _stretches(old: list[list[str]], new: list[list[str]]) -> Iterator[tuple[int, int, int, int]]:
    """From and to in both lists, wherever they differ."""
    if len(old) + len(new) > MAX_ALIGNED:
        yield 0, len(old), 0, len(new)
        return
    before, after = (["|".join(one) for one in segments] for segments in (old, new))
    for tag, first, last, start, stop in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            yield first, last, start, stop


def _fields(old: list[str], new: list[str]) -> Iterator[Compared]:
    name = old[0]
    shift = 1 if name == "MSH" else 0  # MSH-1 is the separator itself
    for at in range(1, max(len(old), len(new))):
        one, other = old[at] if at < len(old) else "", new[at] if at < len(new) else ""
        if one != other:
            kind: Literal["added", "removed", "changed"] = (
                "changed" if one and other else "added" if other else "removed"
            )
            yield kind, f"{name}-{at + shift}", one, other
