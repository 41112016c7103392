"""What is known of a draft at a step, as plain values: the page draws them, and the command prints them."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from engine.actions.running_site import RunningSite
from engine.config.site import mapping_path
from engine.diagnostics.lines.contents import COMMA, SETTING, Shared
from engine.diagnostics.lines.guess import Guess
from engine.diagnostics.lines.rows import ROLES, decimal_of, times_of
from engine.diagnostics.packs import packs
from engine.diagnostics.proposals import Known, Proposal, known_of, proposals, searched, sure_one
from engine.features.adding import lists, rules
from engine.features.adding.service.putting import Adding
from engine.mapping.loading import kinds_of
from engine.model.message import Parsed, Stored
from engine.model.routes import ChannelRoutes

Json = dict[str, Any]
LONGEST_TEXT = 4096  # bytes of the last message


async def look(site: RunningSite, adding: Adding, name: str, step: str, *, sees: bool, search: str = "") -> Json:
    """
    Args:
        step: ``listen``, ``recognise``, ``codes``, ``first``.
        sees: also values, and what names a patient.
        search: words of a term that is looked for.
    """
    return await asyncio.to_thread(_look, site, adding, name, step, sees, search)


def results_of(site: RunningSite, adding: Adding, name: str) -> tuple[set[int], list[Shared]]:
    """The messages with results that came while it was a draft, and the codes that results of one order share."""
    routes = adding.app.parts.built.channels[name].routes
    read = list(lists.read(lists.came(site.journal, name), routes))
    return {one.id for one, _, told in read if told}, lists.shared_in([parsed for _, parsed, _ in read], routes)


def text_of_live(site: RunningSite, adding: Adding, name: str, messages: Collection[int]) -> str:
    """The channel file, once it is no draft: a port that the network reaches is for those alone that sent these
    messages.
    """
    listens = getattr(adding.app.parts.built.site.channels[name].source, "listen", None)
    is_open = listens is not None and not listens.is_loopback
    return rules.live(adding.text(name, "channel"), lists.senders(site.journal, name, messages) if is_open else ())


def _look(site: RunningSite, adding: Adding, name: str, step: str, sees: bool, search: str) -> Json:
    built = adding.app.parts.built
    config, routes = built.site.channels[name], built.channels[name].routes
    source, text = adding.app.parts.sources.get(name), adding.text(name, "channel")
    stored = lists.came(site.journal, name)
    found: Json = {
        "name": name,
        "called": config.description,
        "version": adding.version(name),
        "open": rules.is_open(text),
        "place": config.source.place,
        "how": next((one for one in ("listen", "connect", "device") if getattr(config.source, one, None)), ""),
        "line": {key: getattr(config.source, key, "") for key in ("baud", "bytesize", "parity", "stopbits", "flow")},
        "fault": source.fault if source is not None else "",
        "analyzer": config.analyzer or "",
        "messages": len(stored),
        "last": stored[0].id if stored else 0,
        "torn": lists.TORN if lists.is_torn(site.journal, name, stored[0].id if stored else 0) else "",
        "file": f"channels/{name}.yaml",
        "text": rules.live(text),
        "to": sorted({one for route in config.routes for one in route.to or ()}),
    }
    if step == "recognise":
        found |= _recognised(lists.guessed(site.journal, name, adding.app.folder), adding, config.settings)
        found["shown"] = _text(stored[0]) if stored and sees else ""
    if step in ("codes", "first"):
        read = list(lists.read(stored, routes))
        found |= _read(adding, read, routes, config.analyzer, sees, search, step)
        found["text"] = text_of_live(site, adding, name, {one.id for one, _, told in read if told})
    return found


def _recognised(made: Guess, adding: Adding, settings: Mapping[str, Any]) -> Json:
    rows = made.rows
    return {
        "parts": [
            {"name": part.name, "value": part.value, "sure": part.sure.value, "why": part.why} for part in made.parts
        ],
        "enough": made.is_enough,
        "options": made.options,
        "settings": {**made.settings, **{one: settings[one] for one in (COMMA, SETTING) if one in settings}},
        "packs": [
            {"name": one.name, "says": f"{one.config.maker} {', '.join(one.config.models)}"}
            for one in (packs(adding.app.folder) if made.seen.size else ())
        ],
        "pack": made.pack.name if made.pack is not None else "",
        "rows": None
        if rows is None
        else {
            "header": rows.header,
            "columns": [
                {"name": column, "decimal": decimal_of(rows.values(column)), "times": times_of(rows.values(column))}
                for column in rows.columns
            ],
            "roles": list(ROLES),
            "proposed": rows.proposed(),
        },
    }


def _text(one: Stored) -> str:
    return one.payload[:LONGEST_TEXT].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def _read(
    adding: Adding,
    read: Sequence[tuple[Stored, Parsed, list[lists.Told]]],
    routes: ChannelRoutes,
    analyzer: str | None,
    sees: bool,
    search: str,
    step: str,
) -> Json:
    found: Json = {
        "shared": [
            {"code": one.code, "times": one.times, "part": one.part, "names": list(one.names) if sees else []}
            for one in lists.shared_in([parsed for _, parsed, _ in read], routes)
        ],
        "first": None,
    }
    if step == "first":
        first = next(((one, told) for one, _, told in read if told), None)
        kinds = kinds_of(mapping_path(adding.app.folder))
        if first is not None:
            found["first"] = _first(*first, routes, sees, kinds.names if kinds is not None else {})
        return found
    known = known_of(adding.app.folder)
    told = [one for _, _, of_message in reversed(read) for one in of_message]
    found["codes"] = [
        _code(one, known, analyzer, sees, bool(found["shared"])) for one in lists.codes_in(told, known.kinds.names)
    ]
    found["searched"] = [_proposal(one) for one in searched(known, search)]
    found["terms"] = len(known.kinds.names)
    return found


def _code(one: lists.Code, known: Known, analyzer: str | None, sees: bool, stopped: bool) -> Json:
    """``stopped``: nothing is proposed before it is clear which result is which."""
    listed = [] if stopped or one.loinc else proposals(known, one.code, one.unit, one.name, analyzer)
    sure = sure_one(listed, one.unit)
    return {
        **one._asdict(),
        "values": list(one.values) if sees else [],
        "proposals": [_proposal(proposal) for proposal in listed],
        "sure": sure.loinc if sure is not None else "",
    }


def _proposal(one: Proposal) -> Json:
    return {**one.cells, "by": one.by, "names": list(one.names)}


def _first(
    one: Stored, told: Sequence[lists.Told], routes: ChannelRoutes, sees: bool, names: Mapping[str, str]
) -> Json:
    """``names``: LOINC code -> name of the term."""
    ended, results = lists.compared(one, told, routes, names) if sees else ("", [])
    return {
        "message": one.id,
        "received_us": one.received_us,
        "shown": _text(one) if sees else "",
        "ended": ended,
        "results": [[field._asdict() for field in result] for result in results],
    }
