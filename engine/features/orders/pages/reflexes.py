"""Tests that results propose: a person orders one, or declines it. The verbs are those of the control socket.

Who may see patients sees the value that proposes it; the look is in the audit trail, once for each log-in.
"""

from collections.abc import Sequence, Set
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any

from aiohttp import web

from engine.features.orders.pages.orders import ONE
from engine.features.orders.rows import reading
from engine.features.orders.rows.reflex import OPEN, ReflexView, proposals
from engine.model.errors import LabRelayError, RefusedError
from engine.model.orders import code_alone, item_id
from engine.model.site.permissions import LOOKING, SEEING_PATIENTS
from engine.model.texts.phrases import R_
from engine.store.queries.reader import Reader
from engine.web.asked import PAGE, number
from engine.web.forms import Form
from engine.web.pages.doing import look_once
from engine.web.pages.frame import Asking, Channels, Frame, Page, Values
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.panels import PANELS
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
    return (Route(PATH, partial(_list, frame), LOOKING), *frame.forms(PATH, VERBS[0], _take))


async def _list(frame: Frame, request: web.Request) -> web.Response:
    asking, seen = frame.asking(request), frozenset[int]()
    if asking.principal.may(SEEING_PATIENTS):
        with suppress(LabRelayError, ValueError):  # then the page says it, or shows no values
            found = await frame.read(lambda reader: proposals(reader, limit=PAGE))
            numbers = frozenset(one.message for one in found)
            seen = numbers if await look_once(frame, request, *numbers) else seen
    return await frame.show(request, _page, partial(_found, frame.channels, seen), asking)


def _page(asking: Asking) -> Page:
    return Page("reflexes", {"may_act": asking.may.issuperset(VERBS), "back": asking.words.href("/orders")})


def _found(channels: Channels, seen: Set[int], reader: Reader, asking: Asking) -> Values:
    rows = [(one, _values(reader, channels, one, asking.words, seen)) for one in proposals(reader, limit=PAGE)]
    return {"rows": [{**_row(one, asking.words), "values": values} for one, values in rows]}


def _values(reader: Reader, channels: Channels, one: ReflexView, words: Words, seen: Set[int]) -> str:
    """What the message says of the test that has the proposal."""
    parent = reading.item(reader, one.parent)
    if parent is None or one.message not in seen:
        return words.say("hidden")
    line, code = parent.item.line, code_alone(parent.item.code)
    codes = frozenset({line.test, line.ordered, code} - {""})
    said = (panels.said_of(reader, channels, one.message, line.specimen, codes, words) for panels in PANELS.each())
    return "; ".join(chain.from_iterable(said)) or "-"


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


async def _take(frame: Frame, request: web.Request) -> web.Response:
    redraw = frame.again(_page, partial(_found, frame.channels, frozenset()))
    return await frame.take(request, _asked, redraw, lambda form, done: frame.desk.go(request, PATH))


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
