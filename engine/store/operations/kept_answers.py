"""Answers to acts that came with a key of the caller's own: the same key is answered again, and no act is repeated.
Operations of a writer's batch.

A caller that got no answer asks again with the same key (`engine.actions.kept`). The row is
written before the act begins, so a stop between the two leaves a key without an answer: that act may have been done,
and is not begun again. Rows are kept for two days, over restarts and in backups; they have no contents.
"""

from typing import NamedTuple

from engine.model.errors import RefusedError
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

KEPT_US = 2 * 86_400_000_000
SWEPT_AT_ONCE = 200


class Kept(NamedTuple):
    """An act under the same key.

    Attributes:
        request: keyed hash of the request it came with.
        status: 0: it has no answer.
        answer: JSON.
    """

    request: bytes
    status: int
    answer: bytes


@operation(priority=Priority.SETTLE)
def begin(batch: Batch, key: bytes, request: bytes, *, most: int) -> Kept | None:
    """Note that an act begins; or return the earlier one with this key.

    Args:
        key, request: keyed hashes (`Vault.request_token`).
        most: are kept; one more is refused.

    Raises:
        RefusedError: too many are kept.
    """
    batch.execute(
        "DELETE FROM kept_answer WHERE key IN (SELECT key FROM kept_answer WHERE at_us < ? LIMIT ?)",
        (batch.now_us - KEPT_US, SWEPT_AT_ONCE),
    )
    row = batch.execute("SELECT request, status, answer FROM kept_answer WHERE key = ?", (key,)).fetchone()
    if row is not None:
        return Kept(*row)
    if batch.execute("SELECT count(*) FROM kept_answer").fetchone()[0] >= most:
        raise RefusedError(f"there were {most} acts with keys within two days; the next one must wait")
    batch.execute(
        "INSERT INTO kept_answer (key, request, at_us, status, answer) VALUES (?, ?, ?, 0, x'')",
        (key, request, batch.now_us),
    )
    return None


@operation(priority=Priority.SETTLE)
def end(batch: Batch, key: bytes, status: int, answer: bytes) -> None:
    """Keep the answer of an act that has ended."""
    batch.execute("UPDATE kept_answer SET status = ?, answer = ? WHERE key = ?", (status, answer, key))


@operation(priority=Priority.SETTLE)
def forget(batch: Batch, key: bytes) -> None:
    """Forget an act of which nothing was done: its key is as a new one."""
    batch.execute("DELETE FROM kept_answer WHERE key = ? AND status = 0", (key,))
