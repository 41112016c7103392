"""Decisions of a named person about dead letters and held results: dismiss, release, reject."""

import asyncio
from collections import Counter
from typing import Any

from engine.actions.selection import Selection, chunks, held_results, letters
from engine.actions.underway import AT_ONCE, Acts, answer, counted
from engine.model.errors import RefusedError
from engine.store.operations import dismissal, hold_queue


async def dismiss_letters(
    acts: Acts, selection: Selection, *, actor: str, reason: str, dry_run: bool = False
) -> dict[str, Any]:
    """Close dead letters; the journal keeps person, time and ``reason``."""
    if not reason.strip():
        raise RefusedError("a dismissal needs a reason")
    now_us = acts.now_us()
    chosen = await asyncio.to_thread(letters, acts.journal, selection)
    if dry_run:
        return counted(now_us, chosen)
    changed = 0
    for part in chunks(chosen, AT_ONCE):
        changed += await acts.journal.run(
            dismissal.dismiss,
            messages=[letter.message_id for letter in part if not letter.delivery_id],
            deliveries=[letter.delivery_id for letter in part if letter.delivery_id],
            actor=actor,
            reason=reason,
        )
        # At once, since the next part may fail: a dead letter may have held its lane.
        for lane in {(letter.channel, letter.destination) for letter in part if letter.delivery_id}:
            acts.reclaim(*lane)
    return answer(len(chosen), None, {"dismissed": changed})


async def release_held(
    acts: Acts, selection: Selection, *, actor: str, reason: str, dry_run: bool = False
) -> dict[str, Any]:
    """Release held results; the journal keeps person, time and ``reason``. ``done``: see
    `engine.store.operations.hold_queue.release`.
    """
    if not reason.strip():
        raise RefusedError("a release needs a reason")
    now_us = acts.now_us()
    chosen = await asyncio.to_thread(held_results, acts.journal, selection)
    if dry_run:
        return counted(now_us, chosen)
    done: Counter[str] = Counter()
    for part in chunks(chosen, AT_ONCE):
        ids = [letter.delivery_id for letter in part]
        ended, lanes = await acts.journal.run(hold_queue.release, ids, actor=actor, reason=reason)
        done.update(ended)
        for channel, destination in lanes:
            acts.reclaim(channel, destination)
    return answer(len(chosen), None, done)


async def reject_held(
    acts: Acts, selection: Selection, *, actor: str, reason: str, dry_run: bool = False
) -> dict[str, Any]:
    """Reject held results for good; the journal keeps them, with person, time and ``reason``."""
    if not reason.strip():
        raise RefusedError("a rejection needs a reason")
    now_us = acts.now_us()
    chosen = await asyncio.to_thread(held_results, acts.journal, selection)
    if dry_run:
        return counted(now_us, chosen)
    done: Counter[str] = Counter()
    for part in chunks(chosen, AT_ONCE):
        ids = [letter.delivery_id for letter in part]
        done.update(await acts.journal.run(hold_queue.reject, ids, actor=actor, reason=reason))
    return answer(len(chosen), None, done)
