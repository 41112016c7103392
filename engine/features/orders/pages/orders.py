"""Orders in lists by what harm may come of them, worst first. A list and its count are one query.

A specimen number is shown to those who may see patients and choose its column; each such look is a row of the audit
trail, as it is of control ids (`engine.web.pages.messages`).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from engine.features.orders.pages.words import reason_of, state_of
from engine.features.orders.rows import order_questions, reading
from engine.features.orders.rows.order_questions import MOST, TABS, UNANSWERED_US, filter_of, unanswered
from engine.features.orders.rows.reading import ItemFilter, WithoutOrder
from engine.features.orders.rules.order_rules import UsualTime
from engine.model.orders import AT_ANALYZER, WorkItem
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_, PageText, Span
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.queries.reader import Reader
from engine.web.asked import PAGE, Asked, counted
from engine.web.pages.columns import COLUMNS, Choice, Column, choice
from engine.web.pages.filters import page_of
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import Words, grouped, iso, shown
from engine.web.routes import Route

PATH, ONE, QUESTIONS, MESSAGES = "/orders", "/order", "/questions", "/messages"
SHOWING = "exported"  # of the control socket
WORKLIST = "/orders/worklist"
SHEETS = "order_worklist"  # the verb of the control socket
TAB = "tab"
NAMES = (TAB, "channel", COLUMNS)
WITHOUT, ASKED_IN_VAIN = "without", "questions"  # tabs that are no orders
# Worst first.
TAB_WORDS: dict[str, PageText] = {
    "refused": "Refused",
    ASKED_IN_VAIN: "Questions unanswered",
    WITHOUT: "Results without order",
    "after_all": "Measured all the same",
    "late": "Late",
    "unsent": "Not sent",
    "urgent": "Urgent, at no analyzer",
    "held": "Held back",
    "waiting": "Waiting",
    "analyzer": "At the analyzer",
    "rejected": "Not taken",
    "done": "Ended",
}
ABOUT: dict[str, PageText] = {
    "refused": "The analyzer does not measure these. Send one once more, or cancel it and measure the test elsewhere.",
    WITHOUT: "Results of the last 24 hours whose test no order asked for. They were delivered like all others.",
    "after_all": "These were cancelled or ended in another way, and a result came all the same. It was delivered. Tell "
    "those who ordered the test.",
    "late": "An analyzer has these for longer than their test usually takes there, and there is no result.",
    "unsent": "The analyzer asked for these tubes, and these tests did not reach it.",
    "urgent": "No analyzer has these, and they wait for more than 5 minutes. Look whether the tube has arrived and is "
    "loaded, and the analyzer is connected.",
    "held": "These are given to no analyzer until the LIS or a person decides.",
    "waiting": "These are given to the analyzer that asks for the tube.",
    "analyzer": "An analyzer has these, and there is no final result.",
    "rejected": "These can be given to no analyzer. The LIS has the reason.",
    "done": "",
}
HARMFUL = frozenset(("refused", ASKED_IN_VAIN, WITHOUT, "after_all", "late", "unsent", "urgent", "held"))
CHOICE = {
    "since": Column("Since"),
    "specimen": Column("Specimen", usual=False, verb=SHOWING),
    "test": Column("Test"),
    "channel": Column("Analyzer"),
    "state": Column("State"),
    "collected": Column("Collected"),
    "run": Column("Run", usual=False),
    "result": Column("Result"),
}
WRONG_TAB = N_("There is no such list of orders.")


class TabLink(NamedTuple):
    """A list of orders, and how many it has."""

    words: str
    number: str
    href: str
    is_here: bool
    is_harmful: bool


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(_list, frame), LOOKING),)


def asked_of(asking: Asking) -> Asked:
    return Asked.of(PATH, asking.words.language, asking.query, NAMES)


async def _list(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    columns = _columns(asking)
    if "specimen" in columns.shown and not columns.wrong:
        said = {"what": {"list": PATH, "column": "specimen"}, "purpose": "a list of orders"}
        await frame.give(request, SHOWING, said)
    return await frame.show(request, _page, _found, asking)


def _columns(asking: Asking) -> Choice:
    return choice(CHOICE, asked_of(asking), asking)


def now_us(words: Words) -> int:
    return int(words.now.timestamp() * 1_000_000)


def _page(asking: Asking) -> Page:
    page, asked = page_of("orders", PATH, NAMES, asking, CHOICE), asked_of(asking)
    tab = asked.get(TAB)
    wrong = asking.words.say(WRONG_TAB) if tab not in (None, WITHOUT, *TABS) else page.wrong
    more = {"tab": tab or "", "about": "", "tabs": [], "sheet": worklist_of(asking, asked.get("channel") or "")}
    return page._replace(values={**page.values, **more}, wrong=wrong)


def tabs_of(reader: Reader, asked: Asked, words: Words, here: str, site: SiteSnapshot) -> list[TabLink]:
    """The lists that are not empty, with how many each has, and the one that is open.

    Args:
        asked: of which the analyzer counts.
        here: the one that is open.
    """
    channel = asked.get("channel") or ""
    counts = _counts(reader, channel, now_us(words), site)
    return [
        TabLink(
            words.say(text),
            counted(counts[name]),
            words.href(QUESTIONS, tab=ASKED_IN_VAIN, channel=channel)
            if name == ASKED_IN_VAIN
            else words.href(PATH, tab=name, channel=channel),
            name == here,
            name in HARMFUL and counts[name] > 0,
        )
        for name, text in TAB_WORDS.items()
        if counts[name] or name == here
    ]


def _counts(reader: Reader, channel: str, at_us: int, site: SiteSnapshot) -> dict[str, int]:
    most = MOST + 1
    found = {
        name: reading.count_items(
            reader, replace(filter_of(name, at_us, site.unsent_after_s), channel=channel), most=most
        )[0]
        for name in TABS
    }
    found[ASKED_IN_VAIN] = order_questions.count_queries(reader, replace(unanswered(at_us), channel=channel), most=most)
    found[WITHOUT] = reading.count_without(reader, channel=channel, since_us=at_us - UNANSWERED_US, most=most)
    return found


def _found(reader: Reader, asking: Asking) -> Values:
    asked, words = asked_of(asking), asking.words
    tab = asked.get(TAB) or _worst(reader, asked.get("channel") or "", now_us(words), asking.site)
    links = tabs_of(reader, asked, words, tab, asking.site)
    about = words.say(ABOUT[tab]) if ABOUT[tab] else ""
    around = {"tab": tab, "tabs": links, "about": about, "count": next(one.number for one in links if one.is_here)}
    channel = asked.get("channel") or ""
    if tab == WITHOUT:
        since_us = now_us(words) - UNANSWERED_US
        without = reading.without_order(reader, channel=channel, since_us=since_us, after=asked.before, limit=PAGE + 1)
        rows = [_without(one, words) for one in without[:PAGE]]
        last = without[PAGE - 1].message_id if len(without) > PAGE else 0
    else:
        wanted = replace(filter_of(tab, now_us(words), asking.site.unsent_after_s), channel=channel)
        found = reading.items(reader, wanted, after=asked.before, limit=PAGE + 1)
        last = found[PAGE - 1].number if len(found) > PAGE else 0
        rows = order_rows(reader, found[:PAGE], words)
    return {**around, "rows": rows, "older": asked.href(tab=tab, before=last) if last else ""}


def _worst(reader: Reader, channel: str, at_us: int, site: SiteSnapshot) -> str:
    """The list to begin with: the first of orders that may do harm, else those that wait."""
    for name in TABS:
        wanted = replace(filter_of(name, at_us, site.unsent_after_s), channel=channel)
        if name in HARMFUL and reading.count_items(reader, wanted, most=1)[0]:
            return name
    return "waiting"


def order_rows(reader: Reader, found: Sequence[WorkItem], words: Words) -> list[dict[str, Any]]:
    results = reading.results_of(reader, [one.number for one in found])
    usual = reading.usual_times(reader, [one for one in found if one.state in AT_ANALYZER])
    return [order_row(one, results.get(one.number, 0), usual.get((one.channel, one.code)), words) for one in found]


def order_row(one: WorkItem, result: int, usual: UsualTime | None, words: Words) -> dict[str, Any]:
    """An order as a row.

    Args:
        result: the message with its last result; 0: none.
        usual: how long its test takes on the analyzer that has it; None: none has it, or none is known.
    """
    line = one.line
    collected_us = _instant_us(line.collected)
    state = state_of(one.state, words)
    by_itself = words.say("The analyzer ordered it itself.") if one.origin == "analyzer" else ""
    return {
        "id": f"o-{one.number}",
        "order": one.item_id,
        "href": words.href(ONE, item=one.item_id),
        **words.when(one.changed_us),
        "specimen": shown(line.specimen),
        "test": shown(line.test),
        "loinc": line.test_system in ("LN", "http://loinc.org"),
        "name": shown(line.test_name),
        "code": shown(one.code),
        "urgent": line.priority == "stat",
        "channel": one.channel or ", ".join(one.targets),
        "collected": words.time(collected_us) if collected_us else shown(line.collected),
        "collected_iso": iso(collected_us) if collected_us else "",
        "collected_ago": words.ago(collected_us),
        "usual": _usual(one, usual, words) if one.state in AT_ANALYZER else "",
        "state": state,
        "level": state.level,
        "reason": one.reason.value,
        "why": reason_of(one.reason, words) or by_itself,
        "run": grouped(one.run),
        "result": result,
        "result_href": words.href(f"{MESSAGES}/{result}") if result else "",
    }


def _instant_us(text: str) -> int:
    """Of a time as ISO 8601 with zone; 0: it is none, for its age cannot be known."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return 0
    return int(at.timestamp() * 1_000_000) if at.tzinfo is not None else 0


