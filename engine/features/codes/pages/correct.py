"""Correct a code table: a draft of a row, what is wrong with it, what it would change in stored messages, then the act.

The form is filled with what is known of the code, but for its meaning: what a table says of the very same code with
another unit is shown beside it, and suggestions of published sources, each with its source, as not confirmed. Only a
person's act puts a row in force. Each correction stays in a list and can be taken back.

The suggestions of an analyzer's pack beside the draft of a row: each with its source, none in force by itself.

A link fills the draft with one of them, and is offered only for the very code and unit that were sent. The preview and
the act follow, as for a row that a person typed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.codes.lists import in_words, tables_of
from engine.features.codes.rows import list_corrections
from engine.features.rework.pages.affected import PATH as AFFECTED
from engine.features.rework.pages.affected import VERB as RESEND
from engine.mapping.code_tables.corrected import FREE, LONGEST, MEANT, columns_of, named
from engine.mapping.code_tables.suggestions import MAKER, Suggestion
from engine.mapping.code_tables.tables import VALUE_TYPES, Row, Table
from engine.model.errors import ConfigError, LabRelayError
from engine.model.site.corrections import Correction, latest, without_notes
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_, PageText
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import list_unmapped
from engine.web.asked import number
from engine.web.desk import sentence
from engine.web.forms import Form
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.words import Words, grouped, iso, shown
from engine.web.routes import Route

MOST = 20  # suggestions for one code
_SUGGESTED = 500


def of_channel(frame: Frame, channel: str) -> Sequence[Suggestion] | None:
    """The suggestions for an analyzer; None where they cannot be read. Call it in a thread."""
    try:
        return frame.loaded.suggestions(channel)
    except ConfigError:
        return None


def of_code(frame: Frame, channel: str, table: Table, code: str) -> Sequence[Suggestion] | None:
    """Those for one code, with whatever unit."""
    if table.key[:1] != ("code",) or not code:
        return ()
    found = of_channel(frame, channel)
    return found and [one for one in found if one.code == code][:MOST]


def chosen(found: Sequence[Suggestion], line: int, code: str, unit: str) -> dict[str, str]:
    """The cells of the suggestion of a line of the file, for the draft; none where it is not for this code and unit."""
    return next((one.draft() for one in found if one.line == line and one.is_for(code, unit)), {})


def rows(
    words: Words, path: str, channel: str, table: Table, found: Sequence[Suggestion], unit: str
) -> list[dict[str, Any]]:
    """As the page shows them. ``path``: of the draft."""
    return [
        {
            "analyte": shown(one.analyte, _SUGGESTED),
            "of_maker": one.by == MAKER,
            "loinc": one.loinc,
            "display": shown(one.display, _SUGGESTED),
            "unit": shown(one.unit_in, _SUGGESTED),
            "specimen": shown(one.specimen, _SUGGESTED),
            "assumes": shown(one.assumes, _SUGGESTED),
            "source": shown(one.source, _SUGGESTED),
            "link": shown(one.link, _SUGGESTED),
            "fits": one.is_for(one.code, unit),
            "href": words.href(path, channel=channel, table=table.name, code=one.code, unit=unit, suggested=one.line)
            if one.loinc and one.is_for(one.code, unit)
            else "",
        }
        for one in found
    ]


PATH, DO, MADE, UNDO = "/codes/row", "/codes/row/do", "/codes/corrections", "/codes/undo"
VERB, BACK = "table_set", "table_undo"
TABLE = "analytes"  # where an address names no table
CELL = "cell-"  # before the column, in the name of a field
MOST_SHOWN = 200  # corrections of the list
MOST_KNOWN = 10  # rows that a table has of the same code
MOST_CHANGES = 12
TEXT = 300
TICK = f"write yes under {MEANT}", f"write yes into a column {MEANT}"  # of a file; here there is a tick
USUAL_TYPES = ("NM", "ST", "none")  # a number, words, no result
HINTS: dict[str, PageText] = {
    "factor": "The value is multiplied by it. Empty: 1.",
    "offset": "Added after the factor. Empty: 0.",
    "unit": "The unit after factor and offset. Empty: as it is sent.",
}
NOTHING = N_("The row does not say what the code means.")
LABELS: dict[str, PageText] = {
    "code": "Code",
    "unit_in": "Unit as it is sent",
    "device": "Device",
    "specimen": "Specimen",
    "loinc": "LOINC code",
    "display": "Name",
    "type": "Type of value",
    "scale": "Scale",
    "unit": "Unit in documents",
    "ucum": "UCUM unit",
    "factor": "Factor",
    "offset": "Offset",
    "digits": "Decimal places",
    "note": "Note",
}


def routes(frame: Frame) -> Sequence[Route]:
    made = Route(MADE, partial(frame.show, page=_list_page, found=_made), LOOKING)
    if not frame.verbs.keys() >= {VERB, BACK}:
        return (made,)
    shown = Route(PATH, partial(frame.show, page=_page, found=partial(_known, frame)), frame.verbs[VERB].needs)
    done = (*frame.forms(DO, VERB, _make), *frame.forms(UNDO, BACK, _take_back, _ask_back))
    return (made, shown, *frame.forms(PATH, VERB, _look), *done)


# -- the draft -------------------------------------------------------------------------------------------------------


def _page(asking: Asking) -> Page:
    return Page("codes_row", _around(asking.words))


def _around(words: Words) -> dict[str, Any]:
    return {
        "action": words.href(PATH),
        "act": words.href(DO),
        "back": words.href("/codes"),
        "seen": None,
        "known": (),
        "suggestions": (),
        "unreadable": False,
        "chosen": False,
        "rows": (),
        "called": "",
        "reason": "",
    }


def _known(frame: Frame, reader: Reader, asking: Asking) -> Values | Gone:
    """The empty form of a code: of a gap, of a correction, or of an analyzer and a code that a person has typed."""
    query, cells = asking.query, dict[str, str]()
    channel, name, called = query.get("channel", ""), query.get("table", TABLE), ""
    if gap := number(query.get("gap", "")):
        found = next((one for one in list_unmapped(reader) if one.id == gap), None)
        if found is None:
            return Gone(asking.words.say("This code is not in the list any more."))
        channel, name, called = found.channel, found.table, found.display
        cells = {"code": found.code, "unit_in": found.unit}
    elif version := number(query.get("correction", "")):
        made = next((one for one in list_corrections(reader) if one.version == version), None)
        if made is None:
            return Gone(asking.words.say("There is no such correction."))
        channel, name, cells = made.channel, made.table, {**made.cells, **made.key}
    table = table_now(frame, channel, name)
    if table is None:
        return Gone(asking.words.say("This analyzer has no such table."))
    first = table.key[0]
    if not "".join((*cells.values(), query.get("code", ""), query.get("unit", ""))).isprintable():
        return Gone(asking.words.say("This code has signs that a table cannot have."))
    cells = {first: cells.pop("code", query.get("code", "").strip()[:LONGEST]), **cells}
    if unit := query.get("unit", "").strip()[:LONGEST]:
        cells.setdefault("unit_in", unit)
    beside, taken = _suggested(frame, asking.words, channel, table, cells, line=number(query.get("suggested", "")))
    return _form(asking.words, channel, table, cells | taken) | beside | {"called": shown(called)}


def _suggested(
    frame: Frame, words: Words, channel: str, table: Table, cells: Mapping[str, str], *, line: int = 0
) -> tuple[dict[str, Any], dict[str, str]]:
    """The suggestions beside a draft, and the cells of that in ``line`` of the pack's file; call it in a thread."""
    code, unit = cells.get(table.key[0], ""), cells.get("unit_in", "")
    read = of_code(frame, channel, table, code)
    found = read or ()
    draft = chosen(found, line, code, unit)
    taken = {name: cell for name, cell in draft.items() if name in columns_of(table)}
    return {
        "suggestions": rows(words, PATH, channel, table, found, unit),
        "unreadable": read is None,
        "chosen": bool(taken),
    }, taken


