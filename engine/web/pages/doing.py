"""Acts of a person on dead letters and held results: what will be done is shown with its count before it happens.

The confirmation counts by the verb's own dry run, which ends where counting would take long. Its form carries the
selection with the journal's newest row and the moment of the count, so that nothing which came or failed later is
touched. The act is an operation, and its page says how far it is (`engine.features.rework.pages.operations`). The verbs
are those of the control socket, given under the person's name; a form that comes twice is acted on once
(`engine.web.forms`).

Show the contents of a message to a person who states a purpose: the audit trail has it before anything is read.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from engine.actions.selection import Selection
from engine.model.errors import ConfigError, LabRelayError, StoreError
from engine.model.texts.phrases import N_, PageText
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader, why_absent
from engine.web.asked import NO_CAUSE, Asked, number
from engine.web.desk import sentence
from engine.web.forms import Form
from engine.web.identity import log_in_of
from engine.web.pages.filters import LABELS, of_letters
from engine.web.pages.frame import Asking, Frame, Values
from engine.web.pages.panels import PANELS
from engine.web.pages.words import Words, grouped
from engine.web.routes import PRINCIPAL, Route

VERB = "shown"
DECISION = "decision"  # the purpose of who decides about what is held
MOST_LOOKS = 50_000  # are known; an older one would be noted again


async def look_once(frame: Frame, request: web.Request, *messages: int, purpose: str = DECISION) -> bool:
    """Record that a person sees the results of messages, to decide about those that are held: once for each log-in.

    Returns: whether they may be shown. The verb's own permission is for all contents; who may release needs less.

    Raises:
        LabRelayError: it could not be recorded.
    """
    if (ask := frame.running.ask) is not None:
        return bool(await ask("look", messages, purpose))
    principal = request[PRINCIPAL]
    looks = [_look_of(request, message) for message in messages]
    if not principal.sees_held or not all(log_in for log_in, _ in looks) or VERB not in frame.verbs:
        return False
    async with frame.looking:  # two pages opened at once are one look
        new = [look for look in looks if look not in frame.looks]
        asked = [{"message": message, "purpose": purpose} for _, message in new]
        await asyncio.gather(*(frame.give(request, VERB, args) for args in asked))
        for look in new:
            _keep(frame, look, "")
    return True


async def purpose_of(frame: Frame, request: web.Request, message: int) -> str:
    """The purpose that a person has stated in this log-in for the contents of a message; empty: none."""
    if (ask := frame.running.ask) is not None:
        return str(await ask("purpose", message))
    return frame.looks.get(_look_of(request, message), "")


def _look_of(request: web.Request, message: int) -> tuple[str, int]:
    log_in = log_in_of(request, request[PRINCIPAL])
    return sha256(log_in.encode()).hexdigest() if log_in else "", message


def _keep(frame: Frame, look: tuple[str, int], purpose: str) -> None:
    if look[0]:
        frame.looks[look] = purpose
    while len(frame.looks) > MOST_LOOKS:
        frame.looks.popitem(last=False)


async def reveal(
    frame: Frame, request: web.Request, message: int, purpose: str, read: Callable[..., Values], *given: Any
) -> tuple[int, str, Values]:
    """Record the purpose, then read.

    Args:
        read: ``read(reader, message, *given)``; an error of it is shown as a sentence.

    Returns: the status, the sentence where nothing can be shown, and what was read.
    """
    words, args = frame.asking(request).words, {"message": message, "purpose": purpose}
    try:
        if absent := await frame.read(_absent, message):
            return 404, absent, {}
        try:
            await frame.give(request, VERB, args)
        except (StoreError, ConfigError):
            raise
        except LabRelayError:
            return 400, words.say("Say what you look at it for."), {}
        _keep(frame, _look_of(request, message), purpose)
        return 200, "", await frame.read(read, message, *given)
    except (StoreError, ConfigError) as error:
        return *frame.why_not(error, words), {}
    except LabRelayError as error:
        return 409, sentence(str(error)), {}


def _absent(reader: Reader, message: int) -> str:
    """Why there is no such message; empty: there is."""
    return "" if trace_of(reader, message) is not None else str(why_absent(reader, "message", message))


DO, OPERATIONS, CONFLICT = "/do/", "/operations", "/conflicts/{number}"
NAMES = ("channel", "destination", "code", "cause", "since", "until", "state", "ids", "all")
COUNTING = "counted for a confirmation"  # the reason of a dry run, which notes nothing
NOTHING = N_("Nothing is selected. Go back to the list.")
GONE = N_("Nothing fits any more.")
MOST_NAMES = 12


class Deed(NamedTuple):
    """An act as the page offers it.

    Attributes:
        what: the question above the count.
        button: of the confirmation; also the link in a list.
        needs_reason: else the reason may be empty.
        back: the list that it is offered in.
    """

    what: PageText
    button: PageText
    needs_reason: bool
    back: str


DEEDS: Mapping[str, Deed] = {
    "retry": Deed("Try these again?", "Try again", False, "/dead-letters"),
    "dismiss": Deed("Close these for good? They are never delivered.", "Close, send nothing", True, "/dead-letters"),
    "release": Deed("Send these results to their destination?", "Release", True, "/held"),
    "reject": Deed("Reject these results? They are never delivered.", "Reject", True, "/held"),
}
OUTCOMES: dict[str, PageText] = {
    "requeued": "queued again",
    "processed": "mapped anew",
    "still_dead": "failed again",
    "failed": "failed: not changed",
    "incomplete": "left as they are: a part is never a result",
    "conflicts": "left as they are: the server has another version, and no person chose to replace it",
    "dismissed": "closed",
    "released": "released",
    "rejected": "rejected",
    "superseded": "closed: newer messages had all of it delivered",
    "overtaken": "still held: newer messages had a part of it delivered",
    "unanswered": "still held: say first whose result it is",
    "too_old": "still held: too old to be compared with newer ones",
    "damaged": "left out: the stored message is damaged",
    "erased": "left out: erased",
    "no_channel": "left out: the analyzer is not in the configuration any more",
    "no_document": "left out: no document of it goes there",
    "unchanged": "the same as before",
    "outdated": "a newer result was delivered: nothing is sent",
    "withdrawn": "nothing would be sent now; delivered documents stay there",
    "dead": "would be a dead letter now: nothing is sent",
    "unsettled": "waits, is held, or is a dead letter: look at these first",
    "undelivered": "was never mapped, or was closed",
    "gone": "not kept any more, or erased",
    "number_conflicts": "dead letters now: another patient has the same number",
    "configuration_changed": "left, for the configuration changed: look again, and send what still differs",
    "skipped": "left out: changed meanwhile",
}


def routes(frame: Frame) -> Iterator[Route]:
    for verb in DEEDS:
        yield from frame.forms(DO + verb, verb, partial(_take, verb), partial(_ask, verb))


def offers(
    asking: Asking, verbs: Sequence[str], asked: Asked | None = None, **chosen: str | int
) -> list[tuple[str, str]]:
    """Links to confirmations, for the verbs that this person may give: words and address.

    Args:
        asked: the list whose filter is meant; None: ``chosen`` alone.
    """
    values = {**({} if asked is None else asked.values), **chosen}
    query = {name: value for name, value in values.items() if name in NAMES} or {"all": "1"}
    return [
        (asking.words.say(DEEDS[verb].button), asking.words.href(DO + verb, **query))
        for verb in verbs
        if verb in asking.may
    ]


async def _ask(verb: str, frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    try:
        counted, frozen = await count(frame, verb, request, _selection(asking))
        chosen = Selection.from_json(frozen)
        found = [await panels.before(frame, request, verb, chosen) for panels in PANELS.each()]
    except (ValueError, LabRelayError) as error:
        return await _refused(frame, verb, request, asking.words, error)
    sections = [one for one in found if one is not None]
    refused = next((one.values["refused"] for one in sections if one.values.get("refused")), "")
    question = _question(verb, asking.words, counted, frozen) | {"sections": sections, "refused": refused}
    return await frame.desk.page(request, "confirm", **question, selection=orjson.dumps(frozen).decode())


async def count(
    frame: Frame, verb: str, request: web.Request, selection: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What a verb says of a selection, and that selection as it was counted: nothing that comes later is of it.

    Raises:
        LabRelayError: it is refused.
    """
    counted = await frame.give(request, verb, {"selection": selection, "reason": COUNTING, "dry_run": True})
    return counted, {**selection, "last": counted["last"], "counted_us": counted["counted_us"]}


