"""Repeats, report numbers, unmapped codes, counters: bounded, aged out, kept per day of the site."""

import asyncio
import sqlite3
from dataclasses import astuple
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from engine.features.results.rows import superseding
from engine.features.rework.rows import dismissal
from engine.model.errors import StoreError
from engine.model.journal.records import Decision
from engine.model.message import Report, Unmapped
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core import sweeping, unmapped_codes
from engine.store.core.vault import KEY_NAME
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal, upkeep
from engine.store.lifecycle.retention import Policy
from engine.store.operations import append, audit, record_outcome, search_index
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import counters_of, list_unmapped
from tests.support.journals import DAY_S, WINDOW_S, opened, received, routed, running, store
from tests.support.waiting import until

KEY, ANN, BOB = b"k" * 16, b"a" * 16, b"b" * 16


def rows(journal: Journal, table: str) -> int:
    with journal.snapshot() as execute:
        return int(execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def mapped(journal: Journal, payload: bytes, patient: bytes, person: bytes = b"") -> str:
    (stored,) = await store(journal, payload)
    report = Report(KEY, patient, person)
    outcome = await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed(reports=(report,))])
    return outcome.reason.value if outcome.reason else outcome.state


async def test_a_person_may_accept_a_conflict(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await mapped(journal, b"1", ANN) == "mapped"
        assert await mapped(journal, b"2", BOB) == "IDENTITY_CONFLICT"
        trace = trace_of(journal, 2)
        assert trace is not None
        assert trace.detail == "message 1 used the same order or specimen number for another patient"
        outcome = await journal.run(
            record_outcome.record,
            2,
            Outcome("mapped"),
            [routed(reports=(Report(KEY, BOB),))],
            decision=Decision(again=True, accept_conflict=True),
        )
        assert outcome.waiting == 1


async def test_an_older_result_under_a_former_name_is_superseded(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for number, person in enumerate((b"Doe-----19800412", b"Miller--19800412"), 1):
            assert await mapped(journal, b"%d" % number, ANN, person) == "mapped"
        older, newer = await journal.run(claims.claim, "chem", "fhir", 10)
        await journal.run(attempts.settle, newer.id, delivered_us=1)
        assert await journal.run(superseding.overtaken_before_sent, older.id)


async def test_a_dismissed_message_owns_no_number(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await mapped(journal, b"1", ANN) == "mapped"
        await journal.run(
            record_outcome.record, 1, Outcome("dead", ReasonCode.MAPPING_FAULT), decision=Decision(again=True)
        )
        assert await mapped(journal, b"2", BOB) == "IDENTITY_CONFLICT"
        await journal.run(dismissal.dismiss, messages=[1], actor="ann", reason="wrong sample")
        assert await mapped(journal, b"3", BOB) == "mapped"


async def test_a_number_is_free_again_after_its_memory(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        assert await mapped(journal, b"1", ANN) == "mapped"
        clock.advance(89 * DAY_S)
        assert await mapped(journal, b"2", BOB) == "IDENTITY_CONFLICT"
        clock.advance(2 * DAY_S)
        assert await mapped(journal, b"3", BOB) == "mapped"


class LeapingClock(ManualClock):
    """A clock that somebody sets, or whose battery fails."""

    def leap(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


async def test_a_clock_that_is_wrong_for_a_while_makes_nobody_forget_whose_number_it_is(tmp_path: Path) -> None:
    clock = LeapingClock()
    async with running(tmp_path, clock=clock) as journal:
        assert await mapped(journal, b"1", ANN) == "mapped"
        clock.leap(20 * 365 * DAY_S)
        assert await mapped(journal, b"2", BOB) == "IDENTITY_CONFLICT"
        for _ in range(5):
            clock.advance(3700)  # sweeps are due
            await journal.run(audit.note, "test", "tick", {})
        assert rows(journal, "report") == 1
        clock.leap(-20 * 365 * DAY_S)
        assert await mapped(journal, b"3", BOB) == "IDENTITY_CONFLICT"


async def test_nor_does_a_start_with_a_wrong_clock(tmp_path: Path) -> None:
    policy = Policy(**dict.fromkeys(("delivered_us", "filtered_us", "dismissed_us", "audit_us", "least_us"), 10**16))
    clock = LeapingClock()
    async with running(tmp_path, clock=clock) as journal:
        journal.upkeep.policy = policy
        assert await mapped(journal, b"1", ANN) == "mapped"
        for _ in range(3):
            clock.advance(61.0)  # a walk of retention notes the time
            await journal.run(audit.note, "test", "tick", {})
    clock.leap(20 * 365 * DAY_S)
    async with running(tmp_path, clock=clock) as journal:
        assert await mapped(journal, b"2", BOB) == "IDENTITY_CONFLICT"


async def test_what_came_while_the_clock_was_ahead_makes_no_repeat_of_what_comes_years_before(tmp_path: Path) -> None:
    clock = LeapingClock()

    async def arrives() -> int | None:
        stored = await journal.run(
            append.store_message, received(b"nameless", at_us=clock.now_us(), lost=True), repeat_window_s=WINDOW_S
        )
        return stored.repeat_of

    async with running(tmp_path, clock=clock) as journal:
        clock.leap(20 * 365 * DAY_S)
        assert await arrives() is None
        assert await arrives() == 1
        clock.leap(-20 * 365 * DAY_S)
        assert await arrives() is None
        assert await arrives() == 3


async def test_short_memories_are_swept_when_their_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_ROWS", 7)
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        for n in range(40):
            stored = await journal.run(
                append.store_message,
                received(b"%d" % n, control_id=str(n), at_us=clock.now_us()),
                repeat_window_s=WINDOW_S,
            )
            report = Report(n.to_bytes(16, "big"), ANN)
            await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed(reports=(report,))])
        await store(journal, b"nameless")
        clock.advance(2 * DAY_S)

        async def swept(table: str, left: int) -> None:
            for _ in range(60):
                clock.advance(3700)  # at most three days in all
                await journal.run(audit.note, "test", "tick", {})
                if rows(journal, table) == left:
                    return
            raise AssertionError(rows(journal, table))

        await swept("repeat", 41)
        clock.advance(30 * DAY_S)
        await swept("repeat", 0)
        assert rows(journal, "report") == 40
        clock.advance(60 * DAY_S)
        await swept("report", 0)


async def test_one_control_id_for_ever_costs_no_more_than_any_other(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        first = await store(journal, *(b"%d" % n for n in range(600)), control_id="1", lost=True)
        assert [one.same_id_other_bytes for one in first] == [False] + [True] * 599
        again = await store(journal, b"0", b"299", b"599", control_id="1", lost=True)
        assert [one.repeat_of for one in again] == [1, 300, 600]


async def test_unmapped_codes_are_counted_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmapped_codes, "UNMAPPED_ROWS", 5)
    async with running(tmp_path) as journal:
        for n in range(8):
            (stored,) = await store(journal, b"%d" % n)
            codes = [Unmapped("lab.csv", "GLU"), Unmapped("lab.csv", f"X{n}" * 300, "mg", "noise")]
            await journal.run(record_outcome.record, stored.id, Outcome("filtered", unmapped=codes))
        found = list_unmapped(journal)
        assert len(found) == 5
        assert (found[0].code, found[0].n) == ("GLU", 8)
        assert max(len(gap.code) for gap in found) == 200
        counts = {one.name: one.n for one in counters_of(journal, "2026-03-01")}
        assert counts["unmapped_not_kept"] == 4
    async with running(tmp_path) as journal:
        (stored,) = await store(journal, b"9")
        await journal.run(record_outcome.record, stored.id, Outcome("filtered", unmapped=[Unmapped("lab.csv", "NEW")]))
        assert len(list_unmapped(journal, "chem")) == 5
        assert list_unmapped(journal, "blood") == []


async def test_a_message_with_many_unmapped_codes_has_some_noted_each_time_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20,000 in one transaction would hold up each acknowledgement."""
    monkeypatch.setattr(unmapped_codes, "LOOKED_UP", 3)
    codes = [Unmapped("lab.csv", f"C{n}") for n in range(7)]
    async with running(tmp_path) as journal:
        for n, noted in enumerate((3, 6, 7)):
            (stored,) = await store(journal, b"%d" % n)
            await journal.run(record_outcome.record, stored.id, Outcome("filtered", unmapped=codes))
            assert len(list_unmapped(journal)) == noted
        counts = {one.name: one.n for one in counters_of(journal, "2026-03-01")}
        assert counts["unmapped_not_kept"] == 4 + 1


async def test_codes_of_messages_that_share_a_transaction_are_counted_each(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        kept = [(await store(journal, b"%d" % n))[0].id for n in range(20)]
        glucose = [Unmapped("lab.csv", "GLU", "mg/dL", "Glucose")]
        before = journal.writer.stats.batches
        await asyncio.gather(
            *(journal.run(record_outcome.record, one, Outcome("filtered", unmapped=glucose * 2)) for one in kept)
        )
        assert journal.writer.stats.batches - before < len(kept)
        assert [(one.code, one.unit, one.n) for one in list_unmapped(journal)] == [("GLU", "mg/dL", 40)]


async def test_a_code_of_a_transaction_that_failed_is_counted_when_it_comes_again(tmp_path: Path) -> None:
    """Where its row stands is remembered from the commit on: a row that was rolled back is nowhere."""
    async with running(tmp_path) as journal:
        first, second, third = [(await store(journal, b"%d" % n))[0].id for n in range(3)]
        glucose, urea = [Unmapped("lab.csv", "GLU")], [Unmapped("lab.csv", "UREA")]
        await journal.run(record_outcome.record, first, Outcome("filtered", unmapped=glucose))
        rollbacks = journal.writer.stats.rollbacks
        with sqlite3.connect(tmp_path / "journal.db", isolation_level=None) as other:
            other.execute("CREATE TRIGGER refused BEFORE UPDATE ON channel BEGIN SELECT RAISE(ABORT, 'no'); END")
            with pytest.raises(StoreError):
                await journal.run(record_outcome.record, second, Outcome("dead", unmapped=glucose + urea))
            other.execute("DROP TRIGGER refused")
        assert journal.writer.stats.rollbacks == rollbacks + 1
        await journal.run(record_outcome.record, second, Outcome("filtered", unmapped=glucose + urea))
        await journal.run(record_outcome.record, third, Outcome("filtered", unmapped=glucose * 2 + urea))
        assert [(one.code, one.n) for one in list_unmapped(journal)] == [("GLU", 4), ("UREA", 2)]


async def test_few_short_codes_are_remembered_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unmapped_codes, "ROWS_REMEMBERED", 3)
    codes = [Unmapped("lab.csv", f"C{n}") for n in range(5)] + [Unmapped("lab.csv", "X" * 200)]
    async with running(tmp_path) as journal:
        for n in range(6):
            (stored,) = await store(journal, b"%d" % n)
            await journal.run(
                record_outcome.record, stored.id, Outcome("filtered", unmapped=[codes[n], *codes[-2:], codes[0]])
            )
            remembered = journal.tail.code_rows
            assert len(remembered) <= 3
            assert all(len(code) < 200 for _, _, code, _ in remembered)
        assert remembered
        found = {one.code: one.n for one in list_unmapped(journal)}
    assert found == {"C0": 7, "C1": 1, "C2": 1, "C3": 1, "C4": 7, "X" * 200: 7}


async def test_a_day_is_the_sites_day(tmp_path: Path) -> None:
    clock = ManualClock()  # 06:00 UTC
    journal = opened(tmp_path, clock=clock, zone=ZoneInfo("Asia/Kolkata"))
    journal.start(asyncio.get_running_loop())
    await store(journal, b"1")
    clock.advance(13 * 3600)  # 19:00 and still the same day in UTC, half past midnight in Kolkata
    await store(journal, b"2", b"3")
    assert [(c.name, c.n) for c in counters_of(journal, "2026-03-01")] == [("received", 1)]
    assert [(c.name, c.n) for c in counters_of(journal, "2026-03-02")] == [("received", 2)]
    await journal.stop()


async def test_a_fault_of_ours_in_upkeep_costs_upkeep_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(batch: Batch) -> bool:
        batch.execute("DELETE FROM report")
        raise ValueError("quotes SHARMA^ANITA")

    monkeypatch.setattr(upkeep, "SWEEPS", (faulty,))
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        assert await mapped(journal, b"1", ANN) == "mapped"
        for _ in range(3):
            clock.advance(3700)
            await journal.run(audit.note, "test", "tick", {})
        assert rows(journal, "report") == 1
        assert await mapped(journal, b"2", BOB) == "IDENTITY_CONFLICT"
    told = [record for record in caplog.records if record.message == "upkeep failed, tried again later"]
    assert {record.cause for record in told} == {"ValueError"}  # type: ignore[attr-defined] # given with `extra`


async def test_search_keys_that_cannot_be_indexed_are_tried_again_a_second_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def faulty(batch: Batch) -> int:
        tries.append(batch.last_id)
        if len(tries) < 3:
            raise ValueError
        return add(batch)

    add = search_index.add
    monkeypatch.setattr(search_index, "add", faulty)
    monkeypatch.setattr(search_index, "ADDED_AT_ONCE", 7)
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        for payload in range(12):
            await mapped(journal, b"%d" % payload, ANN)
        assert len(tries) == 1
        for n in (2, 3):
            clock.advance(1)
            await until(lambda n=n: len(tries) == n)
        await until(lambda: (journal.tail.indexed_to, journal.tail.unindexed) == (7, 5))


async def test_codes_and_units_of_messages_do_not_stand_in_the_file_in_clear(tmp_path: Path) -> None:
    """A sender may put anything there: `SHARMA^ANITA 4711` in OBX-3.1 has been seen."""
    seen = Unmapped("lab.csv", "SHARMA ANITA 4711", "UNITOFANITA", "DISPLAYOFANITA")
    async with running(tmp_path) as journal:
        for body in (b"1", b"2"):
            (stored,) = await store(journal, body)
            await journal.run(record_outcome.record, stored.id, Outcome("filtered", unmapped=[seen]))
        (gap,) = list_unmapped(journal, "chem")
        assert (gap.table, gap.code, gap.unit, gap.display, gap.n) == (*astuple(seen), 2)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())  # noqa: ASYNC240
    for text in (seen.code, seen.unit, seen.display):
        assert text.encode() not in content
    (tmp_path / KEY_NAME).unlink()
    reader = Reader.beside(tmp_path)
    assert [(gap.code, gap.unit, gap.n) for gap in list_unmapped(reader)] == [("", "", 2)]
    reader.close()
