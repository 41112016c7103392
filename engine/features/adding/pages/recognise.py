"""Step 2: what came, what it is, and what a person says of its columns."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from engine.features.adding.pages.shared import OF_ONE, draw, href, sees
from engine.model.site.permissions import CHANGING
from engine.model.texts.phrases import PageText
from engine.web.cells import Badge
from engine.web.forms import Form
from engine.web.pages.frame import Frame
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import Route

COLUMN = "column-"
WHOLE = 4096
PARTS: dict[str, PageText] = {
    "line": "Line settings",
    "link": "Line",
    "framing": "Frames",
    "format": "Format",
    "charset": "Encoding",
    "analyzer": "Model",
    "decimal": "Decimal sign",
    "decimal_comma": "Decimal sign",
    "test_code": "Part of the test's id",
}
ROLES: dict[str, PageText] = {
    "specimen": "Specimen",
    "test": "Test code",
    "value": "Value",
    "unit": "Unit",
    "range": "Range",
    "flag": "Flag",
    "time": "Time",
    "patient": "Patient",
}
SURE: dict[str, PageText] = {"sure": "sure", "likely": "look", "not sure": "unknown"}
BADGES = {"sure": ("ok", "ok"), "likely": ("attention", "attention"), "not sure": ("problem", "problem")}
DECIMALS: dict[str, PageText] = {".": "full stop", ",": "comma"}


def routes(frame: Frame) -> Sequence[Route]:
    path = f"{OF_ONE}/recognise"
    return (
        Route(path, partial(_page, frame), CHANGING),
        Route(path, partial(_take, frame), CHANGING, method=hdrs.METH_POST),
    )


async def _take(frame: Frame, request: web.Request) -> web.Response:
    async def act(request: web.Request, form: Form) -> web.Response:
        columns = {
            name.removeprefix(COLUMN): form[name] for name in form.fields if name.startswith(COLUMN) and form[name]
        }
        said = {name: form[name] for name in ("analyzer", "decimal", "time", "controls")}
        name = request.match_info["name"]
        args = {"name": name, "version": form["version"], "columns": columns, "final": bool(form["final"]), **said}
        await frame.once(request, form, "draft_recognise", args)
        return frame.desk.go(request, href(frame.asking(request).words, name, "codes").partition("?")[0])

    return await frame.desk.take(request, {"recognise": act}, partial(_page, frame))


async def _page(
    frame: Frame, request: web.Request, status: int = 200, trouble: str = "", form: Form | None = None
) -> web.Response:
    given = form.fields if form is not None else {}
    values = partial(_values, given=given, sees=sees(request))
    return await draw(frame, request, "recognise", values, status, trouble)


def _values(seen: dict[str, Any], words: Words, *, given: Mapping[str, str], sees: bool) -> dict[str, Any]:
    return {
        "heard": _heard(seen, words),
        "count": grouped(seen["messages"]),
        "torn": words.reason(seen["torn"]) if seen["torn"] else "",
        "fault": shown(seen["fault"], WHOLE),
        "parts": [_part(one, words) for one in (*seen["parts"], *_of_settings(seen, words)) if one["name"]],
        "enough": seen["enough"],
        "action": href(words, seen["name"], "recognise"),
        "packs": [(one["name"], shown(one["says"], 100)) for one in seen["packs"]],
        "given": _given(seen, given),
        "decimals": [(sign, words.say(text)) for sign, text in DECIMALS.items()],
        "roles": _roles(seen, given, words),
        "times": sorted({time for one in _columns(seen) for time in one["times"]}),
        "shown": shown_text(seen["shown"]),
        "sees": sees,
        "hidden": seen["hidden"],
    }


def _heard(seen: Mapping[str, Any], words: Words) -> str:
    if not seen["messages"]:
        return ""
    known = {one["name"]: one["value"] for one in seen["parts"]}
    pack = next((one["says"] for one in seen["packs"] if one["name"] == seen["pack"]), "")
    rows = words.say("rows of {n} columns", n=len(_columns(seen))) if seen["rows"] else ""
    return shown(pack or rows or (known.get("format") or known.get("link") or "?").upper())


def _part(one: Mapping[str, str], words: Words) -> dict[str, Any]:
    level, icon = BADGES[one["sure"]]
    return {
        "name": words.say(PARTS[one["name"]]),
        "value": shown(one["value"]) or "-",
        "why": shown(one["why"], 300),
        "badge": Badge(level, icon, words.say(SURE[one["sure"]])),
    }


def _of_settings(seen: Mapping[str, Any], words: Words) -> list[dict[str, str]]:
    found = []
    for name, value in seen["settings"].items():
        says = words.say(DECIMALS[","]) if name == "decimal_comma" and value else str(value)
        found += [{"name": name, "value": says, "sure": "likely", "why": ""}] if name in PARTS and value else []
    return found


def _columns(seen: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return seen["rows"]["columns"] if seen["rows"] else ()


def _given(seen: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """What the form is filled with: what a person sent, else what is beyond doubt."""
    if given:
        return {**dict.fromkeys(("analyzer", "decimal", "time", "controls", "final"), ""), **given}
    proposed = seen["rows"]["proposed"] if seen["rows"] else {}
    by_name = {one["name"]: one for one in _columns(seen)}
    value, time = by_name.get(proposed.get("value", "")), by_name.get(proposed.get("time", ""))
    unclear = any(one["name"] == "decimal" and not one["value"] for one in seen["parts"])
    decimal = value["decimal"] if value else "," if seen["settings"].get("decimal_comma") else "" if unclear else "."
    times: Sequence[str] = time["times"] if time else ()
    return {
        "analyzer": seen["analyzer"] or seen["pack"],
        "decimal": decimal,
        "time": times[0] if len(times) == 1 else "",
        "controls": "",
        "final": "",
    }


def _roles(seen: Mapping[str, Any], given: Mapping[str, str], words: Words) -> list[dict[str, Any]]:
    if not seen["rows"]:
        return []
    proposed = seen["rows"]["proposed"]
    names = [(one["name"], shown(one["name"])) for one in _columns(seen)]
    return [
        {
            "name": f"{COLUMN}{role}",
            "label": words.say(ROLES[role]),
            "options": names,
            "chosen": given.get(f"{COLUMN}{role}", "") if given else proposed.get(role, ""),
        }
        for role in seen["rows"]["roles"]
    ]


def shown_text(text: str) -> list[str]:
    return [shown(line, 300) for line in text.split("\n")[:60]] if text else []