def _usual(one: WorkItem, usual: UsualTime | None, words: Words) -> str:
    """Since when the analyzer has an order, and when it is late."""
    usual = usual or UsualTime()
    stat = one.line.priority == "stat"
    said: dict[str, str | Span] = {
        "time": words.time(one.given_us),
        "age": Span(usual.usual_us / 1_000_000),
        "late": Span(usual.late_after_us(stat=stat) / 1_000_000),
    }
    if usual.usual_us:
        return words.say("given at {time}; usual {age}, late after {late}", **said)
    return words.say("given at {time}; its usual time is not known yet, late after {late}", **said)


def _without(one: WithoutOrder, words: Words) -> dict[str, Any]:
    return {
        "id": f"w-{one.message_id}",
        "number": one.message_id,
        "href": words.href(f"{MESSAGES}/{one.message_id}"),
        "tube_href": words.href(ONE, message=one.message_id),
        **words.when(one.at_us),
        "channel": one.channel,
        "results": grouped(one.results),
    }


def worklist_of(asking: Asking, channel: str) -> str:
    """The address of the worklist to print; empty: this person may not see it."""
    return asking.words.href(WORKLIST, channel=channel) if SHEETS in asking.may else ""


def of_analyzer(reader: Reader, channel: str, words: Words, site: SiteSnapshot) -> list[tuple[str, str, str]]:
    """The lists of one analyzer that are not empty: words, count, address; none for one without orders."""
    asked = Asked(PATH, words.language, {"channel": channel})
    if not reading.count_items(reader, ItemFilter(open=True, channel=channel), most=1)[0]:
        return []
    return [
        (one.words, one.number, one.href)
        for one in tabs_of(reader, asked, words, "", site)
        if one.words != words.say(TAB_WORDS["done"])
    ]
