"""The steps of operations (`engine.store.operations.bulk`) on held deliveries: release, reject."""

from collections import Counter
from collections.abc import Sequence

from engine.features.results.rows import hold_queue
from engine.store.core.writing.batch import Batch
from engine.store.operations.bulk import Done, Member, as_counted, why_left


def release(batch: Batch, members: Sequence[Member], *, counted_us: int, actor: str, reason: str) -> Done:
    """Release held deliveries; the outcomes are those of `hold_queue.release`."""
    still, outcomes = _still_held(batch, members, counted_us)
    lanes = set[tuple[str, str]]()
    if still:
        done, lanes = hold_queue.release(batch, still, actor=actor, reason=reason)
        outcomes.update(done)
    return Done(outcomes, frozenset(lanes))


def reject(batch: Batch, members: Sequence[Member], *, counted_us: int, actor: str, reason: str) -> Done:
    """Reject held deliveries for good."""
    still, outcomes = _still_held(batch, members, counted_us)
    if still:
        outcomes.update(hold_queue.reject(batch, still, actor=actor, reason=reason))
    return Done(outcomes)


def _still_held(batch: Batch, members: Sequence[Member], counted_us: int) -> tuple[list[int], Counter[str]]:
    """The deliveries that are held as they were counted, and the outcomes of the others."""
    still = [one.delivery_id for one in members if as_counted(batch, one.delivery_id, "held", counted_us)]
    others = [one for one in members if one.delivery_id not in still]
    return still, Counter(why_left(batch, one) for one in others)
