"""Refused log-ins: counted in the store, so that a restart does not forget them, and within bounds.

The next log-in of the same origin has to wait, longer with each refusal
(`engine.features.access.rules.accounts.delay_us`). The audit
trail gets one row a while for each user, and one for all names that are no user's: trying passwords does not fill it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.features.access.rules.accounts import FORGOTTEN_US, delay_us
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

MOST_ORIGINS = 10_000  # of addresses and of names that are no user's
NOTED_EVERY_US = 600_000_000


@dataclass(frozen=True, slots=True)
class Origin:
    """What refusals are counted by.

    Attributes:
        token: its keyed hash.
        user: the id; 0: an address, or a name that is no user's.
        free: as in `engine.features.access.rules.accounts.delay_us`.
    """

    token: bytes
    user: int
    free: int


@operation(priority=Priority.SETTLE)
def refuse(batch: Batch, user: int, name: str, actor: str, origins: Sequence[Origin], times: int = 1) -> None:
    """Count a refused log-in.

    Args:
        user, name: whose log-in it was meant to be; 0 and empty: no user has the name.
        times: refusals for the audit trail: this one, and those that were refused without a look since the last call.
    """
    for origin in origins:
        _count(batch, origin)
    row = batch.execute("SELECT noted_us, n FROM refused_log_in WHERE user = ?", (user,)).fetchone()
    noted_us, before = row or (0, 0)
    times += before
    if 0 <= batch.now_us - noted_us < NOTED_EVERY_US:
        batch.execute("UPDATE refused_log_in SET n = ? WHERE user = ?", (times, user))
        return
    audit.note(batch, actor, "log-in-refused", {"user": name or None, "times": times})
    batch.execute(
        "INSERT OR REPLACE INTO refused_log_in (user, noted_us, n) VALUES (?, ?, 0)",
        (user, batch.now_us),
    )


def taken(batch: Batch, user: int) -> int:
    """The refusals that no row of the audit trail has yet; the caller's row has them."""
    row = batch.execute("DELETE FROM refused_log_in WHERE user = ? RETURNING n", (user,)).fetchone()
    return int(row[0]) if row else 0


def _count(batch: Batch, origin: Origin) -> None:
    now_us = batch.now_us
    row = batch.execute("SELECT n, last_us FROM failed_log_in WHERE origin = ?", (origin.token,)).fetchone()
    n = 1 + (row[0] if row and now_us - row[1] < FORGOTTEN_US else 0)
    batch.execute(
        "INSERT OR REPLACE INTO failed_log_in (origin, user, n, last_us, until_us) VALUES (?, ?, ?, ?, ?)",
        (origin.token, origin.user, n, now_us, now_us + delay_us(n, origin.free)),
    )
    if row is None:
        batch.execute("DELETE FROM failed_log_in WHERE last_us <= ?", (now_us - FORGOTTEN_US,))
        batch.execute(
            "DELETE FROM failed_log_in WHERE origin IN"
            " (SELECT origin FROM failed_log_in WHERE user = 0 ORDER BY last_us DESC LIMIT -1 OFFSET ?)",
            (MOST_ORIGINS,),
        )
