"""Alerts: those that are open, silences, and what was sent; a person takes one, silences some, ends a silence.

The verbs are those of the control socket, under the person's name. The bell at the top of each page leads here.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.alerts.lists import Shown, critical_alert, shown
from engine.features.alerts.rows import reading as rows
from engine.features.alerts.rows.changes import CRITICAL_KEY
from engine.features.alerts.rows.reading import Sent
from engine.features.todo.pages import FEW_WORDS
from engine.model.errors import RefusedError
from engine.model.site.alerts import Silence, State
from engine.model.site.permissions import ACTING, LOOKING
from engine.model.texts.phrases import PageText
from engine.monitoring.snapshot.states import Level
from engine.store.queries.reader import Reader
from engine.web.asked import number
from engine.web.cells import Badge
from engine.web.forms import Form
from engine.web.menu import LOOKS, SET_UP, Entry
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.states import Look, badge
from engine.web.pages.words import Words, iso
from engine.web.routes import Route
from engine.web.rows import LEVEL_WORDS

ALERTS = "/alerts"
OF_MESSAGE = re.compile(CRITICAL_KEY.format(r"(\d+)"))
MOST_SENT = 50

TIMES: dict[str, PageText] = {
    "3600": "For an hour",
    "14400": "For 4 hours",
    "86400": "For a day",
    "604800": "For a week",
}
STATES = {
    State.PENDING: Look("begins", "calm", "retry"),
    State.FIRING: Look("open", "attention", "attention"),
    State.ACKNOWLEDGED: Look("taken", "calm", "ok"),
    State.CLEARING: Look("ends", "calm", "retry"),
    State.UNSTEADY: Look("comes and goes", "attention", "retry"),
}
ENDS = {
    "sent": Look("sent", "ok", "ok"),
    "waits": Look("waits", "attention", "retry"),
    "given up": Look("given up", "attention", "dead"),
}
MENU = (Entry("/alerts", "Alerts", LOOKS, 40, SET_UP, "bell"),)


def routes(frame: Frame) -> Sequence[Route]:
    listed = Route(ALERTS, partial(frame.show, page=_page, found=_found), LOOKING)
    return (listed, *frame.forms(ALERTS, "alert_acknowledge", _take))


def _page(asking: Asking) -> Page:
    may_act = asking.principal.permissions >= ACTING
    return Page("alerts", {"may_act": may_act, "times": _times(asking.words), "notifies": asking.site.notifies})


def _times(words: Words) -> list[tuple[str, str]]:
    return [(seconds, words.say(text)) for seconds, text in TIMES.items()]


def _found(reader: Reader, asking: Asking) -> Values:
    words = asking.words
    now_us = round(words.now.timestamp() * 1e6)
    kept, _ = rows.kept(reader, now_us)
    silences = rows.silences(reader, now_us)
    listed = shown(kept, rows.takers(reader, kept), silences)
    if not asking.site.notifies:  # its critical values are no alerts, and wait for a person all the same
        listed = [Shown(critical_alert(one)) for one in rows.critical_values(reader)] + listed
    return {
        "rows": [_row(one, words) for one in listed],
        "silences": [_silence(one, words, asking.principal.reads_notes) for one in silences],
        "sent": [_sent(one, words) for one in rows.sent(reader, limit=MOST_SENT)],
    }


def _row(one: Shown, words: Words) -> dict[str, Any]:
    alert = one.alert
    level = Level(alert.level)
    message = OF_MESSAGE.fullmatch(alert.key)
    return {
        "key": alert.key,
        "badge": Badge(level.value, level.value, words.say(LEVEL_WORDS[level])),
        "state": badge(STATES[alert.state], words),
        "words": alert.phrase.say(words.catalogue),
        "href": words.href(f"{MESSAGES}/{message[1]}") if message is not None else "",
        "since": words.time(alert.since_us),
        "since_iso": iso(alert.since_us),
        "to": ", ".join(alert.sent_to),
        "taker": one.taker.by if one.taker is not None else "",
        "may_take": alert.is_open and not alert.taken,
        "may_silence": alert.is_open and not alert.urgent,
        "silence": one.silence.act if one.silence is not None and not alert.urgent else 0,
    }


def _silence(one: Silence, words: Words, reads_notes: bool) -> dict[str, Any]:
    return {
        "number": one.act,
        "pattern": one.pattern,
        "by": one.by,
        "until": words.time(one.until_us),
        "iso": iso(one.until_us),
        "reason": one.reason if reads_notes else "",
    }


def _sent(one: Sent, words: Words) -> dict[str, Any]:
    state = "sent" if one.is_sent else "given up" if one.ended_us else "waits"
    return {
        "at": words.time(one.line.at_us),
        "iso": iso(one.line.at_us),
        "what": words.say(WHAT[one.line.what.value]),
        "words": one.line.phrase.say(words.catalogue),
        "sink": one.line.sink,
        "refused": words.say("refused for {who}", who=one.refused) if one.refused else "",
        "state": badge(ENDS[state], words),
    }


WHAT: dict[str, PageText] = {
    "start": "Begins",
    "still": "Still there",
    "worse": "Worse",
    "escalated": "Not taken",
    "no-more": "Critical no more",
    "end": "Over",
    "test": "A test",
}


async def _take(frame: Frame, request: web.Request) -> web.Response:
    redraw = frame.again(_page, _found)
    return await frame.take(request, _asked, redraw, lambda form, done: frame.desk.go(request, ALERTS))


def _asked(form: Form) -> tuple[str, dict[str, Any]]:
    """The verb and its arguments.

    Raises:
        RefusedError: words are missing.
        web.HTTPBadRequest: it is no act of this page.
    """
    what, _, which = form["act"].partition(" ")
    if what == "take":
        return "alert_acknowledge", {"key": which, "note": form["note"]}
    if what == "end" and (silence := number(which)):
        return "alert_unsilence", {"silence": silence}
    if what == "silence" and form["time"] in TIMES:
        if not form["pattern"] or not form["reason"]:
            raise RefusedError(FEW_WORDS)
        args = {"pattern": form["pattern"], "seconds": float(form["time"]), "reason": form["reason"]}
        return "alert_silence", args
    raise web.HTTPBadRequest
