"""Exact search: find the messages that bear a number by keyed hashes of it (`engine.model.search_keys` lists the
numbers).

    with reader.snapshot() as execute:
        term, values = search_index.term(execute, reader.vault, "specimen", "26-4711")
        execute(f"SELECT ... FROM journal j WHERE {term} ...", values)

Queries of messages take a filter: ``Filter(specimen="26-4711")``, ``Filter(patient=...)``,
``Filter(number=...)``.

The index is a table of its own, written with the outcome of a message and so after its acknowledgement. A hash is as
good as random, and an index on random keys over all messages would cost a page of the log for every row. So the table
is cut into blocks of neighbouring messages: one batch writes to a few pages, and a search makes one look-up in each
block (a thousand blocks for a million messages, some milliseconds).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from engine.model.search_keys import NOT_ALL, Number, NumberKind, folded, own_number
from engine.store.core.rows import Execute
from engine.store.core.vault import Vault

if TYPE_CHECKING:
    from engine.store.core.batch import Batch

BLOCK_BITS = 10  # messages (and other rows of the journal) of one block: 1,024


def note(batch: "Batch", message_id: int, numbers: Sequence[Number]) -> None:
    """Index the numbers that a message bears; existing entries stay."""
    block, token = message_id >> BLOCK_BITS, batch.vault.search_token
    batch.executemany(
        "INSERT OR IGNORE INTO message_number (block, token, message_id) VALUES (?, ?, ?)",
        [(block, token(number.kind, number.text), message_id) for number in numbers],
    )


def note_control_id(batch: "Batch", message_id: int, control_id: str) -> None:
    """Index the control id of a message that has its state on arrival and is never parsed."""
    note(batch, message_id, own_number(control_id))


def forget(execute: Execute, message_id: int) -> None:
    """Delete the index entries of a message."""
    execute("DELETE FROM message_number WHERE block = ? AND message_id = ?", (message_id >> BLOCK_BITS, message_id))


def term(execute: Execute, vault: Vault, kind: NumberKind, text: str) -> tuple[str, list[int | bytes]]:
    """The SQL term ``j.id IN (...)`` that is true of messages with this number, and its values.

    Args:
        kind: ``patient`` (any of the patient's numbers), ``specimen`` (specimen, accession or order), ``control`` (the
            message's own number, whatever channel it came from).
        text: as typed by a person; case and surrounding blanks do not count.
    """
    first, last = execute(  # one at a time: together they are a walk through the whole table
        "SELECT (SELECT min(block) FROM message_number), (SELECT max(block) FROM message_number)"
    ).fetchone()
    return (
        "j.id IN (WITH RECURSIVE every(block) AS (SELECT ? UNION ALL SELECT block + 1 FROM every WHERE block < ?)"
        " SELECT n.message_id FROM every CROSS JOIN message_number n ON n.block = every.block AND n.token = ?)",
        [first or 0, last or 0, vault.search_token(kind, folded(text))],
    )


def newer(execute: Execute, message_id: int, *, than: int) -> set[int]:
    """Newer messages that share a number with this one: of its patient, a specimen, an order.

    Args:
        than: only messages newer than this one.
    """
    block = message_id >> BLOCK_BITS
    (last,) = execute("SELECT max(block) FROM message_number").fetchone()
    found: set[int] = set()
    for (token,) in execute(
        "SELECT token FROM message_number WHERE block = ? AND message_id = ?", (block, message_id)
    ).fetchall():
        found.update(
            row[0]
            for row in execute(
                "WITH RECURSIVE every(block) AS (SELECT ? UNION ALL SELECT block + 1 FROM every WHERE block < ?)"
                " SELECT n.message_id FROM every CROSS JOIN message_number n ON n.block = every.block AND n.token = ?"
                " WHERE n.message_id > ?",
                (than >> BLOCK_BITS, last, token, than),
            )
        )
    return found


def messages(execute: Execute, vault: Vault, kind: NumberKind, texts: Iterable[str]) -> list[int]:
    """The messages with one of these numbers, oldest first."""
    found: set[int] = set()
    for text in texts:
        where, values = term(execute, vault, kind, text)
        found.update(row[0] for row in execute(f"SELECT j.id FROM journal j WHERE {where} AND j.kind = 1", values))  # noqa: S608 - a constant
    return sorted(found)


def not_all_known(execute: Execute, vault: Vault) -> list[int]:
    """Messages that are not in the search index: a search by number cannot rule them out."""
    return messages(execute, vault, NOT_ALL.kind, [NOT_ALL.text])
