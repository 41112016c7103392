"""Set aside one delivery that its destination does not take, so that those behind it are sent.

It becomes a dead letter; *Try again* there sends it after all, in its old place.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.rework.acts.edit import OPEN
from engine.model.errors import LabRelayError
from engine.model.journal.journal_views import DeliveryView
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.messages import count_waiting, trace_of
from engine.store.queries.reader import Reader
from engine.web.asked import number
from engine.web.forms import Form
from engine.web.pages.frame import Asking, Frame
from engine.web.pages.messages import PATH as LIST
from engine.web.pages.words import grouped
from engine.web.routes import Route

PATH = "/messages/{number}/set-aside"
VERB = "set_aside"
LOOKING_FIRST = "counted for a confirmation"  # the reason of a dry run, which notes nothing


def routes(frame: Frame) -> Sequence[Route]:
    return frame.forms(PATH, VERB, _take, _ask)


def offers(asking: Asking, deliveries: Sequence[DeliveryView]) -> list[tuple[str, str]]:
    """Links to set aside those that have failed and wait, where this person may; with the name where there are more."""
    if VERB not in asking.may:
        return []
    places = sorted({(one.message_id, one.destination) for one in deliveries if one.state in OPEN and one.attempt})
    text = asking.words.say("Set aside")
    return [
        (f"{text}: {place}" if len(places) > 1 else text, _address(asking, message, place)) for message, place in places
    ]


def _address(asking: Asking, message: int, destination: str = "") -> str:
    return asking.words.href(PATH.replace("{number}", str(message)), destination=destination)


async def _ask(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    asked, words = number(asking.found["number"]), asking.words
    place = asking.query.get("destination", "")
    looking = {"message": asked, "destination": place, "reason": LOOKING_FIRST, "dry_run": True}
    try:
        told = await frame.give(request, VERB, looking)
    except LabRelayError as error:
        return await _refused(frame, request, *frame.refused(request, error))
    place = told["destination"]
    channel, behind = await frame.read(_behind, asked, place)
    is_correction = told["code"] == ReasonCode.CORRECTION_SET_ASIDE.value
    warning = words.say("This corrects a result. Until it is sent, the destination shows what was wrong.")
    return await frame.desk.page(
        request,
        "question",
        **_around(asking),
        warnings=[warning] if is_correction else [],
        facts=[
            (words.say("Analyzer"), channel),
            (words.say("Destination"), place),
            (words.say("Deliveries behind it"), grouped(behind)),
        ],
        then=words.say("Those behind it are sent. It becomes a dead letter: Try again sends it in its old place."),
        hidden={"destination": place},
        trouble="",
    )


def _behind(reader: Reader, message: int, destination: str) -> tuple[str, int]:
    trace = trace_of(reader, message)
    channel = trace.message.channel if trace is not None else ""
    return channel, max(count_waiting(reader, channel=channel, destination=destination) - 1, 0)


def _around(asking: Asking) -> dict[str, Any]:
    asked, words = number(asking.found["number"]), asking.words
    return {
        "what": words.say("Set message {n} aside?", n=asked),
        "button": words.say("Set aside"),
        "action": _address(asking, asked),
        "back": words.href(f"{LIST}/{asked}"),
        "back_words": words.say("Back to the message"),
    }


async def _refused(
    frame: Frame, request: web.Request, status: int, trouble: str, _form: Form | None = None
) -> web.Response:
    return await frame.desk.page(request, "question", status, **_around(frame.asking(request)), trouble=trouble)


async def _take(frame: Frame, request: web.Request) -> web.Response:
    asked = number(request.match_info["number"])

    def given(form: Form) -> tuple[str, dict[str, Any]]:
        args = {"message": asked, "destination": form["destination"], "reason": form["reason"], "dry_run": False}
        return VERB, args

    return await frame.take(
        request, given, partial(_refused, frame), lambda form, done: frame.desk.go(request, f"{LIST}/{asked}")
    )
