"""The page of one thing of ABDM, by its number: its state and why, what a person may do, its facts; then its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.abdm.pages.words import PATH, help_of
from engine.model.permissions import LOOKING
from engine.store.queries.reader import Reader
from engine.web.asked import number
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values
from engine.web.pages.words import Words, shown
from engine.web.routes import Route


@dataclass(frozen=True, slots=True)
class One:
    """Such a page.

    Attributes:
        members: name of the list that the thing is in; ``back``: words of the link to it.
        title, gone: of the thing, and of one that is not there; ``{n}`` becomes its number.
        read: the thing in full, whose ``line`` is that of its list; None: it is not there.
        values: what its template shows, beside `facts` and the help.
        more: facts behind those of facility and patient: label and text.
    """

    path: str
    template: str
    members: str
    back: str
    title: str
    gone: str
    read: Callable[[Reader, int], Any]
    values: Callable[[Any, Asking], Values]
    more: Callable[[Any, Words], Sequence[tuple[str, str]]]


def detail(frame: Frame, of: One) -> Sequence[Route]:
    return (Route(of.path, partial(_show, frame, of), LOOKING),)


async def _show(frame: Frame, of: One, request: web.Request) -> web.Response:
    return await frame.show(request, partial(_page, of), partial(_found, of))


def _asked(asking: Asking) -> int:
    return number(asking.query.get("number", ""))


def _page(of: One, asking: Asking) -> Page:
    words = asking.words
    return Page(
        of.template,
        {
            "title_words": words.say(of.title, n=_asked(asking)),
            "list": words.href(f"{PATH}/{of.members}"),
            "list_words": words.say(of.back),
            "row": None,
        },
    )


def _found(of: One, reader: Reader, asking: Asking) -> Values | Gone:
    words, asked = asking.words, _asked(asking)
    one = of.read(reader, asked)
    if one is None:
        return Gone(words.say(of.gone, n=asked))
    line = one.line
    facts = [
        (words.say("Facility"), f"{line.facility} {asking.site.facilities.get(line.facility, '')}".strip()),
        (words.say("Patient"), line.patient.name),
        (words.say("ABHA number"), line.patient.abha_number),
        (words.say("ABHA address"), line.patient.abha_address),
        *of.more(one, words),
    ]
    return {
        "help": help_of(line.reason, words),
        "facts": [(label, shown(text)) for label, text in facts if text],
        **of.values(one, asking),
    }
