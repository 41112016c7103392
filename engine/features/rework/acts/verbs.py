"""Acts that do messages and their deliveries again, or otherwise: retry, edit, set aside, replay, reprocess.

Replay: choose the documents to send again, and where; they are queued behind all new work, as an operation.

Retry dead letters: deliveries wait in their old places, messages are processed with today's mapping.

Map messages again and send the differences, which `engine.processing.reprocessing` finds, as an operation.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Annotated, Any

from pydantic import Field

from engine.actions import underway
from engine.actions.control import Request
from engine.actions.declaring import Declared, Message, NoArguments, Rate, Reason, Selected
from engine.actions.operations import BulkAct, Slice
from engine.actions.running_site import Result, RunningSite, known
from engine.actions.selection import (
    MOST_BY_NUMBER,
    PAGE,
    REPLAY_STATES,
    Selection,
    chunks,
    messages,
    replay_states,
    replayable,
)
from engine.actions.underway import ANSWER_WITHIN_S, DEFAULT_RATE, Acts, Again, operation_so_far
from engine.config.load import Site
from engine.features.rework.acts.edit import edit_message, set_aside_delivery
from engine.features.rework.rows import letter_steps
from engine.features.rework.rows.letter_steps import ALONG
from engine.mapping.language.targets import MEDIA_TYPES
from engine.model.errors import LabRelayError, RefusedError
from engine.model.journal.journal_views import Filter
from engine.model.journal.records import Decision
from engine.model.routes import ChannelRoutes
from engine.model.site.permissions import ACTING, CHANGING, EDITING
from engine.model.texts.reasons import ReasonCode
from engine.processing.reprocessing import Finding, examine, with_mapping
from engine.store.operations.bulk import Member, Operation, counts, leaves_all
from engine.store.queries.bulk import running_operations
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import lanes_of, sent_among

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


async def retry_letters(
    acts: underway.Acts,
    selection: Selection,
    *,
    actor: str,
    reason: str = "",
    overwrite: bool = False,
    dry_run: bool = False,
    within_s: float = underway.ANSWER_WITHIN_S,
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
    return await underway.begin_bulk_act(
        acts, retrying(acts), "retry", dead_letters, selection,
        actor=actor, reason=reason, dry_run=dry_run, within_s=within_s,
        more={"overwrite": True} if overwrite else {},
    )  # fmt: skip


def retrying(acts: underway.Acts) -> BulkAct:
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


async def _message(acts: underway.Acts, order: Operation, message: int) -> Slice:
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
    again = await underway.map_again(acts, message, decision)
    if again is None:
        return Slice(1, letter_steps.leaves(Member(message)))
    work = partial(letter_steps.record, again=again, operation=order.number)
    return Slice(1, work, sum(len(routed.document.body) for routed in again.routed))


async def replay_documents(
    acts: underway.Acts,
    selection: Selection,
    *,
    actor: str,
    reason: str = "",
    to: str = "",
    takes: str = "",
    rate: float = underway.DEFAULT_RATE,
    dry_run: bool = False,
    within_s: float = underway.ANSWER_WITHIN_S,
) -> dict[str, Any]:
    """Send stored documents of messages again, and with them the newer messages of the same reports.

    ``count`` is the number of selected messages, ``newer`` the number that go along. ``last`` and ``counted_us`` of a
    dry run belong in the selection of the replay that follows.

    Args:
        selection: its destination and state are those of their deliveries.
        reason: required where the newer ones at least double the number.
        to: another destination; empty: the original ones.
        takes: the media type that ``to`` takes, or empty.
        rate: messages per second, at most.
        within_s: how long to wait for its end; after that it continues.

    Raises:
        RefusedError: a required reason is missing.
    """
    last, now_us = acts.journal.last_id if selection.last is None else selection.last, acts.now_us()
    found = await asyncio.to_thread(replayable, acts.journal, selection)
    count = len(found.selected)
    counted_us = max(now_us, found.newest_us) if selection.counted_us is None else selection.counted_us
    details = {"newer": len(found.newer)}
    if to:
        sent = [len(await asyncio.to_thread(sent_among, acts.journal, part, REPLAY_STATES, to))
                for part in chunks(found.all, PAGE)]  # fmt: skip
        details["new"] = len(found.all) - sum(sent)
    if dry_run:
        said = {"needs_reason": found.needs_reason, "last": last, "counted_us": counted_us}
        return {**underway.answer(count, None, {}), **details, **said}
    if found.needs_reason and not reason.strip():
        raise RefusedError(
            f"{len(found.newer)} newer messages of the same reports go along; a reason is needed, for they at "
            "least double what was selected"
        )
    kept = selection.without_numbers(found.selected)
    if len(kept.ids) > max(MOST_BY_NUMBER, len(selection.ids)):
        raise RefusedError(f"more than {MOST_BY_NUMBER} messages bear that number; narrow it by time or channel")
    what = {"selection": kept.to_json(), "count": count, "to": to, "takes": takes, "rate": rate}
    what |= {name: said for name, said in (("newer", len(found.newer)), ("reason", reason.strip())) if said}
    members = sorted([*map(Member, found.selected), *(Member(one, ALONG) for one in found.newer)])
    begun = await underway.begin_operation(
        acts, replaying(acts), "replay", members, last=last, counted_us=counted_us, actor=actor, what=what,
        within_s=within_s,
    )  # fmt: skip
    return {**begun, "count": count, **details}


def replaying(acts: underway.Acts) -> BulkAct:
    """The slices of a replay: one message, once its lanes are free; all that there are where this process sends
    nothing.
    """

    async def next_slice(order: Operation, members: Sequence[Member]) -> Slice:
        selection, to = Selection.from_json(order.what["selection"]), order.what["to"]
        only = None if selection.destination is None else frozenset({selection.destination})
        if acts.yielding is not None:
            members = members[:1]
            lanes = await asyncio.to_thread(lanes_of, acts.journal, members[0].message_id)
            if to:
                lanes = {(channel, to) for channel, _ in lanes}
            elif only is not None:
                lanes = {lane for lane in lanes if lane[1] in only}
            await acts.yielding.turn(order.number, lanes)
        work = partial(
            letter_steps.replay,
            members=members,
            operation=order.number,
            destinations=only,
            to=to,
            takes=order.what["takes"],
            states=replay_states(selection),
        )
        return Slice(len(members), work, pause_s=1.0 / order.what["rate"])

    return next_slice


def media_type_of(site: Site, destination: str) -> str:
    """The media type that a destination of the site takes, or empty: anything.

    Raises:
        LabRelayError: no destination has that name.
    """
    config = site.config.destinations.get(destination)
    if config is None:
        raise LabRelayError(f"there is no destination {destination}; known: {', '.join(site.config.destinations)}")
    return MEDIA_TYPES.get(config.takes, "")


ACTS = Declared(5)
Hash = Annotated[str, Field(min_length=12)]


@ACTS.act("retry", ACTING, api="try dead letters again", counted=True, slices=retrying, place=1)
async def retry(
    site: RunningSite,
    request: Request,
    *,
    reason: Reason = None,
    dry_run: bool = False,
    selection: Selected,
    overwrite: bool = False,
) -> Result:
    """``overwrite``: our version replaces the server's where that is another one; needs a reason."""
    return await retry_letters(
        site.acts,
        selection,
        actor=request.actor,
        reason=reason or "",
        overwrite=overwrite,
        dry_run=dry_run,
        within_s=site.within_s,
    )


