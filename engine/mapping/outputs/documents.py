"""Serialise the collected parts of a message to the document that is sent.

Records to one JSON object: members of the document, and lists of records inside each other. Digits stay as sent.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from engine.mapping.language.targets import DELIMITERS, FLAGS, CsvForm, Target
from engine.mapping.message.message_context import MessageContext
from engine.mapping.outputs import csv_lines, hl7_message, orders
from engine.mapping.outputs.collected import MessageParts, Part
from engine.model.content.list_form import Form

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
            return orders.assemble(run, making)
        case _:
            return csv_lines.lines(columns, (part.content for part in making.parts), _form(run.settings, target.csv))


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
