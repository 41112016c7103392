"""Step 4: one result as it came beside what goes out; a person compares it with the screen of the analyzer."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from engine.features.adding.pages.recognise import shown_text
from engine.features.adding.pages.shared import OF_ONE, PATH, draw, href, sees
from engine.model.site.permissions import CHANGING, SEEING_PATIENTS
from engine.model.texts.phrases import PageText, Span
from engine.web.asked import number
from engine.web.cells import Badge
from engine.web.forms import Form
from engine.web.pages.frame import Frame
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import Route

WHOLE = 100_000  # signs: what is decided about is never cut
MOST_RESULTS = 20
FIELDS: dict[str, PageText] = {
    "specimen": "Specimen",
    "test": "Test",
    "value": "Value",
    "unit": "Unit",
    "range": "Range",
    "flag": "Flag",
    "measured": "Time",
    "person": "Patient",
}
JUDGED: dict[str, PageText] = {"right": "right", "other": "another one", "own": "without a meaning", "none": "none"}


def routes(frame: Frame) -> Sequence[Route]:
    path = f"{OF_ONE}/first"
    return (
        Route(path, partial(_page, frame), CHANGING),
        Route(path, partial(_take, frame), CHANGING | SEEING_PATIENTS, method=hdrs.METH_POST),
    )


async def _take(frame: Frame, request: web.Request) -> web.Response:
    async def start(request: web.Request, form: Form) -> web.Response:
        name = request.match_info["name"]
        if not form["compared"]:
            return await _page(frame, request, 400, frame.asking(request).words.say(NOT_COMPARED))
        args = {"name": name, "version": form["version"], "message": number(form["message"])}
        await frame.once(request, form, "draft_start", {**args, "same": bool(form["same"])})
        return frame.desk.go(request, PATH, started=name)

    return await frame.desk.take(request, {"start": start}, partial(_page, frame))


NOT_COMPARED: PageText = "Compare it with the screen of the analyzer"


async def _page(
    frame: Frame, request: web.Request, status: int = 200, trouble: str = "", form: Form | None = None
) -> web.Response:
    return await draw(frame, request, "first", partial(_values, sees=sees(request)), status, trouble)


def _values(seen: dict[str, Any], words: Words, *, sees: bool) -> dict[str, Any]:
    first = seen["first"]
    results = first["results"] if first else []
    return {
        "sees": sees,
        "action": href(words, seen["name"], "first"),
        "to": shown(", ".join(seen["to"]), 100) or "-",
        "at": words.time(first["received_us"]) if first else "",
        "message": first["message"] if first else 0,
        "ended": words.reason(first["ended"]) if first else "",
        "results": [_result(one, words) for one in results[:MOST_RESULTS]],
        "more": grouped(len(results) - MOST_RESULTS) if len(results) > MOST_RESULTS else "",
        "shared": [shown(one["code"]) for one in seen["shared"]],
        "part": any(one["part"] for one in seen["shared"]),
        "count": grouped(seen["messages"]),
        "shown": shown_text(first["shown"]) if first else [],
        "lines": [shown(line, WHOLE) for line in seen["text"].split("\n")],
    }


def _result(fields: Sequence[Mapping[str, Any]], words: Words) -> dict[str, Any]:
    """``says``: a line about it. ``differs``: it goes out as something else."""
    said = {one["field"]: one["came"] for one in fields}
    return {
        "rows": [_row(one, words) for one in fields],
        "says": shown(" ".join(said[field] for field in ("test", "value", "unit") if said.get(field)), 100),
        "differs": any(one["judged"] == "other" for one in fields),
    }


def _row(one: Mapping[str, Any], words: Words) -> tuple[str, str, str, Badge, bool]:
    judged = one["judged"]
    says = words.say(_clock(one["minutes"]), time=Span(abs(one["minutes"]) * 60)) if judged == "behind" else ""
    lacks = judged == "none" and one["field"] in ("specimen", "test", "value")
    differs = lacks or judged in ("other", "own", "behind")
    return (
        words.say(FIELDS[one["field"]]),
        shown(one["came"], WHOLE) or "-",
        shown(_moment(one["out"], words) if one["field"] == "measured" else one["out"], WHOLE) or words.say("none"),
        Badge(*(("attention", "attention") if differs else ("ok", "ok")), says or words.say(JUDGED[judged])),
        differs,
    )


def _moment(text: str, words: Words) -> str:
    return datetime.fromisoformat(text).astimezone(words.zone).strftime("%Y-%m-%d %H:%M %z") if text else ""


def _clock(minutes: int) -> PageText:
    return BEFORE if minutes > 0 else AFTER


BEFORE: PageText = "{time} before it came: is the clock right?"
AFTER: PageText = "{time} after it came: the clock is ahead"
