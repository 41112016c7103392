"""Messages and what became of them as a file for other programs: SQLite, CSV, or lines of JSON.

Rows are made and written a page at a time, so that a journal of any size is exported in the same memory. The file
appears under its name once it is whole. Instants are ISO 8601 in UTC, so that their order as text is their order in
time. Without ``contents`` nothing in it comes from inside a message, and no peer is named.

    .db       tables messages, deliveries, attempts, with keys between them and indexes for the usual questions
    .csv      a line for each delivery with its message; a message without one has a line of its own. A text that a
              spreadsheet would take for a formula has an apostrophe before it
    .ndjson   an object for each message, with its deliveries and their failed attempts
"""

import csv
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from engine.commands.shared.output import SCHEMA_VERSION, harmless, to_json
from engine.model.clock import from_us
from engine.model.errors import ErasedError, StoreError
from engine.model.records import AttemptView, DeliveryView, Filter, MessageView
from engine.store.core.durable import write_atomically, write_without_log
from engine.store.queries.contents import stored_payload
from engine.store.queries.messages import deliveries_of, messages_page

if TYPE_CHECKING:
    from engine.store.queries.reader import Reader

Row = dict[str, Any]
PAGE = 500  # messages
PAGE_WITH_CONTENTS = 20  # each may be as long as the channel's `max_message`

MESSAGE = {
    "id": int, "channel": str, "seq": int, "received": str, "type": str, "bytes": int, "state": str, "reason": str,
    "notes": str, "repeat_of": int, "equal_to": int, "same_id_other_bytes": bool,
}  # fmt: skip
MESSAGE_CONTENTS = {"control_id": str, "peer": str, "payload": bytes}
DELIVERY = {
    "id": int, "message": int, "destination": str, "seq": int, "key": str, "state": str, "cause": str,
    "failed_attempts": int, "next_attempt": str, "settled": str, "claimed": bool, "maybe_delivered": bool,
    "manual": bool,
}  # fmt: skip
ATTEMPT = {"delivery": int, "n": int, "at": str, "cause": str}
NOTES = {"detail": str, "answer": str}


class Sink(Protocol):
    """Takes pages of messages, each with its ``deliveries``, each of these with its ``attempts``."""

    def write(self, page: Sequence[Row]) -> None: ...
    def close(self) -> None: ...


