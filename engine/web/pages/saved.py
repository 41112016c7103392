"""Saved views: a person keeps the address of a list under a name, renames it, removes it.

Who may change (`CHANGING`) shares a view with all users, and renames, withdraws and removes those that are shared. Such
a view is a part of the pages of others, so each of these acts is in the audit trail.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

from engine.access.saved_views import LONGEST_NAME, SavedViews
from engine.model.errors import RefusedError
from engine.model.permissions import CHANGING, LOOKING
from engine.model.saved_views import OF_ALL, SavedView
from engine.web.access.desk import Desk, NamedAct, signed_in
from engine.web.forms import MAX_FIELDS, Form
from engine.web.pages import states
from engine.web.pages.asked import number
from engine.web.pages.frame import Frame
from engine.web.pages.messages import SPANS
from engine.web.pages.words import Words, shown
from engine.web.routes import PRINCIPAL, Route
from engine.web.saved_lists import address, has_number, kept

PATH, SHARED = "/views", "/views/shared"
DONE = {  # by the act
    "rename": "The view has another name.",
    "remove": "The view is removed.",
    "share": "All users have the view now.",
    "withdraw": "You alone have the view now.",
}
NUMBER = "an address with a number is not kept: it may be a patient's"
NO_LIST = "this is no list of this page"


class Given(NamedTuple):
    """A form about a view.

    Attributes:
        user: who has sent it.
        name: the new one, where the act is about it.
    """

    number: int
    user: int
    name: str
    by: str


Change = Callable[[SavedViews, Given], Awaitable[None]]
OWN: Mapping[str, Change] = {
    "rename": lambda views, of: views.rename(of.number, of.user, of.name, by=of.by),
    "remove": lambda views, of: views.remove(of.number, of.user, by=of.by),
}
OF_ALL_USERS: Mapping[str, Change] = {
    "share": lambda views, of: views.share(of.number, of.user, by=of.by),
    "withdraw": lambda views, of: views.withdraw(of.number, of.user, by=of.by),
    "rename": lambda views, of: views.rename(of.number, OF_ALL, of.name, by=of.by),
    "remove": lambda views, of: views.remove(of.number, OF_ALL, by=of.by),
}


def routes(frame: Frame) -> Sequence[Route]:
    """None where no person can log in."""
    desk = frame.desk
    if desk is None:
        return ()
    own: dict[str, NamedAct] = {name: partial(_change, desk, change) for name, change in OWN.items()}
    of_all: dict[str, NamedAct] = {name: partial(_change, desk, change) for name, change in OF_ALL_USERS.items()}
    own["save"] = partial(_save, frame, desk)
    return (
        Route(PATH, partial(_show, frame, desk), LOOKING),
        Route(PATH, partial(_take, frame, desk, own), LOOKING, method=hdrs.METH_POST),
        Route(SHARED, partial(_take, frame, desk, of_all), CHANGING, method=hdrs.METH_POST),
    )


async def _show(frame: Frame, desk: Desk, request: web.Request) -> web.Response:
    return await _draw(frame, desk, request)


async def _draw(
    frame: Frame, desk: Desk, request: web.Request, status: int = 200, trouble: str = "", form: Form | None = None
) -> web.Response:
    """The list of all views of a person; with the form that was refused, where an address was to be saved."""
    signed_in(request)
    words, may_share = frame.asking(request).words, request[PRINCIPAL].may(CHANGING)
    rows = [row for one in await frame.saved.of(request) if (row := _row(frame, request, one, words))]
    saving = None
    if form is not None and form["act"] == "save":
        with suppress(RefusedError):
            path, query = _address(frame, request, form)
            saving = {"path": path, "query": query, "name": form["name"]}
    done = DONE.get(request.query.get("done", ""), "")
    return await desk.page(
        request, "views", status, rows=rows, may_share=may_share, saving=saving, trouble=trouble, done=done
    )


def _row(frame: Frame, request: web.Request, view: SavedView, words: Words) -> dict[str, Any] | None:
    """None: it is of all, and this person may not open the list."""
    listed = frame.saved.listed(request, view.path)
    if listed is None and view.is_shared and view.name:
        return None
    labels = listed.labels if listed is not None else {}
    return {
        "number": view.number,
        "name": shown(view.name, LONGEST_NAME) or words.say("damaged"),
        "href": address(view, words.language) if listed is not None else "",
        "list": words.say(listed.title) if listed is not None else "",
        "filter": [
            (words.say(labels[name]), _said(name, value, words))
            for name, value in parse_qsl(view.query)
            if name in labels
        ],
        "is_shared": view.is_shared,
    }


def _said(name: str, value: str, words: Words) -> str:
    """A value of a filter: the word for it, where it is one of ours."""
    if name == "state":
        value = states.word(value, words)
    return words.say(SPANS[value]) if value in SPANS else shown(value, LONGEST_NAME)


async def _take(frame: Frame, desk: Desk, acts: Mapping[str, NamedAct], request: web.Request) -> web.Response:
    signed_in(request)
    return await desk.take(request, acts, partial(_draw, frame, desk))


async def _save(frame: Frame, desk: Desk, request: web.Request, form: Form) -> web.Response:
    """Keep an address, and lead back to it."""
    path, query = _address(frame, request, form)
    await desk.accounts.views.save(signed_in(request).user.id, form["name"], path, query)
    return desk.go(request, f"{path}?{query}" if query else path)


def _address(frame: Frame, request: web.Request, form: Form) -> tuple[str, str]:
    """The path of the list that a form names, and what a view keeps of its query.

    Raises:
        RefusedError: it is no list that this person may open, or the query has a number.
    """
    listed = frame.saved.listed(request, form["path"])
    try:
        asked = dict(parse_qsl(form["query"], max_num_fields=MAX_FIELDS))
    except ValueError:
        listed = None
    if listed is None:
        raise RefusedError(NO_LIST)
    if has_number(listed, asked):
        raise RefusedError(NUMBER)
    return form["path"], kept(listed, asked)


async def _change(desk: Desk, change: Change, request: web.Request, form: Form) -> web.Response:
    """The number of another user's view names none."""
    me = signed_in(request)
    await change(desk.accounts.views, Given(number(form["number"]), me.user.id, form["name"], me.principal.actor))
    return desk.go(request, PATH, done=form["act"])
