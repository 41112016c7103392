"""Retry, dismiss and replay: what changes, what stays, and what the journal says about it afterwards."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from adapters.codecs.hl7v2 import message as hl7v2
from engine.actions import operations, underway
from engine.actions.selection import Selection, letters, messages
from engine.actions.underway import Acts
from engine.features.results.acts import dismiss_letters, reject_held, release_held
from engine.features.rework.acts.verbs import replay_documents, retry_letters
from engine.model.errors import LabRelayError, RefusedError, StoreError
from engine.model.message import FormatOptions, MapContext, Received
from engine.model.outcome import Outcome
from engine.model.process.clock import SystemClock
from engine.model.routes import ChannelRoutes, Route
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, audit, bulk, record_outcome
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.messages import deliveries_of, trace_of
from tests.support.filled_journal import (
    CHANNEL,
    DELIVERED,
    DESTINATION,
    INCOMPLETE,
    REFUSED,
    UNMAPPED,
    WAITING,
    fill_journal,
)
from tests.support.journals import replaced

ROUTES = ChannelRoutes(
    channel=CHANNEL,
    message_format=hl7v2,
    media_type="x-application/hl7-v2+er7",
    options=FormatOptions(),
    routes=(Route(when=None, program=None, to=(DESTINATION,)),),
    context=MapContext(channel=CHANNEL),
)


class Site:
    """A journal, acts on it, and the lanes that were woken."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.woken: list[tuple[str, str]] = []
        self.routes = {CHANNEL: ROUTES}
        self.acts = Acts(journal, channels=lambda: self.routes, reclaim=lambda *lane: self.woken.append(lane))

    def state(self, message: int) -> str:
        trace = trace_of(self.journal, message)
        assert trace is not None
        return trace.message.state

    def deliveries(self, message: int) -> list[str]:
        trace = trace_of(self.journal, message)
        assert trace is not None
        return [delivery.state for delivery in trace.deliveries]


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    await asyncio.to_thread(fill_journal, tmp_path)
    journal = Journal.open(tmp_path, clock=SystemClock())
    recover(journal)
    journal.start(asyncio.get_running_loop())
    site = Site(journal)
    yield site
    await site.acts.stop()
    await journal.stop()


async def test_a_selection_means_numbers_or_a_filter_or_all(site: Site) -> None:
    found = letters(site.journal, Selection(all=True))
    assert [(letter.message_id, bool(letter.delivery_id)) for letter in found] == [
        (REFUSED, True),
        (UNMAPPED, False),
        (INCOMPLETE, False),
    ]
    assert [letter.message_id for letter in letters(site.journal, Selection(ids=(REFUSED, DELIVERED)))] == [REFUSED]
    assert [letter.message_id for letter in letters(site.journal, Selection(code="UNMAPPED_CODE"))] == [UNMAPPED]
    assert letters(site.journal, Selection(destination="other")) == []
    assert messages(site.journal, Selection(channel=CHANNEL)) == [DELIVERED, REFUSED, WAITING]
    assert messages(site.journal, Selection(ids=(WAITING, UNMAPPED))) == [WAITING]


async def test_a_retried_delivery_waits_in_its_old_place_and_its_lane_is_woken(site: Site) -> None:
    answer = await retry_letters(site.acts, Selection(code="REFUSED"), actor="anita")

    assert answer["count"] == 1
    assert answer["done"]["requeued"] == 1
    assert site.deliveries(REFUSED) == ["waiting"]
    assert site.woken == [(CHANNEL, DESTINATION)]
    claimed = await site.journal.run(claims.claim, CHANNEL, DESTINATION, 10)
    assert [delivery.message_id for delivery in claimed] == [REFUSED, WAITING]
    assert claimed[0].manual


