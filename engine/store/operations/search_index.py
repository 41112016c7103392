"""Exact search: find the messages that bear a number by keyed hashes of it (`engine.model.content.search_keys` lists
the numbers).

    with reader.snapshot() as execute:
        term, values = search_index.term(execute, reader.vault, "specimen", "26-4711")
        execute(f"SELECT ... FROM journal j WHERE {term} ...", values)

Queries of messages take a filter: ``Filter(specimen="26-4711")``, ``Filter(patient=...)``,
``Filter(number=...)``.

The hashes are written with the state of a message, one after the other in its row. The upkeep puts those of some
hundred messages at once into a table of their own, sorted (`add`). A hash is as good as random: message by message,
each would write a page of the log for its own. For the same reason the table is cut into blocks of neighbouring
messages. A search makes one look-up in each block (a thousand blocks for a million messages, some milliseconds), and
scans the states that are not in the index yet.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from engine.model.content.search_keys import NOT_ALL, Number, NumberKind, folded
from engine.store.core.connecting import Execute
from engine.store.core.vault import Vault

if TYPE_CHECKING:
    from engine.store.core.writing.batch import Batch

BLOCK_BITS = 10  # messages (and other rows of the journal) of one block: 1,024
TOKEN_BYTES = 8
ADDED_AT_ONCE = 256  # messages; a batch of the writer has no more operations

_PUT = "INSERT OR IGNORE INTO message_number (block, token, message_id)"
_PUT_ONE = f"{_PUT} VALUES (?, ?, ?)"
_PUT_STATES = (  # of the states after ?1 up to ?2
    f"{_PUT} WITH RECURSIVE place(at) AS (SELECT 1 UNION ALL SELECT at + {TOKEN_BYTES} FROM place"  # noqa: S608 - constants
    f" WHERE at + {TOKEN_BYTES} < (SELECT max(length(numbers)) FROM message_state WHERE id > ?1 AND id <= ?2))"
    f" SELECT id >> {BLOCK_BITS}, substr(numbers, at, {TOKEN_BYTES}), id FROM message_state"
    " CROSS JOIN place ON at < length(numbers) WHERE id > ?1 AND id <= ?2 ORDER BY 1, 2, 3"
)
_INDEXED_TO = "SELECT value FROM meta WHERE name = 'indexed_to'"
# Of the messages with a token: first and last block, the token, and the token again.
_WITH_TOKEN = (
    "WITH RECURSIVE every(block) AS (SELECT ? UNION ALL SELECT block + 1 FROM every WHERE block < ?)"  # noqa: S608 - constants
    " SELECT n.message_id FROM every CROSS JOIN message_number n ON n.block = every.block AND n.token = ?"
    f" UNION ALL SELECT id FROM message_state WHERE id > coalesce(({_INDEXED_TO}), 0) AND instr(numbers, ?)"
)


def kept_in_state(batch: "Batch", message_id: int, numbers: Sequence[Number]) -> bytes | None:
    """The hashes that the first state of a message keeps; None where it has no numbers. They are put into the index at
    once where newer messages are in it.
    """
    if message_id <= batch.indexed_to:
        note(batch, message_id, numbers)
    else:
        batch.unindexed += 1
    return b"".join(batch.vault.search_token(number.kind, number.text) for number in numbers) or None


def add(batch: "Batch") -> int:
    """Put the hashes of the oldest messages that are not in the index into it; return how many messages."""
    after = batch.indexed_to
    ids = batch.execute(
        "SELECT id FROM message_state WHERE id > ? ORDER BY id LIMIT ?", (after, ADDED_AT_ONCE)
    ).fetchall()
    # Retention may have deleted some of those that were counted.
    batch.unindexed = batch.unindexed - len(ids) if len(ids) == ADDED_AT_ONCE else 0
    if ids:
        (batch.indexed_to,) = ids[-1]
        batch.execute(_PUT_STATES, (after, batch.indexed_to))
        batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('indexed_to', ?)", (batch.indexed_to,))
    return len(ids)


def add_again(execute: Execute) -> None:
    """Put the hashes of all messages that should be in the index into it: a part of it is lost."""
    (indexed_to,) = execute(_INDEXED_TO).fetchone() or (0,)
    for after in range(0, indexed_to, 1 << BLOCK_BITS):
        execute(_PUT_STATES, (after, min(indexed_to, after + (1 << BLOCK_BITS))))


def note(batch: "Batch", message_id: int, numbers: Sequence[Number]) -> None:
    """Index the numbers that a message bears; existing entries stay."""
    block, token = message_id >> BLOCK_BITS, batch.vault.search_token
    batch.executemany(_PUT_ONE, [(block, token(number.kind, number.text), message_id) for number in numbers])


def note_unknown(execute: Execute, vault: Vault, message_id: int) -> None:
    """The numbers of a message are lost: a search that must not miss one opens it."""
    execute(_PUT_ONE, (message_id >> BLOCK_BITS, vault.search_token(NOT_ALL.kind, NOT_ALL.text), message_id))


def forget(execute: Execute, message_id: int) -> None:
    """Delete the index entries of a message."""
    execute("UPDATE message_state SET numbers = NULL WHERE id = ?", (message_id,))
    execute("DELETE FROM message_number WHERE block = ? AND message_id = ?", (message_id >> BLOCK_BITS, message_id))


def term(execute: Execute, vault: Vault, kind: NumberKind, text: str) -> tuple[str, list[int | bytes]]:
    """The SQL term ``j.id IN (...)`` that is true of messages with this number, and its values; as `messages_with`."""
    statement, values = messages_with(execute, vault, kind, text)
    return f"j.id IN ({statement})", values


def messages_with(execute: Execute, vault: Vault, kind: NumberKind, text: str) -> tuple[str, list[int | bytes]]:
    """The statement that selects ``message_id`` of the messages with this number, and its values.

    Args:
        kind: ``patient`` (any of the patient's numbers), ``specimen`` (specimen, accession or order), ``control`` (the
            message's own number, whatever channel it came from).
        text: as typed by a person; case and surrounding blanks do not count.
    """
    first, last = execute(  # one at a time: together they are a walk through the whole table
        "SELECT (SELECT min(block) FROM message_number), (SELECT max(block) FROM message_number)"
    ).fetchone()
    token = vault.search_token(kind, folded(text))
    return _WITH_TOKEN, [first or 0, last or 0, token, token]


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
