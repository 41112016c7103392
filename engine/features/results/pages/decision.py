"""The decision about what is held of one message: the results, what holds them, and what each answer does.

Who may release sees the results; the look is in the audit trail, once for each log-in. Others see whom to ask.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import orjson
from aiohttp import hdrs, web

from engine.actions.selection import Selection
from engine.features.results.lists.held_results import held_of, results_held
from engine.features.results.lists.saying import with_says
from engine.features.results.lists.whose import whose as whose_of
from engine.features.results.pages import whose
from engine.features.results.pages.rows import row_of, told
from engine.features.results.rows.succession import overtaken
from engine.model.errors import ConfigError, LabRelayError, StoreError
from engine.model.journal.journal_views import DeadLetter
from engine.model.site.permissions import ACTING, LOOKING, ROLES, SEEING_PATIENTS
from engine.model.texts.phrases import N_
from engine.store.queries.reader import Reader
from engine.views.view import Row
from engine.web.asked import number
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
    if frame.desk is None or whose.VERB not in frame.verbs:
        return (shown,)
    return (shown, Route(PATH, partial(whose.take, frame, frame.desk), ACTING | SEEING_PATIENTS, method=hdrs.METH_POST))


def href(words: Words, one: DeadLetter) -> str:
    return words.href(PATH.replace("{number}", str(one.message_id)), destination=one.destination)


async def _show(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    message, destination = number(asking.found["number"]), asking.query.get("destination") or None
    letters: Sequence[DeadLetter] = ()
    sees, chosen, wrong, answers = False, "", "", {}
    try:
        letters = await frame.read(_held, message, destination)
        sees = bool(letters) and await look_once(frame, request, message)
        if sees and letters[0].state == "held" and asking.may.issuperset(VERBS):
            selection = Selection(ids=(message,), destination=destination).to_json()
            counted, frozen = await count(frame, VERBS[0], request, selection)
            # What came meanwhile is on none of both: the page is asked for again.
            chosen = orjson.dumps(frozen).decode() if counted["count"] == len(letters) else ""
            answers = await whose.answers(frame, request, message, letters)
    except (StoreError, ConfigError) as error:
        _, wrong = frame.why_not(error, asking.words)
    except LabRelayError:  # nothing of it can be released now
        chosen = ""
    page = partial(_page, message, wrong)
    found = partial(_found, frame.channels, letters, chosen, sees, answers)
    return await frame.show(request, page, found, asking)


def _held(reader: Reader, message: int, destination: str | None) -> list[DeadLetter]:
    found = [one for one in held_of(reader, message) if destination in (None, one.destination)]
    return [one for one in found if one.state == "held"] or found


def _page(message: int, wrong: str, asking: Asking) -> Page:
    words = asking.words
    around = {"number": message, "back": words.href("/held"), "message": words.href(f"{MESSAGES}/{message}")}
    return Page("held_one", around, wrong)


def _found(
    channels: Channels,
    letters: Sequence[DeadLetter],
    chosen: str,
    sees: bool,
    answers: Values,
    reader: Reader,
    asking: Asking,
) -> Values | Gone:
    words = asking.words
    if not letters:
        return Gone(words.say(NOTHING_HELD, n=number(asking.found["number"])))
    results = results_held(reader, channels(), letters) if sees else {}
    found = _each_once(results.values())
    rows = [row_of(row, words) for row in found]
    is_unread = any(one is None for one in results.values())
    letters = with_says(letters, channels())
    sees_patients = sees and asking.principal.may(SEEING_PATIENTS)
    is_blind = is_unread and not sees_patients
    is_asked = whose.is_asked(letters)
    persons = whose_of(reader, channels(), letters) if is_asked and sees_patients else []
    newer = [overtaken(reader, one.delivery_id) for one in letters if one.state == "held"]
    return {
        "rows": rows,
        "marked": [row for row in rows if row["held"] or row["critical"]][:3] or rows[: not is_asked],
        "sees": sees,
        "persons": [whose.beside(one, words) for one in persons],
        "persons_hidden": is_asked and not sees_patients,
        "answers": answers,
        "unread": is_unread,
        "newer": next((words.say(OUTCOMES[NEWER[how]]) for how in newer if how), ""),
        "why": [_why(one, words) for one in letters],
        "critical": any(one.critical for one in letters) or any(row["critical"] for row in rows),
        "ago": words.ago(letters[0].at_us),
        "ask": ", ".join(words.say(name) for name, may in ROLES.items() if may >= ACTING),
        "destinations": ", ".join(dict.fromkeys(shown(one.destination) for one in letters)),
        "channel": letters[0].channel,
        "sends": told(found, words),
        "chosen": chosen,
        "may_release": bool(chosen) and not (is_asked or is_blind or any(newer)),
        "acts": {verb: words.href(DO + verb) for verb in VERBS},
    }


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
