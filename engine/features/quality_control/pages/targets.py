"""Targets of controls, and lots in use: taken from a table, put in force from a date on, ended on one.

Each act has its person and reason in the audit trail. `quality_load` names the problems of a table by line and column.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.quality_control.rows import reading
from engine.features.quality_control.rows.reading import LotView, TargetView
from engine.features.quality_control.rules.lots import IN_FORCE, INTERIM, PROPOSED
from engine.features.quality_control.rules.tables import CONTROLS, TARGETS, read
from engine.model.errors import ConfigError, RefusedError
from engine.model.process.clock import to_us
from engine.model.site.permissions import CHANGING, LOOKING
from engine.model.texts.phrases import N_, PageText, Said
from engine.store.queries.reader import Reader
from engine.web.asked import number
from engine.web.cells import Row
from engine.web.forms import Form
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import Words, shown
from engine.web.routes import Route

PATH = "/quality/targets"
LOAD, ACCEPT, END = "quality_load", "quality_accept", "quality_end"
MOST = 150  # targets of one analyzer, or of all: a form has 200 fields
FILE = "CSV"
STATES: dict[str, PageText] = {"proposed": "proposed", "interim": "interim", "in force": "in force", "closed": "closed"}
NO_DATE, NO_TARGET = N_("It is no date: write it as 2026-03-01."), N_("No target is chosen.")
_KNOWN = ("channel", "from", "text", "reason")


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(frame.show, page=_page, found=_found), LOOKING), *frame.forms(PATH, LOAD, _take))


async def _take(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    act = partial(_act, words=asking.words, channels=frozenset(one.name for one in asking.site.channels))

    async def redraw(request: web.Request, status: int, trouble: str, form: Form) -> web.Response:
        here = asking._replace(query={"channel": form["channel"]})
        values = {**_page(here).values, **await frame.read(_found, here), "words": here.words}
        values["given"] = {name: form[name] for name in _KNOWN}
        return await frame.desk.page(request, "quality_targets", status, **values, trouble=trouble)

    def go(form: Form, done: Mapping[str, Any]) -> web.Response:
        return frame.desk.go(request, PATH, channel=form["channel"])

    return await frame.take(request, act, redraw, go)


def _act(form: Form, *, words: Words, channels: Collection[str]) -> tuple[str, dict[str, Any]]:
    what, _, target = form["act"].partition(" ")
    said = {"reason": form["reason"]}
    if what == "load":
        try:
            read(form["text"], FILE, channels)
        except ConfigError as error:
            raise RefusedError("; ".join(error.problems)) from error
        return LOAD, {"text": form["text"], "file": FILE, **said}
    if what == "end" and number(target):
        return END, {"target": number(target), "until_us": _at_us(form["from"], words), **said}
    if what not in ("accept", "interim"):
        raise web.HTTPBadRequest
    chosen = [found for name in form.fields if name[:1] == "t" and (found := number(name[1:]))]
    if not chosen:
        raise RefusedError(Said(NO_TARGET))
    state = IN_FORCE if what == "accept" else INTERIM
    return ACCEPT, {"targets": chosen, "state": state, "from_us": _at_us(form["from"], words), **said}


def _at_us(text: str, words: Words) -> int:
    """The first instant of a day of the site; 0, which is now, where none is given."""
    if not text:
        return 0
    try:
        day = date.fromisoformat(text)
        return to_us(datetime(day.year, day.month, day.day, tzinfo=words.zone))
    except (ValueError, OverflowError):
        raise RefusedError(Said(NO_DATE)) from None


def _page(asking: Asking) -> Page:
    channels = sorted(one.name for one in asking.site.channels)
    channel = asking.query.get("channel", "")
    values = {
        "action": asking.words.href(PATH),
        "may_act": asking.principal.permissions >= CHANGING and LOAD in asking.may,
        "channel": channel if channel in channels else "",
        "heads": [",".join(TARGETS), ",".join(CONTROLS)],
        "given": dict.fromkeys(_KNOWN, ""),
    }
    return Page("quality_targets", values)


def _found(reader: Reader, asking: Asking) -> Values:
    words, channel = asking.words, _page(asking).values["channel"] or None
    targets = reading.list_targets(reader, closed=True)
    named = sorted({one.channel for one in targets})
    mine = [one for one in targets if channel in (None, one.channel)]
    # What asks for a person first, then what holds now; of the closed ones the newest.
    ordered = sorted((one for one in mine if one.state != "closed"), key=lambda one: one.state != PROPOSED)
    closed = sorted((one for one in mine if one.state == "closed"), key=lambda one: -one.until_us)
    return {
        "chips": [(one, words.href(PATH, channel=one), one == channel) for one in named],
        "every": (words.href(PATH), channel is None),
        "targets": [_row(one, words, chosen=channel is not None) for one in ordered[:MOST]],
        "more": max(0, len(ordered) - MOST),
        "closed": [_row(one, words, chosen=False) for one in closed[:MOST]],
        "lots": [_lot(one, words) for one in reading.list_lots(reader, channel)],
    }


def _row(one: TargetView, words: Words, *, chosen: bool) -> Row:
    is_open = one.state in (PROPOSED, INTERIM)
    return {
        "target": one.id,
        "channel": one.channel,
        "test": shown(f"{one.test} ({one.module})" if one.module else one.test),
        "level": shown(f"{one.level} · {one.lot}"),
        "mean": f"{shown(one.mean)} ± {one.sd}" if one.sd else shown(one.mean),
        "unit": shown(one.unit),
        "source": shown(one.source),
        "sign": "attention" if is_open else "ok" if one.state == IN_FORCE else "calm",
        "state": words.say(STATES[one.state]),
        "from": words.time(one.from_us)[:16],
        "until": words.time(one.until_us)[:16],
        "open": is_open,
        "chosen": chosen and one.state == PROPOSED,
    }


def _lot(one: LotView, words: Words) -> Row:
    return {
        "channel": one.channel or "*",
        "number": shown(one.number),
        "material": shown(one.material),
        "level": shown(one.level),
        "lot": shown(one.lot),
        "expires": one.expires,
        "from": words.time(one.from_us)[:16],
    }
