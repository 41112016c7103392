"""A person's decisions that take work away: dismissing messages and deliveries, and setting a delivery aside. Each is
recorded in its own transaction.
"""

from collections.abc import Sequence

from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit, record_outcome
from engine.store.operations.outbox import decisions


@operation(priority=Priority.SETTLE)
def dismiss(
    batch: Batch, *, messages: Sequence[int] = (), deliveries: Sequence[int] = (), actor: str, reason: str
) -> int:
    """Dismiss messages and deliveries, in the name of a person who decided that they need nothing more; return how many
    changed.
    """
    changed = record_outcome.dismiss(batch, messages, reason) + decisions.dismiss(batch, deliveries, reason)
    concerned = sorted({*messages, *decisions.messages_of(batch, deliveries)})
    what = {
        "messages": concerned, "whole": list(messages), "deliveries": list(deliveries), "reason": reason,
        "changed": changed,
    }  # fmt: skip
    audit.note(batch, actor, "dismiss", what)
    return changed


@operation(priority=Priority.SETTLE)
def set_aside(batch: Batch, delivery: int, *, correction: bool, actor: str, reason: str) -> bool:
    """Take a delivery out of its lane's way, in the name of a person; False when it was not waiting any more.

    Args:
        correction: it corrects or withdraws a result that the destination has, or that is unknown.
    """
    cause = ReasonCode.CORRECTION_SET_ASIDE if correction else ReasonCode.SET_ASIDE
    done = decisions.set_aside(batch, delivery, cause, f"set aside by {actor}")
    if done:
        concerned = sorted(decisions.messages_of(batch, [delivery]))
        what = {"messages": concerned, "deliveries": [delivery], "reason": reason, "correction": correction}
        audit.note(batch, actor, "set-aside", what)
    return done
