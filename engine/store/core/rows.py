"""One transaction for reading: the writer's batch, or a reader's snapshot."""

import sqlite3
from collections.abc import Callable
from typing import Protocol

from engine.model.journal.hashes import unpack_reports
from engine.model.message import Report
from engine.model.packing import unpack
from engine.store.core.vault import Vault

Execute = Callable[..., sqlite3.Cursor]


class Rows(Protocol):
    """Statements of one transaction, and the keys."""

    @property
    def execute(self) -> Execute: ...
    @property
    def vault(self) -> Vault: ...


def body_of(rows: Rows, document_id: int) -> bytes:
    """A stored document.

    Raises:
        IntegrityError, ValueError: it cannot be opened or unpacked.
    """
    sealed, channel = rows.execute(
        "SELECT o.body, j.channel FROM document o JOIN journal j ON j.id = o.message_id WHERE o.id = ?", (document_id,)
    ).fetchone()
    body, packed = rows.vault.open_packed(sealed, "document", document_id, channel)
    del sealed  # of a large document each copy counts
    return unpack(body) if packed else body


def reports_of(rows: Rows, message_id: int) -> list[Report]:
    """The reports that the documents of a message carry."""
    found = rows.execute("SELECT reports FROM document WHERE message_id = ?", (message_id,)).fetchall()
    return [report for (packed,) in found for report in unpack_reports(packed)]
