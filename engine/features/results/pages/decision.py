"""The decision about what is held of one message: the results, what holds them, and what each answer does.

Who may release sees the results; the look is in the audit trail, once for each log-in. Others see whom to ask.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import orjson
from aiohttp import hdrs, web

from engine.actions.selection import Selection
from engine.features.results.lists.held_results import MOST, WHOSE, held_of, results_held
from engine.features.results.lists.saying import with_says
from engine.features.results.lists.whose import is_asked, named_in
from engine.features.results.lists.whose import whose as whose_of
from engine.features.results.pages import whose
from engine.features.results.pages.rows import own_codes, parts, row_of, told
from engine.features.results.rows.succession import overtaken
from engine.model.content.facts import Person as Named
from engine.model.errors import ConfigError, LabRelayError, StoreError
from engine.model.journal.journal_views import DeadLetter
from engine.model.site.permissions import ACTING, LOOKING, ROLES, SEEING_PATIENTS
from engine.model.texts.phrases import N_
from engine.store.queries.letters import held_deliveries
from engine.store.queries.reader import Reader
from engine.views.view import Row
from engine.web.asked import PAGE, number
from engine.web.pages.doing import DO, OUTCOMES, count, look_once
from engine.web.pages.frame import Asking, Channels, Frame, Gone, Page, Values
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.words import Words, shown
from engine.web.routes import Route

PATH = "/held/{number}"
NEWER = {"whole": "superseded", "part": "overtaken"}  # what a release does where newer messages were delivered
VERBS = ("release", "reject")
NOTHING_HELD = N_("Nothing of message {n} is held.")


def routes(frame: Frame) -> Sequence[Route]:
    shown = Route(PATH, partial(_show, frame), LOOKING)
    if whose.VERB not in frame.verbs:
        return (shown,)
    needed = frame.verbs[whose.VERB].needs
    return (shown, Route(PATH, partial(whose.take, frame), needed, method=hdrs.METH_POST))


def href(words: Words, one: DeadLetter) -> str:
    return words.href(PATH.replace("{number}", str(one.message_id)), destination=one.destination)


async def _show(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    message, destination = number(asking.found["number"]), asking.query.get("destination") or None
    what, wrong = _What(), ""
    persons: list[Values] = []
    patient: list[tuple[str, str]] = []
    try:
        what = await frame.read(_held, message, destination)
        sees = what.is_any and await look_once(frame, request, message)
        what = what._replace(sees=sees)
        if sees and what.letters and what.letters[0].state == "held" and asking.may.issuperset(VERBS):
            selection = Selection(ids=(message,), destination=destination).to_json()
            counted, frozen = await count(frame, VERBS[0], request, selection)
            # What came meanwhile is on none of both: the page is asked for again.
            same = counted["count"] == len(what.letters)
            what = what._replace(chosen=orjson.dumps(frozen).decode() if same else "")
        if sees and asking.principal.may(SEEING_PATIENTS):
            rows = await frame.read(_persons, frame.channels, message, what.letters)
            persons = [await whose.beside(frame, request, message, row) for row in rows]
            people = () if persons else await frame.read(_named, frame.channels, message)
            patient = whose.described(people, asking.words)
    except (StoreError, ConfigError) as error:
        _, wrong = frame.why_not(error, asking.words)
    except LabRelayError:  # nothing of it can be released now
        what = what._replace(chosen="")
    page = partial(_page, message, wrong)
    return await frame.show(request, page, partial(_found, frame.channels, what, persons, patient), asking)


class _What(NamedTuple):
    """
    Attributes:
        letters: what is held of the message. asks: a person is to say whose it is. sees: who asks sees the results.
        chosen: what a release is about, as JSON; empty: none is offered.
    """

    letters: Sequence[DeadLetter] = ()
    asks: bool = False
    sees: bool = False
    chosen: str = ""

    @property
    def is_any(self) -> bool:
        return bool(self.letters) or self.asks


def _held(reader: Reader, message: int, destination: str | None) -> _What:
    found = [one for one in held_of(reader, message) if destination in (None, one.destination)]
    found = [one for one in found if one.state == "held"] or found
    asks = any(one.state == "held" and one.reason in WHOSE for one in found) or is_asked(reader, message)
    return _What(found, asks)


def _persons(reader: Reader, channels: Channels, message: int, letters: Sequence[DeadLetter]) -> list[Row]:
    return whose_of(reader, channels(), message, letters)


def _named(reader: Reader, channels: Channels, message: int) -> Sequence[Named]:
    return named_in(reader, channels(), message)


def _page(message: int, wrong: str, asking: Asking) -> Page:
    words = asking.words
    around = {"number": message, "back": words.href("/held"), "message": words.href(f"{MESSAGES}/{message}")}
    return Page("held_one", around, wrong)


def _found(
    channels: Channels,
    what: _What,
    persons: Sequence[Values],
    patient: Sequence[tuple[str, str]],
    reader: Reader,
    asking: Asking,
) -> Values | Gone:
    words, letters = asking.words, with_says(what.letters, channels())
    if not what.is_any:
        return Gone(words.say(NOTHING_HELD, n=number(asking.found["number"])))
    results = (
        results_held(reader, channels(), letters, history=asking.principal.may(SEEING_PATIENTS)) if what.sees else {}
    )
    found = _each_once(results.values())
    first = number(asking.query.get("first", ""))
    first = first if first < len(found) else 0
    rows = [row_of(row, words) for row in found[first : first + MOST]]
    is_unread = any(one is None for one in results.values())
    is_blind = is_unread and not asking.principal.may(SEEING_PATIENTS)
    newer = [overtaken(reader, one.delivery_id) for one in letters if one.state == "held"]
    to = f"/held/{number(asking.found['number'])}"
    return {
        "rows": rows,
        "marked": [row for row in rows if row["held"] or row["critical"]][:3] or rows[: not what.asks],
        "sees": what.sees,
        "persons": persons,
        "patient": patient,
        "walk": _walk(reader, number(asking.found["number"]), words),
        "persons_hidden": what.asks and not (what.sees and asking.principal.may(SEEING_PATIENTS)),
        "own_codes": own_codes([row_of(row, words) for row in found], words),
        "unread": is_unread,
        "newer": next((words.say(OUTCOMES[NEWER[how]]) for how in newer if how), ""),
        "why": [_why(one, words) for one in letters],
        "critical": any(one.critical for one in letters) or any(row["critical"] for row in found),
        "ago": words.ago(letters[0].at_us) if letters else "",
        "ask": ", ".join(words.say(name) for name, may in ROLES.items() if may >= ACTING),
        "destinations": ", ".join(dict.fromkeys(shown(one.destination) for one in letters)),
        "channel": letters[0].channel if letters else "",
        "sends": told(found, words),
        "chosen": what.chosen,
        "may_release": bool(what.chosen) and not (what.asks or is_blind or any(newer)),
        "acts": {verb: words.href(DO + verb) for verb in VERBS},
        **parts(first, len(found), partial(words.href, to, destination=asking.query.get("destination", "")), words),
    }


def _walk(reader: Reader, message: int, words: Words) -> list[tuple[str, str, str]]:
    """The decisions before and behind this one, in the order of the list; without those that its first page lacks."""
    found = held_deliveries(reader, limit=PAGE, in_words=False)
    messages = list(dict.fromkeys(one.message_id for one in found))
    if message not in messages:
        return []
    here = messages.index(message)
    beside = (("Previous", here - 1, "prev"), ("Next", here + 1, "next"))
    return [
        (words.say(name), words.href(f"/held/{messages[to]}"), rel)
        for name, to, rel in beside
        if 0 <= to < len(messages)
    ]


def _each_once(results: Iterable[Sequence[Row] | None]) -> list[Row]:
    """Of several documents: what each of them sends."""
    found: list[Row] = []
    for rows in results:
        found += [row for row in rows or () if row not in found]
    return found


def _why(one: DeadLetter, words: Words) -> tuple[str, str, str]:
    """Level, the reason in words, and what holds it."""
    level = "critical" if one.critical else ""
    return level, words.reason(one.reason) or one.reason, shown(one.says.get(words.language, one.detail), 1000)
