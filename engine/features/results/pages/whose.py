"""Whose a held result is: both persons beside each other, and the answers of who may see them and decide."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from engine.model.content.facts import Person as Named
from engine.model.errors import RefusedError
from engine.model.texts.phrases import PageText
from engine.views.view import Row
from engine.web.asked import number
from engine.web.forms import Form
from engine.web.pages.doing import COUNTING
from engine.web.pages.frame import Frame
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.states import Look, badge
from engine.web.pages.words import Words, shown

VERB, HELD = "tell_apart", "/held"


class Answer(NamedTuple):
    """
    Attributes:
        does: one sentence. button: with the names ``one``, of the message, and ``other``; else it says the title.
    """

    title: PageText
    does: PageText
    button: PageText = ""


ANSWERS = {
    "same": Answer(
        "The same person",
        "The results go to the person who is known. This spelling is known from now on.",
        "It is {other}",
    ),
    "other": Answer(
        "Two persons",
        "The results go to a record of their own, without the number; so do later ones of this person.",
        "{one} and {other} are two persons",
    ),
    "withdraw": Answer("The order was moved", "The results of the first patient are withdrawn, and these are sent."),
    "both": Answer("Two patients, one number", "These are sent. The results of the first patient stay."),
}
FIELDS: dict[str, PageText] = {
    "order": "Order number",
    "specimen": "Specimen",
    "number": "Number",
    "name": "Name",
    "born": "Born",
    "sex": "Sex",
    "child": "A child under its mother's name",
    "asked_by": "Asked by",
}
SEXES: dict[str, PageText] = {"F": "female", "M": "male"}
COMPARED = {
    "same": Look("the same", "ok", "ok"),
    "alike": Look("another spelling", "ok", "ok"),
    "differs": Look("differs", "attention", "problem"),
    "unknown": Look("not compared", "calm", "quiet"),
}


async def beside(frame: Frame, request: web.Request, message: int, one: Row) -> dict[str, Any]:
    """A comparison as the page has it, and what this person may answer to it."""
    asking = frame.asking(request)
    words, known = asking.words, one["known_message"]
    rows = [
        (
            words.say(FIELDS[field["field"]]),
            *(_shown(field["field"], field[side], words) for side in ("sent", "known")),
            badge(COMPARED[field["compared"]], words),
            field["compared"] == "differs",
        )
        for field in one["fields"]
    ]
    names = next(((shown(field["sent"], 60), shown(field["known"], 60)) for field in one["fields"]
                  if field["field"] == "name"), ("", ""))  # fmt: skip
    return {
        "rows": rows,
        "differ": words.say("{n} of {count} differ.", n=sum(row[-1] for row in rows), count=len(rows)),
        "known": known,
        "href": words.href(f"{MESSAGES}/{known}") if known else "",
        "mark": one["mark"],
        "answers": [
            answer
            for name in one["answers"]
            if VERB in asking.may and (answer := await _offered(frame, request, message, one["mark"], name, names))
        ],
    }


def described(people: Sequence[Named], words: Words) -> list[tuple[str, str]]:
    """Label and text of what a message says of its patient; nothing where it has several."""
    if len(people) != 1:
        return []
    (one,) = people
    said = {"name": one.name, "number": one.number, "born": one.birthday or one.born, "sex": one.sex}
    return [(words.say(FIELDS[field]), _shown(field, text, words)) for field, text in said.items() if text]


def _shown(field: str, text: str, words: Words) -> str:
    """As it is said; a birth date with the age."""
    if field == "sex" and text in SEXES:
        return words.say(SEXES[text])
    said = shown(text, 300) or "-"
    if field != "born" or len(text) != len("1960-02-03"):
        return said
    with suppress(ValueError):
        born, today = date.fromisoformat(text), words.now.astimezone(words.zone).date()
        years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
        return words.say("{date} ({n} years)", date=said, n=years) if years >= 0 else said
    return said


async def _offered(
    frame: Frame, request: web.Request, message: int, mark: str, name: str, names: Sequence[str]
) -> tuple[str, str, str, str, str] | None:
    """Name, title, what it does, for how many messages, and its button; None: it cannot be given."""
    words, one = frame.asking(request).words, ANSWERS[name]
    given = {"message": message, "answer": name, "mark": mark, "reason": COUNTING, "dry_run": True}
    try:
        count = (await frame.give(request, VERB, given))["count"]
    except RefusedError:  # it was answered meanwhile, or numbers are unique
        return None
    covers = words.say("It counts for {n} held messages.", n=count) if count > 1 else ""
    button = words.say(one.button, one=names[0], other=names[1]) if one.button and all(names) else words.say(one.title)
    return name, words.say(one.title), words.say(one.does), covers, button


async def take(frame: Frame, request: web.Request) -> web.Response:
    message = number(request.match_info["number"])
    asked = partial(_answer, frame, message)
    redraw = frame.instead("Held results", f"{HELD}/{message}")
    return await frame.desk.take(request, dict.fromkeys(ANSWERS, asked), redraw)


async def _answer(frame: Frame, message: int, request: web.Request, form: Form) -> web.Response:
    given = {"answer": form["act"], "mark": form["mark"], "reason": form["reason"].strip()}
    done = await frame.once(request, form, VERB, {**given, "message": message, "dry_run": False})
    return frame.desk.go(request, f"{HELD}/{message}" if done["done"].get("held") else f"{MESSAGES}/{message}")
