"""Empty rows: delete their content, keep the row. A sealed empty content takes its place, and a record attests it.

`engine.store.core.checks.pruned_ranges` distinguishes an emptied row from a changed one. Two callers empty rows:
`engine.store.lifecycle.erasure`, when a patient's data is erased, and `engine.store.operations.incomplete`, when
incomplete messages exceed their limit. Numbers, chain and anchor stay valid, and the journal can be copied at any
moment.

`ErasedMessage`: a message that is erased, as features see it while its documents are still there.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from engine.model.journal.records import KIND_ERASED
from engine.store.core.chain import ROW_COLUMNS, SEALED_COLUMNS, JournalRow, erased_digest
from engine.store.core.checks.pruned_ranges import JOURNAL
from engine.store.core.connecting import Execute
from engine.store.core.vault import MESSAGE_KEYS
from engine.store.core.writing.batch import Batch

AT_ONCE = 2000  # digests in one record

Emptied = tuple[str, int, bytes]  # kind, row number, and the digest that the record attests


def empty_row(batch: Batch, row_id: int, left: Mapping[str, bytes] | None = None) -> Emptied:
    """Empty one row of the journal.

    Args:
        left: sealed column -> its new content; the other sealed columns become empty. None: only the body is emptied.
    """
    row = JournalRow._make(
        batch.execute(f"SELECT {ROW_COLUMNS} FROM journal WHERE id = ?", (row_id,)).fetchone()  # noqa: S608 - constant
    )
    contents = {"body": b""} if left is None else {name: left.get(name, b"") for name in SEALED_COLUMNS}
    sealed: dict[str, Any] = {
        name: batch.seal(MESSAGE_KEYS, content, name, row_id, row.channel) for name, content in contents.items()
    }
    row = row._replace(**sealed)
    places = ", ".join(f"{name} = ?" for name in sealed)
    batch.execute(f"UPDATE journal SET {places} WHERE id = ?", (*sealed.values(), row_id))  # noqa: S608 - our own names
    return JOURNAL, row_id, erased_digest(JOURNAL, row_id, row.hash, row.computed)


def empty_notes(execute: Execute, message_id: int) -> None:
    """Empty the details of a message and the answers of destinations, which may name the patient; forget its repeat."""
    execute("UPDATE message_state SET detail = x'', cause_token = NULL WHERE id = ?", (message_id,))
    execute(
        "UPDATE attempt SET detail = x'' WHERE delivery IN (SELECT id FROM delivery WHERE message_id = ?)",
        (message_id,),
    )
    execute("UPDATE delivery SET detail = x'', cause_token = NULL WHERE message_id = ?", (message_id,))
    execute("DELETE FROM repeat WHERE token = (SELECT substr(token, 1, 24) FROM journal WHERE id = ?)", (message_id,))


def vouch(batch: Batch, emptied: Sequence[Emptied], act: int) -> None:
    """Append the records that attest emptied rows. ``act`` is the audit row that has the person and the reason."""
    for at in range(0, len(emptied), AT_ONCE):
        part = emptied[at : at + AT_ONCE]
        digests = (digest for _, _, digest in part)
        record = batch.attest(KIND_ERASED, digests, {"act": act, "rows": len(part)})
        batch.executemany(
            "INSERT OR REPLACE INTO erased (what, number, record, act) VALUES (?, ?, ?, ?)",
            [(kind, number, record, act) for kind, number, _ in part],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedMessage:
    """A message that is erased.

    Attributes:
        id, channel: of the message.
        patients: the keyed hashes of the patients of its reports.
        person: all that is stored of its patient goes, also what other messages have brought.
    """

    id: int
    channel: str
    patients: Set[bytes]
    person: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedAgain:
    """One that was erased after the backup that is restored.

    Attributes:
        at_us: when it was erased.
        is_known: the state of messages that is restored is one from after that.
        is_his: whether a number of the laboratory is one of the patient's who was erased.
    """

    message: ErasedMessage
    at_us: int
    is_known: bool
    is_his: Callable[[str], bool]
