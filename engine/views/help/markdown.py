"""Markdown by its headings and table rows: anchors, sections, and the part that a reader asks for. Pure.

Pages and topics keep to headings that begin with ``#``, fences of three backticks, and tables whose rows are lines.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

_HEADING = re.compile(r"(#{1,6}) +(.+?) *$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*\)")
_WORDS = re.compile(r"[^\w./-]+")
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with the lines below it, up to the next heading of any level.

    Attributes:
        anchor: unique in its text, as the usual renderers make it.
        begins, ends: lines of the text: of the heading, and behind the last one.
    """

    level: int
    title: str
    anchor: str
    begins: int
    ends: int


def plain(text: str) -> str:
    """Inline Markdown as text: without links, backticks and stars."""
    return re.sub(r"`|\*\*|\*(?=\w)|(?<=\w)\*", "", _LINK.sub(r"\1", text)).replace("\\|", "|")


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", plain(title).strip().lower()).replace(" ", "-")


class Anchors:
    """Anchors of one text in the order of its headings; one that comes again gets a number."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def of(self, title: str) -> str:
        name = slug(title)
        count = self._used.get(name, 0)
        self._used[name] = count + 1
        return f"{name}-{count}" if count else name


@cache
def sections(text: str) -> tuple[Section, ...]:
    """All of them, in order."""
    heads, anchors, lines = [], Anchors(), text.splitlines()
    for number, line in outside_fences(lines):
        if found := _HEADING.match(line):
            heads.append((len(found[1]), plain(found[2]), anchors.of(found[2]), number))
    ends = [*(begins for *_, begins in heads[1:]), len(lines)]
    return tuple(Section(*head, end) for head, end in zip(heads, ends, strict=True))


def deeper(text: str) -> str:
    """The same with each heading one level deeper."""
    lines = text.splitlines()
    for number, line in outside_fences(lines):
        if _HEADING.match(line):
            lines[number] = f"#{line}"
    return "\n".join([*lines, ""])


def narrowed(text: str, words: Sequence[str]) -> str:
    """The part that the words name, one inside the other: sections by their headings, or rows by their first cell.

    Empty where there is none.
    """
    for word in words:
        text = _sections_of(text, word) or _rows_of(text, word)
    return text


def headings(text: str) -> Iterator[str]:
    """The words by which `narrowed` finds sections and rows, for suggestions."""
    for section in sections(text)[1:]:
        yield from (_name(section.title), *_WORDS.split(section.title))
    for _, line in outside_fences(text.splitlines()):
        if line.startswith("| `"):
            yield line.split("`")[1]


def _sections_of(text: str, word: str) -> str:
    """The sections, with those inside, whose heading is the word; else those whose heading has it as a word."""
    wanted, found = word.lower(), sections(text)
    inner = found[1:] or found
    same = [one for one in inner if word in (one.title, _name(one.title))]
    exact = same or [one for one in inner if wanted in (_name(one.title).lower(), one.anchor)]
    loose = exact or [one for one in inner if wanted in _WORDS.split(one.title.lower())]
    lines, parts, covered = text.splitlines(), [], 0
    for one in loose:
        if one.begins >= covered:
            after = (other.begins for other in found if other.begins > one.begins and other.level <= one.level)
            covered = next(after, len(lines))
            parts.append("\n".join(lines[one.begins : covered]).rstrip())
    return "\n\n".join(parts) + "\n" if parts else ""


def _rows_of(text: str, word: str) -> str:
    """The rows whose first cell is the word, below the heads of their tables; else those whose first cell has it."""
    wanted, lines = word.lower(), text.splitlines()
    rows = list(_table_rows(lines))
    exact = [row for row in rows if wanted in {plain(part).strip().lower() for part in _first(row[1]).split(",")}]
    loose = exact or [row for row in rows if wanted in re.split(r"[^\w.-]+|[.]", plain(_first(row[1])).lower())]
    tables: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for place, line in loose:
        tables.setdefault(place, []).append(line)
    return "\n".join(line for (heading, head), found in tables.items() for line in (heading, "", *head, *found, ""))


def _table_rows(lines: Sequence[str]) -> Iterator[tuple[tuple[str, tuple[str, ...]], str]]:
    """Each row of a table, with the heading above it and the head of its table."""
    heading, head = "", ("", "")
    before = -2
    for number, line in outside_fences(lines):
        if _HEADING.match(line):
            heading = line
        elif line.startswith("|"):
            if number != before + 1:
                head = (line, lines[number + 1])
            elif line != head[1]:
                yield (heading, head), line
            before = number


def _first(row: str) -> str:
    return _CELL.split(row)[1]


def _name(title: str) -> str:
    return title.removeprefix("labrelay ").rstrip(":")


def outside_fences(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The lines that are in no fence, with their numbers."""
    fenced = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line