async def test_only_a_chosen_overwrite_replaces_what_the_server_has(site: Site) -> None:
    """A reason for the retry of all letters is none for replacing another version."""
    await site.journal.run(claims.claim, CHANNEL, DESTINATION, 10)
    (waiting,) = deliveries_of(site.journal, [WAITING])
    await site.journal.run(attempts.bury, waiting.id, reason=ReasonCode.CONFLICT)
    everything = Selection(all=True)
    assert (await retry_letters(site.acts, everything, actor="anita", dry_run=True))["conflicts"] == 1

    answer = await retry_letters(site.acts, everything, actor="anita", reason="the server is up again")
    assert (answer["done"]["requeued"], answer["done"]["conflicts"]) == (1, 1)
    assert site.deliveries(WAITING) == ["dead"]
    for reason in ("", "  "):
        with pytest.raises(RefusedError, match="needs a reason"):
            await retry_letters(site.acts, everything, actor="anita", reason=reason, overwrite=True)

    answer = await retry_letters(site.acts, everything, actor="anita", reason="ours is right", overwrite=True)
    assert answer["done"]["requeued"] == 1
    claimed = await site.journal.run(claims.claim, CHANNEL, DESTINATION, 10)
    assert {one.message_id: one.unconditional for one in claimed} == {REFUSED: False, UNMAPPED: False, WAITING: True}
    begun = next(act for act in acts_page(site.journal, limit=5) if act.verb == "retry")
    assert begun.what["overwrite"] is True


async def test_a_retried_message_is_processed_again_with_what_is_in_force(site: Site) -> None:
    answer = await retry_letters(site.acts, Selection(ids=(UNMAPPED,)), actor="anita")

    assert answer["done"]["processed"] == 1
    assert site.state(UNMAPPED) == "mapped"
    assert site.deliveries(UNMAPPED) == ["waiting"]
    assert site.woken == [(CHANNEL, DESTINATION)]


async def test_what_is_still_wrong_is_still_dead_and_said(site: Site) -> None:
    site.routes = {}
    assert (await retry_letters(site.acts, Selection(ids=(UNMAPPED,)), actor="anita"))["done"]["no_channel"] == 1

    never = ChannelRoutes(**{**{name: getattr(ROUTES, name) for name in ROUTES.__slots__}, "routes": ()})
    site.routes = {CHANNEL: never}
    assert (await retry_letters(site.acts, Selection(ids=(UNMAPPED,)), actor="anita"))["done"]["still_dead"] == 1
    trace = trace_of(site.journal, UNMAPPED)
    assert trace is not None
    assert (trace.message.state, trace.message.reason) == ("dead", ReasonCode.NO_ROUTE.value)


@pytest.mark.parametrize("verb", ["dismiss", "retry"])
async def test_an_operation_goes_on_where_the_store_failed_and_wakes_its_lanes(
    site: Site, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """A step that was not stored is done again, one member at a time."""
    monkeypatch.setattr(operations, "TRY_AGAIN_S", 0.0)
    await site.journal.run(claims.claim, CHANNEL, DESTINATION, 10)
    (waiting,) = deliveries_of(site.journal, [WAITING])
    await site.journal.run(attempts.bury, waiting.id, reason=ReasonCode.CONFLICT)
    asked: list[int] = []

    def failing(
        run: Callable[..., object], number: int, position: int, members: int, *work: object, **more: object
    ) -> object:
        asked.append(members)
        if len(asked) in (1, 3):
            raise StoreError("the queue is full")
        return run(number, position, members, *work, **more)

    replaced(monkeypatch, site.journal, bulk.step, by=failing)
    act = dismiss_letters if verb == "dismiss" else partial(retry_letters, overwrite=True)
    answer = await act(site.acts, Selection(ids=(REFUSED, WAITING)), actor="anita", reason="ours is right")

    assert asked == [2, 1, 1, 1]
    changed = {"dismiss": ("dismissed", "dismissed"), "retry": ("requeued", "waiting")}[verb]
    assert answer["done"] == {changed[0]: 2}
    assert site.deliveries(REFUSED) + site.deliveries(WAITING) == [changed[1]] * 2
    assert set(site.woken) == {(CHANNEL, DESTINATION)}


async def test_a_member_that_cannot_be_dealt_with_is_counted_as_failed_and_stops_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "TRY_AGAIN_S", 0.0)

    def broken(*given: object) -> object:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(underway, "map_again", broken)
    answer = await retry_letters(site.acts, Selection(all=True), actor="anita")
    assert answer["done"] == {"requeued": 1, "failed": 1, "incomplete": 1}
    assert site.state(UNMAPPED) == "dead"


async def test_letters_are_not_selected_by_what_they_are_not_found_by(site: Site) -> None:
    """A filter that is ignored would mean all of them."""
    for chosen in (Selection(specimen="26-4711"), Selection(number="O3", channel=CHANNEL)):
        for act in (retry_letters, dismiss_letters, release_held, reject_held):
            with pytest.raises(RefusedError, match="message number"):
                await act(site.acts, chosen, actor="anita", reason="known")
    assert acts_page(site.journal) == []


