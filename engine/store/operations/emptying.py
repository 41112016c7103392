"""Empty rows: delete their content, keep the row. A sealed empty content takes its place, and a record attests it.

`engine.store.core.erased_rows` distinguishes an emptied row from a changed one. Two callers empty rows:
`engine.store.lifecycle.erasure`, when a patient's data is erased, and `engine.store.operations.incomplete`, when
incomplete messages exceed their limit. Numbers, chain and anchor stay valid, and the journal can be copied at any
moment.
"""

from collections.abc import Sequence
from hashlib import sha256

import orjson

from engine.model.records import KIND_ERASED
from engine.store.core.batch import Batch
from engine.store.core.chain import ROW_COLUMNS, JournalRow, erased_digest
from engine.store.core.erased_rows import JOURNAL
from engine.store.core.vault import MESSAGE_KEYS

AT_ONCE = 2000  # digests in one record

Emptied = tuple[str, int, bytes]  # kind, row number, and the digest that the record attests


def empty_row(batch: Batch, row_id: int, meta: bytes | None = None) -> Emptied:
    """Empty one row of the journal.

    Args:
        meta: new notes in place of the row's own; None leaves them.
    """
    row = JournalRow._make(
        batch.execute(f"SELECT {ROW_COLUMNS} FROM journal WHERE id = ?", (row_id,)).fetchone()  # noqa: S608 - constant
    )
    if meta is not None:
        row = row._replace(meta=batch.seal(MESSAGE_KEYS, meta, "meta", row_id, row.channel))
    row = row._replace(body=batch.seal(MESSAGE_KEYS, b"", "body", row_id, row.channel))
    batch.execute("UPDATE journal SET meta = ?, body = ? WHERE id = ?", (row.meta, row.body, row_id))
    return JOURNAL, row_id, erased_digest(JOURNAL, row_id, row.hash, row.computed)


def vouch(batch: Batch, emptied: Sequence[Emptied], act: int) -> None:
    """Append the records that attest emptied rows. ``act`` is the audit row that has the person and the reason."""
    for at in range(0, len(emptied), AT_ONCE):
        part = emptied[at : at + AT_ONCE]
        digests = b"".join(digest for _, _, digest in part)
        body = orjson.dumps({"act": act, "rows": len(part), "vouches": sha256(digests).hexdigest()})
        record = batch.record(KIND_ERASED, "", batch.now_us, token=digests, meta=b"", body=body)
        batch.executemany(
            "INSERT OR REPLACE INTO erased (what, number, record, act) VALUES (?, ?, ?, ?)",
            [(kind, number, record, act) for kind, number, _ in part],
        )
