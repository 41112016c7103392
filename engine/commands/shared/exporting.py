"""Messages with their outcomes as a file for other programs: SQLite, CSV, or lines of JSON.

Rows are made and written a page at a time, so that a journal of any size is exported in the same memory. The file
appears under its name once it is whole. Instants are ISO 8601 in UTC, so that their order as text is their order in
time. Without ``contents`` nothing in it comes from inside a message, and no peer is named.

    .db       tables messages, deliveries, attempts, with keys between them and indexes for the usual questions
    .csv      a line for each delivery with its message; a message without one has a line of its own. A text that a
              spreadsheet would take for a formula has an apostrophe before it
    .ndjson   an object for each message, with its deliveries and their failed attempts
"""

import csv
import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from engine.commands.shared.output import SCHEMA_VERSION, to_json
from engine.commands.shared.session import consent
from engine.model.errors import ErasedError, StoreError
from engine.model.journal.journal_views import AttemptView, DeliveryView, Filter, MessageView
from engine.store.core.files.durable import write_atomically, write_without_log
from engine.store.core.files.ownership import as_given
from engine.store.queries.messages import deliveries_of, messages_page
from engine.store.queries.reader import stored_payload
from engine.views.messages import ATTEMPT as ATTEMPT_VIEW
from engine.views.messages import DELIVERY as DELIVERY_VIEW
from engine.views.messages import MESSAGE as MESSAGE_VIEW
from engine.views.messages import as_text
from engine.views.text import harmless
from engine.views.view import View

if TYPE_CHECKING:
    from engine.store.queries.reader import Reader

T = TypeVar("T")
Row = dict[str, Any]
PAGE = 500  # messages
PAGE_WITH_CONTENTS = 20  # each may be as long as the channel's `max_message`

MESSAGE = {
    "id": int, "channel": str, "seq": int, "received": str, "type": str, "bytes": int, "state": str, "code": str,
    "notes": str, "repeat_of": int, "equal_to": int, "same_id_other_bytes": bool,
}  # fmt: skip
MESSAGE_CONTENTS = {"control_id": str, "peer": str, "payload": bytes}
DELIVERY = {
    "id": int, "message": int, "destination": str, "seq": int, "key": str, "state": str, "code": str,
    "failed_attempts": int, "next_attempt": str, "settled": str, "claimed": bool, "maybe_delivered": bool,
    "manual": bool,
}  # fmt: skip
ATTEMPT = {"delivery": int, "n": int, "at": str, "code": str}
NOTES = {"detail": str, "answer": str}
INDEXES = (
    *(("messages", ["channel", "received"]), ("messages", ["state", "code"])),
    *(("deliveries", ["message"]), ("deliveries", ["destination", "state"])),
)
ENDINGS = (".db", ".csv", ".ndjson")


