"""Every page and topic of the help by its name.

Links of the help: a command of it that a text names becomes one, and one that leaves the help does not stay one.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TypedDict

from engine.config.site import shipped
from engine.views.help.markdown import deeper, outside_fences, plain, sections, slug

LANGUAGE = "?lang=__"  # of each link to another page in HTML; the page that shows it fills in the language
INDEX = "README"  # the page that lists the others
TOPICS: Mapping[str, str] = {  # each with its line in the list
    "commands": "Every verb, its options, its exit codes and its names in JSON.",
    "keys": "Every key of a site's YAML: site, alerts, webhooks, destinations, channels, sources, packs.",
    "functions": "The functions of the mapping language, and the tables of lookup().",
    "reasons": "Reason codes: why a message or a delivery is where it is, and what to do.",
    "warnings": "Warning codes: a problem in a message that goes on.",
    "api": "The resources, acts and problems of the API.",
    "layouts": "The shipped layouts, and the keys of a layout.",
    "analyzers": "The shipped packs: makers, models, codes, and codes without LOINC.",
    "loggers": "The names of loggers.",
    "holds": "The names and functions of rules that hold results back.",
    "kinds": "Each kind of destination, source, transport, dialect, layout and function.",
    "status": "The fields of /status.json.",
}


@dataclass(frozen=True, slots=True)
class Document:
    """A page or topic.

    Attributes:
        title: its heading.
        line: one sentence about it, for lists.
        text: Markdown, with the heading.
    """

    name: str
    title: str
    line: str
    text: str


class Shown(TypedDict):
    """A page or topic as HTML.

    Attributes:
        line: one sentence about it.
        sections: anchor, heading and text of each, for a search.
    """

    name: str
    title: str
    line: str
    html: str
    sections: Sequence[tuple[str, str, str]]


@cache
def folder() -> Path | None:
    """The written pages; None: they are not installed."""
    return shipped("docs")


@cache
def page_names() -> tuple[str, ...]:
    """Pages in the order of the index; without the index itself."""
    here = folder()
    if here is None:
        return ()
    found = {path.stem for path in here.glob("*.md")} - {INDEX}
    listed = re.findall(r"\]\(([\w-]+)\.md", written(INDEX)) if (here / f"{INDEX}.md").is_file() else []
    return tuple(dict.fromkeys([*(name for name in listed if name in found), *sorted(found)]))


def names() -> tuple[str, ...]:
    """Topics, then the other pages."""
    return tuple(dict.fromkeys([*TOPICS, *page_names()]))


def written(name: str) -> str:
    """The text of a written page."""
    here = folder()
    assert here is not None
    return (here / f"{name}.md").read_text(encoding="utf-8")


@cache
def topic(name: str) -> str:
    """The Markdown of a topic, made from the code; its first use imports what it lists."""
    lines = import_module("engine.commands.topics.short").TOPICS.get(name)
    made: str = "\n".join(lines()) if lines else import_module(f"engine.commands.topics.{name}").markdown()
    return f"{made.rstrip()}\n"


def document(name: str) -> Document:
    """The page or topic of a name. Raises KeyError where there is none."""
    text = written(name) if name in page_names() or (name == INDEX and folder() is not None) else ""
    if name in TOPICS:
        made = topic(name)
        text = f"{text.rstrip()}\n\n{deeper(made)}" if text else made
    if not text:
        raise KeyError(name)
    return Document(name, title(text), TOPICS.get(name) or first_sentence(text), text)


def line(name: str) -> str:
    """The line of a page or topic in a list; no topic is made for it."""
    return TOPICS.get(name) or first_sentence(written(name))


def title(text: str) -> str:
    return plain(text.partition("\n")[0].lstrip("# "))


def first_sentence(text: str) -> str:
    """Of a page: the sentence below its heading; the heading where no sentence follows it."""
    body = re.sub(r"\A# .*\n+", "", text)
    paragraph = " ".join(body.partition("\n\n")[0].split())
    if not paragraph[:1].isalpha():
        return title(text)
    return re.split(r"(?<=[.:]) ", plain(paragraph))[0].rstrip(":")


# A code span, a link, or the start of a line that has neither; a span within a link is the link's.
_PART = re.compile(r"(?<!!)\[((?:[^\[\]`]|`[^`]*`)*)\]\(([^)\s]+)\)|(?<!`)`(?!`)([^`\n]+)`(?!`)")
_COMMAND = re.compile(r"labrelay help ([a-z][a-z-]*)(?: (.+))?")
Anchor = Callable[[str, str], str]
"""(name of a page or topic, words) -> the anchor of the section that they name; empty: there is none."""


def linked(text: str, anchor: Anchor) -> str:
    """The text with `labrelay help NAME` as a link to NAME.md, and without links to files that are no page."""
    known = frozenset({*names(), INDEX})
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
