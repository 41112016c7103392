"""Read contents: the bytes of a message, a frame or a document, or the reason why they are gone."""

from collections.abc import Sequence
from typing import Any

import orjson

from engine.model.errors import AbsentError, ErasedError, StoreError
from engine.model.journal.hashes import unpack_reports
from engine.model.message import Report, Stored
from engine.model.texts.reasons import ReasonCode
from engine.store.core import anchor
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import absence
from engine.store.queries.reader import Reader


def stored_payload(reader: Reader, row_id: int) -> bytes:
    """The bytes of a message or frame, as received.

    Raises:
        StoreError: there is no such row.
        IntegrityError: the stored bytes are damaged.
    """
    row = reader.row("SELECT body, channel FROM journal WHERE id = ?", (row_id,))
    if row is None:
        raise why_absent(reader, "row", row_id)
    content = reader.vault.open(row[0], "body", row_id, row[1])
    return content or _unless_erased(reader, "row", pruned_ranges.JOURNAL, row_id)


def stored_document(reader: Reader, document_id: int) -> bytes:
    """A stored document; raises as `stored_payload`."""
    row = reader.row(
        "SELECT o.body, j.channel FROM document o JOIN journal j ON j.id = o.message_id WHERE o.id = ?", (document_id,)
    )
    if row is None:
        raise AbsentError(f"there is no document {document_id}")
    content = reader.vault.open(row[0], "document", document_id, row[1])
    return content or _unless_erased(reader, "document", pruned_ranges.DOCUMENT, document_id)


def stored_message(reader: Reader, message_id: int) -> Stored:
    """A message as the mapping gets it; raises as `stored_payload`."""
    row = reader.row(
        "SELECT id, channel, seq, received_us, message_type, meta, body FROM journal WHERE id = ? AND kind = 1",
        (message_id,),
    )
    if row is None:
        raise why_absent(reader, "message", message_id)
    stored = open_stored(reader, row)
    if not stored.payload:
        _unless_erased(reader, "message", pruned_ranges.JOURNAL, message_id)
    return stored


def reports_of(reader: Reader, document_id: int) -> frozenset[Report]:
    """The reports that a stored document carries."""
    row = reader.row("SELECT reports FROM document WHERE id = ?", (document_id,))
    return frozenset(unpack_reports(row[0])) if row is not None else frozenset()


def why_absent(reader: Reader, kind: str, row_id: int) -> StoreError:
    """Why a row is missing, as the error to raise (`engine.store.core.checks.pruned_ranges`)."""
    if not reader.is_whole:  # it may be another's
        return AbsentError(f"there is no {kind} {row_id}")
    try:
        mark = anchor.read(reader.path.with_name(ANCHOR_NAME)).mark
    except StoreError:  # not for us to read: the journal speaks for itself
        mark = None
    with reader.snapshot() as execute:
        return absence(execute, kind, row_id, vault=reader.keys, mark=mark)


def open_stored(reader: Reader, row: Sequence[Any]) -> Stored:
    row_id, channel, seq, received_us, message_type, sealed_meta, sealed_body = row
    meta = orjson.loads(reader.vault.open(sealed_meta, "meta", row_id, channel))
    return Stored(
        id=row_id,
        channel=channel,
        seq=seq,
        payload=reader.vault.open(sealed_body, "body", row_id, channel),
        received_us=received_us,
        control_id=meta["id"],
        message_type=message_type,
        repeat_of=meta.get("repeat_of"),
        equal_to=meta.get("equal_to"),
        rejected_before=meta.get("rejected_before", 0),
        same_id_other_bytes=meta.get("other_bytes", False),
        filtered=ReasonCode[meta["filtered"]] if "filtered" in meta else None,
    )


def _unless_erased(reader: Reader, kind: str, what: str, number: int) -> bytes:
    """The empty content of a row that came empty.

    Raises:
        ErasedError: the content was erased.
    """
    with reader.snapshot() as execute:
        act = pruned_ranges.act_of(execute, what, number)
    if act:
        raise ErasedError(f"{kind} {number} was erased (act {act})")
    return b""
