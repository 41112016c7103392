"""A user's looks at the to-do list (`todo_look`). No act of a person: it is in no audit trail."""

from collections.abc import Collection

from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation

MOST_KEYS = 1000  # of one look
VISIT_US = 10 * 60_000_000  # a look that comes later than this is another visit


@operation(priority=Priority.SETTLE, can_linger=True)
def looked(batch: Batch, user: int, keys: Collection[str], at_us: int) -> None:
    """Note a look; where it begins another visit, the look before it is what that visit compares with."""
    batch.execute(
        "INSERT INTO todo_look (user, at_us, keys, before_us, before_keys) VALUES (?1, ?2, ?3, 0, '')"
        " ON CONFLICT DO UPDATE SET at_us = ?2, keys = ?3,"
        " before_us = CASE WHEN ?2 - at_us >= ?4 THEN at_us ELSE before_us END,"
        " before_keys = CASE WHEN ?2 - at_us >= ?4 THEN keys ELSE before_keys END",
        (user, at_us, "\n".join(sorted(keys)[:MOST_KEYS]), VISIT_US),
    )