@ACTS.act("edit", EDITING, api="correct a dead message; `content` is the whole message in base 64")
async def edit(
    site: RunningSite,
    request: Request,
    *,
    reason: Reason = None,
    dry_run: bool = False,
    message: Message,
    config_hash: Hash | None = None,
) -> Result:
    """``config_hash``: of the configuration that the person has seen the outcome with, as the dry run says it; its
    first 12 digits are enough. None: the outcome was not looked at.
    """
    return await edit_message(
        site.acts,
        message,
        request.content,
        actor=request.actor,
        reason=reason or "",
        seen_with=config_hash,
        dry_run=dry_run,
    )


@ACTS.act("set_aside", ACTING, api="set one waiting delivery aside")
async def set_aside(
    site: RunningSite,
    request: Request,
    *,
    reason: Reason = None,
    dry_run: bool = False,
    message: Message,
    destination: str | None = None,
) -> Result:
    return await set_aside_delivery(
        site.acts, message, destination or "", actor=request.actor, reason=reason or "", dry_run=dry_run
    )


@ACTS.act("replay", ACTING, api="send stored documents again", counted=True, slices=replaying)
async def replay(
    site: RunningSite,
    request: Request,
    *,
    reason: Reason = None,
    dry_run: bool = False,
    selection: Selected,
    to: str | None = None,
    rate: Rate = underway.DEFAULT_RATE,
) -> Result:
    return await replay_documents(
        site.acts,
        selection,
        actor=request.actor,
        reason=reason or "",
        to=to or "",
        takes=media_type_of(site.loaded(), to) if to else "",
        rate=rate,
        dry_run=dry_run,
        within_s=site.within_s,
    )


class Reprocess(NoArguments):
    """The command compares first, without the daemon, so there is no ``dry_run``.

    ``config_hash``: of the configuration that was compared with; its first 12 digits are enough.
    """

    selection: Selected
    reason: str = ""
    rate: Rate
    config_hash: Hash
    mapping: str | None = None
    mapping_hash: str | None = None


@ACTS.act("reprocess", CHANGING, api="map stored messages anew, and deliver the changes", slices=reprocessing)
async def reprocess(site: RunningSite, request: Request, asked: Reprocess) -> Result:
    loaded, tried, named = site.loaded(), None, ""
    routes = known(site.acts.channels(), asked.selection.channel)
    if not loaded.hash.startswith(asked.config_hash):
        raise RefusedError(
            "the daemon runs a different configuration from that of the differences: give "
            "`labrelay reload`, and look at them again"
        )
    if asked.mapping is not None:
        tried, program = await asyncio.to_thread(with_mapping, loaded, routes, asked.mapping)
        if program.content_hash != asked.mapping_hash:
            raise RefusedError(f"{asked.mapping} has changed since the differences were made; look at them again")
        named = f"{program.name}@{program.content_hash[:12]}"
    return await reprocess_messages(
        site.acts,
        asked.selection,
        config=loaded.hash[:12],
        actor=request.actor,
        reason=asked.reason,
        tried=tried,
        mapping=named,
        rate=asked.rate,
        within_s=site.within_s,
    )
