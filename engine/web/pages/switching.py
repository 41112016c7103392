"""Pause, resume and restart an analyzer, a destination or a lane: first what it does is shown, then it is done.

The confirmation has the verb's own dry run: how much is under way, what the other end will notice, and where results
wait. The verbs are those of the control socket, given under the person's name.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from engine.actions.pause_resume import target_of
from engine.model.errors import LabRelayError
from engine.model.journal.records import DELIVERIES, Target
from engine.model.texts.phrases import PageText
from engine.web.desk import sentence
from engine.web.forms import Form
from engine.web.pages.doing import COUNTING, DO
from engine.web.pages.frame import Asking, Frame
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import Route

Offers = list[tuple[str, str]]


class Order(NamedTuple):
    """An order as the page offers it.

    Attributes:
        what: the question.
        button: also the link on other pages.
        done: how it ended.
        already: where nothing was to be done.
    """

    what: PageText
    button: PageText
    done: PageText
    already: PageText


ORDERS: Mapping[str, Order] = {
    "pause": Order("Pause {name}?", "Pause", "{name} is paused.", "{name} was paused already."),
    "resume": Order("Let {name} go on?", "Resume", "{name} goes on.", "{name} was not paused."),
    "restart": Order("Restart {name}?", "Restart", "{name} was restarted.", ""),
}
TRY = Order("Try {name} now?", "Try now", "{name} is tried now.", "")  # a restart of what sends
KINDS: dict[str, PageText] = {
    "channel": "Analyzer",
    "destination": "Destination",
    "lane": "Analyzer to destination",
    "deliveries": "All deliveries",
}


def routes(frame: Frame) -> Iterator[Route]:
    for verb in ORDERS:
        yield from frame.forms(DO + verb, verb, partial(_take, verb), partial(_ask, verb))


def offers(asking: Asking, target: Target, paused: bool, *, restarts: bool = True, pauses: bool = True) -> Offers:
    """Links to the orders that the state of a thing allows and this person may give: words and address.

    Args:
        restarts, pauses: whether it can be restarted, or paused, while it is not paused.
    """
    verbs = ["resume"] if paused else [*(["pause"] if pauses else []), *(["restart"] if restarts else [])]
    return [
        (
            asking.words.say(_order(verb, target).button),
            asking.words.href(DO + verb, kind=target.kind, name=target.name),
        )
        for verb in verbs
        if verb in asking.may
    ]


def _order(verb: str, target: Target) -> Order:
    return TRY if verb == "restart" and target.kind != "channel" else ORDERS[verb]


def _name(target: Target, words: Words) -> str:
    return words.say(KINDS["deliveries"]) if target == DELIVERIES else shown(target.name, 130)


async def _ask(verb: str, frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    try:
        target = target_of(asking.query.get("kind"), asking.query.get("name", ""))
    except LabRelayError as error:
        return await _refused(frame, request, asking.words, verb, None, 400, sentence(str(error)))
    try:
        seen = await frame.give(request, verb, _args(target, COUNTING, dry_run=True))
    except LabRelayError as error:
        return await _refused(frame, request, asking.words, verb, target, *frame.desk.refused(request, error))
    return await frame.desk.page(request, "switch", **_question(asking, verb, target, seen), trouble="")


def _args(target: Target, reason: str, *, dry_run: bool) -> dict[str, Any]:
    return {"kind": target.kind, "name": target.name, "reason": reason, "dry_run": dry_run}


def _question(asking: Asking, verb: str, target: Target, seen: Mapping[str, Any]) -> dict[str, Any]:
    words = asking.words
    lists = {"channel": target.channel, "destination": target.destination}
    stored = words.href("/messages", channel=target.channel, state="stored", since="all")
    counts = [
        (words.say("Connected now"), seen["connections"], ""),
        (words.say("Not mapped yet"), seen["stored"], stored),
        (words.say("Waiting"), seen["waiting"], words.href("/waiting", **lists)),
        (words.say("Under way"), seen["in_flight"], ""),
    ]
    return {
        "action": words.href(DO + verb),
        "title": words.say(_order(verb, target).what, name=_name(target, words)),
        "button": words.say(_order(verb, target).button),
        "kind": target.kind,
        "name": target.name,
        "subject": words.say(KINDS[target.kind]),
        "counts": [(label, grouped(count), href) for label, count, href in counts if count or href],
        "effects": [words.say(text) for text in seen["effects"]],
        "warning": words.say(sentence(seen["warning"])) if seen["warning"] else "",
        "already": "" if seen["changed"] else _already(words, verb, target, seen),
        "back": _page_of(words, target),
    }


def _already(words: Words, verb: str, target: Target, seen: Mapping[str, Any]) -> str:
    """That it is so already, and since when by whose order."""
    said, before = words.say(ORDERS[verb].already, name=_name(target, words)), seen["before"]
    if before is None:
        return said
    return f"{said} {shown(before['by'])} {words.time(before['since_us'])}: {shown(before['reason'], 300)}"


async def _take(verb: str, frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)

    async def act(form: Form) -> web.Response:
        try:
            target = target_of(form["kind"], form["name"])
        except LabRelayError:  # not a form of ours
            raise web.HTTPBadRequest from None
        try:
            seen = await frame.once(request, form, verb, _args(target, form["reason"], dry_run=False))
        except LabRelayError as error:
            return await _refused(frame, request, asking.words, verb, target, *frame.desk.refused(request, error))
        values = _question(asking, verb, target, seen) | {
            "title": asking.words.say(_order(verb, target).done, name=_name(target, asking.words)),
            "offers": offers(asking, target, verb == "pause"),
        }
        return await frame.desk.page(request, "switched", **values)

    return await frame.desk.answer(request, act)


async def _refused(
    frame: Frame, request: web.Request, words: Words, verb: str, target: Target | None, status: int, text: str
) -> web.Response:
    title = words.say(ORDERS[verb].button)
    if target is not None:
        title = words.say(_order(verb, target).what, name=_name(target, words))
    values = {"title": title, "trouble": shown(text, 500), "back": _page_of(words, target)}
    return await frame.desk.page(request, "switch", status, **values)


def _page_of(words: Words, target: Target | None) -> str:
    """The page about a thing."""
    if target is None or target == DELIVERIES:
        return words.href("/system")
    if target.channel:
        return words.href("/analyzer", name=target.channel)
    return words.href(f"/destinations/{target.destination}")
