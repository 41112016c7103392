"""Retry dead letters: deliveries wait in their old places, messages are processed with today's mapping."""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from typing import Any

from engine.actions.operations import BulkAct, Slice
from engine.actions.selection import Selection
from engine.actions.underway import ANSWER_WITHIN_S, Acts, begin_bulk_act, map_again
from engine.features.rework.rows import letter_steps
from engine.model.errors import RefusedError
from engine.model.journal_views import Filter
from engine.model.reasons import ReasonCode
from engine.model.records import Decision
from engine.store.operations.bulk import Member, Operation, counts
from engine.store.queries.letters import dead_letters


async def retry_letters(
    acts: Acts,
    selection: Selection,
    *,
    actor: str,
    reason: str = "",
    overwrite: bool = False,
    dry_run: bool = False,
    within_s: float = ANSWER_WITHIN_S,
) -> dict[str, Any]:
    """Retry dead letters; ``count`` is the number of selected ones, ``done`` their results.

    Args:
        overwrite: our version replaces the server's, where that is another one (CONFLICT); needs a reason. Without it
            such deliveries stay dead.

    Raises:
        RefusedError: no reason is given for an overwrite; or it selects all conflicts of identity: a person must
            compare and name each of them.
    """
    if overwrite and not reason.strip():
        raise RefusedError("to replace what the server has needs a reason")
    if selection.code == ReasonCode.IDENTITY_CONFLICT.value and not selection.ids:
        raise RefusedError(
            "a retry accepts that one number belongs to two patients: compare the messages of each, and name them by "
            "their numbers"
        )
    return await begin_bulk_act(
        acts, retrying(acts), "retry", dead_letters, selection,
        actor=actor, reason=reason, dry_run=dry_run, within_s=within_s,
        more={"overwrite": True} if overwrite else {},
    )  # fmt: skip


def retrying(acts: Acts) -> BulkAct:
    """The slices of a retry: deliveries together, a message by itself, oldest first."""

    async def next_slice(order: Operation, members: Sequence[Member]) -> Slice:
        deliveries = list(takewhile(lambda one: one.delivery_id, members))
        if not deliveries:
            return await _message(acts, order, members[0].message_id)
        work = partial(
            letter_steps.retry,
            members=deliveries,
            operation=order.number,
            counted_us=order.counted_us,
            over_conflicts=bool(order.what.get("overwrite")),
        )
        return Slice(len(deliveries), work)

    return next_slice


async def _message(acts: Acts, order: Operation, message: int) -> Slice:
    """Map a dead message again; the work records the outcome."""
    page = await asyncio.to_thread(dead_letters, acts.journal, Filter(), before_id=message + 1, limit=1)
    letter = next((one for one in page if (one.message_id, one.delivery_id) == (message, 0)), None)
    if letter is None or letter.at_us > order.counted_us:
        return Slice(1, letter_steps.leaves(Member(message)))
    if letter.state != "dead":
        return Slice(1, counts("incomplete"))
    # Only a person who named this very letter, dead for that conflict, can accept that one number belongs to two
    # patients. A conflict that shows only now has been seen by no person.
    named = bool(order.what["selection"].get("ids"))
    accept_conflict = named and letter.reason == ReasonCode.IDENTITY_CONFLICT.value
    decision = Decision(again=True, while_dead=True, accept_conflict=accept_conflict)
    again = await map_again(acts, message, decision)
    if again is None:
        return Slice(1, letter_steps.leaves(Member(message)))
    work = partial(letter_steps.record, again=again, operation=order.number)
    return Slice(1, work, sum(len(routed.document.body) for routed in again.routed))
