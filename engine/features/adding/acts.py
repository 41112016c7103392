"""Acts that add an analyzer, one for each step; the page and the command give the same ones."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.actions.control import Request
from engine.actions.declaring import Declared, NoArguments, RowNumber
from engine.actions.running_site import Result, RunningSite
from engine.config.channel import ChannelConfig
from engine.config.layouts import layout_files
from engine.config.pack import CODES_FILE
from engine.config.site import mapping_path
from engine.diagnostics.lines import rows as rows_of_cells
from engine.diagnostics.lines.contents import COMMA, SETTING
from engine.diagnostics.lines.guess import Guess, channel_text
from engine.diagnostics.packs import find_pack
from engine.diagnostics.proposals import known_of
from engine.features.adding import lists, rules
from engine.features.adding.service.look import look, results_of, text_of_live
from engine.features.adding.service.putting import TAKEN, WRONG, Adding, is_free
from engine.mapping.code_tables.table_files import check_row, first_file
from engine.model.errors import RefusedError
from engine.model.site.permissions import CHANGING, SEEING_PATIENTS
from engine.model.texts.phrases import R_, Said
from engine.model.texts.units import HostPort
from engine.store.operations import audit

ACTS = Declared(6)
BY_PERSON = "a person adds an analyzer, on the page or by a command"
NO_NAME = R_("give it a name with Latin letters or digits")
PAST = R_("messages of an earlier analyzer {name} are here: give another name")
THERE = R_("there is an analyzer {name} already: give another name")
NO_DRAFT = R_("there is no draft {name}")
NO_PORT = R_("a port is a number from 1 to 65535")
NOT_ENOUGH = R_("too little is known of what came: send one more result")
UNSIGHTED = R_("only a person who may see patients says what columns have, or which analyzer it is instead")
ROWS = R_("the columns do not fit: {why}")
SIGN = R_("say which sign its numbers have: a full stop or a comma")
SHARED = R_("results of one order share the code {code}: nothing is sent before it is clear which is which")
UNSEEN = R_("compare a result that came while it was a draft")
NO_TERM = R_("the code {code} cannot mean {loinc}: {why}")

Name = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=200)]
Version = Annotated[str, Field(max_length=16)]


class Listen(NoArguments):
    """``version`` is empty for a new draft; else that of the draft whose line is another one now."""

    called: Annotated[str, Field(min_length=1, max_length=64)]
    how: Literal["listen", "connect", "device"]
    where: Text
    line: dict[Annotated[str, Field(pattern="baud|bytesize|parity|stopbits|flow")], Text] = Field(default={})
    name: str = ""
    version: Version = ""


@ACTS.act("draft_listen", CHANGING, not_in_api=BY_PERSON)
async def listen(site: RunningSite, request: Request, asked: Listen) -> Result:
    adding = site.service(Adding)
    name = asked.name or rules.name_of(asked.called)
    if not rules.NAME.fullmatch(name):
        raise RefusedError(NO_NAME)
    if not rules.PLACE.fullmatch(asked.where):
        raise RefusedError(Said(WRONG, why="an address or a device is one word of Latin letters, digits and signs"))
    known = adding.app.parts.built.site.channels.get(name)
    if not asked.version and (known is not None or _is_known(adding, name)):
        raise RefusedError(Said(THERE, name=name))
    if not asked.version and await asyncio.to_thread(lists.has_past, site.journal, name):
        raise RefusedError(Said(PAST, name=name))
    before = _draft(adding, name) if asked.version else None
    if asked.how == "listen" and not (before is not None and getattr(before.source, "place", "") == asked.where):
        await asyncio.to_thread(_raise_if_taken, asked.where)
    over = "auto-serial" if asked.how == "device" else "auto"
    source = {"kind": over, asked.how: asked.where, **{key: value for key, value in asked.line.items() if value}}
    text = rules.opened(name, asked.called, source)
    await adding.put(name, {"channel": text}, asked.version or adding.version(name))
    return await _noted(site, request, name, "draft-listen", {"source": source})


def _is_known(adding: Adding, name: str) -> bool:
    """Whether a file of a draft of this name is there, or would take the place of a shipped one for all channels."""
    folder = adding.app.folder
    return (
        any(adding.text(name, what) for what in adding.files(name))
        or first_file(f"tables/{name}.csv", mapping_path(folder)) is not None
        or name in layout_files(folder)
    )


def _raise_if_taken(where: str) -> None:
    host, _, port = where.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise RefusedError(NO_PORT)
    if not is_free(HostPort(host.strip("[]"), int(port))):
        raise RefusedError(Said(TAKEN, port=port))


class Recognise(NoArguments):
    """``analyzer``: the pack; empty: none. ``columns``: of rows, role -> column."""

    name: Name
    version: Version
    analyzer: str = ""
    columns: dict[Text, Text] = Field(default={}, max_length=20)
    decimal: str = ""
    time: Text = ""
    controls: Text = ""
    final: bool = False


@ACTS.act("draft_place", CHANGING, not_in_api=BY_PERSON)
async def place(site: RunningSite, request: Request) -> Result:
    """What keeps this process from writing the files of a draft."""
    folders, command = await asyncio.to_thread(site.service(Adding).closed)
    return {"closed": folders, "command": command}


@ACTS.act("draft_recognise", CHANGING, not_in_api=BY_PERSON)
async def recognise(site: RunningSite, request: Request, asked: Recognise) -> Result:
    adding = site.service(Adding)
    texts = await asyncio.to_thread(_recognised, site, adding, asked, request.sees_contents)
    await adding.put(asked.name, texts, asked.version)
    return await _noted(site, request, asked.name, "draft-recognise", {"analyzer": asked.analyzer})


def _recognised(site: RunningSite, adding: Adding, asked: Recognise, sees: bool) -> dict[str, str]:
    """``sees``: the person may see patients. What is said to be a code is shown to all engineers."""
    config = _draft(adding, asked.name)
    folder, name = adding.app.folder, asked.name
    made = lists.guessed(site.journal, name, folder)
    if not sees and (made.rows is not None or asked.analyzer != (made.pack.name if made.pack is not None else "")):
        raise RefusedError(UNSIGHTED)
    try:
        made.pack = find_pack(asked.analyzer, folder) if asked.analyzer else None
    except KeyError as error:
        raise RefusedError(error.args[0]) from None
    texts = {}
    if made.rows is not None and made.pack is None:
        texts["layout"] = _layout(made, name, asked)
    elif not made.is_enough:
        raise RefusedError(NOT_ENOUGH)
    elif made.decimal is not None and not asked.decimal:
        raise RefusedError(SIGN)
    known, tables = adding.app.parts.built.site, [f"tables/{name}.csv"]
    tables.append(
        f"{made.pack.name}/{CODES_FILE}" if made.pack is not None and made.pack.codes else "tables/analytes.csv"
    )
    source = config.source
    how = next(one for one in ("listen", "connect", "device") if getattr(source, one, None) is not None)
    line: dict[str, str] = {
        key: str(getattr(source, key))
        for key in ("baud", "bytesize", "parity", "stopbits", "flow")
        if key in source.model_fields_set
    }
    takes = {name: one.takes for name, one in known.config.destinations.items()}
    text = channel_text(made, name=name, place=(how, source.place), line=line, destinations=takes)
    settings = {setting: f'"{value}"' if value else "" for setting, value in _settings(made, asked).items()}
    texts["table"] = adding.text(name, "table") or rules.table_text("", ())
    texts["channel"] = rules.recognised(text, config.description, {**settings, **rules.tables_setting(tables)})
    return texts


def _settings(made: Guess, asked: Recognise) -> Mapping[str, str]:
    if made.rows is not None or not asked.decimal:
        return {}
    if asked.decimal == ",":
        return {COMMA: "yes"}
    return {COMMA: ""} if COMMA in made.settings else {}  # what a pack says stays


def _layout(made: Guess, name: str, asked: Recognise) -> str:
    assert made.rows is not None
    meant = rows_of_cells.Meant(
        columns=asked.columns, decimal=asked.decimal, time=asked.time, controls=asked.controls, final=asked.final
    )
    if wrong := list(rows_of_cells.problems(made.rows, meant)):
        raise RefusedError(Said(ROWS, why="; ".join(wrong)))
    made.options["layout"] = name
    return rows_of_cells.layout_text(name, made.rows, meant)


@ACTS.act("draft_part", CHANGING, not_in_api=BY_PERSON)
async def part(
    site: RunningSite, request: Request, *, name: Name, version: Version, part: Annotated[int, Field(ge=1, le=11)]
) -> Result:
    """The part of R-3 that is the code of a test."""
    adding = site.service(Adding)
    _draft(adding, name)
    text = rules.with_settings(adding.text(name, "channel"), {SETTING: f'"{part}"'})
    await adding.put(name, {"channel": text}, version)
    return await _noted(site, request, name, "draft-part", {SETTING: part})


class Row(NoArguments):
    """``meant``: the person is sure of a term that the tables do not have, or that they doubt."""

    code: Annotated[str, Field(min_length=1, max_length=200)]
    unit: Text = ""
    loinc: Annotated[str, Field(min_length=1, max_length=12)]
    display: Text = ""
    type: Text = ""
    scale: Text = ""
    ucum: Text = ""
    meant: bool = False


class Codes(NoArguments):
    name: Name
    version: Version
    rows: Annotated[list[Row], Field(min_length=1, max_length=500)]


@ACTS.act("draft_codes", CHANGING, not_in_api=BY_PERSON)
async def codes(site: RunningSite, request: Request, asked: Codes) -> Result:
    adding = site.service(Adding)
    _draft(adding, asked.name)
    chosen = await asyncio.to_thread(_rows, adding, asked, str(request.actor))
    table = rules.table_text(adding.text(asked.name, "table"), chosen)
    await adding.put(asked.name, {"table": table}, asked.version)
    told = [f"{row['code']} {row['unit_in']} = {row['loinc']}" for row in chosen]
    return await _noted(site, request, asked.name, "draft-codes", {"codes": told[:50]})


def _rows(adding: Adding, asked: Codes, actor: str) -> list[dict[str, str]]:
    kinds = known_of(adding.app.folder).kinds
    made = []
    for one in asked.rows:
        cells = one.model_dump(exclude={"unit", "meant"}) | {"unit_in": one.unit, "meant": "yes" if one.meant else ""}
        cells["display"] = cells["display"] or kinds.names.get(one.loinc, "")
        cells["source"] = f"chosen by {actor}"
        said = {name: cell for name, cell in cells.items() if cell}
        wrong = [text for _, text, _ in check_row(said, ("code", "unit_in"), kinds.doubt)]
        if one.loinc not in kinds.names and not one.meant:
            wrong.append("the table of terms does not have it: compare it at loinc.org, and say that you are sure")
        if "*" in (one.code, one.unit):
            wrong.append("a * would match anything")
        if wrong:
            raise RefusedError(Said(NO_TERM, code=one.code, loinc=one.loinc, why="; ".join(wrong)))
        made.append(cells)
    return made


@ACTS.act("draft_start", CHANGING | SEEING_PATIENTS, not_in_api=BY_PERSON)
async def start(
    site: RunningSite, request: Request, *, name: Name, version: Version, message: RowNumber, same: bool = False
) -> Result:
    """A person has compared this message with the screen of the analyzer: it is no draft any more.

    ``same``: results of one order that share a code are one test, measured several times.
    """
    adding = site.service(Adding)
    _draft(adding, name)
    read, shared = await asyncio.to_thread(results_of, site, adding, name)
    if rules.is_open(adding.text(name, "channel")) or message not in read:  # newer ones may have come meanwhile
        raise RefusedError(UNSEEN)
    if shared and not same:
        raise RefusedError(Said(SHARED, code=shared[0].code))
    text = await asyncio.to_thread(text_of_live, site, adding, name, read)
    if rules.DRAFT_KEY.search(text):
        raise RefusedError(Said(WRONG, why="`draft` is written in another way: take it out by hand, and reload"))
    await adding.put(name, {"channel": text}, version)
    return await _noted(site, request, name, "draft-start", {"message": message, "same": same})


@ACTS.act("draft_remove", CHANGING, not_in_api=BY_PERSON)
async def remove(site: RunningSite, request: Request, *, name: Name, version: Version) -> Result:
    """Take its files away; what came of it stays in the journal."""
    adding = site.service(Adding)
    _draft(adding, name)
    await adding.put(name, dict.fromkeys(("channel", "table", "layout")), version)
    return await _noted(site, request, name, "draft-remove", {})


@dataclass
class Looks:
    """Who has seen which message of a draft: a look at it again is none in the audit trail."""

    seen: set[tuple[str, int]] = field(default_factory=set)


@ACTS.act("draft_look", CHANGING, not_in_api=BY_PERSON)
async def looked(
    site: RunningSite,
    request: Request,
    *,
    name: Name,
    step: Literal["listen", "recognise", "codes", "first"],
    contents: bool = False,
    search: Text = "",
) -> Result:
    """What is known of a draft at a step; ``contents``: with what names a patient, for those who may see it."""
    if contents and not request.sees_contents:
        raise RefusedError("you may not see patients")
    adding = site.service(Adding)
    _draft(adding, name)
    found = await look(site, adding, name, step, sees=contents, columns=request.sees_contents, search=search)
    shown = {"recognise": found["last"], "first": (found.get("first") or {}).get("message", 0)}.get(step, 0)
    if contents and shown and (seen := (str(request.actor), shown)) not in (looks := site.kept(Looks)).seen:
        await site.journal.run(audit.note, request.actor, "unmask", {"message": shown, "purpose": "decision"})
        looks.seen.add(seen)
    return found


def _draft(adding: Adding, name: str) -> ChannelConfig:
    """
    Raises:
        RefusedError: it is none.
    """
    found = adding.app.parts.built.site.channels.get(name)
    if found is None or not found.draft:
        raise RefusedError(Said(NO_DRAFT, name=name))
    return found


async def _noted(site: RunningSite, request: Request, name: str, verb: str, what: dict[str, Any]) -> Result:
    await site.journal.run(audit.note, request.actor, verb, {"channel": name, **what})
    return {"name": name, "version": site.service(Adding).version(name)}
