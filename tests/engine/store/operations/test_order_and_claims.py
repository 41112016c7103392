"""What delivery and intake rely on: claims that say when a lane is empty, every attempt kept, order under faults."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from engine.features.rework.rows import dismissal
from engine.model.errors import StoreError
from engine.model.journal.journal_views import DeliveryView
from engine.model.message import Report
from engine.model.outcome import Outcome
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.journal.starting import unprocessed
from engine.store.operations import record_outcome
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.lanes import list_lanes
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import trace_of
from tests.support.journals import queue, routed, running, store


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with running(tmp_path) as journal:
        yield journal


def view(journal: Journal, message_id: int) -> DeliveryView:
    trace = trace_of(journal, message_id)
    assert trace is not None
    (delivery,) = trace.deliveries
    return delivery


async def test_every_failed_attempt_is_kept_though_the_delivery_stays_in_memory_between_them(journal: Journal) -> None:
    (message,) = await queue(journal, b"{}")
    (claimed,) = await journal.run(claims.claim, "chem", "fhir", 1)
    for attempt in (1, 2, 3):
        await journal.run(
            attempts.postpone,
            claimed.id,
            attempt=attempt,
            not_before_us=attempt * 10,
            cause=ReasonCode.BUSY,
            detail=f"try {attempt}",
        )
    found = view(journal, message)
    assert (found.state, found.attempt, found.not_before_us) == ("waiting", 3, 30)
    assert [(tried.n, tried.detail) for tried in found.attempts] == [(1, "try 1"), (2, "try 2"), (3, "try 3")]
    (lane,) = list_lanes(journal)
    assert lane.open == 1


async def test_what_a_person_has_closed_is_not_opened_by_a_late_failure(journal: Journal) -> None:
    (message,) = await queue(journal, b"{}")
    (claimed,) = await journal.run(claims.claim, "chem", "fhir", 1)
    await journal.run(attempts.bury, claimed.id, reason=ReasonCode.REFUSED)
    await journal.run(attempts.postpone, claimed.id, attempt=1, not_before_us=1, cause=ReasonCode.BUSY)
    assert view(journal, message).state == "dead"


async def test_a_claim_that_was_cut_off_is_marked(journal: Journal) -> None:
    messages = await queue(journal, b"1", b"2", b"3")
    first, second, third = await journal.run(claims.claim, "chem", "fhir", 3)
    await journal.run(attempts.postpone, second.id, attempt=1, not_before_us=1, cause=ReasonCode.BUSY)
    assert await journal.run(claims.unclaim, [first.id, second.id], maybe_delivered=True) == 1
    assert await journal.run(claims.unclaim, [third.id]) == 1
    found = [view(journal, message) for message in messages]
    assert [(one.state, one.maybe_delivered) for one in found] == [
        ("waiting", True),
        ("waiting", True),
        ("waiting", False),
    ]


async def test_deliveries_name_their_reports(journal: Journal) -> None:
    reports = (Report(b"r" * 16, b"p" * 16), Report(b"s" * 16))
    (stored,) = await store(journal, b"m")
    outcome = await journal.run(
        record_outcome.record,
        stored.id,
        Outcome("mapped"),
        [routed(b"{}", "a", claimed=True, reports=reports), routed(b"{}", "b")],
    )
    assert [delivery.reports for delivery in outcome.deliveries] == [(b"r" * 16, b"s" * 16)]
    await journal.run(claims.unclaim, [outcome.deliveries[0].id])
    (again,) = await journal.run(claims.claim, "chem", "a", 1)
    assert again.reports == (b"r" * 16, b"s" * 16)
    (other,) = await journal.run(claims.claim, "chem", "b", 1)
    assert other.reports == ()


async def test_a_claim_is_empty_only_where_nothing_waits(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        messages = await queue(journal, *(b"%d" % n * 100 for n in range(5)))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.execute("UPDATE document SET body = zeroblob(length(body)) WHERE id <= 4")
        connection.commit()
    async with running(tmp_path) as journal:
        (found,) = await journal.run(claims.claim, "chem", "fhir", 2)  # the four before it cannot be opened any more
        assert found.message_id == messages[4]
        assert await journal.run(claims.claim, "chem", "fhir", 2) == []
        assert sorted(letter.message_id for letter in dead_letters(journal)) == messages[:4]


async def test_reading_back_is_empty_only_where_nothing_is_left(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        stored = await store(journal, *(b"%d" % n * 100 for n in range(8)))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.execute("UPDATE journal SET body = zeroblob(length(body)) WHERE id <= 5")
        connection.commit()
    async with running(tmp_path) as journal:
        assert [one.id for one in unprocessed(journal, 0, 2)] == [stored[5].id, stored[6].id]
        assert [one.id for one in unprocessed(journal, stored[6].id, 2)] == [stored[7].id]
        assert unprocessed(journal, stored[7].id, 2) == []


async def test_reading_back_brings_no_more_into_memory_than_it_may(journal: Journal) -> None:
    stored = await store(journal, *(b"%d" % n * 100 for n in range(4)))
    assert [one.id for one in unprocessed(journal, max_bytes=250)] == [stored[0].id, stored[1].id]
    assert [one.id for one in unprocessed(journal, stored[1].id, max_bytes=1)] == [stored[2].id]


async def test_a_message_does_not_overtake_the_one_before_it(journal: Journal) -> None:
    first, second = await store(journal, b"1", b"2")
    with pytest.raises(StoreError, match="must not overtake"):
        await journal.run(record_outcome.record, second.id, Outcome("mapped"), [routed(b"2")], after=first.id)
    # Also within one transaction, where the one before is refused.
    earlier = journal.run(record_outcome.record, 4711, Outcome("filtered"))
    later = journal.run(record_outcome.record, second.id, Outcome("mapped"), [routed(b"2")], after=first.id)
    for future in (earlier, later):
        with pytest.raises(StoreError):
            await future
    both = [
        journal.run(record_outcome.record, first.id, Outcome("mapped"), [routed(b"1")]),
        journal.run(record_outcome.record, second.id, Outcome("mapped"), [routed(b"2")], after=first.id),
    ]
    assert [(await future).state for future in both] == ["mapped", "mapped"]
    assert [one.message_id for one in await journal.run(claims.claim, "chem", "fhir", 9)] == [first.id, second.id]


async def test_where_a_dead_letter_holds_the_lane_a_damaged_document_does(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await queue(journal, b"1", b"2", b"3", b"4")
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection, connection:
        connection.execute("UPDATE document SET body = zeroblob(length(body)) WHERE id IN (2, 3)")
    async with running(tmp_path) as journal:
        assert not await journal.run(claims.is_held, "chem", "fhir")
        assert [one.id for one in await journal.run(claims.claim, "chem", "fhir", 9, hold=True)] == [1]
        assert await journal.run(claims.is_held, "chem", "fhir")
        assert await journal.run(claims.claim, "chem", "fhir", 9, after=1, hold=True) == []
        await journal.run(dismissal.dismiss, deliveries=[2], actor="ann", reason="sent again")
        assert await journal.run(claims.claim, "chem", "fhir", 9, after=1, hold=True) == []
        assert await journal.run(claims.is_held, "chem", "fhir")
        await journal.run(dismissal.dismiss, deliveries=[3], actor="ann", reason="sent again")
        assert [one.id for one in await journal.run(claims.claim, "chem", "fhir", 9, after=1, hold=True)] == [4]
