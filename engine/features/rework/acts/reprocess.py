"""Map messages again and send the differences, which `engine.processing.reprocessing` finds, as an operation."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from engine.actions.operations import BulkAct, Slice
from engine.actions.selection import MOST_BY_NUMBER, Selection, messages
from engine.actions.underway import ANSWER_WITHIN_S, DEFAULT_RATE, Acts, Again, operation_so_far
from engine.features.rework.rows import letter_steps
from engine.model.errors import RefusedError
from engine.model.journal.records import Decision
from engine.model.routes import ChannelRoutes
from engine.processing.reprocessing import Finding, examine
from engine.store.operations.bulk import Member, Operation, leaves_all
from engine.store.queries.bulk import running_operations

VERB = "reprocess"
OUTCOMES = {"superseded": "outdated"}  # finding -> outcome, where an outcome of other acts has its name


async def reprocess_messages(
    acts: Acts,
    selection: Selection,
    *,
    config: str,
    actor: str,
    reason: str,
    tried: ChannelRoutes | None = None,
    mapping: str = "",
    rate: float = DEFAULT_RATE,
    within_s: float = ANSWER_WITHIN_S,
) -> dict[str, Any]:
    """Map the messages of a channel again and send the differences; ``count`` is the number of messages checked.

    Where the configuration changes, the messages left are ``configuration_changed``: they stay as they were.

    Args:
        config: the first 12 digits of the hash of the configuration to map with.
        tried: the routes to map with, where they are not the channel's own. A restart does not know them any more:
            the messages left are ``configuration_changed``, too.
        mapping: the name and digest of what was tried, for the audit trail.
        rate: messages per second that are sent, at most.
        within_s: how long to wait for its end; after that it continues.
    """
    if not reason.strip():
        raise RefusedError("reprocessing needs a reason")
    channel = selection.channel
    if channel is None:
        raise RefusedError("reprocessing is for one channel")
    async with acts.beginning:  # two at once would find the same differences, and send them twice
        running = await asyncio.to_thread(running_operations, acts.journal)
        if any(one.verb == VERB and one.what.get("selection", {}).get("channel") == channel for one in running):
            raise RefusedError(f"messages of {channel} are being reprocessed already; try again when that has ended")
        last, counted_us = acts.journal.last_id, acts.now_us()
        chosen: list[int] = []
        for state in ("mapped", "filtered"):
            chosen += await asyncio.to_thread(messages, acts.journal, replace(selection, state=state, last=last))
        kept = replace(selection.without_numbers(chosen), channel=channel)
        if len(kept.ids) > max(MOST_BY_NUMBER, len(selection.ids)):
            raise RefusedError(f"more than {MOST_BY_NUMBER} messages bear that number; narrow it by time")
        what = {"selection": kept.to_json(), "count": len(chosen), "reason": reason, "mapping": mapping}
        what |= {"rate": rate, "config": config}
        members = [Member(message) for message in sorted(chosen)]
        act = reprocessing(acts, tried)
        number = await acts.operations.start(
            act, VERB, members, last=last, counted_us=counted_us, actor=actor, what=what
        ) if members else None  # fmt: skip
    return await operation_so_far(acts, number, len(members), within_s)


def reprocessing(acts: Acts, tried: ChannelRoutes | None = None) -> BulkAct:
    """The slices of a reprocessing: one message that differs, or those before the next that does."""

    async def next_slice(order: Operation, members: Sequence[Member]) -> Slice:
        same = Counter[str]()
        for message, _ in members:
            routes = tried
            if routes is None and not order.what["mapping"]:
                routes = acts.channels().get(order.what["selection"]["channel"])
            if routes is None or acts.journal.upkeep.config_hash != order.what["config"]:
                same["configuration_changed"] = len(members) - same.total()
                break
            # In a thread: analyzers are answered meanwhile.
            finding = await asyncio.to_thread(examine, acts.journal, message, routes)
            if finding.outcome == "changed":
                if not same:
                    return _sent(order, finding, routes.channel)
                break
            same[OUTCOMES.get(finding.outcome, finding.outcome)] += 1
        return Slice(same.total(), leaves_all(same))

    return next_slice


def _sent(order: Operation, finding: Finding, channel: str) -> Slice:
    """Store a message's new documents and queue them where they differ."""
    assert finding.processed is not None
    decision = Decision(again=True, accept_conflict=finding.same_reports)
    lanes = frozenset((channel, name) for routed in finding.send for name in routed.destinations)
    again = Again(finding.message_id, finding.processed, finding.send, decision, order.what["config"], lanes)
    work = partial(letter_steps.reprocess, again=again, operation=order.number)
    payload = sum(len(routed.document.body) for routed in finding.send)
    return Slice(1, work, payload, pause_s=1.0 / order.what["rate"])
