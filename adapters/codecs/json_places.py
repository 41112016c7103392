"""Where the values of a JSON text are, so that it can be cut, or changed in one place, and else keeps its bytes. Pure.

The text was read before, so that it is known to be whole.
"""

import json
import re
from collections.abc import Iterator, Mapping

DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def with_members(text: str, new: Mapping[str, str]) -> str:
    """The object in ``text`` with other members; each stays where it is, and a new one is the last.

    Args:
        new: the JSON text of each value by its name; empty: the member is taken out.
    """
    at = skip(text, 0)
    kept = [
        (text[begin:end] if name not in new else f"{json.dumps(name)}:{new[name]}")
        for name, begin, end in _whole_members(text, at)
        if new.get(name, "-")
    ]
    there = {name for name, _, _ in _whole_members(text, at)}
    kept += [f"{json.dumps(name)}:{value}" for name, value in new.items() if value and name not in there]
    return "{" + ",".join(kept) + "}"


def _whole_members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """As `members`, but from the begin of the name."""
    begin = skip(text, at + 1)
    for name, _, end in members(text, at):
        yield name, begin, end
        begin = _next(text, end)


def members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Name, begin and end of the members of the object at a place."""
    at = skip(text, at + 1)
    while text[at] != "}":
        name, at = DECODER.raw_decode(text, at)
        start = skip(text, skip(text, at) + 1)
        end = DECODER.raw_decode(text, start)[1]
        yield name, start, end
        at = _next(text, end)


def items(text: str, at: int) -> Iterator[int]:
    """The begin of each value of the list at a place."""
    at = skip(text, at + 1)
    while text[at] != "]":
        yield at
        at = _next(text, DECODER.raw_decode(text, at)[1])


def _next(text: str, end: int) -> int:
    at = skip(text, end)
    return skip(text, at + 1) if text[at] == "," else at


def skip(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches everywhere
