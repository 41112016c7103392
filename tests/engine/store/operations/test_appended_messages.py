"""Messages that are journaled, and processed again, in less usual ways."""

from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from engine.features.rework.rows import edit_message
from engine.model.journal.records import Decision, Routed
from engine.model.message import Bearer, Report
from engine.model.outcome import Outcome
from engine.model.persons import Person
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.journal.starting import unprocessed
from engine.store.operations import append, record_outcome
from engine.store.queries.lanes import list_channels
from engine.store.queries.letters import held_deliveries
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import stored_message
from tests.support.journals import WINDOW_S, queue, received, routed, running, store

OVERHEARD = replace(received(b"MSH|overheard", control_id="7"), filtered=ReasonCode.OVERHEARD)


async def test_an_overheard_message_is_kept_and_waits_for_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        first, second = [await journal.run(append.store_message, OVERHEARD, repeat_window_s=WINDOW_S) for _ in range(2)]
        (channel,) = list_channels(journal)
        assert channel.stored == 0
        assert unprocessed(journal) == []
        (result,) = await store(journal, OVERHEARD.payload, control_id="7", lost=True)
        # It is no repeat: the results of the overheard ones have gone nowhere.
        assert (result.repeat_of, [one.id for one in unprocessed(journal)]) == (None, [result.id])
        for one in (first, second):
            trace = trace_of(journal, one.id)
            assert trace is not None
            assert (trace.message.state, trace.message.reason) == ("filtered", "OVERHEARD")
            kept = stored_message(journal, one.id)
            assert kept is not None
            assert kept.filtered is ReasonCode.OVERHEARD


async def test_what_another_machine_received_is_no_second_message(tmp_path: Path) -> None:
    """A repeat there is one here, where its first one is known; what is kept for the record stays that."""
    async with running(tmp_path) as journal:
        (known,) = await store(journal, b"MSH|1", control_id="7")

        def adopt(batch: Batch, *, repeats: bool) -> list[int | None]:
            said = (received(b"MSH|1", control_id="7"), OVERHEARD, received(b"MSH|2", control_id="8"))
            made = [append.store_adopted(batch, one, b"t" * 16, repeats=repeats) for one in said]
            assert made[1].filtered is ReasonCode.OVERHEARD
            return [made[0].repeat_of, made[2].repeat_of]

        assert journal.writer is not None
        assert await journal.writer.submit(partial(adopt, repeats=True)) == [known.id, None]
        assert [one.payload for one in unprocessed(journal)] == [b"MSH|1", b"MSH|2"]


async def test_an_edit_is_a_message_of_its_own_that_refers_to_its_original(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        (original,) = await store(journal, b"MSH|1", control_id="7")
        await journal.run(record_outcome.record, original.id, Outcome("dead", ReasonCode.NO_ROUTE, "x"))
        edited = received(b"MSH|2", control_id="7")

        async def edit() -> edit_message.EditResult:
            return await journal.run(
                edit_message.correct, original.id, edited, before=original.payload, actor="ann", reason="typing error"
            )

        made = (await edit()).stored
        assert made is not None
        assert [one.id for one in unprocessed(journal)] == [made.id]
        kept = stored_message(journal, made.id)
        assert kept is not None
        assert kept.payload == b"MSH|2"
        trace = trace_of(journal, made.id)
        assert trace is not None
        assert trace.edited_from == original.id
        assert "edited already" in (await edit()).refused


async def test_a_channel_whose_last_message_cannot_be_opened_counts_on(tmp_path: Path) -> None:
    def damage(batch: Batch) -> None:
        batch.execute("DELETE FROM journal WHERE id = 2")

    async with running(tmp_path) as journal:
        await store(journal, b"1", b"2", control_id="7")
        assert journal.writer is not None
        await journal.writer.submit(damage)
    async with running(tmp_path, accept_loss=True) as journal:
        (third,) = await store(journal, b"3", control_id="7")
        assert (third.seq, third.repeat_of) == (3, None)


async def test_a_message_with_a_damaged_note_is_processed_again(tmp_path: Path) -> None:
    def damage(batch: Batch) -> None:
        batch.execute("UPDATE message_state SET detail = x'0102'")

    async with running(tmp_path) as journal:
        (message,) = await queue(journal, b"1")
        assert journal.writer is not None
        await journal.writer.submit(damage)
        done = await journal.run(
            record_outcome.record, message, Outcome("mapped"), [routed(b"2")], decision=Decision(again=True)
        )
        assert (done.state, done.already) == ("mapped", False)


async def test_bytes_that_were_rejected_and_are_of_another_person_wait_for_both_reasons(tmp_path: Path) -> None:
    def of(name: str, birth: str, sex: str, order: bytes) -> Routed:
        person = Person.of([name.split("^")], birth, sex)
        whole = sha256(person.packed()).digest()[:16]
        one = routed(reports=(Report(order, b"n" * 16, whole),))
        bearer = Bearer(number=b"n" * 16, whole=whole, record=person.packed(), lasting=True)
        return replace(one, document=replace(one.document, bearers=(bearer,)))

    async with running(tmp_path) as journal:
        first, second = await store(journal, b"1", b"2")
        meena, imran = of("IYER^MEENA", "19550412", "F", b"1" * 16), of("KHAN^IMRAN", "20010530", "M", b"2" * 16)
        await journal.run(record_outcome.record, first.id, Outcome("mapped"), [meena])
        await journal.run(record_outcome.record, second.id, Outcome("mapped"), [imran], rejected_before=first.id)
        (held,) = held_deliveries(journal)
        assert held.reason == "IDENTITY_CONFLICT"
        assert "for a person of another name" in held.detail
        assert held.detail.endswith("; the same bytes came as message 1, which a person has rejected or dismissed")
