"""Record the outcome of a journaled message: its documents, deliveries and state, in one transaction.

stored -> mapped | filtered | dead        by the mapping
dead, incomplete -> dismissed             by a named person
any -> mapped | filtered | dead           when it is processed again with today's mapping
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from engine.features.orders import rows as worklist
from engine.features.orders.rows import holding, naming, order_notes
from engine.features.reagents import rows as reagent_lots
from engine.features.reports.rows import result_counts
from engine.features.results.rows import (
    accepted,
    comparing,
    delta_history,
    hold_queue,
    moved_orders,
    number_bearers,
    used_numbers,
)
from engine.features.results.rows.echoes import with_repeats
from engine.features.results.rows.set_apart import Ids
from engine.model.document_facts import NOTHING, DocumentFacts
from engine.model.errors import ReconfiguredError, StoreError
from engine.model.message import Bearer, Issue, Report
from engine.model.outcome import Outcome
from engine.model.packing import unpack
from engine.model.persons import CONFLICT
from engine.model.reasons import ReasonCode
from engine.model.records import (
    NO_DECISION,
    Decision,
    HoldReason,
    Recorded,
    Routed,
)
from engine.model.worklist import answers
from engine.store.core.batch import Batch
from engine.store.core.missing_rows import absence
from engine.store.core.notes import opened_note
from engine.store.core.operation import Priority, operation
from engine.store.operations import dedup, failure_fingerprint, search_index
from engine.store.operations.append import seal_note, set_state, tell_state
from engine.store.operations.outbox import decisions, queueing
from engine.succession import order_names

STATUS_ONLY = "STATUS_ONLY"  # warning of a mapping: a result is final without its value
TWO_ORDERS = Issue(code="TWO_ORDERS", text="orders with different numbers ask for a result: its document names none")


@operation(
    priority=Priority.SETTLE,
    can_linger=True,
    size=lambda message_id, outcome, routes=(), **more: sum(len(routed.document.body) for routed in routes),
)
def record(
    batch: Batch,
    message_id: int,
    outcome: Outcome[Any],
    routes: Sequence[Routed] = (),
    *,
    after: int = 0,
    rejected_before: int = 0,
    decision: Decision = NO_DECISION,
    config: str | None = None,
) -> Recorded:
    """Record the outcome of a mapping and queue its deliveries.

    Args:
        routes: its documents, with the destinations of their routes.
        after: the message that must have its outcome first, to keep the order of the lanes (P3): its transaction may
            have failed after this one was submitted. 0: none.
        rejected_before: the message with the same bytes that a person has rejected or dismissed: the documents of this
            one are held. 0: none; where the message is processed again it is read from the row itself.
        decision: a person's, where one is the reason of this processing.
        config: the first 12 digits of the configuration's hash that it was mapped with; None: it cannot have changed
            since.

    Raises:
        ReconfiguredError: another configuration is in force.
        StoreError: there is no such message, or ``after`` has no outcome.
    """
    if config is not None and config != batch.config_hash:
        raise ReconfiguredError(f"message {message_id} was mapped with a configuration that is no longer in force")
    state, reason, detail = outcome.state, outcome.reason, outcome.detail
    again = decision.again
    if after and batch.execute("SELECT 1 FROM message_state WHERE id = ?", (after,)).fetchone() is None:
        raise StoreError(f"message {after} has no outcome yet, and message {message_id} must not overtake it")
    row = batch.execute(
        "SELECT j.channel, j.received_us, j.message_type, j.token, j.size, s.state, s.reason,"
        " (SELECT original FROM edited WHERE message_id = j.id) FROM journal j"
        " LEFT JOIN message_state s ON s.id = j.id WHERE j.id = ? AND j.kind = 1",
        (message_id,),
    ).fetchone()
    if row is None:
        raise absence(batch.execute, "message", message_id)
    channel, received_us, message_type, token, size, old_state, old_reason, edited_from = row
    if old_state is not None and (
        not again or (decision.while_dead and old_state != "dead") or _is_edited(batch, message_id)
    ):
        return Recorded(state=old_state, reason=ReasonCode[old_reason] if old_reason else None, already=True)

    late = False
    made = routes
    before = accepted.OlderMessages()
    comparison: comparing.Compared | None = None
    held: Sequence[HoldReason | None] = ()
    ids: dict[int, Ids] = {}
    withdrawn: Mapping[int, DocumentFacts] = {}
    orders: list[dict[str, Any]] = []
    ordered: dict[int, DocumentFacts] = {}
    disagree = False
    if state == "mapped":
        if outcome.tubes:
            orders, disagree = naming.orders_of(
                batch, message_id, channel, outcome.tubes, came=edited_from or message_id, again=old_state is not None
            )
            routes, ordered = _with_orders(routes, orders)
        uses = used_numbers.uses_of(batch, message_id, received_us, routes)
        routes, ids = used_numbers.set_apart(routes, uses)
        reports = [report for routed in routes for report in routed.document.reports]
        is_any_near = accepted.is_any_near(batch, message_id, reports)
        # Then the guard of `engine.features.results.rows.superseding` checks it before it is sent. An edit has the age
        # of its original.
        late = edited_from is not None or (is_any_near and dedup.newer(batch, message_id, reports))
        found = [number_bearers.compare_with_known(batch, message_id, one) for one in _bearers(routes)]
        # Where numbers are unique, the results of two patients under one number would be one: no answer permits that.
        may_share = again and not uses
        accepted_conflict = decision.accept_conflict or (may_share and number_bearers.order_accepted(batch, message_id))
        # A person who has separated two persons has accepted that both have the same order number. A dead letter waited
        # for no such answer.
        told_apart = may_share and old_state == "mapped" and any(one.bearer.person > 1 for one in found)
        status_only = any(one.code == STATUS_ONLY for one in outcome.issues)
        compared = is_any_near and not accepted_conflict and not told_apart
        takes: list[moved_orders.MovedOrders | None] = []
        if compared and not status_only and dedup.taken(batch, message_id, reports):
            takes = moved_orders.find_moved(batch, message_id, channel, routes)
        if any(takes) and not decision.moved:
            held = moved_orders.why(takes)
        elif conflict := _conflict(batch, message_id, reports) if compared and not decision.moved else "":
            routes, state, reason, detail = (), "dead", ReasonCode.IDENTITY_CONFLICT, conflict
        elif status_only and any(one.verdict == CONFLICT for one in found):
            routes, state, reason = (), "dead", ReasonCode.NO_VALUE
            detail = "a status change without its value, and whose result it is about must be answered first"
        elif asked := [one for one in found if one.verdict == CONFLICT]:
            number_bearers.ask(batch, message_id, asked, order_accepted=accepted_conflict)
            batch.count(channel, "", "asked_person")
            held = [_two_persons(asked[0].other)] * len(routes)
        else:
            dedup.remember_reports(batch, message_id, reports)
            number_bearers.note(batch, message_id, found)
            used_numbers.note(batch, message_id, uses)
            if again:
                number_bearers.answered(batch, message_id)
            first = message_id if edited_from is None else edited_from
            of_site = any(routed.of_site for routed in routes)
            named = [one.bearer for one in found]
            if is_any_near:
                before = accepted.known_orders(batch, first, channel, reports, of_site=of_site, bearers=named)
            if before.messages or again or status_only or comparing.may_correct(routes):
                how = {"again": again, "status_only": status_only}
                comparison = comparing.compare(batch, message_id, received_us, routes, before, **how)
                if orders and not comparison.echo and any(one.echoes for one in comparison.facts.values()):
                    # A result that is only repeated is of no order that is open: its report does not name that one.
                    tubes = with_repeats(batch, outcome.tubes, made, comparison.routes, comparison.facts)
                    renamed, disagree = naming.orders_of(
                        batch, message_id, channel, tubes, came=edited_from or message_id, again=old_state is not None
                    )
                    if renamed != orders:
                        routes, ordered = _with_orders(made, renamed)
                        routes, ids = used_numbers.set_apart(routes, uses)
                        comparison = comparing.compare(batch, message_id, received_us, routes, before, **how)
                routes, held = comparison.routes, comparison.held
                if comparison.no_value:
                    state, reason, detail = "dead", ReasonCode.NO_VALUE, comparison.no_value
                elif comparison.echo:
                    routes, state, reason = (), "filtered", ReasonCode.ECHO
            if any(takes) and routes and decision.moved == "withdraw":
                routes, withdrawn = moved_orders.withdraw(routes, takes)
            if any(one.waits for one in uses):
                held = used_numbers.why(routes, uses, held)

    told = None
    if outcome.ordered is not None and state != "dead":
        lines, settings = outcome.ordered.lines, outcome.ordered.settings
        told = answers(lines, worklist.take_orders(batch, message_id, channel, lines, settings))
    if outcome.ordered is not None and outcome.ordered.settings.answers_later and old_state in (None, "dead"):
        worklist.note_answer(batch, message_id)

    note = _note(detail, (*outcome.issues, TWO_ORDERS) if disagree else outcome.issues)
    if told is not None:
        note["answers"] = order_notes.packed(told)
    if comparison is not None or ids or withdrawn or ordered:
        facts = dict(comparison.facts) if comparison is not None else {}
        facts |= {place: replace(facts.get(place, NOTHING), apart=new) for place, new in ids.items()}
        facts |= {place: moved_orders.joined(facts.get(place), more) for place, more in withdrawn.items()}
        facts |= {place: replace(facts.get(place, NOTHING), orders=one.orders) for place, one in ordered.items()}
        decided = {str(place): one.as_json() for place, one in facts.items()}
        if again:
            decided = _kept_facts(batch, message_id, channel, routes) | decided
        if decided:
            note["facts"] = decided
    sealed = seal_note(batch, "message_state", message_id, channel, note)
    revision = 1
    results = None
    if outcome.results and state == "mapped":
        came_us, known = result_counts.before_edits(batch, message_id) if edited_from is not None else (None, False)
        results = None if known else result_counts.packed(batch, channel, came_us or received_us, outcome.results)
    if old_state is None:
        set_state(
            batch, message_id, channel, state, reason, mapping=outcome.mapping, detail=sealed, numbers=outcome.numbers,
            results=results,
        )  # fmt: skip
        if results is not None:
            result_counts.note(batch, message_id)
        batch.closes(message_id, channel, size)
    else:
        rejected_before = _rejected_before(batch, message_id, channel) if routes else 0
        revision = _supersede_earlier(batch, message_id)
        by = (outcome.mapping, batch.config)
        _change(batch, message_id, channel, old_state, state, reason, mapping=by, detail=sealed)
        search_index.note(batch, message_id, outcome.numbers)
        result_counts.note_again(batch, message_id, results)
    if state == "dead":
        issues = note.get("issues", ()) if detail == outcome.detail else ()  # else the mapping was not the reason
        failure_fingerprint.note(batch, "message_state", message_id, channel, detail, issues)
        batch.channel(channel).dead += 1
    if state != "mapped":  # a message without a row here was mapped: the usual case needs none
        batch.count(channel, "", state)
    batch.unmapped.note(channel, outcome.unmapped)
    if outcome.reagents or old_state is not None:
        reagent_lots.note(batch, message_id, channel, received_us, outcome.reagents)
    if reason is ReasonCode.QUESTION:
        worklist.explain(batch, message_id, channel)
    if outcome.controls:
        delta_history.note_controls(batch, channel, received_us, outcome.controls)
    routes = routes if state == "mapped" else ()
    if rejected_before:
        held = _once_more(routes, held, rejected_before)
    held = hold_queue.decide(batch, channel, received_us, routes, held)
    deliveries, waiting, places = queueing.put(
        batch,
        queueing.QueuedMessage(message_id, channel, received_us, message_type, token),
        routes,
        held,
        revision=revision,
        manual=again or late,
        known_order=bool(before.messages),
        ordered=bool(outcome.tubes),
    )
    meant: set[int] = set()
    if outcome.tubes and state == "mapped":
        waits = any(why is not None and one.destinations for one, why in zip(routes, held, strict=True))
        tubes = with_repeats(batch, outcome.tubes, made, routes, comparison.facts if comparison is not None else {})
        for tube in tubes:
            number, groups = tube.patient_number, frozenset(tube.groups)
            more = {
                "edited_from": edited_from, "control": bool(outcome.controls), "redundant": tube.redundant,
                "held": waits, "again": old_state is not None,
            }  # fmt: skip
            about = worklist.result(batch, message_id, channel, tube.specimen, number, tube.tests, groups, **more)
            meant.update(item for item, _ in about)
    goes_out = state == "mapped" and not any(held) and not any(one.waits for one in uses)
    if comparison is not None and comparison.taken_back and goes_out:
        hold_queue.take_back(batch, comparison.taken_back, message_id)
    if old_state is not None and (state == "mapped" or holding.standing(batch, message_id) != "on its way"):
        holding.gone_from(batch, message_id, meant)
    return Recorded(
        state=state,
        reason=reason,
        deliveries=deliveries,
        waiting=waiting,
        held=places,
        answers=told,
        detail=detail,
    )


def _with_orders(
    routes: Sequence[Routed], orders: Sequence[dict[str, Any]]
) -> tuple[Sequence[Routed], dict[int, DocumentFacts]]:
    """The documents, naming the orders of their results; and these facts, by the places of those that do."""
    if not orders:
        return routes, {}
    changed: list[Routed] = []
    named: dict[int, DocumentFacts] = {}
    for place, routed in enumerate(routes, start=1):
        document = routed.document
        body = unpack(document.body) if document.packed else document.body
        made = order_names.with_orders(body, document.media_type, orders) if document.reports else body
        if made != body:
            named[place] = DocumentFacts(orders=tuple(orders))
            routed = replace(routed, document=replace(document, body=made, packed=False))
        changed.append(routed)
    return changed, named


def _kept_facts(batch: Batch, message_id: int, channel: str, routes: Sequence[Routed]) -> dict[str, Any]:
    """The decisions about earlier documents of the message that this processing does not make again."""
    (sealed,) = batch.execute("SELECT detail FROM message_state WHERE id = ?", (message_id,)).fetchone() or (b"",)
    note = opened_note(batch.vault, sealed, "message_state", message_id, channel)
    made = {str(place) for place, routed in enumerate(routes, start=1) if routed.destinations}
    return {place: facts for place, facts in note.get("facts", {}).items() if place not in made}


def _is_edited(batch: Batch, message_id: int) -> bool:
    """Whether an edited message has taken its place (`engine.features.rework.rows.edit_message`)."""
    return batch.execute("SELECT 1 FROM edited WHERE original = ?", (message_id,)).fetchone() is not None


def _bearers(routes: Sequence[Routed]) -> Iterable[Bearer]:
    """The bearers of the patient numbers in these documents, without repetition."""
    found = [bearer for routed in routes for bearer in routed.document.bearers]
    return {(one.number, one.whole): one for one in found}.values() if len(found) > 1 else found


def _two_persons(other: int) -> HoldReason:
    text = f"message {other} used the same patient number for a person of another name, birth date or sex"
    return HoldReason(
        reason=ReasonCode.IDENTITY_CONFLICT,
        text=text if other else "the person who bore the same patient number was erased",
    )


def _rejected_before(batch: Batch, message_id: int, channel: str) -> int:
    """The message with the same bytes that a person has rejected or dismissed; 0 without one, or where a person has
    released this message since.
    """
    sent = "SELECT 1 FROM delivery WHERE message_id = ? AND state IN ('waiting', 'sending', 'delivered') LIMIT 1"
    if batch.execute(sent, (message_id,)).fetchone() is not None:
        return 0
    meta = batch.meta(message_id, channel)
    return 0 if meta is None else int(meta.get("rejected_before", 0))


def _once_more(routes: Sequence[Routed], held: Sequence[HoldReason | None], other: int) -> list[HoldReason | None]:
    """Hold documents whose bytes a person has rejected before; an open question about their patient comes first."""
    text = f"the same bytes came as message {other}, which a person has rejected or dismissed"
    found: list[HoldReason | None] = []
    for place, routed in enumerate(routes):
        before = held[place] if place < len(held) else None
        if before is not None:
            found.append(replace(before, text=f"{before.text}; {text}"))
        else:
            found.append(
                HoldReason(reason=ReasonCode.REJECTED_BEFORE, text=text)
                if routed.destinations and not routed.echo
                else None
            )
    return found


def _conflict(batch: Batch, message_id: int, reports: list[Report]) -> str:
    """Why an order or specimen number of this message conflicts with another patient's; empty without a conflict."""
    if not dedup.taken(batch, message_id, reports):
        return ""
    other = dedup.conflicting(batch, message_id, reports)
    return "" if other is None else f"message {other} used the same order or specimen number for another patient"


