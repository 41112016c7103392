"""Send stored documents again: choose by a filter, see how many and where, then do it, as an operation.

The filter never reaches beyond the moment of the preview, and where the count has changed since, nothing is done and
the page shows the new one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from engine.actions.selection import REPLAY_STATES, Replayable, Selection, replay_states, replayable
from engine.features.rework.rows.letter_groups import extent_of
from engine.model.errors import LabRelayError
from engine.model.journal.journal_views import Trace
from engine.model.site.permissions import SEEING_PATIENTS
from engine.store.queries.reader import Reader
from engine.web.asked import Asked, number
from engine.web.forms import Form
from engine.web.pages import states
from engine.web.pages.doing import COUNTING, GONE, NOTHING, OPERATIONS
from engine.web.pages.filters import moments, page_of
from engine.web.pages.frame import Asking, Frame
from engine.web.pages.words import grouped
from engine.web.routes import Route

PATH = "/replay"
VERB = "replay"
NAMES = ("channel", "destination", "since", "until", "state", "specimen", "number", "ids", "to")
MOST_IDS = 200


def routes(frame: Frame) -> Sequence[Route]:
    return frame.forms(PATH, VERB, _take, _ask)


def offer(asking: Asking, trace: Trace) -> list[tuple[str, str]]:
    """A link to the preview for one message, where this person may and something of it was delivered."""
    if VERB not in asking.may or not any(one.state == "delivered" for one in trace.deliveries):
        return []
    return [(asking.words.say("Send again"), asking.words.href(PATH, ids=trace.message.id))]


async def _ask(frame: Frame, request: web.Request) -> web.Response:
    return await _draw(frame, request, frame.asking(request).query)


async def _draw(
    frame: Frame, request: web.Request, query: Mapping[str, str], status: int = 200, trouble: str = ""
) -> web.Response:
    asking = frame.asking(request)._replace(query=query)
    page, words = page_of("replay", PATH, NAMES, asking), asking.words
    preview = None
    asked = Asked.of(PATH, words.language, query, NAMES)
    if asked.values and not trouble:
        try:
            preview = await _preview(frame, request, asking, asked)
        except ValueError as error:
            status, trouble = 400, words.say(str(error))
        except LabRelayError as error:
            status, trouble = frame.refused(request, error)
    values = {
        **page.values,
        "states": [(state, words.say(states.DELIVERY[state].words)) for state in REPLAY_STATES],
        "preview": preview,
        "action": words.href(PATH),
        "operations": words.href(OPERATIONS),
        "trouble": trouble,
    }
    return await frame.desk.page(request, "replay", status, **values)


# -- the preview -----------------------------------------------------------------------------------------------------


async def _preview(frame: Frame, request: web.Request, asking: Asking, asked: Asked) -> dict[str, Any]:
    """
    Raises:
        ValueError: the address selects nothing, or cannot be read; with the sentence for people.
        LabRelayError: the selection is refused.
    """
    selection, words = _selection(asking, asked), asking.words
    args = {"selection": selection.to_json(), "to": asked.get("to"), "reason": COUNTING, "dry_run": True}
    told = await frame.give(request, VERB, args)
    selection = replace(selection, last=told["last"], counted_us=told["counted_us"])
    places, patients = await frame.read(_extent, selection)
    facts = [
        (words.say("Messages"), grouped(told["count"])),
        *([(words.say("Newer ones of the same reports"), grouped(told["newer"]))] if told["newer"] else []),
        *([(words.say("Never sent there before"), grouped(told["new"]))] if told.get("new") else []),
        *([(words.say("Patients"), grouped(patients))] if asking.principal.may(SEEING_PATIENTS) else []),
    ]
    to = asked.get("to")
    return {
        "count": grouped(told["count"] + told["newer"]),
        "empty": not told["count"],
        "facts": facts,
        "places": [(to, "")] if to else [(name, grouped(count)) for name, count in sorted(places.items())],
        "needs_reason": told["needs_reason"],
        "hidden": {
            "selection": orjson.dumps(selection.to_json()).decode(),
            "to": to or "",
            "counted": _counted(told),
            **asked.values,
        },
    }


def _counted(told: Mapping[str, Any]) -> str:
    return f"{told['count']} {told['newer']}"


def _selection(asking: Asking, asked: Asked) -> Selection:
    """
    Raises:
        ValueError: it cannot be read, or nothing is selected; with the sentence for people.
    """
    after_us, before_us = moments(asked, asking.words)
    ids = tuple(found for text in (asked.get("ids") or "").split(",")[:MOST_IDS] if (found := number(text.strip())))
    if asked.get("ids") and not ids:
        raise ValueError(NOTHING)
    selection = Selection(
        ids=ids,
        channel=asked.get("channel"),
        destination=asked.get("destination"),
        state=asked.get("state") if asked.get("state") in REPLAY_STATES else None,
        specimen=asked.get("specimen"),
        number=asked.get("number"),
        after_us=after_us,
        before_us=before_us,
    )
    if selection.is_empty:
        raise ValueError(NOTHING)
    return Selection.from_json(selection.to_json())


def _extent(reader: Reader, selection: Selection) -> tuple[dict[str, int], int]:
    found: Replayable = replayable(reader, selection)
    return extent_of(reader, found.all, replay_states(selection), selection.destination)


# -- the act ---------------------------------------------------------------------------------------------------------


async def _take(frame: Frame, request: web.Request) -> web.Response:
    async def begin(request: web.Request, form: Form) -> web.Response:
        try:
            selection = orjson.loads(form["selection"])
        except orjson.JSONDecodeError:
            raise web.HTTPBadRequest from None
        args = {"selection": selection, "to": form["to"] or None, "reason": form["reason"]}
        if not await frame.was_given(request, form, VERB):
            told = await frame.give(request, VERB, args | {"dry_run": True})
            if _counted(told) != form["counted"]:
                return await _draw(frame, request, form.fields)
        result = await frame.once(request, form, VERB, args | {"dry_run": False})
        if result["operation"] is None:
            return await _draw(frame, request, form.fields, 400, frame.asking(request).words.say(GONE))
        return frame.desk.go(request, f"{OPERATIONS}/{result['operation']}")

    async def redraw(request: web.Request, status: int, trouble: str, form: Form) -> web.Response:
        return await _draw(frame, request, form.fields, status, trouble)

    return await frame.desk.take(request, {"begin": begin}, redraw)
