"""Erase a patient's messages while the site runs: their deliveries stop first, then they are erased in small steps."""

import asyncio
from collections.abc import Sequence
from typing import Any

from engine.actions.selection import chunks
from engine.actions.underway import Acts
from engine.model.errors import RefusedError, StoreError
from engine.store.lifecycle import erasure
from engine.store.queries.messages import lanes_of

ERASED_AT_ONCE = 25  # messages in one transaction, so that no sender waits long for an acknowledgement


async def erase_messages(
    acts: Acts, messages: Sequence[int], numbers: Sequence[str], *, actor: str, reason: str, more: dict[str, Any]
) -> dict[str, Any]:
    """Erase these messages, a few in each transaction. Each step has its own audit row; after an interruption, the same
    command does the rest.

    Args:
        numbers: the patient's, for traces of lines and the audit trail's tokens.
        more: further contents of the audit row.

    Raises:
        LabRelayError: the step failed; its text has the reason. Earlier steps are done.
    """
    if not reason.strip():
        raise RefusedError("erasing needs a reason")
    if not any(number.strip() for number in numbers):
        raise RefusedError("whose messages are erased?")
    done = {"messages": 0, "frames": 0, "documents": 0, "closed": 0, "values": 0, "lines": 0}
    act = 0
    for part in chunks(messages, ERASED_AT_ONCE) if messages else [()]:  # orders of a patient without a message
        lanes: set[tuple[str, str]] = set()
        for message in part:
            lanes |= await asyncio.to_thread(lanes_of, acts.journal, message)
        await acts.let_attempts_end(*part)
        for lane in lanes:
            acts.reclaim(*lane)  # from here on no attempt begins: deliveries in memory are given back
        try:
            erased = await acts.journal.run(erasure.erase, part, numbers, actor=actor, reason=reason, more=more)
        except StoreError as error:
            raise StoreError(f"{error}; {done['messages']} messages are erased, give the command again") from error
        finally:
            for lane in lanes:
                acts.reclaim(*lane)
        act = erased.act
        for name in done:
            done[name] += getattr(erased, name)
    return {"act": act, **done}
