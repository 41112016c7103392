"""Markdown of topics: tables, code, paragraphs."""

from collections.abc import Iterable, Iterator


def rows(heads: str, found: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table. ``heads``: its first line, without the outer bars."""
    yield f"| {heads.strip()} |"
    yield "|---" * (heads.count("|") + 1) + "|"
    yield from (f"| {' | '.join(map(cell, row))} |" for row in found)


def code(text: str) -> str:
    return f"`{text}`"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