async def test_an_incomplete_message_is_never_made_a_result(site: Site) -> None:
    answer = await retry_letters(site.acts, Selection(ids=(INCOMPLETE,)), actor="anita")

    assert answer["done"] == {"incomplete": 1}
    assert site.state(INCOMPLETE) == "incomplete"


@pytest.mark.parametrize("verb", ["dismiss", "retry"])
async def test_what_came_after_the_count_was_agreed_to_by_nobody(site: Site, verb: str) -> None:
    act = dismiss_letters if verb == "dismiss" else retry_letters
    counted = await act(site.acts, Selection(all=True), actor="anita", reason="known", dry_run=True)
    later = await site.journal.run(
        append.store_message, Received(channel=CHANNEL, payload=b"later", received_us=0), repeat_window_s=1.0
    )
    await site.journal.run(record_outcome.record, later.id, Outcome("dead", ReasonCode.UNREADABLE), [])
    assert len(letters(site.journal, Selection(all=True))) == counted["count"] + 1

    assert counted["last"] < later.id
    for frozen in ({"counted_us": counted["counted_us"]}, {"last": counted["last"]}):
        chosen = Selection(all=True, **frozen)
        assert (await act(site.acts, chosen, actor="anita", reason="known", dry_run=True))["count"] == 3
    chosen = Selection(all=True, last=counted["last"], counted_us=counted["counted_us"])
    done = await act(site.acts, chosen, actor="anita", reason="known")
    assert done["count"] == counted["count"] == 3
    assert site.state(later.id) == "dead"
    assert Selection(counted_us=1).is_empty


async def test_a_clock_that_was_set_back_hides_no_dead_letter(site: Site) -> None:
    site.acts.now_us = lambda: 1
    counted = await dismiss_letters(site.acts, Selection(all=True), actor="anita", reason="known", dry_run=True)
    chosen = Selection(all=True, counted_us=counted["counted_us"])
    assert (await dismiss_letters(site.acts, chosen, actor="anita", reason="known"))["done"] == {"dismissed": 3}


async def test_a_dismissal_names_who_and_why_and_needs_both(site: Site) -> None:
    with pytest.raises(RefusedError, match="reason"):
        await dismiss_letters(site.acts, Selection(all=True), actor="anita", reason="  ")
    answer = await dismiss_letters(site.acts, Selection(all=True), actor="anita", reason="duplicate order")

    assert answer["done"] == {"dismissed": 3}
    assert (site.state(UNMAPPED), site.state(INCOMPLETE), site.deliveries(REFUSED)) == (
        "dismissed",
        "dismissed",
        ["dismissed"],
    )
    end, dismissed, begun = acts_page(site.journal, limit=3)
    assert (end.ended, end.what) == (begun.id, {"dismissed": 3})
    for act in (dismissed, begun):
        assert (act.actor, act.verb, act.what["reason"]) == ("anita", "dismiss", "duplicate order")
    assert dismissed.what["messages"] == [REFUSED, UNMAPPED, INCOMPLETE]


async def test_a_replay_sends_stored_documents_again_under_their_old_keys(site: Site) -> None:
    answer = await replay_documents(site.acts, Selection(ids=(DELIVERED,)), actor="anita", rate=1000)

    assert answer["done"] == {"requeued": 1}
    trace = trace_of(site.journal, DELIVERED)
    assert trace is not None
    assert [delivery.state for delivery in trace.deliveries] == ["delivered", "waiting"]
    assert len({delivery.key for delivery in trace.deliveries}) == 1
    assert site.woken == [(CHANNEL, DESTINATION)]


async def test_a_replay_is_of_what_went_to_a_destination(site: Site) -> None:
    elsewhere = Selection(ids=(DELIVERED,), destination="other")
    assert (await replay_documents(site.acts, elsewhere, actor="anita", rate=1000))["count"] == 0
    with pytest.raises(LabRelayError, match="dlq retry"):
        await replay_documents(site.acts, Selection(state="dead"), actor="anita")


@pytest.mark.parametrize("act", [retry_letters, dismiss_letters, release_held, reject_held])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_letters_and_held_results_are_not_selected_by_a_state_of_others(
    site: Site, act: Callable[..., Any], dry_run: bool
) -> None:
    with pytest.raises(RefusedError, match="state: give "):
        await act(site.acts, Selection(state="delivered"), actor="anita", reason="seen", dry_run=dry_run)


