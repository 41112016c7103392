"""Worklists for paper: the waiting orders of each analyzer, tube by tube, for a time in which it cannot ask.

They show tubes and patients, so each look at them is a row of the audit trail.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.orders.lists import patient_words
from engine.features.orders.pages.orders import PATH, SHEETS, WORKLIST
from engine.features.orders.pages.words import reason_of_code
from engine.model.errors import LabRelayError
from engine.web.pages.frame import Frame
from engine.web.pages.words import Words, shown
from engine.web.routes import Route

PURPOSE = "a worklist on paper"
LONGEST = 200


def routes(frame: Frame) -> Sequence[Route]:
    if SHEETS not in frame.verbs:
        return ()
    return (Route(WORKLIST, partial(_show, frame), frame.verbs[SHEETS].needs),)


async def _show(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    words, channel = asking.words, asking.query.get("channel", "")
    values: dict[str, Any] = {
        "back": words.href(PATH, tab="waiting", channel=channel),
        "made": words.exact(int(words.now.timestamp() * 1_000_000)).partition(".")[0],
        "zone": asking.site.timezone,
        "sheets": [],
        "cut": False,
        "trouble": "",
    }
    args = {"channels": [channel] if channel else [], "purpose": PURPOSE}
    try:
        found = await frame.give(request, SHEETS, args)
    except LabRelayError as error:
        status, values["trouble"] = frame.refused(request, error)
        return await frame.desk.page(request, "worklist", status, **values)
    values |= {"sheets": [_sheet(one, words) for one in found["sheets"]], "cut": found["cut"]}
    return await frame.desk.page(request, "worklist", **values)


def _sheet(one: Mapping[str, Any], words: Words) -> Mapping[str, Any]:
    return {
        "channel": one["channel"],
        "tubes": [
            {
                "specimen": shown(tube["specimen"], LONGEST),
                "urgent": tube["urgent"],
                "patient": shown(patient_words(tube["patient"]), LONGEST),
                "tests": [_test(test, words) for test in tube["tests"]],
            }
            for tube in one["tubes"]
        ],
    }


def _test(test: Mapping[str, Any], words: Words) -> Mapping[str, Any]:
    return {
        "code": shown(test["code"] or test["test"]),
        "name": shown(
            " ".join(filter(None, ("" if test["code"] in ("", test["test"]) else test["test"], test["name"])))
        ),
        "reason": test["reason"],
        "why": reason_of_code(test["reason"], words),
        "also": words.say("also on {analyzer}", analyzer=", ".join(test["also"])) if test["also"] else "",
    }
