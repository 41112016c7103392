"""Held results: which rule keeps each back, and why. Those with a critical value come first. No patient is named."""

from collections.abc import Sequence
from functools import partial

from aiohttp import web

from engine.features.results.lists.held_results import WHOSE
from engine.features.results.lists.saying import with_says
from engine.features.results.pages.decision import href
from engine.features.rework.pages.dead_letters import letter_columns, letter_row
from engine.model.site.permissions import LOOKING
from engine.store.queries.letters import count_held, held_deliveries
from engine.store.queries.reader import Reader
from engine.web.asked import PAGE, Asked
from engine.web.pages.columns import COLUMNS
from engine.web.pages.doing import offers
from engine.web.pages.filters import of_letters, page_of
from engine.web.pages.frame import Asking, Channels, Frame, Page, Values
from engine.web.pages.words import grouped
from engine.web.routes import Route

PATH = "/held"
NAMES = ("channel", "destination", "code", "since", "until", "state", COLUMNS)
VERBS = ("release", "reject")
CHOICE = letter_columns(why=True)
STATES = ("rejected",)  # besides those that are held


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(_list, frame), LOOKING),)


async def _list(frame: Frame, request: web.Request) -> web.Response:
    return await frame.show(request, _page, partial(_found, frame.channels))


def _page(asking: Asking) -> Page:
    return page_of("held", PATH, NAMES, asking, CHOICE)


def _found(channels: Channels, reader: Reader, asking: Asking) -> Values:
    words = asking.words
    asked = Asked.of(PATH, words.language, asking.query, NAMES)
    wanted = of_letters(PATH, NAMES, asking, states=STATES)
    found = held_deliveries(reader, wanted, before_id=asked.before or None, limit=PAGE)
    found = with_says(found, channels())
    last = found[-1].message_id if found else 0
    more = len(found) >= PAGE and held_deliveries(reader, wanted, before_id=last, limit=1)
    is_open = wanted.state is None
    look = words.say("Decide") if VERBS[0] in asking.may else words.say("Show")
    looks = dict.fromkeys(WHOSE, words.say("Compare"))
    return {
        "rows": [
            letter_row(one, words)
            | {"offers": [(looks.get(one.reason or "", look), href(words, one))] if is_open else []}
            for one in found
        ],
        "offers": offers(asking, VERBS if is_open else (), asked),
        "count": grouped(count_held(reader, wanted)),
        "older": asked.href(before=last) if more else "",
    }
