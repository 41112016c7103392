"""Tests that results propose: a person orders one, or declines it. The verbs are those of the control socket."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from engine.features.orders.pages.orders import ONE
from engine.features.orders.rows.reflex import OPEN, ReflexView, proposals
from engine.model.errors import LabRelayError, RefusedError
from engine.model.orders import item_id
from engine.model.site.permissions import ACTING, LOOKING
from engine.model.texts.phrases import R_
from engine.store.queries.reader import Reader
from engine.web.asked import PAGE, number
from engine.web.desk import Desk
from engine.web.forms import Form
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.states import Look, badge
from engine.web.pages.words import Words, iso, shown
from engine.web.routes import Route

PATH = "/reflexes"
VERBS = ("reflex_confirm", "reflex_decline")
STATES = {
    "proposed": Look("proposed", "attention", "orders"),
    "unsure": Look("for you to say", "attention", "attention"),
    "untrue": Look("not so any more", "attention", "problem"),
}


def routes(frame: Frame) -> Sequence[Route]:
    listed = Route(PATH, partial(frame.show, page=_page, found=_found), LOOKING)
    if frame.desk is None or VERBS[0] not in frame.verbs:
        return (listed,)
    return (listed, Route(PATH, partial(_take, frame, frame.desk), ACTING, method=hdrs.METH_POST))


def _page(asking: Asking) -> Page:
    return Page("reflexes", {"may_act": asking.may.issuperset(VERBS), "back": asking.words.href("/orders")})


def _found(reader: Reader, asking: Asking) -> Values:
    return {"rows": [_row(one, asking.words) for one in proposals(reader, limit=PAGE)]}


def _row(one: ReflexView, words: Words) -> dict[str, Any]:
    order = item_id(one.item or one.parent)
    return {
        "number": one.id,
        "adds": shown(one.adds),
        "test": shown(one.test),
        "order": order,
        "order_href": words.href(ONE, item=order),
        "rule": shown(one.rule),
        "state": badge(STATES[one.state], words),
        "channel": one.channel,
        "message": one.message,
        "message_href": words.href(f"{MESSAGES}/{one.message}"),
        "at": words.time(one.at_us),
        "iso": iso(one.at_us),
        "restored": one.restored,
        "is_open": one.state in OPEN,
    }


async def _take(frame: Frame, desk: Desk, request: web.Request) -> web.Response:
    async def act(form: Form) -> web.Response:
        try:
            await frame.give(request, *_asked(form))
        except LabRelayError as error:
            status, trouble = frame.refused(desk, request, error)
            asking = frame.asking(request)
            values = {**_page(asking).values, **await frame.read(_found, asking)}
            return await desk.page(request, "reflexes", status, trouble=trouble, **values)
        return desk.go(request, PATH)

    return await desk.answer(request, act)


def _asked(form: Form) -> tuple[str, dict[str, Any]]:
    """The verb and its arguments.

    Raises:
        RefusedError: the reason is missing.
        web.HTTPBadRequest: it is no act of this page.
    """
    verb, _, proposal = form["act"].partition(" ")
    if verb not in VERBS or not number(proposal):
        raise web.HTTPBadRequest
    if not (reason := form["reason"].strip()):
        raise RefusedError(R_("write a few words first"))
    return verb, {"proposal": number(proposal), "reason": reason}
