"""The help: written pages, topics, and a search over both. They are in English.

Another process makes them when a reader first opens one, so that the daemon imports nothing for it. They are kept
compressed: this process and its modules stay the same until the next start.

Find the sections of the help that have all words of a question. Pure.
"""

import asyncio
import logging
import os
import sys
import time
import zlib
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import orjson
from aiohttp import web
from markupsafe import Markup

from engine.model.site.permissions import LOOKING
from engine.store.queries.reader import Reader
from engine.views.help.library import INDEX, LANGUAGE, TOPICS, Shown
from engine.web.guard import MESSAGES
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values
from engine.web.routes import Route

LONGEST = 160  # signs of a line that is shown
MOST_ASKED = 8  # of a question; more are not looked at
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
    words = list(dict.fromkeys(asked.casefold().split()))[:MOST_ASKED]
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


logger = logging.getLogger("labrelay.web")

PATH = "/help"
NEEDED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")  # of the environment; secrets stay with the daemon
LONGEST_S = 120.0  # until it is made
AGAIN_S = 60.0  # after it could not be made
LARGEST = 8 * 1024 * 1024  # bytes of one page
MOST_WORDS = 100  # signs of a search
MOST_FOUND = 60


@dataclass(frozen=True, slots=True)
class Kept:
    """A page or topic. ``html`` and ``sections`` are compressed, the sections as JSON."""

    title: str
    line: str
    html: bytes
    sections: bytes


class Shelf:
    """The pages and topics, once they are made."""

    def __init__(self) -> None:
        self._making = asyncio.Lock()
        self._kept: Mapping[str, Kept] = {}
        self._not_before = float("-inf")  # monotonic

    async def pages(self) -> Mapping[str, Kept]:
        """By name, the index first; empty where they cannot be made."""
        async with self._making:
            if not self._kept and time.monotonic() >= self._not_before:
                with suppress(TimeoutError, OSError, ValueError):  # a line too long is a ValueError
                    self._kept = await asyncio.wait_for(_made(), LONGEST_S)
                if not self._kept:
                    self._not_before = time.monotonic() + AGAIN_S
                    logger.warning("the help cannot be made")
            return self._kept


async def _made() -> Mapping[str, Kept]:
    environment = {name: os.environ[name] for name in NEEDED if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "engine.web.help",
        stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=environment, limit=LARGEST,
    )  # fmt: skip
    made: dict[str, Kept] = {}
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            name, kept = await asyncio.to_thread(_kept, line)
            made[name] = kept
        return made if await process.wait() == 0 else {}
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise


def _kept(line: bytes) -> tuple[str, Kept]:
    one: Shown = orjson.loads(line)
    html, sections = one["html"].encode(), orjson.dumps(one["sections"])
    return one["name"], Kept(one["title"], one["line"], zlib.compress(html), zlib.compress(sections))


def routes(frame: Frame) -> Sequence[Route]:
    shelf = Shelf()
    return (
        Route(PATH, partial(_index, frame, shelf), LOOKING),
        Route(f"{PATH}/{{page}}", partial(_one, frame, shelf), LOOKING),
    )


async def _index(frame: Frame, shelf: Shelf, request: web.Request) -> web.Response:
    return await frame.show(request, _page, partial(_listed, await shelf.pages()))


async def _one(frame: Frame, shelf: Shelf, request: web.Request) -> web.Response:
    return await frame.show(request, _page, partial(_found, await shelf.pages()))


def _page(asking: Asking) -> Page:
    plain = {"asked": _asked(asking), "title": "", "html": None, "topics": (), "found": None, "more": False}
    return Page("help", plain)


def _asked(asking: Asking) -> str:
    return asking.query.get("q", "").strip()[:MOST_WORDS]


def _listed(pages: Mapping[str, Kept], _reader: Reader, asking: Asking) -> Values | Gone:
    """The index, or what a search finds."""
    if not pages:
        return _missing(asking)
    asked = _asked(asking)
    if asked:
        found = matches(asked, ((name, one.title, _sections(one)) for name, one in pages.items() if name != INDEX))
        return {"found": [_row(match, asking) for match in found[:MOST_FOUND]], "more": len(found) > MOST_FOUND}
    topics = [(name, asking.words.href(f"{PATH}/{name}"), pages[name].line) for name in TOPICS]
    listed = _html(pages[INDEX], asking).partition("</h1>")[2] if INDEX in pages else ""
    return {"html": Markup(listed), "topics": topics}  # noqa: S704 - a part of what is escaped


def _missing(asking: Asking) -> Gone:
    return Gone(asking.words.say("The help cannot be shown now. The command `labrelay help` shows it."))


def _row(match: Match, asking: Asking) -> tuple[str, str, str, str]:
    href = f"{asking.words.href(f'{PATH}/{match.page}')}#{match.anchor}"
    return href, match.heading, match.title if match.heading != match.title else "", match.line


def _sections(one: Kept) -> Sequence[tuple[str, str, str]]:
    found: Sequence[tuple[str, str, str]] = orjson.loads(zlib.decompress(one.sections))
    return found


def _found(pages: Mapping[str, Kept], _reader: Reader, asking: Asking) -> Values | Gone:
    one = pages.get(asking.found["page"])
    if one is None:
        return Gone(asking.words.say(MESSAGES[404])) if pages else _missing(asking)
    return {"title": one.title, "html": _html(one, asking)}


def _html(one: Kept, asking: Asking) -> Markup:
    made = zlib.decompress(one.html).decode()
    return Markup(made.replace(LANGUAGE, f"?lang={asking.words.language}"))  # noqa: S704 - made of our own pages, escaped