def write_file(path: Path, reader: "Reader", wanted: Filter, *, up_to: int, contents: bool) -> tuple[int, int]:
    """Export what ``wanted`` says to ``path``, whose ending says how; how many messages and deliveries there are.

    Args:
        up_to: number of the newest message that may be among them.
        contents: also what may tell of patients: control ids, peers, payloads, answers of destinations.

    Raises:
        StoreError: the journal cannot be read, or the file not be written; then there is no new file.
    """
    messages = deliveries = 0
    with new_file(path) as part, closing(SINKS[path.suffix](part, contents)) as sink:
        for page in _pages(reader, wanted, up_to=up_to, contents=contents):
            sink.write(page)
            messages += len(page)
            deliveries += sum(len(message["deliveries"]) for message in page)
    return messages, deliveries


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file beside ``path``, readable by its owner only, that takes its name once all of it was written.

    Raises:
        StoreError: it cannot be written, or the journal not be read; then there is no new file.
    """
    try:
        with write_atomically(path) as part:
            yield part
    except (OSError, sqlite3.Error) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise StoreError(f"{path}: cannot be written: {text}") from error


# -- rows ----------------------------------------------------------------------------------------------------------


def _pages(reader: "Reader", wanted: Filter, *, up_to: int, contents: bool) -> Iterator[list[Row]]:
    """Newest first."""
    before, limit = up_to + 1, PAGE_WITH_CONTENTS if contents else PAGE
    while views := messages_page(reader, wanted, before_id=before, limit=limit):
        before = views[-1].id
        rows = {view.id: _message(view) for view in views}
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
    """What was received; empty where it was erased, as the notes say."""
    try:
        return stored_payload(reader, view.id)
    except ErasedError:
        return b""


def _message(view: MessageView) -> Row:
    return {
        "id": view.id,
        "channel": view.channel,
        "seq": view.seq,
        "received": _instant(view.received_us),
        "type": view.message_type,
        "bytes": view.size,
        "state": view.state,
        "reason": view.reason,
        "notes": "; ".join(view.notes),
        "repeat_of": view.repeat_of,
        "equal_to": view.equal_to,
        "same_id_other_bytes": view.same_id_other_bytes,
    }


def _delivery(view: DeliveryView, *, contents: bool) -> Row:
    return {
        "id": view.id,
        "message": view.message_id,
        "destination": view.destination,
        "seq": view.seq,
        "key": view.key,
        "state": view.shown_state,
        "cause": view.cause,
        "failed_attempts": view.attempt,
        "next_attempt": _instant(view.not_before_us) if view.shown_state == "waiting" else None,
        "settled": _instant(view.settled_us),
        "claimed": view.claimed,
        "maybe_delivered": view.maybe_delivered,
        "manual": view.manual,
        **(_notes(view) if contents else {}),
        "attempts": [
            {
                "delivery": view.id,
                "n": tried.n,
                "at": _instant(tried.at_us),
                "cause": tried.cause,
                **(_notes(tried) if contents else {}),
            }
            for tried in view.attempts
        ],
    }


def _notes(view: DeliveryView | AttemptView) -> Row:
    return {"detail": view.detail, "answer": view.answer.decode("utf-8", "backslashreplace")}


def _instant(at_us: int) -> str | None:
    return from_us(at_us).isoformat(timespec="microseconds") if at_us else None


# -- files ---------------------------------------------------------------------------------------------------------


class _Database:
    def __init__(self, path: Path, contents: bool) -> None:
        from sqlite_utils import Database

        self._connection = sqlite3.connect(path)
        write_without_log(self._connection)
        self._tables = Database(self._connection, execute_plugins=False)
        notes = NOTES if contents else {}
        self._tables.table("messages").create(
            {**MESSAGE, **(MESSAGE_CONTENTS if contents else {})},
            pk="id",
        )
        self._tables.table("deliveries").create(
            {**DELIVERY, **notes}, pk="id", foreign_keys=[("message", "messages", "id")]
        )
        self._tables.table("attempts").create(
            {**ATTEMPT, **notes}, pk=("delivery", "n"), foreign_keys=[("delivery", "deliveries", "id")]
        )

    def write(self, page: Sequence[Row]) -> None:
        deliveries = [delivery for message in page for delivery in message["deliveries"]]
        attempts = [attempt for delivery in deliveries for attempt in delivery["attempts"]]
        self._insert("messages", [_without(message, "deliveries") for message in page])
        self._insert("deliveries", [_without(delivery, "attempts") for delivery in deliveries])
        self._insert("attempts", attempts)

    def _insert(self, table: str, rows: list[Row]) -> None:
        if rows:
            self._tables.table(table).insert_all(rows)

    def close(self) -> None:
        try:
            # At the end: one sort is cheaper than keeping them in order all the way.
            self._tables.table("messages").create_index(["channel", "received"])
            self._tables.table("messages").create_index(["state", "reason"])
            self._tables.table("deliveries").create_index(["message"])
            self._tables.table("deliveries").create_index(["destination", "state"])
            self._connection.commit()
        finally:
            self._connection.close()


class _Csv:
    def __init__(self, path: Path, contents: bool) -> None:
        self._file = _text_file(path)
        columns = [*MESSAGE, *(MESSAGE_CONTENTS if contents else ())]
        self._delivery = [name for name in (*DELIVERY, *(NOTES if contents else ())) if name != "message"]
        self._rows = csv.DictWriter(self._file, [*columns, *(f"delivery_{name}" for name in self._delivery)])
        self._rows.writeheader()

    def write(self, page: Sequence[Row]) -> None:
        for message in page:
            row = _as_text(_without(message, "deliveries"))
            for delivery in message["deliveries"] or [{}]:
                more = {f"delivery_{name}": delivery[name] for name in self._delivery if name in delivery}
                self._rows.writerow({name: harmless(value) for name, value in {**row, **more}.items()})

    def close(self) -> None:
        self._file.close()


class _Lines:
    def __init__(self, path: Path, contents: bool) -> None:
        self._file = _text_file(path)

    def write(self, page: Sequence[Row]) -> None:
        for message in page:
            self._file.write(to_json({"schema_version": SCHEMA_VERSION, **_as_text(message)}) + "\n")

    def close(self) -> None:
        self._file.close()


SINKS: dict[str, type[_Database] | type[_Csv] | type[_Lines]] = {".db": _Database, ".csv": _Csv, ".ndjson": _Lines}


def _text_file(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="")


def _as_text(message: Row) -> Row:
    """Bytes as text that can be read back: what is no UTF-8 stays as \\x.. escapes."""
    if "payload" not in message:
        return message
    return {**message, "payload": message["payload"].decode("utf-8", "backslashreplace")}


def _without(row: Row, name: str) -> Row:
    return {key: value for key, value in row.items() if key != name}
