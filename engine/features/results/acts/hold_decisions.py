"""Decisions of a named person about dead letters and held results: dismiss, release, reject."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from engine.actions.operations import Slice, actor_of
from engine.actions.selection import Selection, each_letter, held_results
from engine.actions.underway import ANSWER_WITHIN_S, Acts, begin_bulk_act
from engine.features.results.rows import held_steps
from engine.features.results.rows.hold_queue import TAKEN_BACK
from engine.features.rework.rows import letter_steps
from engine.model.errors import RefusedError
from engine.store.operations.bulk import Done, Member, Operation
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import trace_of


async def _decide(
    acts: Acts, selection: Selection, *, decision: str, actor: str, reason: str, dry_run: bool = False,
    within_s: float = ANSWER_WITHIN_S,
) -> dict[str, Any]:  # fmt: skip
    """Do it to what is selected; the journal keeps person, time and ``reason``."""
    noun, pages, slices = DECISIONS[decision]
    if not reason.strip():
        raise RefusedError(f"a {noun} needs a reason")
    if decision == "release" and (why := await asyncio.to_thread(_taken_back, acts, selection)):
        raise RefusedError(why)
    return await begin_bulk_act(
        acts, slices, decision, pages, selection, actor=actor, reason=reason, dry_run=dry_run, within_s=within_s
    )


def _taken_back(acts: Acts, selection: Selection) -> str:
    """Why nothing of the selected messages can be released: their sender has withdrawn what was held; empty: it can, or
    there is nothing of them."""
    if not selection.ids or any(True for _ in each_letter(acts.journal, held_results, selection)):
        return ""
    for number in selection.ids:
        trace = trace_of(acts.journal, number)
        for one in () if trace is None else trace.deliveries:
            if one.state == "superseded" and one.detail.startswith(TAKEN_BACK):
                return f"message {number} is not held any more: it was {one.detail}"
    return ""


async def dismissing(order: Operation, members: Sequence[Member]) -> Slice:
    return _slice(order, len(members), partial(letter_steps.dismiss, members=members))


async def releasing(order: Operation, members: Sequence[Member]) -> Slice:
    return _slice(order, len(members), partial(held_steps.release, members=members))


async def rejecting(order: Operation, members: Sequence[Member]) -> Slice:
    return _slice(order, len(members), partial(held_steps.reject, members=members))


def _slice(order: Operation, members: int, work: Callable[..., Done]) -> Slice:
    named = {"counted_us": order.counted_us, "actor": actor_of(order), "reason": order.what["reason"]}
    return Slice(members, partial(work, **named))


DECISIONS = {
    "dismiss": ("dismissal", dead_letters, dismissing),
    "release": ("release", held_results, releasing),
    "reject": ("rejection", held_results, rejecting),
}
"""Its noun, what it is about, and its slices."""
dismiss_letters = partial(_decide, decision="dismiss")
release_held = partial(_decide, decision="release")
reject_held = partial(_decide, decision="reject")
