"""A named person decides whose results they are: whether two records under one patient number belong to one person, and
whether an order that moves to another patient is withdrawn from the first.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from engine.actions.selection import Selection
from engine.actions.underway import Acts, process_again
from engine.features.results.rows import moved_orders, number_bearers
from engine.model.errors import LeftOutError, RefusedError
from engine.model.records import Decision
from engine.store.queries.contents import stored_message

ANSWERS = ("same", "other", *moved_orders.ANSWERS)


async def tell_patients_apart(
    acts: Acts, message: int, said: str, *, actor: str, reason: str, dry_run: bool = False
) -> dict[str, Any]:
    """Answer for all messages with the number and the record of this one; they are processed again in their order.

    For a message that was let through because it seems to be the same person, the answer covers only later messages.

    Args:
        said: ``same``: the record belongs to the person who bears the number. ``other``: it does not, and that person's
            results get a Patient of their own. ``withdraw``, ``both``: for an order that moves to another patient
            (`engine.features.results.rows.moved_orders`).

    Raises:
        RefusedError: the message is not held for its patient number, or no reason is given.
    """
    if said not in ANSWERS:
        raise RefusedError(f"the answer is one of {', '.join(ANSWERS)}")
    if not reason.strip():
        raise RefusedError("an answer needs a reason")
    if said in moved_orders.ANSWERS:
        return await _answer_moved(acts, message, said, actor=actor, reason=reason, dry_run=dry_run)
    waiting, seems = await asyncio.to_thread(_asked, acts, message)
    if not waiting and not seems:
        await asyncio.to_thread(stored_message, acts.journal, message)  # raises where there is no such message
        raise RefusedError(f"message {message} is not held for its patient number")
    work, count = partial(_tell_apart, acts, message, said == "same"), max(1, len(waiting))
    about = Selection(ids=(message,))
    return await acts.act(actor, "tell_apart", about, count, dry_run, work, answer=said, reason=reason)


async def _answer_moved(
    acts: Acts, message: int, said: str, *, actor: str, reason: str, dry_run: bool
) -> dict[str, Any]:
    if not await asyncio.to_thread(_moves, acts, message):
        await asyncio.to_thread(stored_message, acts.journal, message)  # raises where there is no such message
        raise RefusedError(f"message {message} is not held for an order that goes to another patient")
    if said == "both" and await asyncio.to_thread(_is_unique, acts, message):
        raise RefusedError("numbers of this channel are unique, both results would be one: withdraw, or reject")
    work, about = partial(_process_all, acts, [message], moved=said), Selection(ids=(message,))
    return await acts.act(actor, "tell_apart", about, 1, dry_run, work, answer=said, reason=reason)


def _moves(acts: Acts, message: int) -> bool:
    with acts.journal.snapshot() as execute:
        return moved_orders.waits(execute, message)


def _is_unique(acts: Acts, message: int) -> bool:
    channel = acts.channels().get(stored_message(acts.journal, message).channel)
    return channel is not None and channel.context.specimen_ids == "unique"


def _asked(acts: Acts, message: int) -> tuple[list[int], bool]:
    with acts.journal.snapshot() as execute:
        return number_bearers.asked(execute, message), number_bearers.seems(execute, message)


async def _tell_apart(acts: Acts, message: int, same: bool) -> dict[str, int]:
    waiting, others = await acts.journal.run(number_bearers.answer, message, same=same)
    acts.journal.others.update(others)
    return await _process_all(acts, waiting)


async def _process_all(acts: Acts, messages: Sequence[int], moved: str = "") -> dict[str, int]:
    done = {"processed": 0, "held": 0, "still_dead": 0, "skipped": 0}
    for message in messages:
        outcome = await _process_held(acts, message, moved)
        done[outcome] = done.get(outcome, 0) + 1
    return done


async def _process_held(acts: Acts, message: int, moved: str) -> str:
    """Map a held message again, with today's knowledge; return the counter of its result."""
    try:
        recorded = await process_again(acts, message, Decision(again=True, moved=moved))
    except LeftOutError as left:
        return left.outcome
    if recorded is None:
        return "skipped"
    return "still_dead" if recorded.state == "dead" else "held" if recorded.held else "processed"
