"""The audit trail: who did what, when, from where, and why. Newest first."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from aiohttp import web

from engine.model.journal.journal_views import Act
from engine.model.site.permissions import ADMINISTERING
from engine.model.texts.phrases import N_
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.reader import Reader
from engine.views.trail import Entry, about, names_message, reason
from engine.views.trail import page_of as page_of_trail
from engine.web.asked import PAGE, Asked, number
from engine.web.cells import Badge
from engine.web.pages.columns import COLUMNS, Column
from engine.web.pages.filters import moments, page_of
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import Words, shown
from engine.web.routes import Route

PATH = "/acts"
NAMES = ("actor", "act", "message", "since", "until", COLUMNS)
CHOICE = {"time": Column("Time"), "person": Column("Person"), "reason": Column("Reason"), "state": Column("State")}
ENDS = "ends"  # in an address: ends of acts whose beginnings are on a later page
MOST_ENDS = 20
STATES = {
    "done": Badge("ok", "ok", N_("done")),
    "open": Badge("attention", "retry", N_("under way")),
    "cut short": Badge("problem", "problem", N_("cut short: give it again")),
    "refused": Badge("attention", "off", N_("refused")),
    "damaged": Badge("problem", "dead", N_("damaged: `labrelay verify` names it")),
}


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(_list, frame), ADMINISTERING),)


async def _list(frame: Frame, request: web.Request) -> web.Response:
    return await frame.show(request, _page, _found)


def _page(asking: Asking) -> Page:
    return page_of("acts", PATH, NAMES, asking, CHOICE)


def _found(reader: Reader, asking: Asking) -> Values:
    words = asking.words
    asked = Asked.of(PATH, words.language, asking.query, NAMES)
    after_us, before_us = moments(asked, words)
    found, read_to, ends = page_of_trail(
        partial(acts_page, reader),
        lambda entry: (before_us is None or entry.at_us < before_us) and _fits(entry, asked),
        frozenset(act.id for act in open_acts(reader)),
        before=asked.before or None,
        ends=_ends(reader, asking.query.get(ENDS, "")),
        after_us=after_us,
        limit=PAGE,
        within_s=reader.deadline_s,
        most_ends=MOST_ENDS,
    )
    more = {ENDS: ",".join(str(end.id) for end in ends)} if ends else {}
    older = "" if read_to is None else asked.href(before=read_to, **more)
    return {"rows": [_row(one, words) for one in found], "older": older}


def _ends(reader: Reader, given: str) -> list[Act]:
    numbers = [number(text) for text in given.split(",")[:MOST_ENDS]]
    return [act for one in numbers if one for act in acts_page(reader, before_id=one + 1, limit=1) if act.ended]


def _fits(entry: Entry, asked: Asked) -> bool:
    message = asked.get("message")
    return (
        (asked.get("actor") or entry.actor).casefold() == entry.actor.casefold()
        and (asked.get("act") or entry.verb) == entry.verb
        and (message is None or names_message(entry, number(message)))
    )


def _row(one: Entry, words: Words) -> dict[str, Any]:
    state = STATES[one.state]
    return {
        "id": f"a-{one.id}",
        "number": one.id,
        **words.when(one.at_us),
        "actor": shown(one.actor),
        "by": ", ".join(shown(str(text)) for name, text in one.by.items() if name in ("role", "from") and text),
        "act": one.verb,
        "about": shown(about(one), 200),
        "reason": shown(reason(one), 300),
        "state": state._replace(word=words.say(state.word)),
        "outcome": shown(", ".join(f"{name} {value}" for name, value in one.outcome.items()), 200),
    }
