"""The shipped mappings at work, through the path that the daemon takes: header, parse, route, map."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

from engine.config import registry
from engine.config.layouts import layout_files, load_layout
from engine.mapping import Program, load
from engine.mapping.conditions import compile_condition
from engine.mapping.shipped import READER_TABLES
from engine.model.content.facts import Facts, unpacked
from engine.model.message import FormatOptions, MapContext, Mapped, Parsed, Stored
from engine.model.ports import Format
from engine.model.routes import ChannelRoutes, Processed, Route
from engine.processing.formats import InDialect
from engine.processing.process import process
from engine.succession.judge import clock

MAPPINGS = Path(__file__).parents[2] / "mappings"
ANALYZERS = MAPPINGS.parent / "analyzers"
OWN = Path(__file__).parent  # `tables/` has code tables of tests
RECEIVED = datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)
KEY = hashlib.sha256(b"the identity key of the tests").digest()

# As the shipped channels route: results to the mapping of their structure, nothing else.
ROUTES = {
    "hl7v2": (("=MSH-9.1 == 'ORU'", "hl7-results"), ("=MSH-9.1 == 'OUL'", "hl7-oul-results")),
    "astm": (("=R", "astm-results"),),
}


@cache
def program(name: str, tables: tuple[tuple[str, str], ...] = ()) -> Program:
    """A shipped mapping, compiled once."""
    return load(name, (MAPPINGS, ANALYZERS, OWN), tables=dict(tables))


def compiled_once(name: str, search: Sequence[Path], *, tables: Mapping[str, str]) -> Program:
    """In place of `engine.mapping.load`, for sites that have no mappings of their own: a compiled one never changes."""
    return program(name, tuple(sorted(tables.items())))


@dataclass
class Recorder:
    """A program that keeps what it last gave: a verdict carries documents and no counts."""

    program: Program
    mapped: Mapped | None = None
    explained: bool = False

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def content_hash(self) -> str:
        return self.program.content_hash

    @property
    def is_own(self) -> bool:
        return self.program.is_own

    def apply(self, parsed: Parsed, context: MapContext) -> Mapped:
        if self.explained:
            trace = self.program.explain(parsed, context)
            if trace.error is not None:
                raise trace.error
            self.mapped = trace.mapped
            assert self.mapped is not None
        else:
            self.mapped = self.program.apply(parsed, context)
        return self.mapped


def reader_of(message_format: str) -> str:
    """The shipped reader of facts."""
    return "results-hl7" if message_format == "hl7v2" else "results-astm"


def facts_of(parsed: Parsed, context: MapContext | None = None) -> Facts:
    """The facts of a message that has results."""
    context = context or MapContext(channel="analyzer", timezone="Asia/Kolkata")
    (document,) = program(reader_of(parsed.format)).apply(parsed, context).documents
    return unpacked(document.body)


@cache
def _layout(name: str) -> Any:
    return load_layout(layout_files(None)[name], name)


def _reader(tables: tuple[tuple[str, str], ...], parsed: Parsed) -> Program | None:
    """As in a channel (`engine.runtime.programs.Programs.reader`)."""
    own = tuple(one for one in tables if one[0] in READER_TABLES.get(parsed.format, ()))
    found = program(reader_of(parsed.format), own)
    return found if parsed.format == found.format and parsed.structure in found.structures else None


def verdict_of(
    payload: bytes,
    message_format: str,
    settings: Mapping[str, Any] | None = None,
    *,
    timezone: str = "Asia/Kolkata",
    channel: str = "analyzer",
    specimen_ids: str = "restart",
    patient_numbers: str = "lasting",
    explained: bool = False,
    dialect: str | None = None,
    mapping: str | None = None,
    layout: str | None = None,
) -> tuple[Processed, Mapped | None]:
    """What becomes of one message, and what its mapping gave, if it came that far.

    Args:
        explained: map by the code that `explain` runs.
        mapping: takes every message, in place of the routes of results.
        layout: describes the text, where the format is ``text``.
    """
    given = dict(settings or {})
    charsets = tuple(given.pop("charset", ("utf-8",)))
    tables = tuple(sorted(given.get("tables", {}).items()))
    recorders = []
    routes = []
    for condition, name in ROUTES[message_format] if mapping is None else ((None, mapping),):
        recorders.append(Recorder(program(name, tables), explained=explained))
        takes = condition and compile_condition(condition, message_format, place="the route of results")
        routes.append(Route(when=takes or None, program=recorders[-1]))
    module: Any = registry.load(registry.FORMATS, message_format)
    message_format_read: Format = module if layout is None else module.TextFormat(_layout(layout))
    if dialect is not None:
        message_format_read = InDialect(message_format_read, registry.dialect(dialect))
    channel_routes = ChannelRoutes(
        channel=channel,
        message_format=message_format_read,
        media_type="",
        options=FormatOptions(charsets=charsets),
        routes=tuple(routes),
        context=MapContext(
            channel=channel,
            key=KEY,
            timezone=timezone,
            settings={"local_system": f"urn:labrelay:codes:{channel}", **given},
            specimen_ids=specimen_ids,
            patient_numbers=patient_numbers,
        ),
        reader=partial(_reader, tables),
    )
    if layout is not None:
        (payload,) = message_format_read.split(payload)  # as the link hands it on, without its framing
    stored = Stored(id=1, channel=channel, seq=1, payload=payload, received_us=int(RECEIVED.timestamp() * 1_000_000))
    verdict = of_any_day(stored, channel_routes)
    return verdict, next((recorder.mapped for recorder in recorders if recorder.mapped is not None), None)


def of_any_day(stored: Stored, routes: ChannelRoutes) -> Processed:
    """As `process`: samples are of days after their receipt here."""
    with mock.patch.multiple(clock, is_wrong=lambda *_, **__: False, is_ahead=lambda *_: False):
        return process(stored, routes)
