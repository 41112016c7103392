"""A document as lines for people: each with its depth, its text, and the place of its value. Pure.

Tokens stay as they were written, so that ``148.50`` is shown as it is sent.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

MAX_LINES = 20_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line. ``pointer`` is the JSON pointer (RFC 6901) of its value; empty for brackets."""

    depth: int
    text: str
    pointer: str = ""


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def lines_of(body: bytes, media_type: str, parts: Iterable[tuple[str, str]] = ()) -> tuple[list[Line], bool]:
    """The lines of a document, and whether there are more of them.

    Args:
        parts: path and text of each value of a document that is no JSON (``OBX[3].5``): it has its own lines, and then
            one for each value, whose pointer is its path.
    """
    found: list[Line] = []
    if "json" in media_type:
        made = _value(json.loads(body, parse_float=_Number, parse_int=_Number), 0, "", "", "")
    else:
        made = _parts(body.decode("utf-8", "replace").replace("\r", "\n").splitlines(), parts)
    for line in made:
        if len(found) == MAX_LINES:
            return found, True
        found.append(line)
    return found, False


def _value(value: Any, depth: int, before: str, after: str, pointer: str) -> Iterator[Line]:
    if isinstance(value, dict):
        yield from _inside(
            [(f"{_quoted(name)}: ", inner, f"{pointer}/{_escaped(name)}") for name, inner in value.items()],
            depth,
            f"{before}{{",
            f"}}{after}",
        )
    elif isinstance(value, list):
        parts = [("", inner, f"{pointer}/{at}") for at, inner in enumerate(value)]
        yield from _inside(parts, depth, f"{before}[", f"]{after}")
    else:
        text = value if isinstance(value, _Number) else _quoted(value)
        yield Line(depth, f"{before}{text}{after}", pointer)


def _parts(lines: Iterable[str], parts: Iterable[tuple[str, str]]) -> Iterator[Line]:
    yield from (Line(0, line) for line in lines)
    before = ""
    for path, text in parts:
        part, _, rest = path.partition(".")
        if part != before:
            yield Line(0, "")
            yield Line(0, part)
            before = part
        yield Line(1, f"{rest}  {text}", path)


def pointer_of(path: str) -> str:
    """A path of a JSON document as its pointer: ``results[2].value`` is ``/results/2/value``."""
    return "".join(f"/{_escaped(step)}" for step in re.findall(r"[^.\[\]]+", path))


def _inside(parts: list[tuple[str, Any, str]], depth: int, begin: str, end: str) -> Iterator[Line]:
    if not parts:
        yield Line(depth, begin + end)
        return
    yield Line(depth, begin)
    for at, (name, inner, pointer) in enumerate(parts, 1):
        yield from _value(inner, depth + 1, name, "," if at < len(parts) else "", pointer)
    yield Line(depth, end)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
