"""Verify what is sealed beside the journal's rows, by the store itself and by features."""

import sqlite3
from collections.abc import Iterator

from engine.model.errors import IntegrityError
from engine.store.core.feature_tables import of_features
from engine.store.core.vault import Vault, sealed_to
from engine.store.integrity.row_check import Finding

# The store's own sealed columns beside the journal, by table: column, row, channel and content.
_NOTES = {
    "message_state": "SELECT 'message_state', s.id, j.channel, s.detail FROM message_state s"
    " JOIN journal j ON j.id = s.id WHERE s.detail <> x''",
    "delivery": "SELECT 'delivery', d.id, l.channel, d.detail FROM delivery d JOIN lane l ON l.id = d.lane"
    " WHERE d.detail <> x''",
    "attempt": "SELECT 'attempt ' || a.n, a.delivery, l.channel, a.detail FROM attempt a"
    " JOIN delivery d ON d.id = a.delivery JOIN lane l ON l.id = d.lane WHERE a.detail <> x''",
    "line_trace": "SELECT 'line_trace', id, channel, content FROM line_trace",
    "unmapped_code": "SELECT 'unmapped', id, channel, text FROM unmapped_code",
}


def check(connection: sqlite3.Connection, vault: Vault | None) -> Iterator[Finding]:
    """Sealed notes beside the journal; they have no hash of their own, opening them is their check."""
    if vault is None:
        return
    selects = {**_NOTES, **{one.name: one.sealed for one in of_features() if one.sealed}}
    for table, select in selects.items():
        for column, row, channel, sealed in connection.execute(select):
            row_id = row if isinstance(row, int) else sealed_to(row)
            yield from open_one(vault, sealed, column, table, row_id, channel)


def open_one(vault: Vault, sealed: bytes, column: str, table: str, row_id: int, channel: str) -> Iterator[Finding]:
    try:
        vault.open(sealed, column, row_id, channel)
    except IntegrityError as error:
        yield Finding("sealed", table, row_id, row_id, str(error))
