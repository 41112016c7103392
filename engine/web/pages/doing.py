"""Acts of a person on dead letters and held results: what will be done is shown with its count before it happens.

The confirmation counts by the verb's own dry run. Its form carries the selection with the moment of the count, so that
nothing which failed later is touched. The verbs are those of the control socket, given under the person's name; a form
that comes twice is acted on once (`engine.web.forms`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
from aiohttp import hdrs, web

from engine.actions.control import Request
from engine.actions.selection import Selection, held_results, letters
from engine.model.errors import LabRelayError
from engine.model.records import DeadLetter
from engine.store.queries.reader import Reader
from engine.web.access.desk import Desk, sentence
from engine.web.forms import Form
from engine.web.pages.asked import Asked, number
from engine.web.pages.filters import of_letters
from engine.web.pages.frame import Asking, Frame
from engine.web.pages.words import Words, grouped
from engine.web.routes import PRINCIPAL, Route

DO = "/do/"
NAMES = ("channel", "destination", "code", "cause", "since", "until", "state", "ids", "all")
COUNTING = "counted for a confirmation"  # the reason of a dry run, which notes nothing
NOTHING = "Nothing is selected. Go back to the list."
MOST_NAMES = 12


class Deed(NamedTuple):
    """An act as the page offers it.

    Attributes:
        what: the question above the count.
        button: of the confirmation; also the link in a list.
        needs_reason: else the reason may be empty.
        selected: the letters that a selection matches.
        back: the list that it is offered in.
    """

    what: str
    button: str
    needs_reason: bool
    selected: Callable[[Reader, Selection], list[DeadLetter]]
    back: str


DEEDS: Mapping[str, Deed] = {
    "retry": Deed("Try these again?", "Try again", False, letters, "/dead-letters"),
    "dismiss": Deed("Close these for good? They are never delivered.", "Close", True, letters, "/dead-letters"),
    "release": Deed("Send these results to their destination?", "Release", True, held_results, "/held"),
    "reject": Deed("Reject these results? They are never delivered.", "Reject", True, held_results, "/held"),
}
OUTCOMES = {
    "requeued": "queued again",
    "processed": "mapped anew",
    "still_dead": "failed again",
    "conflicts": "left as they are: the server has another version; to write ours, give a reason",
    "dismissed": "closed",
    "released": "released",
    "rejected": "rejected",
    "superseded": "closed: newer messages had all of it delivered",
    "overtaken": "still held: newer messages had a part of it delivered",
    "unanswered": "still held: say first whose result it is",
    "too_old": "still held: too old to be compared with newer ones",
    "skipped": "left out: changed meanwhile",
}


def routes(frame: Frame) -> Iterator[Route]:
    """None where no person can log in."""
    if frame.desk is None:
        return
    for verb in DEEDS.keys() & frame.verbs.keys():
        needs = frame.verbs[verb].needs
        yield Route(DO + verb, partial(_ask, frame, frame.desk, verb), needs)
        yield Route(DO + verb, partial(_take, frame, frame.desk, verb), needs, method=hdrs.METH_POST)


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


async def _ask(frame: Frame, desk: Desk, verb: str, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    try:
        selection = _selection(asking)
        counted = await frame.verbs[verb].work(_request(verb, request, selection, COUNTING, dry_run=True))
        selection = {**selection, "counted_us": counted["counted_us"]}
        found = await frame.read(DEEDS[verb].selected, Selection.from_json(selection))
    except (ValueError, LabRelayError) as error:
        return await _refused(desk, verb, request, asking.words, error)
    return await desk.page(request, "confirm", **_question(verb, asking.words, found), selection=_text(selection))


def _question(verb: str, words: Words, found: Sequence[DeadLetter]) -> dict[str, Any]:
    deed = DEEDS[verb]
    return {
        "action": words.href(DO + verb),
        "what": words.say(deed.what),
        "button": words.say(deed.button),
        "needs_reason": deed.needs_reason,
        "back": words.href(deed.back),
        "count": grouped(len(found)),
        "empty": not found,
        "channels": _names({one.channel for one in found}),
        "destinations": _names({one.destination for one in found if one.destination}),
        "critical": sum(one.critical for one in found),
        "trouble": "",
    }


def _names(found: set[str]) -> str:
    names = sorted(found)
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


def _text(selection: dict[str, Any]) -> str:
    return orjson.dumps(selection).decode()


def _request(verb: str, request: web.Request, selection: Any, reason: str, *, dry_run: bool) -> Request:
    args = {"selection": selection, "reason": reason, "dry_run": dry_run}
    return Request(verb=verb, actor=request[PRINCIPAL].actor, args=args)


async def _take(frame: Frame, desk: Desk, verb: str, request: web.Request) -> web.Response:
    words = frame.asking(request).words

    async def act(form: Form) -> web.Response:
        try:
            selection = orjson.loads(form["selection"])
            if not isinstance(selection, dict) or "counted_us" not in selection:
                raise ValueError(NOTHING)
            given = _request(verb, request, selection, form["reason"], dry_run=False)
            result = await frame.verbs[verb].work(given)
        except orjson.JSONDecodeError:
            raise web.HTTPBadRequest from None
        except (ValueError, LabRelayError) as error:
            return await _refused(desk, verb, request, words, error)
        return await desk.page(request, "done", **_result(verb, words, result, selection))

    return await desk.answer(request, act)


def _result(verb: str, words: Words, result: dict[str, Any], selection: dict[str, Any]) -> dict[str, Any]:
    deed = DEEDS[verb]
    return {
        "title": words.say(deed.button),
        "count": grouped(result["count"]),
        "outcomes": [
            (grouped(n), words.say(OUTCOMES[name]) if name in OUTCOMES else name)
            for name, n in result["done"].items()
            if n
        ],
        "going_on": result["going_on"],
        "back": words.href(deed.back),
        "trouble": "",
    }


async def _refused(desk: Desk, verb: str, request: web.Request, words: Words, error: Exception) -> web.Response:
    """A refusal: of an address (a sentence of ours) or of the verb."""
    status, text = (
        desk.refused(request, error) if isinstance(error, LabRelayError) else (400, words.say(sentence(str(error))))
    )
    deed = DEEDS[verb]
    return await desk.page(
        request, "done", status, title=words.say(deed.button), outcomes=(), count="", going_on=False,
        back=words.href(deed.back), trouble=text,
    )  # fmt: skip