async def test_a_replay_to_another_destination_has_a_key_of_its_own_each_time_the_same(site: Site) -> None:
    chosen = Selection(ids=(DELIVERED, REFUSED))
    dry = await replay_documents(site.acts, chosen, actor="anita", to="other", dry_run=True)
    assert (dry["count"], dry["new"]) == (1, 1)
    for again in range(2):
        answer = await replay_documents(site.acts, chosen, actor="anita", to="other", rate=1000)
        assert answer["done"] == {"requeued": 1}
        for delivery in await site.journal.run(claims.claim, CHANNEL, "other", 9):
            await site.journal.run(attempts.settle, delivery.id, delivered_us=1 + again)
    trace = trace_of(site.journal, DELIVERED)
    assert trace is not None
    there = [delivery for delivery in trace.deliveries if delivery.destination == "other"]
    assert [delivery.state for delivery in there] == ["delivered"] * 2
    assert len({delivery.key for delivery in there}) == 1
    assert there[0].key != trace.deliveries[0].key
    assert site.woken[-1] == (CHANNEL, "other")


async def test_a_replay_to_another_destination_sends_only_what_it_takes(site: Site) -> None:
    answer = await replay_documents(
        site.acts, Selection(ids=(DELIVERED,)), actor="anita", to="other", takes="x-application/hl7"
    )
    assert answer["done"] == {"no_document": 1}


async def test_what_was_dismissed_is_sent_again_only_where_somebody_says_so(site: Site) -> None:
    await dismiss_letters(site.acts, Selection(ids=(REFUSED,)), actor="anita", reason="seen")
    assert (await replay_documents(site.acts, Selection(ids=(REFUSED,)), actor="anita"))["count"] == 0
    asked = Selection(ids=(REFUSED,), state="dismissed")
    assert (await replay_documents(site.acts, asked, actor="anita"))["done"] == {"requeued": 1}
    assert site.deliveries(REFUSED) == ["dismissed", "waiting"]


def test_the_act_of_a_replay_has_no_number_of_a_specimen_in_it() -> None:
    by_number = Selection(specimen="26-4711", destination="fhir")
    assert by_number.without_numbers([3, 5]) == Selection(ids=(3, 5), destination="fhir")
    assert Selection(channel="a").without_numbers([3]) == Selection(channel="a")


async def test_a_dry_run_counts_and_changes_nothing(site: Site) -> None:
    before = acts_page(site.journal)
    everything = Selection(all=True)
    assert (await retry_letters(site.acts, everything, actor="anita", dry_run=True))["count"] == 3
    assert (await dismiss_letters(site.acts, everything, actor="anita", reason="x", dry_run=True))["count"] == 3
    assert (await replay_documents(site.acts, everything, actor="anita", dry_run=True))["count"] == 1

    assert acts_page(site.journal) == before
    assert len(letters(site.journal, everything)) == 3


async def test_an_act_is_a_row_before_it_starts_and_another_at_its_end(site: Site) -> None:
    answer = await retry_letters(site.acts, Selection(code="REFUSED"), actor="anita")
    end, begin = acts_page(site.journal, limit=2)

    assert (begin.id, begin.actor, begin.verb) == (answer["act"], "anita", "retry")
    assert begin.what == {"selection": {"code": "REFUSED"}, "count": 1}
    assert (end.ended, end.what["requeued"]) == (begin.id, 1)
    assert open_acts(site.journal) == []


async def test_an_act_that_a_stop_cut_short_is_closed_at_the_next_start(site: Site) -> None:
    cut = await site.journal.run(audit.begin, "anita", "reprocess", {})

    await site.acts.give_up([cut])

    assert open_acts(site.journal) == []
    assert acts_page(site.journal, limit=1)[0].what == {"interrupted": True}


def test_a_selection_survives_the_wire_and_nothing_else_is_taken_for_one() -> None:
    chosen = Selection(ids=(1, 2), channel="a", code="REFUSED", after_us=5)
    assert Selection.from_json(chosen.to_json()) == chosen
    assert Selection().is_empty
    for junk in (None, [], {"colour": "red"}, {"ids": "1"}, {"ids": ["x"]}, {"channel": 5}, {"all": "yes"}):
        with pytest.raises(LabRelayError):
            Selection.from_json(junk)
