"""Find the sections of the help that have all words of a question. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

LONGEST = 160  # signs of a line that is shown
MOST_WORDS = 8  # of a question; more are not looked at
Sections = Sequence[tuple[str, str, str]]
"""Anchor, heading and text of each."""


class Match(NamedTuple):
    """A section that has the words.

    Attributes:
        page, title: name and heading of its page.
        anchor, heading: its own.
        line: the line of its text that has most of the words, shortened; empty where the heading has them all.
    """

    page: str
    title: str
    anchor: str
    heading: str
    line: str


def matches(asked: str, pages: Iterable[tuple[str, str, Sections]]) -> list[Match]:
    """Those whose heading has all words come first, else in the order of the pages.

    Args:
        pages: name, heading and sections of each.
    """
    words = list(dict.fromkeys(asked.casefold().split()))[:MOST_WORDS]
    found = [match for page in pages for match in _of(words, *page)] if words else []
    return sorted(found, key=lambda match: bool(match.line))


def _of(words: Sequence[str], page: str, title: str, sections: Sections) -> Iterator[Match]:
    for anchor, heading, text in sections:
        head, body = heading.casefold(), text.casefold()
        if all(word in head for word in words):
            yield Match(page, title, anchor, heading, "")
        elif all(word in head or word in body for word in words):
            yield Match(page, title, anchor, heading, _line(words, text))


def _line(words: Sequence[str], text: str) -> str:
    lines = [" ".join(line.strip("|").split()) for line in text.splitlines()]
    best = max(lines, key=lambda line: sum(word in line.casefold() for word in words))
    at = min((place for word in words if (place := best.casefold().find(word)) >= 0), default=0)
    begins = max(0, min(at - LONGEST // 4, len(best) - LONGEST))
    shown = best[begins : begins + LONGEST].strip()
    return f"{'… ' if begins else ''}{shown}{' …' if begins + LONGEST < len(best) else ''}"
