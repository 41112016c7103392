"""Map messages again and send the differences, which `engine.processing.reprocessing` finds."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.actions.selection import Selection, messages
from engine.actions.underway import DEFAULT_RATE, Acts
from engine.model.errors import ReconfiguredError, RefusedError
from engine.model.records import Decision
from engine.processing.process import ChannelRoutes
from engine.processing.reprocessing import Finding, examine
from engine.store.operations import record_outcome
from engine.store.queries.messages import trace_of


async def reprocess_messages(
    acts: Acts,
    selection: Selection,
    *,
    routes: ChannelRoutes,
    config: str,
    actor: str,
    reason: str,
    mapping: str = "",
    rate: float = DEFAULT_RATE,
) -> dict[str, Any]:
    """Map the messages of a channel again and send the differences; ``count`` is the number of messages checked.

    It stops where the configuration changes: ``configuration_changed`` is the number of messages left. Run again, it
    continues where it was cut short: sent documents differ no more.

    Args:
        routes: the routes to map with.
        config: the first 12 digits of the hash of the configuration that they are of.
        mapping: its name and digest, for the audit trail, where it is not the channel's own.
    """
    if not reason.strip():
        raise RefusedError("reprocessing needs a reason")
    channel = routes.channel
    if selection.channel != channel:
        raise RefusedError("reprocessing is for one channel")
    if channel in acts.reprocessing:
        # Two at once would find the same differences, and send them twice.
        raise RefusedError(f"messages of {channel} are being reprocessed already; try again when that has ended")
    acts.reprocessing.add(channel)
    begun: list[None] = []

    async def work() -> dict[str, int]:
        begun.append(None)
        try:
            return await _reprocess(acts, sorted(chosen), routes, config, rate)
        finally:
            acts.reprocessing.discard(channel)

    try:
        chosen: list[int] = []
        for state in ("mapped", "filtered"):
            chosen += await asyncio.to_thread(messages, acts.journal, replace(selection, state=state))
        return await acts.act(
            actor,
            "reprocess",
            selection,
            len(chosen),
            False,
            work,
            reason=reason,
            mapping=mapping,
            rate=rate,
        )
    finally:
        if not begun:  # it may continue in the background, else
            acts.reprocessing.discard(channel)


async def _reprocess(
    acts: Acts, chosen: Sequence[int], routes: ChannelRoutes, config: str, rate: float
) -> dict[str, int]:
    outcome = Counter[str](messages=0, deliveries=0)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for place, message_id in enumerate(chosen):
        # Waited for first: nothing found may change before it is sent.
        await asyncio.sleep(max(0.0, begin + outcome["messages"] / rate - loop.time()))
        try:
            outcome.update(await _examine_and_send(acts, message_id, routes, config))
        except ReconfiguredError:
            outcome["configuration_changed"] = len(chosen) - place
            break
    return dict(outcome)


async def _examine_and_send(acts: Acts, message_id: int, routes: ChannelRoutes, config: str) -> dict[str, int]:
    """Count the outcome of one message.

    Raises:
        ReconfiguredError: the routes are not in force any more; nothing was stored.
    """
    if acts.journal.upkeep.config_hash != config:
        raise ReconfiguredError(f"the configuration changed before message {message_id} was mapped")
    # In a thread: analyzers are answered meanwhile.
    finding = await asyncio.to_thread(examine, acts.journal, message_id, routes)
    if finding.outcome != "changed":
        return {finding.outcome: 1}
    queued = await _send_again(acts, finding, routes.channel, config)
    if queued is None:
        return {"conflicts": 1}
    trace = await asyncio.to_thread(trace_of, acts.journal, message_id)
    held = sum(one.state == "held" for one in trace.deliveries) if trace is not None else 0
    return {"messages": 1, "deliveries": queued} | ({"held": held} if held else {})


async def _send_again(acts: Acts, finding: Finding, channel: str, config: str) -> int | None:
    """Store a message's new documents and queue them where they differ; return the number of deliveries.

    None where another patient has used one of its numbers meanwhile: the message becomes a visible dead letter.
    """
    assert finding.processed is not None
    recorded = await acts.journal.run(
        record_outcome.record,
        finding.message_id,
        finding.processed,
        finding.send,
        decision=Decision(again=True, accept_conflict=finding.same_reports),
        config=config,
    )
    if recorded.already:
        return 0  # it was edited meanwhile
    if recorded.state != "mapped":
        return None
    for routed in finding.send:
        for destination in routed.destinations:
            acts.reclaim(channel, destination)
    return recorded.waiting
