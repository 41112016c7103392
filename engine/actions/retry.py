"""Retry dead letters: deliveries wait in their old places, messages are processed with today's mapping."""

import asyncio
from collections.abc import Sequence
from typing import Any

from engine.actions.selection import Selection, letters
from engine.actions.underway import Acts, counted, process_again
from engine.model.reasons import ReasonCode
from engine.model.records import DeadLetter, Decision
from engine.store.operations.outbox import decisions


async def retry_letters(
    acts: Acts, selection: Selection, *, actor: str, reason: str = "", dry_run: bool = False
) -> dict[str, Any]:
    """Retry dead letters; ``count`` is the number of selected ones, ``done`` their results.

    Args:
        reason: why our version replaces the server's, where that is another one (CONFLICT). Without it such deliveries
            stay dead.
    """
    now_us = acts.now_us()
    chosen = await asyncio.to_thread(letters, acts.journal, selection)
    if dry_run:
        return counted(now_us, chosen)
    # Only a person who named these very letters can accept that one number belongs to two patients.
    accept_conflict = bool(selection.ids) or selection.code == ReasonCode.IDENTITY_CONFLICT.value
    return await acts.act(
        actor,
        "retry",
        selection,
        len(chosen),
        False,
        lambda: _retry(acts, chosen, accept_conflict, overwrite=bool(reason.strip())),
        **({"reason": reason} if reason else {}),
    )


async def _retry(acts: Acts, chosen: Sequence[DeadLetter], accept_conflict: bool, *, overwrite: bool) -> dict[str, int]:
    outcome = {"requeued": 0, "processed": 0, "still_dead": 0, "skipped": 0}
    lanes: dict[tuple[str, str], list[int]] = {}
    conflicts = {letter.delivery_id for letter in chosen if letter.reason == ReasonCode.CONFLICT.value}
    for letter in chosen:
        if letter.delivery_id in conflicts and not overwrite:
            outcome["conflicts"] = outcome.get("conflicts", 0) + 1
        elif letter.delivery_id:
            lanes.setdefault((letter.channel, letter.destination), []).append(letter.delivery_id)
        elif letter.state == "dead":
            outcome[await _process(acts, letter, accept_conflict)] += 1
        else:
            outcome["skipped"] += 1
    for (channel, destination), ids in lanes.items():
        changed = 0
        try:
            for unconditional in (False, True):
                part = [one for one in ids if (one in conflicts) is unconditional]
                if part:
                    changed += await acts.journal.run(decisions.requeue, part, unconditional=unconditional)
        finally:  # the retries so far are durable, also where the rest could not be stored
            if changed:
                acts.reclaim(channel, destination)
        outcome["requeued"] += changed
        outcome["skipped"] += len(ids) - changed
    return outcome


async def _process(acts: Acts, letter: DeadLetter, accept_conflict: bool) -> str:
    """Map a dead message again; return the counter of its result."""
    recorded = await process_again(
        acts, letter.message_id, Decision(again=True, while_dead=True, accept_conflict=accept_conflict)
    )
    if recorded is None:
        return "skipped"
    return "still_dead" if recorded.state == "dead" else "processed"
