"""One entry of the to-do list with all that can be said about it: take it, give it back, leave a note, put it off.

The list itself is on the overview (`engine.web.render`), whose buttons are given here, too. The verbs are those of the
control socket, under the person's name.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from engine.actions.control import Request
from engine.features.reports.lists.shift import ends
from engine.features.todo.pages.rows_shown import TODO, short_time, todo_row
from engine.model.errors import LabRelayError, RefusedError
from engine.model.permissions import ACTING, LOOKING
from engine.model.phrases import N_, R_, PageText
from engine.monitoring.todo import Todo, without_notes
from engine.store.queries.reader import Reader
from engine.web.desk import Desk
from engine.web.forms import Form
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values
from engine.web.routes import PRINCIPAL, Route

PARTS = {"give-back": "taken", "no-note": "note", "wake": "snooze"}  # an act -> what is forgotten
UNTIL: dict[str, PageText] = {
    "hour": "For an hour",
    "shift": "Until the end of the shift",
    "morning": "Until the morning",
}
MORNING = time(8)
FEW_WORDS = R_("write a few words first")
GONE = N_("This is not on the list any more.")


def routes(frame: Frame) -> Sequence[Route]:
    shown = Route(TODO, partial(_show, frame), LOOKING)
    if frame.desk is None:
        return (shown,)
    return (shown, Route(TODO, partial(_take, frame, frame.desk), ACTING, method="POST"))


async def _show(frame: Frame, request: web.Request) -> web.Response:
    todo = await _found(frame, request, request.query.get("key", ""))
    return await frame.show(request, partial(_page, todo), partial(_there, todo))


async def _found(frame: Frame, request: web.Request, key: str) -> Todo | None:
    found = next((one for one in await frame.todo() if isinstance(one, Todo) and one.entry.key == key), None)
    return found if found is None or request[PRINCIPAL].reads_notes else without_notes(found)


def _page(todo: Todo | None, asking: Asking) -> Page:
    return Page("todo", _values(todo, asking))


def _there(todo: Todo | None, reader: Reader, asking: Asking) -> Values | Gone:
    return Gone(asking.words.say(GONE)) if todo is None else {}


def _values(todo: Todo | None, asking: Asking) -> dict[str, Any]:
    words = asking.words
    until = _until(asking)
    critical = todo is not None and todo.entry.critical
    return {
        "row": todo_row(todo, words) if todo is not None else None,
        "may_act": asking.principal.permissions >= ACTING,
        "until": [
            (name, words.say(text), short_time(until[name], words))
            for name, text in UNTIL.items()
            if not critical or until[name] <= until["shift"]
        ],
    }


def _until(asking: Asking) -> Mapping[str, datetime]:
    return until(asking.words.now, asking.shifts, asking.words.zone)


def until(now: datetime, shifts: Sequence[time], zone: ZoneInfo) -> Mapping[str, datetime]:
    """The end of each time that an entry can be put off for."""
    today = now.astimezone(zone).date()
    days = [today, today + timedelta(days=1)]
    mornings = (datetime.combine(day, MORNING, zone) for day in days)
    return {
        "hour": now + timedelta(hours=1),
        "shift": ends(now, shifts, zone),
        "morning": next(at for at in mornings if at > now),
    }


async def _take(frame: Frame, desk: Desk, request: web.Request) -> web.Response:
    asking = frame.asking(request)

    async def act(form: Form) -> web.Response:
        what, _, key = form["act"].partition(" ")
        verb, args = _asked(what, form, asking)
        try:
            _raise_if_missing(args)
            given = {**args, "key": key}
            await frame.verbs[verb].work(Request(verb=verb, actor=request[PRINCIPAL].actor, args=given))
        except LabRelayError as error:
            status, trouble = desk.refused(request, error)
            values = _values(await _found(frame, request, key), asking)
            return await desk.page(request, "todo", status, words=asking.words, trouble=trouble, **values)
        return desk.go(request, "/")

    return await desk.answer(request, act)


def _asked(what: str, form: Form, asking: Asking) -> tuple[str, dict[str, Any]]:
    """The verb and its arguments but the key.

    Raises:
        web.HTTPBadRequest: it is no act of this page.
    """
    if what == "take":
        return "todo_take", {}
    if what in PARTS:
        return "todo_drop", {"only": PARTS[what]}
    if what == "note":
        return "todo_note", {"text": form["text"]}
    if what in UNTIL:
        seconds = (_until(asking)[what] - asking.words.now).total_seconds()
        return "todo_snooze", {"seconds": seconds, "reason": form["reason"]}
    raise web.HTTPBadRequest


def _raise_if_missing(args: Mapping[str, Any]) -> None:
    if not all(args.values()):
        raise RefusedError(FEW_WORDS)
