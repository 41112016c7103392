"""Set aside one delivery that its destination never takes, so that those behind it are sent."""

import asyncio
from collections.abc import Sequence
from typing import Any

from engine.actions.underway import Acts, answer
from engine.features.rework.rows import dismissal
from engine.model.content.tested_results import corrects
from engine.model.errors import ErasedError, IntegrityError, LabRelayError, RefusedError
from engine.model.journal.journal_views import DeliveryView, Trace
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.contents import stored_document, stored_payload, why_absent
from engine.store.queries.messages import trace_of

OPEN = ("waiting", "sending")


async def set_aside_delivery(
    acts: Acts, message: int, destination: str = "", *, actor: str, reason: str, dry_run: bool = False
) -> dict[str, Any]:
    """Set aside the delivery of a message that has failed and waits for its next attempt.

    An attempt under way cannot be called back, and is waited for. The delivery becomes a dead letter: retried, it is
    sent in its old place, and newer results that were delivered meanwhile keep it back as always.

    Args:
        destination: of the delivery; empty where the message waits for one destination only.

    Raises:
        LabRelayError: nothing was changed; its text has the reason.
    """
    if not dry_run and not reason.strip():
        raise RefusedError("setting a delivery aside needs a reason")
    trace = await asyncio.to_thread(trace_of, acts.journal, message)
    if trace is None:
        raise await asyncio.to_thread(why_absent, acts.journal, "message", message)
    chosen = which(trace, destination)
    correction = await asyncio.to_thread(_corrects, acts, trace, chosen)
    code = ReasonCode.CORRECTION_SET_ASIDE if correction else ReasonCode.SET_ASIDE
    details = {"message": message, "destination": chosen.destination, "code": code.value}
    if dry_run:
        return {**answer(1, None, {}), **details}
    await acts.let_attempts_end(message)
    acts.reclaim(chosen.channel, chosen.destination)  # gives back deliveries that wait in memory
    done = await acts.journal.run(dismissal.set_aside, chosen.id, correction=correction, actor=actor, reason=reason)
    acts.reclaim(chosen.channel, chosen.destination)
    if not done:
        raise LabRelayError(
            f"message {message} waits for {chosen.destination} no more: labrelay messages show {message}"
        )
    return {**answer(1, None, {"set_aside": 1}), **details}


def _corrects(acts: Acts, trace: Trace, delivery: DeliveryView) -> bool:
    """Whether the document corrects or withdraws results; True also where that is unknown."""
    try:
        known = corrects(stored_document(acts.journal, delivery.document_id))
        if known is None:  # no document with readable results; the message may show it
            known = corrects(stored_payload(acts.journal, trace.message.id))
    except (ErasedError, IntegrityError):
        return True
    return known is not False


def which(trace: Trace, destination: str) -> DeliveryView:
    """Find the delivery to set aside.

    Raises:
        LabRelayError: there is none, or several match.
    """
    number = trace.message.id
    waiting = [one for one in trace.deliveries if one.state in OPEN and destination in ("", one.destination)]
    where = f" for {destination}" if destination else ""
    if not waiting:
        raise LabRelayError(f"nothing of message {number} waits{where}: labrelay messages show {number}")
    tried = [one for one in waiting if one.attempts]
    if not tried:
        raise LabRelayError(
            f"no attempt to deliver message {number}{where} has failed: it waits behind another one. labrelay status "
            "says for which message a destination waits"
        )
    places = _places(tried)
    if len(places) > 1:
        raise LabRelayError(f"message {number} waits for {', '.join(places)}; say which: --destination NAME")
    return tried[0]


def _places(deliveries: Sequence[DeliveryView]) -> list[str]:
    return sorted({one.destination for one in deliveries})
