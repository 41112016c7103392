"""Step 3: what the codes of the analyzer mean. A person chooses each."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from aiohttp import hdrs, web

from engine.features.adding.pages.shared import OF_ONE, draw, href
from engine.model.site.permissions import CHANGING
from engine.model.texts.phrases import PageText
from engine.web.asked import number
from engine.web.forms import Form
from engine.web.pages.frame import Frame
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import Route

LONG = 200
BY: dict[str, PageText] = {
    "pack": "the analyzer's pack, unit fits",
    "packs": "packs of other analyzers, unit fits",
    "source": "a published source, unconfirmed",
    "terms": "by its name, unit fits",
}
CELLS = ("loinc", "display", "type", "scale", "ucum")


def routes(frame: Frame) -> Sequence[Route]:
    return (
        Route(f"{OF_ONE}/codes", partial(_page, frame), CHANGING),
        Route(f"{OF_ONE}/codes", partial(_take, frame), CHANGING, method=hdrs.METH_POST),
        Route(f"{OF_ONE}/code", partial(_one, frame), CHANGING),
        Route(f"{OF_ONE}/code", partial(_take_one, frame), CHANGING, method=hdrs.METH_POST),
    )


async def _take(frame: Frame, request: web.Request) -> web.Response:
    async def choose(request: web.Request, form: Form) -> web.Response:
        return await _given(frame, request, form, "draft_codes", rows=_rows(form["rows"]))

    async def part(request: web.Request, form: Form) -> web.Response:
        return await _given(frame, request, form, "draft_part", part=number(form["part"]))

    return await frame.desk.take(request, {"choose": choose, "part": part}, partial(_page, frame))


async def _given(frame: Frame, request: web.Request, form: Form, verb: str, **args: Any) -> web.Response:
    name = request.match_info["name"]
    await frame.once(request, form, verb, {"name": name, "version": form["version"], **args})
    return frame.desk.go(request, href(frame.asking(request).words, name, "codes").partition("?")[0])


def _rows(text: str) -> list[dict[str, Any]]:
    """
    Raises:
        web.HTTPBadRequest: it is no form of ours.
    """
    try:
        rows = orjson.loads(text)
        return [{name: str(one[name]) for name in ("code", "unit", *CELLS) if one.get(name)} for one in rows]
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        raise web.HTTPBadRequest from None


def _row(one: Mapping[str, Any], proposal: Mapping[str, Any]) -> dict[str, str]:
    cells = {name: proposal[name] for name in CELLS if proposal.get(name)}
    return {"code": one["code"], "unit": one["unit"], **cells}


async def _page(
    frame: Frame, request: web.Request, status: int = 200, trouble: str = "", form: Form | None = None
) -> web.Response:
    return await draw(frame, request, "codes", _values, status, trouble)


def _values(seen: dict[str, Any], words: Words) -> dict[str, Any]:
    sure = [
        _row(one, next(proposal for proposal in one["proposals"] if proposal["loinc"] == one["sure"]))
        for one in seen["codes"]
        if one["sure"]
    ]
    return {
        "action": href(words, seen["name"], "codes"),
        "rows": [_shown(one, seen, words) for one in seen["codes"]],
        "chosen": grouped(sum(bool(one["loinc"]) for one in seen["codes"])),
        "count": grouped(len(seen["codes"])),
        "sure": orjson.dumps(sure).decode() if sure else "",
        "sures": grouped(len(sure)),
        "shared": [
            {**one, "code": shown(one["code"]), "names": shown(", ".join(one["names"]), LONG)} for one in seen["shared"]
        ],
    }


def _shown(one: Mapping[str, Any], seen: Mapping[str, Any], words: Words) -> dict[str, Any]:
    listed, first = one["proposals"], next(iter(one["proposals"]), None)
    return {
        "code": shown(one["code"]),
        "name": shown(one["name"]),
        "values": shown(" · ".join(f"{value} {one['unit']}".strip() for value in one["values"]) or one["unit"], LONG),
        "loinc": one["loinc"],
        "display": shown(one["display"], LONG),
        "proposed": shown(first["display"], LONG) if first else "",
        "proposal": one["sure"] or ", ".join(proposal["loinc"] for proposal in listed[:3]),
        "why": _why(first, words) if first else "",
        "n": len(listed),
        "row": orjson.dumps([_row(one, first)]).decode() if first and len(listed) == 1 else "",
        "href": href(words, seen["name"], "code", code=one["code"], unit=one["unit"]),
    }


def _why(proposal: Mapping[str, Any], words: Words) -> str:
    said, names = words.say(BY[proposal["by"]]), proposal["names"]
    return f"{said}: {shown(', '.join(names), 100)}" if names else said


# -- one code ----------------------------------------------------------------------------------------------------------


async def _take_one(frame: Frame, request: web.Request) -> web.Response:
    async def choose(request: web.Request, form: Form) -> web.Response:
        return await _given(frame, request, form, "draft_codes", rows=_rows(form["rows"]))

    async def own(request: web.Request, form: Form) -> web.Response:
        row: dict[str, Any] = {name: form[name] for name in ("code", "unit", "loinc", "display")}
        row["meant"] = bool(form["meant"])
        return await _given(frame, request, form, "draft_codes", rows=[row])

    return await frame.desk.take(request, {"choose": choose, "own": own}, partial(_one, frame))


async def _one(
    frame: Frame, request: web.Request, status: int = 200, trouble: str = "", form: Form | None = None
) -> web.Response:
    given = form.fields if form is not None else request.query
    values, search = partial(_of_one, given=given), given.get("search", "")[:LONG]
    return await draw(frame, request, "codes", values, status, trouble, template="add_code", search=search)


def _of_one(seen: dict[str, Any], words: Words, *, given: Mapping[str, str]) -> dict[str, Any]:
    code, unit, search = given.get("code", "")[:LONG], given.get("unit", "")[:LONG], given.get("search", "")[:LONG]
    one = next((one for one in seen["codes"] if (one["code"], one["unit"]) == (code, unit)), None)
    listed = list(one["proposals"]) if one is not None else []
    known = {proposal["loinc"] for proposal in listed}
    found = [proposal for proposal in seen["searched"] if proposal["loinc"] not in known] if one is not None else []
    return {
        "action": href(words, seen["name"], "code", code=code, unit=unit),
        "path": href(words, seen["name"], "code").partition("?")[0],
        "one": one and {**_shown(one, seen, words), "sent": code, "unit": unit},
        "search": search,
        "terms": grouped(seen["terms"]),
        "rows": [
            {
                "loinc": proposal["loinc"],
                "display": shown(proposal.get("display", ""), LONG),
                "why": _why(proposal, words) if proposal["loinc"] in known else "",
                "row": orjson.dumps([_row(one, proposal)]).decode(),
            }
            for proposal in (*listed, *found)
            if one is not None
        ],
        "given": {"loinc": "", "display": "", "meant": "", **given},
    }
