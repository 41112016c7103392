"""The conflict of a dead letter: both sides beside each other, and the answers to it.

Either a number has two patients: both persons. Or the server has another version than LabRelay wrote: each element that
differs. Who may see patients sees persons and values; the look is in the audit trail, once for each log-in.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from engine.actions.selection import Selection
from engine.features.results.lists.whose import apart
from engine.features.results.pages import whose
from engine.model.errors import ConfigError, LabRelayError, StoreError
from engine.model.journal.journal_views import DeadLetter, Trace
from engine.model.site.permissions import LOOKING, SEEING_PATIENTS
from engine.model.texts.phrases import N_, PageText
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader
from engine.views.letter_in_full import conflicts
from engine.views.view import Row
from engine.web.asked import number
from engine.web.pages.doing import CONFLICT as PATH
from engine.web.pages.doing import DEEDS, DO, count, look_once
from engine.web.pages.frame import Asking, Channels, Frame, Gone, Page, Values
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.panels import PANELS, Link
from engine.web.pages.states import badge
from engine.web.pages.words import shown
from engine.web.routes import Route

NO_CONFLICT = N_("Message {n} has no conflict that waits for a person.")
LONGEST = 300


class Answer(NamedTuple):
    """
    Attributes:
        overwrite: ours replaces what the server has.
    """

    verb: str
    title: PageText
    does: PageText
    overwrite: bool = False


_CLOSE: PageText = DEEDS["dismiss"].button
ANSWERS: Mapping[str, Sequence[Answer]] = {
    ReasonCode.IDENTITY_CONFLICT.value: (
        Answer("dismiss", _CLOSE, "These results are never delivered. Those of the first patient stay."),
        Answer("retry", "Two patients, one number", "These are sent. The results of the first patient stay."),
    ),
    ReasonCode.CONFLICT.value: (
        Answer("dismiss", _CLOSE, "The server keeps what it has."),
        Answer("retry", "Replace it", "The server gets these results in place of what it has.", overwrite=True),
    ),
}


_EMPTY: Values = {"rows": [], "heads": (), "differ": "", "known": 0, "letter": None, "answers": (), "offers": ()}


class _Conflict(NamedTuple):
    """
    Attributes:
        trace: of its message.
        rows: the persons, or the versions of each resource.
    """

    letter: DeadLetter
    trace: Trace
    rows: Sequence[Row]


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(_show, frame), LOOKING),)


async def _show(frame: Frame, request: web.Request) -> web.Response:
    asking, wrong = frame.asking(request), ""
    message, cards, sees = number(asking.found["number"]), list[Values](), False
    try:
        found = await frame.read(_conflicts, frame.channels, message, False)
        sees = bool(found) and asking.principal.may(SEEING_PATIENTS) and await look_once(frame, request, message)
        found = await frame.read(_conflicts, frame.channels, message, True) if sees else found
        cards = [card for one in found for card in await _cards(frame, request, one)]
    except (StoreError, ConfigError) as error:
        _, wrong = frame.why_not(error, asking.words)
    words = asking.words
    back = words.href("/dead-letters"), words.href(f"{MESSAGES}/{message}")
    around = {"number": message, "back": back[0], "message": back[1], "sees": sees, "cards": cards}
    page = Page("conflict", around, wrong)
    gone = Gone(words.say(NO_CONFLICT, n=message))
    return await frame.show(request, lambda _: page, lambda *_: {} if cards else gone, asking)


def _conflicts(reader: Reader, channels: Channels, message: int, sees: bool) -> list[_Conflict]:
    """Those of a message that wait for a person; without persons, and with values masked, for who may not see them."""
    trace = trace_of(reader, message)
    if trace is None:
        return []
    found = dead_letters(reader, before_id=message + 1, limit=1)
    deliveries = {one.id: one for one in trace.deliveries}
    conflict = [one for one in found if one.message_id == message and one.state == "dead" and one.reason in ANSWERS]
    return [
        _Conflict(
            one,
            trace,
            conflicts(reader, deliveries[one.delivery_id], frozenset(), masked=not sees)
            if one.delivery_id
            else [apart(reader, channels(), message, trace.detail)]
            if sees
            else [],
        )
        for one in conflict
    ]


async def _cards(frame: Frame, request: web.Request, one: _Conflict) -> list[dict[str, Any]]:
    """A card for each comparison; the last one has the answers."""
    asking = frame.asking(request)
    compared = [await _persons(frame, request, row) if "fields" in row else _versions(row, asking) for row in one.rows]
    cards = [{**_EMPTY, **card} for card in compared or [{}]]
    others = [link for panels in PANELS.each() for link in panels.offers(asking, one.trace) if not _is_here(link)]
    letter, words = one.letter, asking.words
    cards[0] |= {"letter": letter, "meaning": words.reason(letter.reason)}
    cards[-1] |= {"answers": await _answers(frame, request, letter), "offers": others}
    return cards


def _is_here(link: Link) -> bool:
    """Whether this page has it as an answer, or is it."""
    return link[1].startswith((DO, PATH.partition("{")[0]))


async def _persons(frame: Frame, request: web.Request, row: Row) -> dict[str, Any]:
    words = frame.asking(request).words
    heads = words.say("In this message"), words.say("Known")
    return {**await whose.beside(frame, request, 0, row), "heads": heads}


def _versions(row: Row, asking: Asking) -> dict[str, Any]:
    words = asking.words
    differs = badge(whose.COMPARED["differs"], words)
    rows = [
        (one["path"], *(shown(one[side], LONGEST) or "-" for side in ("ours", "theirs")), differs, True)
        for one in row["elements"]
    ]
    deleted = "" if row["has"] else words.say("It was deleted on the server.")
    return {
        "rows": rows,
        "heads": (words.say("These results"), words.say("On the server")),
        "differ": f"{row['resource']}: {deleted or words.say('they differ in {n} places', n=len(rows))}",
    }


async def _answers(frame: Frame, request: web.Request, letter: DeadLetter) -> list[dict[str, Any]]:
    """None where it is not to be answered any more, or this person may not."""
    asking = frame.asking(request)
    offered = [one for one in ANSWERS[letter.reason or ""] if one.verb in asking.may]
    of = Selection(ids=(letter.message_id,), destination=letter.destination or None, code=letter.reason).to_json()
    try:
        frozen = (await count(frame, offered[0].verb, request, of))[1] if offered else {}
    except LabRelayError:
        return []
    return [*_forms(asking, letter, offered, orjson.dumps(frozen).decode())]


def _forms(asking: Asking, letter: DeadLetter, offered: Sequence[Answer], selection: str) -> Iterator[dict[str, Any]]:
    for one in offered:
        more = {"overwrite": "yes"} if one.overwrite else {}
        is_lost = one.verb == "dismiss" and letter.reason == ReasonCode.IDENTITY_CONFLICT.value
        yield {
            "id": f"{one.verb}-{letter.delivery_id}",
            "icon_name": "send" if one.verb == "retry" else "reject",
            "weight": "danger" if is_lost else "plain" if one.verb == "retry" else "main",
            "kind": "reject" if is_lost else "",
            "button": asking.words.say(one.title),
            "action": asking.words.href(DO + one.verb),
            "title": asking.words.say(one.title),
            "does": asking.words.say(one.does),
            "carries": {"selection": selection, **more},
        }
