"""Whose a held result is: both persons beside each other, and the answers of who may see them and decide."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from engine.features.results.lists.held_results import WHOSE
from engine.model.errors import RefusedError
from engine.model.journal.journal_views import DeadLetter
from engine.model.site.permissions import SEEING_PATIENTS
from engine.model.texts.phrases import PageText
from engine.model.texts.reasons import ReasonCode
from engine.views.view import Row
from engine.web.asked import number
from engine.web.desk import Desk
from engine.web.forms import Form
from engine.web.pages.doing import COUNTING
from engine.web.pages.frame import Frame
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.states import Look, badge
from engine.web.pages.words import Words, shown
from engine.web.routes import PRINCIPAL

VERB = "tell_apart"
NOTHING: dict[str, Any] = {"all": [], "count": ""}


class Answer(NamedTuple):
    """
    Attributes:
        does: one sentence. main: it joins no results of two persons.
    """

    button: PageText
    does: PageText
    main: bool = False


OF_NUMBER = {
    "same": Answer("The same person", "The results go to the person who is known. This spelling is known from now on."),
    "other": Answer(
        "Two persons",
        "The results go to a record of their own, without the number; so do later ones of this person.",
        main=True,
    ),
}
OF_ORDER = {
    "withdraw": Answer("The order was moved", "The results of the first patient are withdrawn, and these are sent."),
    "both": Answer("Two patients, one number", "These are sent. The results of the first patient stay."),
}
FIELDS: dict[str, PageText] = {
    "number": "Number",
    "name": "Name",
    "born": "Born",
    "sex": "Sex",
    "child": "A child under its mother's name",
}
COMPARED = {
    "same": Look("the same", "ok", "ok"),
    "alike": Look("another spelling", "ok", "ok"),
    "differs": Look("differs", "attention", "problem"),
    "unknown": Look("not compared", "calm", "quiet"),
}


def is_asked(letters: Sequence[DeadLetter]) -> bool:
    return any(one.state == "held" and one.reason in WHOSE for one in letters)


def beside(one: Row, words: Words) -> dict[str, Any]:
    """A comparison as the page has it."""
    rows = [
        (
            words.say(FIELDS[field["field"]]),
            shown(field["sent"], 300) or "-",
            shown(field["known"], 300) or "-",
            badge(COMPARED[field["compared"]], words),
            field["compared"] == "differs",
        )
        for field in one["fields"]
    ]
    known = one["known_message"]
    return {
        "rows": rows,
        "differ": words.say("{n} of {count} differ.", n=sum(row[-1] for row in rows), count=len(rows)),
        "known": known,
        "href": words.href(f"{MESSAGES}/{known}") if known else "",
    }


async def answers(frame: Frame, request: web.Request, message: int, letters: Sequence[DeadLetter]) -> dict[str, Any]:
    """What this person may answer, and for how many messages that counts."""
    principal, asking = request[PRINCIPAL], frame.asking(request)
    if not (is_asked(letters) and VERB in asking.may and principal.may(SEEING_PATIENTS)):
        return NOTHING
    moves = any(one.reason == ReasonCode.ORDER_MOVED.value for one in letters)
    words, offered, count = asking.words, [], 0
    for name, one in (OF_ORDER if moves else OF_NUMBER).items():
        given = {"message": message, "answer": name, "reason": COUNTING, "dry_run": True}
        with suppress(RefusedError):  # it was answered meanwhile, or this answer joins what may be two persons
            count = (await frame.give(request, VERB, given))["count"]
            offered.append((name, words.say(one.button), words.say(one.does), one.main))
    return {
        "all": offered,
        "count": words.say("It counts for {n} held messages.", n=count) if count > 1 else "",
    }


async def take(frame: Frame, desk: Desk, request: web.Request) -> web.Response:
    message = number(request.match_info["number"])
    asked = partial(_answer, frame, desk, message)
    return await desk.take(
        request, dict.fromkeys((*OF_NUMBER, *OF_ORDER), asked), partial(_again, frame, desk, message)
    )


async def _answer(frame: Frame, desk: Desk, message: int, request: web.Request, form: Form) -> web.Response:
    given = {"message": message, "answer": form["act"], "reason": form["reason"].strip(), "dry_run": False}
    await frame.give(request, VERB, given)
    return desk.go(request, f"{MESSAGES}/{message}")


async def _again(
    frame: Frame, desk: Desk, message: int, request: web.Request, status: int, trouble: str, form: Form
) -> web.Response:
    words = frame.asking(request).words
    back = words.href(f"/held/{message}")
    return await desk.page(request, "done", status, title=words.say("Held results"), back=back, trouble=trouble)
