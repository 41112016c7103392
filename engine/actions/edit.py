"""Edit a dead message: a person's corrected bytes are checked as intake does, and journaled as a new message."""

import asyncio
from functools import partial
from typing import Any

from engine.actions.underway import Acts, answer
from engine.model.errors import LabRelayError, RefusedError
from engine.model.message import Received, Stored
from engine.model.records import Trace
from engine.processing.process import ChannelRoutes, process
from engine.store.operations import edit_message as edit_message_ops
from engine.store.operations.edit_message import EditResult
from engine.store.queries.contents import stored_payload, why_absent
from engine.store.queries.messages import trace_of


async def edit_message(
    acts: Acts, message: int, content: bytes, *, actor: str, reason: str, dry_run: bool = False
) -> dict[str, Any]:
    """Journal a person's correction of a dead letter as a new message, and close the dead letter.

    An edit that would be a dead letter again is refused: the present one stays as it is. A delivery attempt of the
    wrong version cannot be called back: it is waited for (``awaited``: its destinations), so that its result is known,
    and nothing of the corrected message can be sent before it.

    Args:
        content: the whole corrected message.

    Raises:
        LabRelayError: nothing was changed; its text has the reason.
    """
    if not dry_run and not reason.strip():
        raise RefusedError("an edit needs a reason")
    trace = await asyncio.to_thread(trace_of, acts.journal, message)
    channel = acts.channels().get(trace.message.channel) if trace is not None else None
    if trace is None:
        raise await asyncio.to_thread(why_absent, acts.journal, "message", message)
    raise_if_not_editable(trace)
    if channel is None:
        raise LabRelayError(f"its channel {trace.message.channel} is not configured any more")
    before = await asyncio.to_thread(stored_payload, acts.journal, message)
    if content == before:
        raise LabRelayError("nothing was changed, so nothing is done")
    _raise_if_not_one(content, channel)
    header = channel.message_format.header(content)
    received = Received(
        channel=channel.channel,
        payload=content,
        received_us=acts.now_us(),
        control_id=header.control_id,
        message_type=header.message_type,
        notes=("edited by a person",),
    )
    # In a thread: analyzers are answered meanwhile.
    outcome = await asyncio.to_thread(process, _as_stored(message, received), channel)
    code = outcome.reason.value if outcome.reason is not None else ""
    if outcome.state == "dead":
        detail = f": {outcome.detail}" if outcome.detail else ""
        raise LabRelayError(f"the edited message would be a dead letter again: {code}{detail}")
    to = sorted({name for _, route in outcome.documents for name in route.to})
    details = {"verdict": outcome.state, "code": code, "to": to}
    if dry_run:
        return {**answer(1, None, {}), "message": None, "awaited": [], **details}
    awaited = await acts.let_attempts_end(message)
    for lane in {(one.channel, one.destination) for one in trace.deliveries}:
        acts.reclaim(*lane)  # deliveries in memory are closed with their rows, and from here on no attempt begins
    future = acts.journal.run(edit_message_ops.correct, message, received, before=before, actor=actor, reason=reason)
    future.add_done_callback(partial(_corrected, acts))  # in journal order, also without a waiting caller
    corrected = await asyncio.shield(future)
    if corrected.stored is None:
        raise LabRelayError(corrected.refused)
    for lane in corrected.lanes:
        acts.reclaim(*lane)  # a dead letter may have held its lane
    return {**answer(1, None, {"edited": 1}), "message": corrected.stored.id, "awaited": awaited, **details}


def _corrected(acts: Acts, done: "asyncio.Future[EditResult]") -> None:
    if not done.cancelled() and done.exception() is None and (stored := done.result().stored) is not None:
        acts.accept(stored)


def raise_if_not_editable(trace: Trace) -> None:
    """Raises LabRelayError where a message is not an editable dead letter."""
    number = trace.message.id
    if trace.edited_as:
        raise LabRelayError(f"message {number} was edited already: it is message {trace.edited_as} now")
    if trace.message.state == "incomplete":
        raise LabRelayError(f"message {number} is incomplete, so it is never a result; have the analyzer send it again")
    if trace.message.state != "dead" and not any(delivery.state == "dead" for delivery in trace.deliveries):
        raise LabRelayError(f"message {number} is no dead letter ({trace.message.state}); only these are edited")


def _raise_if_not_one(content: bytes, channel: ChannelRoutes) -> None:
    """Raises LabRelayError where the bytes are not one message of the channel."""
    if not content.strip():
        raise LabRelayError("the edited message is empty; to close a dead letter, use: labrelay dlq dismiss")
    try:
        parts = len(channel.message_format.split(content))
    except Exception as error:  # an error of ours; its details are not examined here
        raise LabRelayError("the edited text cannot be read as a message") from error
    if parts != 1:
        raise LabRelayError(f"the edited text holds {parts} messages; one dead letter becomes one message")


def _as_stored(message: int, received: Received) -> Stored:
    return Stored(
        id=message,
        channel=received.channel,
        seq=0,
        payload=received.payload,
        received_us=received.received_us,
        control_id=received.control_id,
        message_type=received.message_type,
    )
