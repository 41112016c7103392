"""Serialise the collected parts of a message to the document that is sent.

Records to one JSON object: members of the document, and lists of records inside each other. Digits stay as sent.

Rows to CSV (RFC 4180): a header, a line a row, CRLF after each; UTF-8 without a byte order mark.

A cell is quoted where it holds the delimiter, a quotation mark, a line end or an outer blank. Spreadsheets take a cell
that begins with ``= + - @``, a tab or a line end for a formula, quoted or not, and some formulas run programs; so such
a text gets an apostrophe in front, unless it is a number (CWE-1236). ``guard: no`` leaves it out, for receivers that
are no spreadsheets and would keep the apostrophe of ``'++``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import orjson

from engine.mapping.language.targets import DELIMITERS, FLAGS, CsvForm, Target
from engine.mapping.message.identity import BundleBuilder
from engine.mapping.message.message_context import MessageContext
from engine.mapping.outputs import collected, hl7_message
from engine.mapping.outputs.collected import MessageParts, Part
from engine.model.content.list_form import Form

LINE_END = "\r\n"
_URN = "urn:uuid:"
_FORMULA_SIGNS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four: full-width, which spreadsheets accept
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d+)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_CONTROLS = {code: "\ufffd" for code in range(0x20) if chr(code) not in "\t\r\n"}


def lines(columns: Sequence[str], rows: Iterable[Mapping[str, str]], form: CsvForm) -> bytes:
    """The file: every row has every column, in one order."""
    written = cache(partial(_cell, form=form))  # most texts are in each row of a message
    found = [columns] if form.header else []
    found += [[row.get(name, "") for name in columns] for row in rows]
    return "".join(form.delimiter.join(map(written, row)) + LINE_END for row in found).encode("utf-8", "replace")


def _cell(text: str, form: CsvForm) -> str:
    if text.isalnum():
        return text
    if not text.isprintable():
        text = text.translate(_CONTROLS)
    if form.guard and text.lstrip(" ").startswith(_FORMULA_SIGNS) and not _NUMBER.fullmatch(text):
        text = "'" + text
    if form.delimiter in text or '"' in text or "\n" in text or "\r" in text or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


# Settings of a channel that decide how its documents are written, by the kind of target.
SETTINGS = {
    "hl7v2": frozenset({"time_offsets"}),
    "json": frozenset[str](),
    "csv": frozenset({"csv_delimiter", "csv_header", "csv_guard"}),
    "orders": frozenset[str](),
    "results": frozenset[str](),
}


def body_of(run: MessageContext, making: MessageParts, target: Target, columns: Sequence[str], mapping: str) -> bytes:
    """The bytes of the document of one message.

    Raises:
        ContentError: it cannot be written as it should be.
    """
    match target.kind:
        case "hl7v2":
            return hl7_message.assemble(run, making, target, mapping)
        case "json":
            return assemble(making)
        case "orders":
            return collected.assemble(run, making)
        case _:
            return lines(columns, (part.content for part in making.parts), _form(run.settings, target.csv))


def places_of(run: MessageContext, making: MessageParts, kind: str) -> tuple[tuple[int, str], ...]:
    """Which part of the document each result became (`engine.model.message.Document.places`)."""
    match kind:
        case "hl7v2":
            found = enumerate((part for part in making.parts if part.name == "OBX"), start=1)
        case "csv":
            found = enumerate(making.parts, start=1)
        case "json":
            return tuple((_place(run, part), path) for path, part in _paths(making.document, "") if part.result)
        case _:
            return ()
    return tuple((_place(run, part), str(number)) for number, part in found if part.result)


def observations_of(run: MessageContext, making: BundleBuilder) -> tuple[tuple[int, str], ...]:
    """The id of the Observation that each result became, in their order; none where there are others, too."""
    segments = run.parsed.segments
    found = [
        (segments[position - 1].ordinal, made["reference"].removeprefix(_URN))
        for position, made in run.accounted.items()
        if made is not None
    ]
    return tuple(found) if len({identity for _, identity in found}) == making.observations else ()


def _place(run: MessageContext, part: Part) -> int:
    return run.parsed.segments[part.result - 1].ordinal


def _paths(part: Part, path: str) -> Iterator[tuple[str, Part]]:
    """The records that are written in one, each with where it is: ``patients/0/orders/1``."""
    for name, records in part.inner.items():
        for number, record in enumerate(record for record in records if record.there):
            here = f"{path}{name}/{number}"
            yield here, record
            yield from _paths(record, f"{here}/")


def form_of(target: Target, columns: Sequence[str], settings: Mapping[str, Any]) -> Form | None:
    """Where the lists that a mapping writes for a channel have their results; None where nothing says it."""
    said = target.results
    if not said:
        return None
    one = {
        name: said[name][0] if name in said else "" for name in ("patient", "order", "test", "sub", "status", "time")
    }
    lines = _form(settings, target.csv)
    return Form(
        **one,
        value=said["value"],
        more=said.get("with", ()),
        columns=tuple(columns) if target.kind == "csv" else (),
        delimiter=DELIMITERS.get(lines.delimiter, lines.delimiter),
        header=lines.header,
    )


def setting_problems(target: Target, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings of a channel that its documents ignore: the name, and the values that it can have."""
    if target.kind == "csv":
        for name, known in (("csv_delimiter", DELIMITERS), ("csv_header", FLAGS), ("csv_guard", FLAGS)):
            if name in settings and str(settings[name]).lower() not in known:
                yield name, f"is one of {' '.join(known)}"


def _form(settings: Mapping[str, Any], form: CsvForm) -> CsvForm:
    """How lines are written: as the channel says, else as the mapping does."""
    delimiter = str(settings.get("csv_delimiter", ""))
    header, guard = (FLAGS.get(str(settings.get(name, "")).lower()) for name in ("csv_header", "csv_guard"))
    return CsvForm(
        delimiter=DELIMITERS.get(delimiter, form.delimiter),
        header=form.header if header is None else header,
        guard=form.guard if guard is None else guard,
    )


def assemble(making: MessageParts) -> bytes:
    """The serialised document. A list without a record, and a record that says nothing, are left out."""
    return orjson.dumps(_object(making.document))


def _object(part: Part) -> dict[str, Any]:
    made = dict(part.content)
    for name, records in part.inner.items():
        there = [_object(record) for record in records if record.there]
        if there:
            made[name] = there
    return made
