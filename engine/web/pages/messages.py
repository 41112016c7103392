"""Lists of messages, newest first: when, from which analyzer, what became of them. No contents.

A list has the messages of the last 24 hours, unless its address asks for another time or for a number. One box takes
the number of a specimen or an order, a control id, the number of a message here, and that of a patient from those who
may see patients: a list that finds one confirms that the patient was here. The form of a person, as the box at the top
of each page, is a POST that leads to an address with the number sealed, so no history of a browser has it; each look of
those who may see patients at such a list is a row of the audit trail. For others it is sealed as well, and finds none.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
from aiohttp import hdrs, web

from engine.model.content.search_keys import MAX_LENGTH
from engine.model.errors import IntegrityError, TooSlowError
from engine.model.journal.journal_views import Filter, MessageView
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_, PageText
from engine.store.queries.messages import count_messages, lane_ends_of, messages_page, worst
from engine.store.queries.reader import Reader
from engine.web.asked import EVER, MOST_COUNTED, PAGE, Asked, Chip, counted, moment_us
from engine.web.bodies import Body, answer
from engine.web.pages import states
from engine.web.pages.columns import COLUMNS, Choice, Column, choice
from engine.web.pages.filters import WRONG_TIME, known
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.panels import PANELS
from engine.web.pages.words import Words, grouped, iso, shown
from engine.web.routes import Route

PATH, NEWS = "/messages", "/messages.json"
VERB, SHOWING = "searched", "exported"  # of the control socket
SEALED, SEALED_OTHER = "sealed", "found"  # with a number that may be a patient's; with another, for all who look
BEARS = "bears"  # never of an address
LAST = "24h"
LABELS: dict[str, PageText] = {
    "q": "Number",
    SEALED: "Number",
    SEALED_OTHER: "Number",
    "since": "Time",
    "channel": "Analyzer",
    "state": "State",
    "destination": "Destination",
    "from": "From",
    "until": "Until",
    "code": "Reason code",
    "type": "Type",
    "test": "Test code",
    "loinc": "LOINC",
    "lot": "Reagent lot",
}
SPANS: dict[str, PageText] = {
    "": "last 24 hours; of a number, all there is",
    "1h": "last hour",
    "today": "today",
    LAST: "last 24 hours",
    "yesterday": "since yesterday",
    "7d": "last 7 days",
    "30d": "last 30 days",
    EVER: "all there is",
}
ASKABLE = {
    **{name: states.MESSAGE[name] for name in ("stored", "filtered", "dead", "incomplete", "dismissed")},
    **{name: states.DELIVERY[name] for name in ("waiting", "held", "delivered")},
}
WRONG_STATE = N_("There is no such state.")
WRONG_ADDRESS = N_("This address is not whole, or is of another journal. Search again.")
NUMBERS = ("q", SEALED, SEALED_OTHER)
NAMES = (*LABELS, COLUMNS)
CONTROL = "control_id"
CHOICE = {
    "received": Column("Received"),
    "channel": Column("Analyzer"),
    "type": Column("Type"),
    "state": Column("State"),
    "destinations": Column("Destinations"),
    "sender": Column("Sender", usual=False),
    "size": Column("Size", usual=False),
    CONTROL: Column("Control id", usual=False, verb=SHOWING),  # some analyzers make it of a specimen's number
}
RARE = ("from", "until", "code", "type", "test", "loinc", "lot")  # fields that are shown once one of them is set


def routes(frame: Frame) -> Sequence[Route]:
    return (
        Route(PATH, partial(_list, frame), LOOKING),
        Route(NEWS, partial(_news, frame), LOOKING),
        Route(PATH, partial(_search, frame), LOOKING, method=hdrs.METH_POST),
    )


async def _list(frame: Frame, request: web.Request) -> web.Response:
    asking = await _opened(frame, request)
    number = asking.query.get(BEARS, "")
    if number and SEALED in asking.query:
        await frame.give(request, VERB, {"number": number})
    columns = _columns(asking)
    if CONTROL in columns.shown and not columns.wrong:
        said = {"what": {"list": PATH, "column": CONTROL}, "purpose": "a list of messages"}
        await frame.give(request, SHOWING, said)
    return await frame.show(request, _page, _found, asking)


async def _search(frame: Frame, request: web.Request) -> web.Response:
    """Lead on to the address of a search, with the number sealed."""
    form, asking = await frame.desk.form(request), frame.asking(request)
    name = SEALED if VERB in asking.may else SEALED_OTHER
    sealed = await frame.read(_sealed, form["q"][:MAX_LENGTH], name) if form["q"] else ""
    asked = Asked.of(PATH, asking.words.language, {**form.fields, **dict.fromkeys(NUMBERS, ""), name: sealed}, NAMES)
    page = await frame.read(_page_of, form["q"], asking.words)
    return web.Response(status=303, headers={hdrs.LOCATION: page or asked.href()})


def _page_of(reader: Reader, number: str, words: Words) -> str:
    return next(filter(None, (panels.page_of(reader, number, words) for panels in PANELS.each())), "")


def _sealed(reader: Reader, number: str, name: str) -> str:
    return reader.vault.in_address(number, name)


async def _opened(frame: Frame, request: web.Request) -> Asking:
    """Who asks, and how: with the number that the address has sealed as `BEARS`; empty: it cannot be opened.

    Raises:
        web.HTTPForbidden: it may be a patient's, and this person may not see patients.
    """
    asking = frame.asking(request)
    query = {name: value for name, value in asking.query.items() if name != BEARS}
    name = SEALED if query.get(SEALED) else SEALED_OTHER
    if sealed := query.get(name, ""):
        if name == SEALED and VERB not in asking.may:
            raise web.HTTPForbidden
        query[BEARS] = await frame.read(_number_in, sealed, name)
    return asking._replace(query=query)


def _number_in(reader: Reader, sealed: str, name: str) -> str:
    try:
        return reader.vault.out_of_address(sealed, name)
    except IntegrityError:
        return ""


async def _news(frame: Frame, request: web.Request) -> web.Response:
    """How many messages of a list came since its first page was drawn: ``words``, empty without any."""
    asking = await _opened(frame, request)
    asked = asked_of(asking)
    try:
        wanted = filter_of(asked, asking)
        count = 0 if opens(wanted) else await frame.read(partial(_newer, wanted=wanted, top=asked.top))
    except (ValueError, TooSlowError):
        count = 0
    words = asking.words.say("{n} new", n=counted(count)) if count else ""
    return answer(request, Body(orjson.dumps({"words": words})))


def _newer(reader: Reader, *, wanted: Filter, top: int) -> int:
    return count_messages(reader, wanted, most=MOST_COUNTED + 1, after_id=top)


def asked_of(asking: Asking) -> Asked:
    return Asked.of(PATH, asking.words.language, asking.query, NAMES)


def _columns(asking: Asking) -> Choice:
    return choice(CHOICE, asked_of(asking), asking)


def filter_of(asked: Asked, asking: Asking) -> Filter:
    """
    Raises:
        ValueError: a value cannot be read; with the sentence for people.
    """
    if asked.get("state") not in (None, *ASKABLE):
        raise ValueError(WRONG_STATE)
    words, sealed = asking.words, asked.get(SEALED) or asked.get(SEALED_OTHER)
    number = asking.query.get(BEARS) if sealed else None
    if sealed and not number:
        raise ValueError(WRONG_ADDRESS)
    since = asked.get("from") or asked.get("since") or (EVER if asked.get("q") or sealed else LAST)
    try:
        after_us = moment_us(since, words.now, words.zone)
        until = asked.get("until")
        before_us = moment_us(until, words.now, words.zone) if until else None
    except (ValueError, OverflowError):
        raise ValueError(WRONG_TIME) from None
    return Filter(
        after_us=after_us,
        before_us=before_us,
        bears=number if asked.get(SEALED) else None,
        bears_other=asked.get("q") or (None if asked.get(SEALED) else number),
        channel=asked.get("channel"),
        state=asked.get("state"),
        destination=asked.get("destination"),
        code=asked.get("code"),
        message_type=asked.get("type"),
        test_code=asked.get("test"),
        loinc=asked.get("loinc"),
        lot=asked.get("lot"),
    )


def opens(wanted: Filter) -> bool:
    """Documents are opened for it, so nothing is counted."""
    return wanted.test_code is not None or wanted.loinc is not None


def _page(asking: Asking) -> Page:
    asked, words, site = asked_of(asking), asking.words, asking.site
    chosen = _columns(asking)
    wrong = chosen.wrong
    try:
        filter_of(asked, asking)
    except ValueError as error:
        wrong = words.say(str(error))
    number = asking.query.get(BEARS) or asked.get("q") or ""
    stated = asked.get("since") or ""
    since = stated or (EVER if number else LAST)
    ever, limited = asked.href(without="from", since=EVER), asked.get("from") is None and since != EVER
    spans = {**SPANS, stated: SPANS.get(stated, stated)}
    values = {
        "asked": asked,
        "columns": chosen,
        "number": number,
        "chips_shown": _chips(asked, number, words)
        + ([Chip(words.say(LABELS["since"]), words.say(SPANS[LAST]), ever)] if limited and not stated else []),
        "rare_open": any(asked.get(name) for name in RARE),
        "spans": [(name, words.say(text) if name in SPANS else name, name == stated) for name, text in spans.items()],
        "channels": known([one.name for one in site.channels], asked.get("channel")),
        "destinations": known([one.name for one in site.destinations], asked.get("destination")),
        "states": [(name, words.say(look.words)) for name, look in ASKABLE.items()],
        "limited": limited,
        "ever": ever,
        "rows": [],
        "older": "",
        "news": "",
        "beside": "",
    }
    return Page("messages", values, wrong)


def _chips(asked: Asked, number: str, words: Words) -> list[Chip]:
    """Without a span of time beside a beginning, which counts alone."""
    labels = {name: words.say(text) for name, text in LABELS.items() if name != "since" or not asked.get("from")}
    since, state = asked.get("since") or "", asked.get("state") or ""
    said = dict.fromkeys((SEALED, SEALED_OTHER), number)
    said |= {"since": words.say(SPANS[since])} if since in SPANS else {}
    return asked.chips(labels, said | ({"state": words.say(ASKABLE[state].words)} if state in ASKABLE else {}))


def _found(reader: Reader, asking: Asking) -> Values:
    asked, words = asked_of(asking), asking.words
    wanted = filter_of(asked, asking)
    before = asked.before or None
    views = messages_page(reader, wanted, before_id=before, limit=PAGE + 1, within_s=reader.deadline_s)
    more, views = len(views) > PAGE, views[:PAGE]
    lanes = lane_ends_of(reader, [view.id for view in views])
    top = asked.top or (views[0].id if views else 0)
    count = None
    if not opens(wanted):
        try:
            count = count_messages(reader, wanted, most=MOST_COUNTED + 1, before_id=top + 1)
        except TooSlowError:
            count = MOST_COUNTED + 1
    number = asking.query.get(BEARS) or asked.get("q") or ""
    return {
        "beside": _beside(reader, number, words) if number else "",
        "rows": [
            _row(view, lanes.get(view.id, {}), asked.href(path=f"{PATH}/{view.id}", top=top), words) for view in views
        ],
        "count": "" if count is None else counted(count),
        "older": asked.href(before=views[-1].id, top=top) if more else "",
        "news": asked.href(path=NEWS, top=top) if not asked.before and not opens(wanted) else "",
    }


def _beside(reader: Reader, number: str, words: Words) -> str:
    return next(filter(None, (panels.beside(reader, number, words) for panels in PANELS.each())), "")


def _row(view: MessageView, lanes: dict[str, str], href: str, words: Words) -> dict[str, Any]:
    end = worst(lanes.values()) if lanes else ""
    state = states.message(view.state, words, end)
    return {
        "id": f"m-{view.id}",
        "number": view.id,
        "href": href,
        "at": words.short(view.received_us),
        "iso": iso(view.received_us),
        "ago": words.ago(view.received_us),
        "channel": view.channel,
        "type": shown(view.message_type),
        "sender": shown(view.peer),
        "size": grouped(view.size),
        "control_id": shown(view.control_id),
        "state": state,
        "code": view.reason,
        "why": " · ".join(filter(None, (words.reason(view.reason), *flags_of(view, words)))),
        "went": states.together((states.delivery(state, words), name) for name, state in lanes.items()),
        "level": state.level,
    }


def flags_of(view: MessageView, words: Words) -> list[str]:
    """Remarks about a message, each some words."""
    flags = []
    if view.repeat_of:
        flags.append(words.say("repeats message {n}", n=view.repeat_of))
    if view.equal_to:
        flags.append(words.say("same bytes as message {n}", n=view.equal_to))
    if view.same_id_other_bytes:
        flags.append(words.say("same control id, other bytes"))
    if "erased" in view.notes:
        flags.append(words.say("contents erased"))
    if "damaged" in view.notes:
        flags.append(words.say("damaged"))
    return flags
