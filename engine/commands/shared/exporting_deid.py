"""Messages without their patients as lines of JSON, for `labrelay messages export --deid`.

One line per message: a number that is given here, channel, type, state and reason, its notes, the time of receipt
(shifted and coarse like the dates in it), and its content as text and, byte for byte, in base 64. Content that is
neither HL7 v2 nor ASTM is left out, with the reason in its line. The lines are in random order: neither place nor
number reveals the time or the order of messages.
"""

import base64
import csv
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.commands.shared.exporting import PAGE_WITH_CONTENTS, new_text, payload_of
from engine.commands.shared.output import SCHEMA_VERSION, to_json
from engine.config.site import search_path
from engine.diagnostics.deidentified import KEY_BYTES, QUARTER, Deidentifier, Survey
from engine.model.errors import UnknownFormatError
from engine.model.journal.journal_views import Filter, MessageView
from engine.model.process.clock import from_us
from engine.store.queries.messages import each_message, message_if
from engine.views.messages import MESSAGE

if TYPE_CHECKING:
    from engine.store.queries.reader import Reader

MAX_CODE = 60


def known_codes(site: Path) -> frozenset[str]:
    """All words in code tables, the site's and the shipped ones, in lower case: none is the name of a patient."""
    found: set[str] = set()
    for folder in (*search_path(site, "mappings"), *search_path(site, "analyzers")):
        for path in folder.rglob("*.csv"):
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                for row in csv.reader(line for line in file if not line.startswith("#")):
                    found.update(cell.strip().lower() for cell in row if 0 < len(cell) <= MAX_CODE)
    return frozenset(found)


def write_without_patients(
    path: Path, reader: "Reader", wanted: Filter, *, up_to: int, known: frozenset[str]
) -> tuple[int, int]:
    """Write the messages of ``wanted``; return how many, and how many of them were left out.

    The key of the tokens is made here and forgotten: names cannot be tried against the file, and two exports have no
    token in common.
    """
    survey, numbers = _looked_at(reader, wanted, up_to)
    export = Deidentifier(os.urandom(KEY_BYTES), known, survey.shared)
    written = refused = 0
    with new_text(path) as file:
        for row in _rows(reader, wanted, numbers, export):
            file.write(to_json({"schema_version": SCHEMA_VERSION, **row}) + "\n")
            written += row["refused"] is None
            refused += row["refused"] is not None
    return written, refused


def _looked_at(reader: "Reader", wanted: Filter, up_to: int) -> tuple[Survey, dict[int, int]]:
    """The features that the messages share, and the number of each message, in the order of the file."""
    survey, found = Survey(), list[int]()
    for view in each_message(reader, wanted, before_id=up_to + 1, at_once=PAGE_WITH_CONTENTS):
        found.append(view.id)
        with suppress(UnknownFormatError):
            survey.look(payload_of(reader, view))
    random.SystemRandom().shuffle(found)
    return survey, {message: number for number, message in enumerate(found, 1)}


def _rows(
    reader: "Reader", wanted: Filter, numbers: Mapping[int, int], export: Deidentifier
) -> Iterator[dict[str, Any]]:
    for message in numbers:
        if (view := message_if(reader, wanted, message)) is not None:  # else it was deleted or erased since
            yield _row(view, payload_of(reader, view), export, numbers)


def _row(view: MessageView, payload: bytes, export: Deidentifier, numbers: Mapping[int, int]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": numbers[view.id],
        **MESSAGE.row(view, {"channel", "type", "state", "code", "notes"}),
        "bytes": 0,
        "repeat_of": numbers.get(view.repeat_of or 0),
        "equal_to": numbers.get(view.equal_to or 0),
        "same_id_other_bytes": view.same_id_other_bytes,
        "received": None,
        "payload": None,
        "payload_base64": None,
        "refused": None,
    }
    try:
        content, days = export.apply(payload, from_us(view.received_us).date())
    except UnknownFormatError as error:
        return row | {"refused": str(error) if payload else "nothing is there: it was erased"}
    moved = from_us(view.received_us) + timedelta(days=days)
    coarse = moved.replace(hour=moved.hour // QUARTER * QUARTER, minute=0, second=0, microsecond=0)
    return row | {
        "bytes": len(content),
        "received": coarse.isoformat(timespec="seconds"),
        "payload": content.decode("utf-8", "backslashreplace"),
        "payload_base64": base64.b64encode(content).decode("ascii"),
    }