def dismiss(batch: Batch, message_ids: Iterable[int], detail: str) -> int:
    """Dismiss these dead or incomplete messages; return how many were changed."""
    changed = 0
    for message_id in message_ids:
        row = batch.execute(
            "SELECT s.state, s.reason, s.mapping, s.config, j.channel FROM message_state s"
            " JOIN journal j ON j.id = s.id WHERE s.id = ?",
            (message_id,),
        ).fetchone()
        if row is None or row[0] not in ("dead", "incomplete"):
            continue
        state, reason, *by, channel = row
        sealed = seal_note(batch, "message_state", message_id, channel, {"detail": detail})
        _change(batch, message_id, channel, state, "dismissed", ReasonCode[reason], mapping=by, detail=sealed)
        dedup.forget_reports(batch, message_id)
        batch.count(channel, "", "dismissed")
        changed += 1
    return changed


def _change(
    batch: Batch,
    message_id: int,
    channel: str,
    old: str,
    state: str,
    reason: ReasonCode | None,
    *,
    mapping: Sequence[str | int],
    detail: bytes,
) -> None:
    """``mapping``: with its configuration."""
    batch.execute(
        "UPDATE message_state SET state = ?, reason = ?, at_us = ?, mapping = ?, config = ?, detail = ? WHERE id = ?",
        (state, reason.value if reason else "", batch.now_us, *mapping, detail, message_id),
    )
    tell_state(batch, message_id, channel, state, reason)
    if old in ("dead", "incomplete"):  # these are counted
        tally = batch.channel(channel)
        setattr(tally, old, getattr(tally, old) - 1)


def _supersede_earlier(batch: Batch, message_id: int) -> int:
    """Close the open deliveries of an earlier mapping of the message; return the revision for its new documents."""
    rows = batch.execute(
        "SELECT id FROM delivery WHERE message_id = ? AND state IN ('waiting', 'dead', 'held')", (message_id,)
    ).fetchall()
    decisions.replace(batch, [row[0] for row in rows], "the message was processed again")
    (last,) = batch.execute(
        "SELECT coalesce(max(revision), 0) FROM document WHERE message_id = ?", (message_id,)
    ).fetchone()
    return int(last) + 1


def _note(detail: str, issues: Sequence[Issue]) -> dict[str, Any]:
    note: dict[str, Any] = {}
    if detail:
        note["detail"] = detail
    if issues:
        note["issues"] = [asdict(issue) for issue in issues]
    return note
