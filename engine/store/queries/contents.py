"""Reading contents: the bytes of a message, a frame or a document, or why they are not there any longer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from engine.model.errors import ErasedError, IntegrityError, StoreError
from engine.model.reasons import ReasonCode
from engine.store.core import erased_rows
from engine.store.queries.snapshots import Rows, Snapshots

if TYPE_CHECKING:
    from engine.model.message import Document, Report, Stored


class Contents(Snapshots):
    """What was received and what was made of it, opened."""

    def payload(self, row_id: int) -> bytes:
        """The bytes of a message or frame, as received.

        Raises:
            StoreError: there is no such row.
            IntegrityError: the stored bytes are damaged.
        """
        with self.snapshot() as execute:
            row = execute("SELECT body, channel FROM journal WHERE id = ?", (row_id,)).fetchone()
        if row is None:
            raise self.absent("row", row_id)
        content = self.vault.open(row[0], "body", row_id, row[1])
        if not content:
            self._refuse_erased("row", erased_rows.JOURNAL, row_id)
        return content

    def document(self, document_id: int) -> bytes:
        """A stored document; raises as `payload`."""
        with self.snapshot() as execute:
            row = execute(
                "SELECT o.body, j.channel FROM document o JOIN journal j ON j.id = o.message_id WHERE o.id = ?",
                (document_id,),
            ).fetchone()
        if row is None:
            raise StoreError(f"there is no document {document_id}")
        content = self.vault.open(row[0], "document", document_id, row[1])
        if not content:
            self._refuse_erased("document", erased_rows.DOCUMENT, document_id)
        return content

    def stored(self, message_id: int) -> "Stored":
        """A message as it is handed to the mapping; raises as `payload`."""
        with self.snapshot() as execute:
            row = execute(
                "SELECT id, channel, seq, received_us, message_type, meta, body FROM journal WHERE id = ? AND kind = 1",
                (message_id,),
            ).fetchone()
        if row is None:
            raise self.absent("message", message_id)
        stored = self._stored(row)
        if not stored.payload:
            self._refuse_erased("message", erased_rows.JOURNAL, message_id)
        return stored

    def reports(self, document_id: int) -> "frozenset[Report]":
        """The reports that a stored document carries."""
        from engine.model.hashes import unpack_reports

        with self.snapshot() as execute:
            row = execute("SELECT reports FROM document WHERE id = ?", (document_id,)).fetchone()
        return frozenset(unpack_reports(row[0])) if row is not None else frozenset()

    def would_be_superseded(self, message_id: int, channel: str, destination: str, document: "Document") -> bool:
        """Whether a newer message's document with the same results was delivered there: `superseding.is_superseded`,
        for a document that is not in the outbox."""
        from engine.store.operations.superseding import newer_delivered, results_written

        with self.snapshot() as execute:
            row = execute(
                "SELECT id FROM lane WHERE channel = ? AND destination = ?", (channel, destination)
            ).fetchone()
            return row is not None and newer_delivered(
                Rows(execute, self.vault),
                row[0],
                message_id,
                document.reports,
                lambda: results_written(document.body),
            )

    def versions(self, destination: str, resources: Sequence[str]) -> dict[str, str]:
        """The versions of our resources that a destination had when we wrote them last
        (`engine.store.operations.server_versions`)."""
        from engine.store.operations import server_versions

        with self.snapshot() as execute:
            return server_versions.look_up(execute, self.vault, destination, resources)

    def shown_versions(self, delivery_id: int) -> dict[str, str]:
        """What a server had in place of ours when a delivery became a dead letter (CONFLICT), by resource; an empty
        version where it was gone. Empty where nothing is known of it."""
        from engine.store.operations.outbox.moving import read_note

        with self.snapshot() as execute:
            row = execute(
                "SELECT d.detail, j.channel FROM delivery d JOIN journal j ON j.id = d.message_id WHERE d.id = ?",
                (delivery_id,),
            ).fetchone()
        if row is None:
            return {}
        try:
            _, answer = read_note(self._note(row[0], "delivery", delivery_id, row[1]))
            return {one["resource"]: one["has"] for one in orjson.loads(answer)["conflicts"]}
        except (IntegrityError, ValueError, KeyError, TypeError):
            return {}

    def absent(self, kind: str, row_id: int) -> StoreError:
        """Why a row is not there, as the error to raise (`engine.store.core.missing_rows`)."""
        from engine.store.core import anchor
        from engine.store.core.anchor import ANCHOR_NAME
        from engine.store.core.missing_rows import absence

        try:
            mark = anchor.read(self._path.with_name(ANCHOR_NAME)).mark
        except StoreError:  # not for us to read: the journal speaks for itself
            mark = None
        with self.snapshot() as execute:
            return absence(execute, kind, row_id, vault=self._vault, mark=mark)

    def _stored(self, row: Sequence[Any]) -> "Stored":
        from engine.model.message import Stored

        row_id, channel, seq, received_us, message_type, sealed_meta, sealed_body = row
        meta = orjson.loads(self.vault.open(sealed_meta, "meta", row_id, channel))
        return Stored(
            id=row_id,
            channel=channel,
            seq=seq,
            payload=self.vault.open(sealed_body, "body", row_id, channel),
            received_us=received_us,
            control_id=meta["id"],
            message_type=message_type,
            repeat_of=meta.get("repeat_of"),
            equal_to=meta.get("equal_to"),
            rejected_before=meta.get("rejected_before", 0),
            same_id_other_bytes=meta.get("other_bytes", False),
            filtered=ReasonCode[meta["filtered"]] if "filtered" in meta else None,
        )

    def _refuse_erased(self, kind: str, what: str, number: int) -> None:
        """
        Raises:
            ErasedError: an empty content is one that was erased.
        """
        with self.snapshot() as execute:
            act = erased_rows.act_of(execute, what, number)
        if act:
            raise ErasedError(f"{kind} {number} was erased (act {act})")
