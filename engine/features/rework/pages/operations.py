"""Operations: acts of people on many messages, how far each is, and its end by a person. All who look see them."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from aiohttp import web

from engine.actions.operations import sums
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import PageText
from engine.store.operations.bulk import Operation
from engine.store.queries.bulk import operation_if, operations_page, undelivered
from engine.store.queries.reader import Reader
from engine.web.asked import PAGE, Asked, number
from engine.web.pages.columns import COLUMNS, Column
from engine.web.pages.doing import DEEDS, OPERATIONS, OUTCOMES, chosen
from engine.web.pages.filters import page_of
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values
from engine.web.pages.states import DELIVERY, Look, badge
from engine.web.pages.words import Words, grouped
from engine.web.routes import Route

ONE = f"{OPERATIONS}/{{number}}"
CANCEL, WAITS = "operation_cancel", "operation_waits"
SHOWN = {verb: (deed.button, deed.back) for verb, deed in DEEDS.items()} | {
    "replay": ("Send again", "/replay"),
    "reprocess": ("Send what differs", "/affected"),
}
NAMES = (COLUMNS,)
CHOICE = {
    "begun": Column("Begun"),
    "person": Column("Person"),
    "state": Column("State"),
    "count": Column("Count"),
    "done": Column("done"),
    "failed": Column("failed"),
    "skipped": Column("left out"),
    "left": Column("still to do"),
}
STAGES = {
    "running": Look("under way", "calm", "retry"),
    "ended": Look("ended", "ok", "ok"),
    "cancelled": Look("cancelled", "attention", "off"),
    "failed": Look("failed", "attention", "dead"),
    "damaged": Look("damaged", "attention", "dead"),
}
FAULTS: dict[str, PageText] = {
    "first_row": "Its row of the audit trail. `labrelay verify` names it.",
    "own_row": "Its own row: how far it was is not known.",
    "letters": "Its list of letters: those that it had not come to are as they were.",
    "steps": "Its steps, again and again: letters that it had not come to are as they were.",
    "open_act": "The row that said that it was under way: its end is recorded all the same.",
}


def routes(frame: Frame) -> Iterator[Route]:
    yield Route(OPERATIONS, partial(_list, frame), LOOKING)
    yield Route(ONE, partial(_show, frame), LOOKING)
    yield from frame.forms(ONE, CANCEL, _cancel)


async def _list(frame: Frame, request: web.Request) -> web.Response:
    return await frame.show(request, partial(page_of, "operations", OPERATIONS, NAMES, columns=CHOICE), _found)


def _found(reader: Reader, asking: Asking) -> Values:
    words = asking.words
    asked = Asked.of(OPERATIONS, words.language, asking.query, NAMES)
    found = operations_page(reader, before=asked.before or None, limit=PAGE + 1)
    more, found = len(found) > PAGE, found[:PAGE]
    return {"rows": [_row(one, words) for one in found], "older": asked.href(before=found[-1].number) if more else ""}


def _row(one: Operation, words: Words) -> dict[str, Any]:
    counts = sums(one)
    return {
        "number": one.number,
        "href": words.href(f"{OPERATIONS}/{one.number}"),
        "act": words.say(SHOWN[one.verb][0]) if one.verb in SHOWN else one.verb,
        "stage": badge(STAGES[one.shown], words),
        "actor": one.actor,
        **words.when(one.at_us),
        "total": grouped(one.total),
        "left": grouped(one.total - one.position),
        **{kind: grouped(count) for kind, count in counts.items()},
    }


async def _show(frame: Frame, request: web.Request) -> web.Response:
    asked = number(request.match_info["number"])
    waits = (await frame.give(request, WAITS, {"number": asked}))["waits"] if WAITS in frame.verbs else ""
    return await frame.show(request, partial(_page, waits), _one)


def _page(waits: str, asking: Asking) -> Page:
    asked = number(asking.found["number"])
    values = {"number": asked, "list": asking.words.href(OPERATIONS), "running": False, "waits": waits}
    return Page("operation", values)


def _one(reader: Reader, asking: Asking) -> Values | Gone:
    words, asked = asking.words, number(asking.found["number"])
    one = operation_if(reader, asked)
    if one is None:
        return Gone(words.say("There is no operation {n}, or it is not kept any more.", n=asked))
    reason = one.what.get("reason", "") if asking.principal.reads_reasons else ""
    facts = [
        (words.say("Person"), one.actor),
        (words.say("Begun"), words.time(one.at_us)),
        (words.say("Ended"), words.time(one.ended_us)),
        (words.say("Why"), reason),
        (words.say("Send to"), one.what.get("to", "")),
        (words.say("Another version on the server"), words.say("replaced") if one.what.get("overwrite") else ""),
    ]
    if one.fault:
        facts.append((words.say("damaged"), words.say(FAULTS.get(one.fault, one.fault))))
    if one.what:
        facts += chosen(one.what["selection"] | {"last": one.last, "counted_us": one.counted_us}, words)
    running = one.stage == "running"
    return {
        **_row(one, words),
        "facts": [(label, text) for label, text in facts if text],
        "counts": words.say(
            "of {total}, still to do: {left}", total=grouped(one.total), left=grouped(one.total - one.position)
        ),
        "position": one.position,
        "of": one.total,
        "outcomes": [
            (grouped(count), words.say(OUTCOMES[name]) if name in OUTCOMES else name)
            for name, count in one.outcomes.items()
        ],
        "running": running,
        "cancel": words.href(f"{OPERATIONS}/{asked}") if running and CANCEL in asking.may else "",
        "undelivered": [
            (grouped(count), words.say(DELIVERY[state].words)) for state, count in undelivered(reader, asked).items()
        ],
        "back": words.href(SHOWN[one.verb][1]) if one.verb in SHOWN else "",
    }


async def _cancel(frame: Frame, request: web.Request) -> web.Response:
    asked = number(request.match_info["number"])
    here, given = f"{OPERATIONS}/{asked}", (CANCEL, {"number": asked})
    redraw = frame.instead("Cancel", here)
    return await frame.take(request, lambda form: given, redraw, lambda form, done: frame.desk.go(request, here))
