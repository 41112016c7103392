"""What a person takes out of the way: dismissed messages and deliveries, and a delivery that is set aside. Each is
recorded in the transaction that does it."""

from collections.abc import Sequence

from engine.model.reasons import ReasonCode
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.operations import audit, record_outcome
from engine.store.operations.outbox import decisions


@operation(priority=Priority.SETTLE)
def dismiss(
    batch: Batch, *, messages: Sequence[int] = (), deliveries: Sequence[int] = (), actor: str, reason: str
) -> int:
    """A named person decides that these need nothing more; how many changed."""
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
    """A named person takes a delivery out of its lane's way; False: it did not wait any more.

    Args:
        correction: it corrects or withdraws what the destination has, or nothing tells whether it does.
    """
    cause = ReasonCode.CORRECTION_SET_ASIDE if correction else ReasonCode.SET_ASIDE
    done = decisions.set_aside(batch, delivery, cause, f"set aside by {actor}: {reason}")
    if done:
        concerned = sorted(decisions.messages_of(batch, [delivery]))
        what = {"messages": concerned, "deliveries": [delivery], "reason": reason, "correction": correction}
        audit.note(batch, actor, "set-aside", what)
    return done