def _question(verb: str, words: Words, counted: Mapping[str, Any], frozen: Mapping[str, Any]) -> dict[str, Any]:
    deed = DEEDS[verb]
    count, conflicts = (
        words.say("more than {n}", n=grouped(number)) if counted["more"] else grouped(number)
        for number in (counted["count"], counted["conflicts"])
    )
    is_retry = verb == "retry"
    return {
        "action": words.href(DO + verb),
        "what": words.say(deed.what),
        "button": words.say(deed.button),
        "needs_reason": deed.needs_reason,
        "back": words.href(deed.back),
        "count": count,
        "empty": not counted["count"],
        "chosen": chosen(frozen, words),
        "channels": _names(counted["channels"]),
        "destinations": _names(counted["destinations"]),
        "critical": counted["critical"],
        "asks_who": bool(counted["critical"]) and deed.back == "/held",
        "conflicts": conflicts if is_retry and counted["conflicts"] else "",
        "overwrite": words.say("Replace what the server has: {n}", n=conflicts),
        "two_patients": counted["two_patients"] if is_retry and "ids" in frozen else 0,
    }


def chosen(selection: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """A frozen selection in words: each part of its filter, and its end."""
    parts = [
        (LABELS[name], selection[name] or NO_CAUSE)
        for name in ("channel", "destination", "code", "cause", "state")
        if name in selection
    ]
    if "ids" in selection:
        parts.append(("Messages", _names(map(str, selection["ids"]))))
    parts += [
        (label, words.time(selection[name]))
        for name, label in (("after_us", "Since"), ("before_us", "Until"))
        if name in selection
    ]
    found = [(words.say(label), text) for label, text in parts] or [(words.say("Filter"), words.say("all"))]
    if "last" in selection:
        at = words.time(selection["counted_us"])
        found.append(
            (words.say("Up to"), words.say("number {n} of the journal, at {time}", n=selection["last"], time=at))
        )
    return found


def _names(found: Iterable[str]) -> str:
    names = list(found)
    return ", ".join(names[:MOST_NAMES]) + ("…" if len(names) > MOST_NAMES else "")


def _selection(asking: Asking) -> dict[str, Any]:
    """
    Raises:
        ValueError: it cannot be read, or nothing is selected; with the sentence for people.
    """
    wanted = of_letters(DO, NAMES, asking)
    ids = tuple(found for text in asking.query.get("ids", "").split(",") if (found := number(text)))
    selection = Selection(
        ids=ids,
        channel=wanted.channel,
        destination=wanted.destination,
        code=wanted.code,
        cause=wanted.cause,
        state=wanted.state,
        after_us=wanted.after_us,
        before_us=wanted.before_us,
        all=asking.query.get("all") == "1",
    )
    if selection.is_empty:
        raise ValueError(NOTHING)
    return selection.to_json()


async def _take(verb: str, frame: Frame, request: web.Request) -> web.Response:
    words = frame.asking(request).words

    async def act(form: Form) -> web.Response:
        try:
            selection = orjson.loads(form["selection"])
            if not isinstance(selection, dict) or not selection.keys() >= {"last", "counted_us"}:
                raise ValueError(NOTHING)
            more = {"overwrite": True} if form["overwrite"] else {}
            args = {"selection": selection, "reason": _reason(form), "dry_run": False, **more}
            result = await frame.once(request, form, verb, args)
        except orjson.JSONDecodeError:
            raise web.HTTPBadRequest from None
        except (ValueError, LabRelayError) as error:
            return await _refused(frame, verb, request, words, error)
        if result["operation"] is None:
            return await _refused(frame, verb, request, words, ValueError(GONE))
        return frame.desk.go(request, f"{OPERATIONS}/{result['operation']}")

    return await frame.desk.answer(request, act)


def _reason(form: Form) -> str:
    """With who was informed of critical values, and that they were read back; empty where no reason is given."""
    informed = form["informed"].strip()
    said = [form["reason"].strip(), f"informed: {informed}" if informed else ""]
    said.append("read back" if informed and form["read_back"] else "")
    return "; ".join(filter(None, said)) if said[0] else ""


async def _refused(frame: Frame, verb: str, request: web.Request, words: Words, error: Exception) -> web.Response:
    """A refusal: of an address (a sentence of ours) or of the verb."""
    status, text = (
        frame.desk.refused(request, error)
        if isinstance(error, LabRelayError)
        else (400, words.say(sentence(str(error))))
    )
    deed = DEEDS[verb]
    return await frame.desk.page(
        request, "done", status, title=words.say(deed.button), back=words.href(deed.back), trouble=text,
    )  # fmt: skip