def table_now(frame: Frame, channel: str, name: str) -> Table | None:
    """A code table as it decides now; None where the channel has none of that name."""
    return tables_of(frame.channels(), channel).get(name)


def _form(
    words: Words, channel: str, table: Table, cells: Mapping[str, str], problems: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    columns = [name for name in columns_of(table) if name in LABELS or name in table.key]
    said: dict[str, str] = {}
    for one in problems:
        said.setdefault(one["column"] if one["column"] in columns else columns[0], _said(one["text"]))
    return {
        "channel": channel,
        "table": table.name,
        "meant": cells.get(MEANT, ""),
        "doubted": MEANT in cells or any(one["doubt"] for one in problems),
        "rows": [
            {
                "name": f"{CELL}{name}",
                "column": name,
                "label": words.say(LABELS[name]) if name in LABELS else name,
                "value": cells.get(name, ""),
                "wrong": said.get(name, ""),
                "options": _types(words, cells.get(name, "")) if name == "type" else (),
                "hint": words.say(HINTS[name]) if name in HINTS else "",
            }
            for name in columns
            if name != MEANT and (name not in FREE or name in table.key or cells.get(name))
        ],
        "known": _of_this_code(table, cells.get(table.key[0], "")),
    }


def _said(text: str) -> str:
    for written in TICK:
        text = text.replace(written, "tick the box below")
    return sentence(text)


def _types(words: Words, now: str) -> list[tuple[str, str]]:
    """Each type of value with its words: the usual ones first, then those of HL7."""
    said = (words.say("number"), words.say("words"), words.say("no result: leave it out"))
    usual = [(name, f"{text} ({name})") for name, text in zip(USUAL_TYPES, said, strict=True)]
    return usual + [(name, name) for name in sorted((VALUE_TYPES | {now}) - {*USUAL_TYPES, ""})]


def _of_this_code(table: Table, code: str) -> list[dict[str, str]]:
    """Rows that the table has of the very same code, with whatever unit: each with its source. No other code's row."""
    first = table.key[0]
    found = [row for row in table.rows if code and row.cells.get(first) == code]
    return [_row_known(row, first) for row in found[:MOST_KNOWN]]


def _row_known(row: Row, first: str) -> dict[str, str]:
    beside = (first, "source", "note", MEANT)
    return {
        "says": shown(in_words({name: cell for name, cell in row.cells.items() if name not in beside}), TEXT),
        "source": shown(row.cells.get("source") or row.file, TEXT),
        "note": shown(row.cells.get("note", ""), TEXT),
    }


# -- the preview, and the act ----------------------------------------------------------------------------------------


async def _look(frame: Frame, request: web.Request) -> web.Response:
    form = await frame.desk.form(request)
    args = _args(frame, form, dry_run=True)
    if not args["cells"]:  # it would give the key back to the files, which is an act of its own
        nothing = {"column": "loinc", "text": frame.asking(request).words.say(NOTHING), "doubt": False}
        return await _again(frame, request, form, 400, problems=[nothing])
    try:
        seen = await frame.give(request, VERB, args)
    except LabRelayError as error:
        status, trouble = frame.desk.refused(request, error)
        return await _again(frame, request, form, status, trouble)
    if seen["problems"]:
        return await _again(frame, request, form, 400, problems=seen["problems"])
    return await _again(frame, request, form, seen=seen)


async def _again(
    frame: Frame,
    request: web.Request,
    form: Form,
    status: int = 200,
    trouble: str = "",
    *,
    problems: Sequence[Mapping[str, Any]] = (),
    seen: Mapping[str, Any] | None = None,
) -> web.Response:
    """The draft as it was sent, with what is wrong with it, or with its preview."""
    words = frame.asking(request).words
    table, cells = _table_of(frame, form), _cells(form)
    beside, _ = await asyncio.to_thread(_suggested, frame, words, form["channel"], table, cells)
    drawn = _form(words, form["channel"], table, cells, problems) | beside
    more = {"reason": form["reason"], "seen": _seen(words, seen) if seen is not None else None}
    return await frame.desk.page(request, "codes_row", status, **_around(words) | drawn | more, trouble=trouble)


async def _make(frame: Frame, request: web.Request) -> web.Response:
    async def make(request: web.Request, form: Form) -> web.Response:
        made = await frame.once(request, form, VERB, _args(frame, form, dry_run=False))
        return frame.desk.go(request, MADE, made=str(made["version"]))

    async def redraw(request: web.Request, status: int, trouble: str, form: Form) -> web.Response:
        return await _again(frame, request, form, status, trouble)

    return await frame.desk.take(request, {"make": make}, redraw)


def _table_of(frame: Frame, form: Form) -> Table:
    """
    Raises:
        web.HTTPBadRequest: the form names no table of a channel.
    """
    table = table_now(frame, form["channel"], form["table"])
    if table is None:
        raise web.HTTPBadRequest
    return table


def _cells(form: Form) -> dict[str, str]:
    names = [name for name in form.fields if name.startswith(CELL)]
    return {name.removeprefix(CELL): form[name] for name in names if form[name]}


def _args(frame: Frame, form: Form, *, dry_run: bool) -> dict[str, Any]:
    table, cells = _table_of(frame, form), _cells(form)
    return {
        "channel": form["channel"],
        "table": form["table"],
        "where": {name: cell for name, cell in cells.items() if name in table.asked} or {table.key[0]: ""},
        "cells": {name: cell for name, cell in cells.items() if name not in table.asked},
        "reason": form["reason"],
        "version": number(form["version"]),
        "dry_run": dry_run,
    }


def _seen(words: Words, seen: Mapping[str, Any]) -> dict[str, Any]:
    """The preview: counts, elements and numbers of messages, and nothing of a patient."""
    found = seen["preview"]
    worse = {name: n for name, n in found["outcomes"].items() if name in ("dead", "withdrawn") and n}
    return {
        "version": seen["version"],
        "where": shown(in_words({name: cell for name, cell in seen["key"].items() if cell}), TEXT),
        "before": shown(in_words(seen["before"]), TEXT),
        "after": shown(in_words(seen["cells"]), TEXT),
        "left_out": seen["cells"].get("type") == "none",
        "beside": shown(named(seen["beside"]), TEXT),
        "looked_at": grouped(found["messages"]),
        "all": found["all"],
        "changed": grouped(found["changed"]),
        "dead": grouped(worse.get("dead", 0)) if worse.get("dead") else "",
        "withdrawn": grouped(worse.get("withdrawn", 0)) if worse.get("withdrawn") else "",
        "changes": [{**one, "messages": grouped(one["messages"])} for one in found["changes"][:MOST_CHANGES]],
        "examples": [(one, words.href(f"{MESSAGES}/{one}")) for one in found["examples"]],
    }


# -- what was corrected, and back --------------------------------------------------------------------------------------


def _list_page(asking: Asking) -> Page:
    made = number(asking.query.get("made", ""))
    return Page("corrections", {"rows": (), "made": made, "back": asking.words.href("/codes")})


def _made(reader: Reader, asking: Asking) -> Values:
    made, words = list_corrections(reader), asking.words
    new = next((one for one in made if one.version == number(asking.query.get("made", ""))), None)
    newest = {one.version for one in latest(made).values()}
    listed = made if asking.principal.reads_notes else list(map(without_notes, made))
    rows = [_row_made(one, asking, one.version in newest) for one in reversed(listed[-MOST_SHOWN:])]
    affected = words.href(AFFECTED, channel=new.channel) if new is not None and RESEND in asking.may else ""
    return {"rows": rows, "count": grouped(len(made)), "cut": len(made) > MOST_SHOWN, "affected": affected}


def _row_made(one: Correction, asking: Asking, is_newest: bool) -> dict[str, Any]:
    words = asking.words
    return {
        "number": one.version,
        "at": words.time(one.at_us),
        "iso": iso(one.at_us),
        "by": shown(one.by),
        "channel": one.channel,
        "table": one.table,
        "key": shown(in_words({name: cell for name, cell in one.key.items() if cell}), TEXT),
        "says": shown(in_words(one.cells), TEXT),
        "covers": shown(in_words(one.covers), TEXT),
        "undoes": one.undoes,
        "in_force": is_newest and bool(one.cells),
        "reason": shown(one.reason, TEXT),
        "change": words.href(PATH, correction=one.version) if is_newest and VERB in asking.may else "",
        "undo": words.href(UNDO, correction=one.version) if is_newest and BACK in asking.may else "",
    }


async def _ask_back(frame: Frame, request: web.Request) -> web.Response:
    words = frame.asking(request).words
    asked = number(request.query.get("correction", ""))
    return await _show_back(frame, request, words, asked)


async def _show_back(
    frame: Frame, request: web.Request, words: Words, asked: int, status: int = 200, trouble: str = ""
) -> web.Response:
    values = {"number": asked, "action": words.href(UNDO), "back": words.href(MADE), "seen": None}
    if not trouble:
        try:
            seen = await frame.give(request, BACK, {"correction": asked, "dry_run": True})
            trouble = "; ".join(_said(one["text"]) for one in seen["problems"])
            values["seen"] = _seen(words, seen) if not trouble else None
        except LabRelayError as error:
            status, trouble = frame.desk.refused(request, error)
    return await frame.desk.page(request, "codes_undo", status, **values, trouble=trouble)


async def _take_back(frame: Frame, request: web.Request) -> web.Response:
    words = frame.asking(request).words

    async def make(request: web.Request, form: Form) -> web.Response:
        args = {
            "correction": number(form["correction"]), "reason": form["reason"], "version": number(form["version"])
        }  # fmt: skip
        made = await frame.give(request, BACK, args)
        return frame.desk.go(request, MADE, made=str(made["version"]))

    async def redraw(request: web.Request, status: int, trouble: str, form: Form) -> web.Response:
        return await _show_back(frame, request, words, number(form["correction"]), status, trouble)

    return await frame.desk.take(request, {"make": make}, redraw)
