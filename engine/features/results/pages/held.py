"""Held results: which rule keeps each back, and why. Those with a critical value come first.

Who may see patients sees the worst result of each; the look is in the audit trail, once for each log-in. Below are the
persons who seem to be those who bore their numbers before.
"""

from collections.abc import Sequence, Set
from contextlib import suppress
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.results.lists.held_results import BY_RULE, WHOSE, results_held
from engine.features.results.lists.saying import with_says
from engine.features.results.pages.decision import href
from engine.features.results.pages.rows import more, row_of
from engine.features.rework.pages.dead_letters import letter_row
from engine.model.errors import LabRelayError
from engine.model.journal.journal_views import DeadLetter
from engine.model.site.permissions import LOOKING, SEEING_PATIENTS
from engine.store.queries.letters import count_held, held_deliveries
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import list_seeming
from engine.views.view import Row
from engine.web.asked import PAGE, Asked
from engine.web.pages.columns import COLUMNS, Column
from engine.web.pages.doing import look_once, offers
from engine.web.pages.filters import of_letters, page_of
from engine.web.pages.frame import Asking, Channels, Frame, Page, Values
from engine.web.pages.words import Words, grouped, iso
from engine.web.routes import Route

PATH = "/held"
NAMES = ("channel", "destination", "code", "since", "until", "state", COLUMNS)
VERBS = ("release", "reject")
CHOICE = {
    "why": Column("Why"),
    "test": Column("Test"),
    "value": Column("Value"),
    "flag": Column("Flag"),
    "before": Column("Before"),
    "channel": Column("Analyzer"),
    "since": Column("Since"),
    "type": Column("Type", usual=False),
}
STATES = ("rejected",)  # besides those that are held


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(_list, frame), LOOKING),)


async def _list(frame: Frame, request: web.Request) -> web.Response:
    asking, seen = frame.asking(request), frozenset[int]()
    if asking.principal.may(SEEING_PATIENTS):
        with suppress(LabRelayError, ValueError):  # then the page says it, or shows no values
            found, _ = await frame.read(_letters, asking)
            numbers = frozenset(one.message_id for one in found)
            seen = numbers if await look_once(frame, request, *numbers) else seen
    return await frame.show(request, _page, partial(_found, frame.channels, seen), asking)


def _page(asking: Asking) -> Page:
    return page_of("held", PATH, NAMES, asking, CHOICE)


def _letters(reader: Reader, asking: Asking) -> tuple[list[DeadLetter], bool]:
    """Of one page, and whether there are older ones."""
    wanted = of_letters(PATH, NAMES, asking, states=STATES)
    before = Asked.of(PATH, asking.words.language, asking.query, NAMES).before or None
    found = held_deliveries(reader, wanted, before_id=before, limit=PAGE)
    is_full = len(found) >= PAGE
    return found, is_full and bool(held_deliveries(reader, wanted, before_id=found[-1].message_id, limit=1))


def _found(channels: Channels, seen: Set[int], reader: Reader, asking: Asking) -> Values:
    words, known = asking.words, channels()
    asked = Asked.of(PATH, words.language, asking.query, NAMES)
    wanted = of_letters(PATH, NAMES, asking, states=STATES)
    found, has_older = _letters(reader, asking)
    found = with_says(found, known)
    shown = [one for one in found if one.message_id in seen]
    results = results_held(reader, known, shown)
    results |= results_held(reader, known, [one for one in found if one.message_id not in seen], masked=True)
    is_open = wanted.state is None
    look = words.say("Decide") if VERBS[0] in asking.may else words.say("Show")
    looks = dict.fromkeys(WHOSE, words.say("Compare"))
    return {
        "rows": [
            letter_row(one, words)
            | {"offers": [(looks.get(one.reason or "", look), href(words, one))] if is_open else []}
            | {"whose": one.reason in WHOSE, "by_rule": one.reason in BY_RULE}
            | _worst(results[str(one.delivery_id)], one.message_id in seen, words)
            for one in found
        ],
        "offers": offers(asking, VERBS if is_open else (), asked),
        "count": grouped(count_held(reader, wanted)),
        "older": asked.href(before=found[-1].message_id) if has_older else "",
        "persons": [
            {
                "number": one.message_id,
                "href": words.href(f"{PATH}/{one.message_id}"),
                "channel": one.channel,
                "at": words.time(one.received_us),
                "iso": iso(one.received_us),
            }
            for one in list_seeming(reader, PAGE)
        ],
    }


def _worst(rows: Sequence[Row] | None, is_seen: bool, words: Words) -> dict[str, Any]:
    """The result that the decision is about first; without its value where that is ``hidden``."""
    if not rows:
        return {"result": None}
    masked = {"test": "", "name": "", "loinc": "", "specimen": "", "value": "", "sends": "", "range": ""}
    masked |= {"limits": "", "collected": "", "at": ""}
    none = {
        **masked,
        "critical": False,
        "earlier": "",
        "earlier_at": "",
        "earlier_message": 0,
        "change": "",
        "percent": "",
    }
    return {"result": row_of({**none, **rows[0]}, words), "hidden": not is_seen, "more": more(len(rows) - 1, words)}
