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
from engine.store.core.chain import erased_digest, row_hash
from engine.store.core.erased_rows import JOURNAL
from engine.store.core.vault import MESSAGE_KEYS

AT_ONCE = 2000  # digests in one record

Emptied = tuple[str, int, bytes]  # kind, row number, and the digest that the record attests


def empty_row(batch: Batch, row_id: int, meta: bytes | None = None) -> Emptied:
    """Empty one row of the journal.

    Args:
        meta: new notes in place of the row's own; None leaves them.
    """
    kind, channel, seq, received_us, session, message_type, size, token, stored, sealed_meta = batch.execute(
        "SELECT kind, channel, seq, received_us, session, message_type, size, token, hash, meta FROM journal"
        " WHERE id = ?",
        (row_id,),
    ).fetchone()
    if meta is not None:
        sealed_meta = batch.seal(MESSAGE_KEYS, meta, "meta", row_id, channel)
    sealed_body = batch.seal(MESSAGE_KEYS, b"", "body", row_id, channel)
    batch.execute("UPDATE journal SET meta = ?, body = ? WHERE id = ?", (sealed_meta, sealed_body, row_id))
    now = row_hash(
        row_id, kind, channel, seq, received_us, session, message_type, size, token, sealed_meta, sealed_body
    )
    return JOURNAL, row_id, erased_digest(JOURNAL, row_id, stored, now)


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
