"""Edit a dead message: a person's corrected bytes are checked as intake does, and journaled as a new message."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.actions.underway import Acts, answer
from engine.features.rework.rows import edit_message as edit_message_ops
from engine.features.rework.rows.edit_message import EditResult
from engine.model.errors import LabRelayError, RefusedError
from engine.model.journal.journal_views import Trace
from engine.model.message import Received, Stored
from engine.model.routes import ChannelRoutes, Processed
from engine.processing.process import process
from engine.store.queries.contents import stored_payload, why_absent
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader

RECONFIGURED = "the configuration has changed since the outcome of the edit was seen; look at it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An edited message as intake would take it now; nothing is stored.

    Attributes:
        before: the bytes of the dead message.
        outcome: ``dead`` where the edit would be refused.
    """

    trace: Trace
    channel: ChannelRoutes
    before: bytes
    received: Received
    outcome: Processed

    @property
    def code(self) -> str:
        return self.outcome.reason.value if self.outcome.reason is not None else ""

    @property
    def to(self) -> list[str]:
        """The destinations that its documents would go to."""
        return sorted({name for _, route in self.outcome.documents for name in route.to})


def tried(
    reader: Reader, channels: Mapping[str, ChannelRoutes], message: int, content: bytes, received_us: int
) -> Trial:
    """Process a person's correction as intake does.

    Args:
        content: the whole corrected message.

    Raises:
        LabRelayError: the message cannot be edited, or not to these bytes; its text has the reason.
    """
    trace = trace_of(reader, message)
    if trace is None:
        raise why_absent(reader, "message", message)
    raise_if_not_editable(trace)
    channel = channels.get(trace.message.channel)
    if channel is None:
        raise LabRelayError(f"its channel {trace.message.channel} is not configured any more")
    before = stored_payload(reader, message)
    if content == before:
        raise LabRelayError("nothing was changed, so nothing is done")
    _raise_if_not_one(content, channel)
    header = channel.message_format.header(content)
    received = Received(
        channel=channel.channel,
        payload=content,
        received_us=received_us,
        control_id=header.control_id,
        message_type=header.message_type,
        notes=("edited by a person",),
    )
    outcome = process(_as_stored(message, received), channel)
    return Trial(trace=trace, channel=channel, before=before, received=received, outcome=outcome)


async def edit_message(
    acts: Acts,
    message: int,
    content: bytes,
    *,
    actor: str,
    reason: str,
    seen_with: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Journal a person's correction of a dead letter as a new message, and close the dead letter.

    An edit that would be a dead letter again is refused: the present one stays as it is. A delivery attempt of the
    wrong version cannot be called back: it is waited for (``awaited``: its destinations), so that its result is known,
    and nothing of the corrected message can be sent before it.

    Args:
        content: the whole corrected message.
        seen_with: hash of the configuration with which the person has seen its outcome, as ``config_hash`` of the dry
            run says it; None: it was not looked at.

    Raises:
        RefusedError: it has no reason, or another configuration is in force.
        LabRelayError: nothing was changed; its text has the reason.
    """
    if not dry_run and not reason.strip():
        raise RefusedError("an edit needs a reason")
    config = acts.journal.upkeep.config_hash  # before the trial: one of a later configuration is looked at again
    if seen_with is not None and seen_with[: len(config)] != config:
        raise RefusedError(RECONFIGURED)
    # In a thread: analyzers are answered meanwhile.
    trial = await asyncio.to_thread(tried, acts.journal, acts.channels(), message, content, acts.now_us())
    if trial.outcome.state == "dead":
        detail = f": {trial.outcome.detail}" if trial.outcome.detail else ""
        raise LabRelayError(f"the edited message would be a dead letter again: {trial.code}{detail}")
    details = {"verdict": trial.outcome.state, "code": trial.code, "to": trial.to, "config_hash": config}
    if dry_run:
        return {**answer(1, None, {}), "message": None, "awaited": [], **details}
    awaited = await acts.let_attempts_end(message)
    if acts.journal.upkeep.config_hash != config:
        raise RefusedError(RECONFIGURED)
    for lane in {(one.channel, one.destination) for one in trial.trace.deliveries}:
        acts.reclaim(*lane)  # deliveries in memory are closed with their rows, and from here on no attempt begins
    future = acts.journal.run(
        edit_message_ops.correct, message, trial.received, before=trial.before, actor=actor, reason=reason
    )
    future.add_done_callback(partial(_corrected, acts))  # in journal order, also without a waiting caller
    corrected = await asyncio.shield(future)
    if corrected.stored is None:
        raise LabRelayError(corrected.refused)
    for lane in corrected.lanes:
        acts.reclaim(*lane)  # a dead letter may have held its lane
    return {**answer(1, None, {"edited": 1}), "message": corrected.stored.id, "awaited": awaited, **details}


def charsets_of(routes: ChannelRoutes | None, payload: bytes) -> tuple[str, ...]:
    """The character sets that a message of a channel may be in, the likeliest first; none without the channel."""
    if routes is None:
        return ()
    with suppress(LabRelayError):  # often why it is dead
        return (routes.message_format.parse(payload, routes.options).charset, *routes.options.charsets)
    return tuple(routes.options.charsets)


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
