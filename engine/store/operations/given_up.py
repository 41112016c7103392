"""A message of which nothing goes out any more: it was dismissed, edited, rejected or erased. What it has taken for
itself is free again, as the numbers of its orders.
"""

from collections.abc import Callable

from engine.feature import Hook
from engine.store.core.batch import Batch

FREES: Hook[Callable[[Batch, int], None]] = Hook("on_given_up")


def free(batch: Batch, message_id: int) -> None:
    """Free what a message has taken; there may be nothing."""
    for free_of in FREES.each():
        free_of(batch, message_id)
