"""Links of the help: a command of it that a text names becomes one, and one that leaves the help does not stay one."""

import re
from collections.abc import Callable, Iterable
from functools import partial

from engine.views.help import library
from engine.views.help.markdown import outside_fences, sections, slug

# A code span, a link, or the start of a line that has neither; a span within a link is the link's.
_PART = re.compile(r"(?<!!)\[((?:[^\[\]`]|`[^`]*`)*)\]\(([^)\s]+)\)|(?<!`)`(?!`)([^`\n]+)`(?!`)")
_COMMAND = re.compile(r"labrelay help ([a-z][a-z-]*)(?: (.+))?")
Anchor = Callable[[str, str], str]
"""(name of a page or topic, words) -> the anchor of the section that they name; empty: there is none."""


def linked(text: str, anchor: Anchor) -> str:
    """The text with `labrelay help NAME` as a link to NAME.md, and without links to files that are no page."""
    known = frozenset({*library.names(), library.INDEX})
    lines = text.splitlines()
    for number, line in outside_fences(lines):
        lines[number] = _PART.sub(partial(_part, known, anchor), line)
    return "\n".join([*lines, ""])


def anchor_in(texts: Callable[[str], str], name: str, words: str) -> str:
    """An `Anchor` among the texts."""
    wanted = {slug(words), slug(f"labrelay {words}")}
    return next((one.anchor for one in sections(texts(name)) if one.anchor in wanted), "")


def _part(known: Iterable[str], anchor: Anchor, found: re.Match[str]) -> str:
    words, target, span = found.groups()
    if span is not None:
        command = _COMMAND.fullmatch(span)
        if command is None or command[1] not in known:
            return found[0]
        place = anchor(command[1], command[2]) if command[2] else ""
        return f"[`{span}`]({command[1]}.md{f'#{place}' if place else ''})"
    name, _, _ = target.partition("#")
    if "://" in target or target.startswith(("#", "mailto:")) or (name.endswith(".md") and name[:-3] in known):
        return found[0]
    path = name.removeprefix("../") if name.startswith("../") else f"docs/{name}"
    return words if path in words else f"{words} (`{path}`)"
