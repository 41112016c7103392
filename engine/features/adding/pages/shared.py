"""What the four steps share: their order, and their addresses."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import web

from engine.model.errors import LabRelayError, UnreachableError
from engine.model.site.permissions import SEEING_PATIENTS
from engine.model.texts.phrases import PageText
from engine.web.pages.frame import Frame
from engine.web.pages.words import Words, shown
from engine.web.routes import PRINCIPAL

PATH, NEW, OF_ONE = "/add", "/add/new", "/add/{name}"
VERBS = {
    "draft_listen",
    "draft_recognise",
    "draft_part",
    "draft_codes",
    "draft_start",
    "draft_look",
    "draft_remove",
    "draft_place",
}
STEPS: dict[str, tuple[PageText, PageText]] = {
    "listen": ("Listen", "how it is connected"),
    "recognise": ("Recognise", "its messages"),
    "codes": ("Codes", "the meaning of its tests"),
    "first": ("First result", "look before it goes out"),
}


def href(words: Words, name: str, step: str, **query: str | int) -> str:
    return words.href(f"{PATH}/{quote(name, safe='')}/{step}", **query)


def sees(request: web.Request) -> bool:
    """Whether values and persons are shown to who asks."""
    return request[PRINCIPAL].may(SEEING_PATIENTS)


async def look(frame: Frame, request: web.Request, step: str, **args: Any) -> dict[str, Any]:
    """What is known of the draft of an address.

    Raises:
        LabRelayError: there is none.
    """
    name = request.match_info["name"]
    return await frame.give(request, "draft_look", {"name": name, "step": step, "contents": sees(request), **args})


async def draw(
    frame: Frame,
    request: web.Request,
    step: str,
    values: Callable[[dict[str, Any], Words], Mapping[str, Any]],
    status: int,
    trouble: str,
    *,
    template: str = "",
    **args: Any,
) -> web.Response:
    """The page of a step; without its values where there is no such draft.

    Args:
        values: of what is known of it.
    """
    words = frame.asking(request).words
    found = around(words, step)
    try:
        seen = await look(frame, request, step, **args)
        found = {**around(words, step, seen), **values(seen, words)}
    except LabRelayError as error:
        status, trouble = frame.refused(request, error)
    return await frame.desk.page(request, template or f"add_{step}", status, **found, trouble=trouble)


async def closed(frame: Frame, request: web.Request) -> dict[str, Any]:
    """The folders that are closed to us, and the command that opens them; empty: none is."""
    try:
        found = await frame.give(request, "draft_place", {})
    except UnreachableError:  # then the form says so, too
        return {}
    return found if found["closed"] else {}


def around(words: Words, step: str, seen: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The head of a step: those before it are done, those behind it are not."""
    names = list(STEPS)
    at = names.index(step)
    return {
        "way": [
            ("here" if own == at else "" if own < at else "open", f"{own + 1} {words.say(title)}", words.say(more), "")
            for own, (title, more) in enumerate(STEPS.values())
        ],
        "leave": words.href(PATH),
        "draft": seen,
        "called": shown(seen["called"] or seen["name"]) if seen else "",
        "links": {name: href(words, seen["name"], name) for name in names} if seen else {},
        "sees": False,
    }