def write_file(path: Path, reader: "Reader", wanted: Filter, *, up_to: int, contents: bool) -> tuple[int, int]:
    """Export the messages of ``wanted`` to ``path``, whose ending determines the format; return the number of messages
    and deliveries.

    Args:
        up_to: number of the newest message to include.
        contents: include fields that may identify patients: control ids, peers, payloads, answers of destinations.

    Raises:
        StoreError: the journal cannot be read, or the file not be written; then there is no new file.
    """
    counts: Counter[str] = Counter()

    def messages() -> Iterator[Row]:
        for page in _pages(reader, wanted, up_to=up_to, contents=contents):
            counts.update(messages=len(page), deliveries=sum(len(message["deliveries"]) for message in page))
            yield from page

    match path.suffix:
        case ".db":
            with new_file(path) as part:
                _write_database(part, messages(), contents=contents)
        case ".csv":
            delivery = [f"delivery_{name}" for name in (*DELIVERY, *(NOTES if contents else ())) if name != "message"]
            write_rows(path, _flat(messages()), [*MESSAGE, *(MESSAGE_CONTENTS if contents else ()), *delivery])
        case _:
            write_rows(path, ({"schema_version": SCHEMA_VERSION, **_as_text(message)} for message in messages()))
    return counts["messages"], counts["deliveries"]


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file beside ``path``, readable by its owner only, that takes its name once all of it was written.

    Raises:
        StoreError: it cannot be written, or the journal not be read; then there is no new file.
    """
    writing = write_atomically(path)
    try:
        with ExitStack() as steps:
            with as_given(path):
                part = writing.__enter__()

            def end(*raised: Any) -> bool | None:
                with as_given(path):
                    return writing.__exit__(*raised)

            steps.push(end)
            yield part
    except (OSError, sqlite3.Error) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise StoreError(f"{path}: cannot be written: {text}") from error


@contextmanager
def new_text(path: Path) -> Iterator[TextIO]:
    """As `new_file`, open for text."""
    with new_file(path) as part:
        with as_given(path):
            file = part.open("w", encoding="utf-8", newline="")
        with file:
            yield file


def consent_to_replace(path: Path, *, yes: bool) -> None:
    """Ask before a file is written over. Raises RefusedError: the answer was no."""
    with as_given(path):
        there = os.path.lexists(path)  # False also where it cannot be seen: writing says so
    if there:
        consent(f"Overwrite {path}?", yes=yes)


def write_rows(path: Path, rows: Iterable[Row], columns: Sequence[str] = ()) -> int:
    """Rows as .csv, or as .ndjson; how many there are.

    Args:
        columns: of .csv; else those of the first row.

    Raises:
        StoreError: as `new_file`.
    """
    count = 0
    with new_text(path) as file:
        table = csv.DictWriter(file, columns)
        if columns:
            table.writeheader()
        for row in rows:
            count += 1
            if path.suffix != ".csv":
                file.write(to_json(row) + "\n")
                continue
            if not table.fieldnames:
                table.fieldnames = list(row)
                table.writeheader()
            table.writerow({name: harmless(value) for name, value in row.items()})
    return count


# -- rows ----------------------------------------------------------------------------------------------------------


def _pages(reader: "Reader", wanted: Filter, *, up_to: int, contents: bool) -> Iterator[list[Row]]:
    """Newest first."""
    before, limit = up_to + 1, PAGE_WITH_CONTENTS if contents else PAGE
    while views := messages_page(reader, wanted, before_id=before, limit=limit):
        before = views[-1].id
        rows = {
            view.id: {**_row(MESSAGE_VIEW, view, MESSAGE), "same_id_other_bytes": view.same_id_other_bytes}
            for view in views
        }
        if contents:
            for view in views:
                rows[view.id] |= {
                    "control_id": view.control_id, "peer": view.peer, "payload": payload_of(reader, view),
                }  # fmt: skip
        for row in rows.values():
            row["deliveries"] = []
        for delivery in deliveries_of(reader, list(rows), notes=contents):
            rows[delivery.message_id]["deliveries"].append(_delivery(delivery, contents=contents))
        yield list(rows.values())


def payload_of(reader: "Reader", view: MessageView) -> bytes:
    """The received bytes; empty where they were erased, as the notes show."""
    try:
        return stored_payload(reader, view.id)
    except ErasedError:
        return b""


def _delivery(view: DeliveryView, *, contents: bool) -> Row:
    row = {"message": view.message_id, **_row(DELIVERY_VIEW, view, DELIVERY)}
    row["attempts"] = [
        {"delivery": view.id, **_row(ATTEMPT_VIEW, tried, ATTEMPT), **(_notes(tried) if contents else {})}
        for tried in view.attempts
    ]
    return row | (_notes(view) if contents else {})


def _row(view: View[T], one: T, names: Collection[str]) -> Row:
    return {name: _plain(value) for name, value in view.row(one, names).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return "; ".join(value) if isinstance(value, list) else value


def _notes(view: DeliveryView | AttemptView) -> Row:
    return {"detail": view.detail, "answer": as_text(view.answer)}


# -- files ---------------------------------------------------------------------------------------------------------


def _write_database(path: Path, messages: Iterator[Row], *, contents: bool) -> None:
    from sqlite_utils import Database

    notes = NOTES if contents else {}
    with ExitStack() as steps:
        with as_given(path):
            connection = steps.enter_context(closing(sqlite3.connect(path)))
            write_without_log(connection)
            made = Database(connection, execute_plugins=False)
            made.table("messages").create(MESSAGE | (MESSAGE_CONTENTS if contents else {}), pk="id")
            made.table("deliveries").create(DELIVERY | notes, pk="id", foreign_keys=[("message", "messages", "id")])
            keys = [("delivery", "deliveries", "id")]
            made.table("attempts").create(ATTEMPT | notes, pk=("delivery", "n"), foreign_keys=keys)
        while page := list(islice(messages, PAGE_WITH_CONTENTS if contents else PAGE)):
            deliveries = [delivery for message in page for delivery in message.pop("deliveries")]
            attempts = [attempt for delivery in deliveries for attempt in delivery.pop("attempts")]
            with as_given(path):
                for table, rows in (("messages", page), ("deliveries", deliveries), ("attempts", attempts)):
                    if rows:
                        made.table(table).insert_all(rows)
        # At the end: one sort is cheaper than keeping them in order all the way.
        with as_given(path):
            for table, columns in INDEXES:
                made.table(table).create_index(columns)
            connection.commit()


def _flat(messages: Iterator[Row]) -> Iterator[Row]:
    """A row for each delivery, with its message."""
    for message in messages:
        row = _as_text(message)
        for delivery in row.pop("deliveries") or [{}]:
            yield row | {f"delivery_{name}": delivery[name] for name in delivery.keys() - {"message", "attempts"}}


def _as_text(message: Row) -> Row:
    """Bytes as reversible text: bytes that are no UTF-8 become \\x.. escapes."""
    if "payload" not in message:
        return message
    return {**message, "payload": as_text(message["payload"])}
