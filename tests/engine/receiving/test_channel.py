"""One connection: what is answered, when, and what happens to what could not be stored (P1, P2, P7, P10)."""

import asyncio
import random
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.auto_link import AutoLink
from adapters.codecs.hl7v2 import mllp
from adapters.codecs.hl7v2.mllp import MllpLink
from adapters.codecs.text.framing import Framing
from adapters.codecs.text.link import TextLink
from adapters.codecs.text.whole_link import WholeLink
from engine.delivery.events import DeliveryEvents
from engine.model.errors import RefusedDeliveryError, StoreError, TransientDeliveryError
from engine.model.journal.journal_views import DeliveryView
from engine.model.link_events import Block
from engine.model.message import Stored
from engine.model.process.clock import ManualClock
from engine.model.process.receive_memory import ReceiveMemory
from engine.model.texts.reasons import ReasonCode
from engine.receiving import channel as channel_module
from engine.receiving import outcomes as outcomes_module
from engine.receiving import unstored as unkept_module
from engine.receiving.channel import Channel
from engine.receiving.outcomes import Outcomes
from engine.store.operations import append
from engine.store.operations.line_trace import LineWay
from engine.store.queries.messages import messages_page, trace_of
from tests.support.astm_peer import one_record_a_frame, wire_frame
from tests.support.channels import (
    ACK,
    ENQ,
    EOT,
    NAK,
    MemoryStream,
    ScriptedStore,
    astm_link_of,
    block,
    channel,
    hl7,
    mllp_link,
)
from tests.support.examples import examples
from tests.support.journals import running
from tests.support.plant import Plant, ScriptedDestination, plant
from tests.support.waiting import until

FULL = StoreError("the journal cannot keep this: database or disk is full")
BROKEN = StoreError("the journal failed: SQLITE_IOERR_FSYNC", fatal=True)
ASTM = b"H|\\^&|77||XN\rP|1\rO|1|S1\rR|1|^^^WBC|5.1|10*3/uL\rL|1|N\r"


@asynccontextmanager
async def served(made: Channel, stream: MemoryStream) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(made.handle(stream))
    try:
        yield task
    finally:
        stream.end()
        await asyncio.wait_for(task, 240.0)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unkept_module, "STORE_RETRY_S", 0.01)


# -- commit before ACK ---------------------------------------------------------------------------------------------


@pytest.mark.promise("P1")
async def test_a_message_is_answered_only_after_it_is_durable() -> None:
    store = ScriptedStore(manual=True)
    stream = MemoryStream(log=store.log)
    async with served(channel(store), stream):
        stream.feed(block(hl7("4711")))
        await until(lambda: len(store.waiting) == 1)
        assert stream.written == b""
        store.release()
        await until(lambda: stream.codes == ["AA"])
    assert [kind for kind, _ in store.log] == ["stored", "write"]
    assert b"MSA|AA|4711" in stream.written


async def test_the_answer_does_not_wait_for_what_becomes_of_the_message() -> None:
    answered_before: list[list[str]] = []
    durable = asyncio.Event()
    store = ScriptedStore(manual=True)
    stream = MemoryStream(log=store.log)

    async def process() -> None:
        await durable.wait()
        answered_before.append(list(stream.codes))

    processing = asyncio.create_task(process())
    async with served(channel(store, stored=lambda _: durable.set()), stream):
        stream.feed(block(hl7("4711")))
        await until(lambda: len(store.waiting) == 1)
        store.release()
        await processing
    assert answered_before == [["AA"]]


async def test_each_frame_is_acknowledged_only_after_it_is_durable() -> None:
    store = ScriptedStore(manual=True)
    stream = MemoryStream(log=store.log)
    async with served(channel(store, new_link=astm_link_of()), stream):
        stream.feed(ENQ)
        await until(lambda: stream.written == ACK)
        for number, frame in enumerate(one_record_a_frame(ASTM), 1):
            stream.feed(frame)
            await until(lambda: len(store.waiting) == 1)
            assert stream.written == ACK * number
            store.release()
            await until(lambda number=number: stream.written == ACK * (number + 1))
    assert [kind for kind, _ in store.log] == ["write", *["frame", "write"] * 4, "stored", "write"]
    assert [message.payload for message in store.messages] == [ASTM]
    assert set(store.sessions) == {1}


async def test_all_messages_of_a_batch_are_durable_before_its_answer() -> None:
    store = ScriptedStore(manual=True)
    stream = MemoryStream(log=store.log)
    batch = b"BHS|^~\\&|A|L|R|L\r" + hl7("1") + hl7("2") + hl7("3") + b"BTS|3\r"
    async with served(channel(store), stream):
        stream.feed(block(batch))
        await until(lambda: len(store.waiting) == 3)
        store.release(2)
        await asyncio.sleep(0)
        assert stream.written == b""
        store.release()
        await until(lambda: len(stream.codes) == 3)
    assert stream.codes == ["AA", "AA", "AA"]
    assert stream.written.count(block(b"")[:1]) == 1  # one block


async def test_several_messages_without_a_batch_in_one_block_are_all_kept_in_order() -> None:
    seen: list[int] = []
    store = ScriptedStore()
    stream = MemoryStream()
    many = [hl7(str(number)) for number in range(3 * channel_module.MESSAGES_AT_ONCE)]
    async with served(channel(store, stored=lambda stored: seen.append(stored.id)), stream):
        stream.feed(block(b"".join(many)))
        await until(lambda: bool(stream.codes))
    assert [message.payload for message in store.messages] == many
    assert seen == sorted(seen)
    assert len(seen) == len(many)


async def test_a_message_that_was_answered_is_not_kept_until_the_connection_has_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An analyzer that stays connected for a night after a report of 50 MiB does not cost as much memory."""
    made: list[weakref.ref[Block]] = []

    class Watched(Block):
        def __new__(cls, *content: object) -> "Watched":
            block = super().__new__(cls)
            made.append(weakref.ref(block))
            return block

    monkeypatch.setattr(mllp, "Block", Watched)
    stream = MemoryStream()
    async with served(channel(ScriptedStore()), stream):
        stream.feed(block(hl7("4711")))
        await until(lambda: stream.codes == ["AA"])
        await until(lambda: [one() for one in made] == [None])
        assert not stream.closed


async def test_what_cannot_be_read_is_journaled_and_rejected() -> None:
    store = ScriptedStore()
    stream = MemoryStream()
    async with served(channel(store), stream):
        stream.feed(block(b"this is no HL7"))
        await until(lambda: stream.codes == ["AR"])
    assert [message.payload for message in store.messages] == [b"this is no HL7"]


async def test_messages_are_processed_in_journal_order_across_connections() -> None:
    store = ScriptedStore(manual=True)
    seen: list[int] = []
    made = channel(store, stored=lambda stored: seen.append(stored.id))
    first, second = MemoryStream(), MemoryStream()
    async with served(made, first), served(made, second):
        first.feed(block(hl7("a")))
        await until(lambda: len(store.waiting) == 1)
        second.feed(block(hl7("b")))
        await until(lambda: len(store.waiting) == 2)
        store.release(2)
        await until(lambda: len(seen) == 2)
    assert seen == [1, 2]


# -- who is gone is processed all the same -------------------------------------------------------------------------


async def test_a_message_whose_connection_dies_before_the_answer_is_processed() -> None:
    seen: list[Stored] = []
    store = ScriptedStore(manual=True)
    stream = MemoryStream()
    async with served(channel(store, stored=seen.append), stream):
        stream.feed(block(hl7("1")))
        await until(lambda: len(store.waiting) == 1)
        stream.broken = True
        store.release()
        await until(lambda: len(seen) == 1)


async def test_a_message_whose_handler_is_cut_off_is_processed() -> None:
    """At the end of the grace of a stop or reload, while the disk is slow."""
    seen: list[Stored] = []
    store = ScriptedStore(manual=True)
    stream = MemoryStream()
    task = asyncio.create_task(channel(store, stored=seen.append).handle(stream))
    stream.feed(block(hl7("1")))
    await until(lambda: len(store.waiting) == 1)
    task.cancel()
    await asyncio.wait({task})
    store.release()
    await until(lambda: len(seen) == 1)
    assert stream.written == b""


async def test_a_block_that_only_the_end_of_the_stream_completes_is_kept_though_nobody_hears_the_answer() -> None:
    store = ScriptedStore()
    stream = MemoryStream()
    async with served(channel(store), stream):
        stream.feed(block(hl7("1"))[:-1])  # FS, and the CR never comes
        await asyncio.sleep(0)
        stream.broken = True
        stream.end()
    assert len(store.messages) == 1


async def test_what_was_left_half_way_is_evidence() -> None:
    store = ScriptedStore()
    stream = MemoryStream()
    async with served(channel(store), stream):
        stream.feed(block(hl7("1"))[:40])
        stream.end()
    assert [message.payload for message in store.incomplete] == [hl7("1")[:39]]
    assert store.messages == []


async def test_frames_without_their_end_are_evidence_and_never_a_result() -> None:
    store = ScriptedStore()
    stream = MemoryStream()
    frames = one_record_a_frame(ASTM)
    async with served(channel(store, new_link=astm_link_of()), stream):
        stream.feed(ENQ, *frames[:3])
        await until(lambda: stream.written == ACK * 4)
        stream.end()
    assert [message.payload for message in store.incomplete] == [b"H|\\^&|77||XN\rP|1\rO|1|S1\r"]
    assert store.messages == []
    assert store.sessions == [1]


async def test_a_message_that_only_eot_completes_takes_its_frames_with_it() -> None:
    """Else they would be taken for a torn session at the next start, and journaled once more."""
    store = ScriptedStore()
    stream = MemoryStream()
    frames = one_record_a_frame(ASTM.replace(b"L|1|N\r", b""))
    async with served(channel(store, new_link=astm_link_of(end="eot")), stream):
        stream.feed(ENQ)
        for number, frame in enumerate(frames, 2):
            stream.feed(frame)
            await until(lambda number=number: stream.written == ACK * number)
        stream.feed(EOT)
        await until(lambda: len(store.messages) == 1)
    assert store.sessions == [store.frames[0][0]]


# -- the store fails -----------------------------------------------------------------------------------------------


async def test_what_cannot_be_stored_is_not_answered_and_the_connection_closed() -> None:
    store = ScriptedStore(faults=[FULL])
    stream = MemoryStream()
    async with served(channel(store), stream) as task:
        stream.feed(block(hl7("1")))
        await asyncio.wait_for(asyncio.shield(task), 240.0)
        assert stream.closed
    assert stream.written == b""


@pytest.mark.parametrize("at_once", [False, True], ids=["by the disk", "by a full queue"])
async def test_with_ae_the_sender_is_told_and_the_connection_stays(at_once: bool) -> None:
    store = ScriptedStore(faults=[FULL], at_once=at_once)
    stream = MemoryStream()
    async with served(channel(store, answer_store_fault=True), stream):
        stream.feed(block(hl7("1")))
        await until(lambda: stream.codes == ["AE"])
        stream.feed(block(hl7("1")))
        await until(lambda: stream.codes == ["AE", "AA"])
    assert len(store.messages) == 1


async def test_one_failed_message_of_a_batch_fails_its_answer() -> None:
    store = ScriptedStore(faults=[None, FULL, None])
    stream = MemoryStream()
    async with served(channel(store, answer_store_fault=True), stream):
        stream.feed(block(b"BHS|^~\\&|A\r" + hl7("1") + hl7("2") + hl7("3") + b"BTS|3\r"))
        await until(lambda: len(stream.codes) == 3)
    assert stream.codes == ["AE", "AE", "AE"]


@pytest.mark.parametrize("with_ae", [False, True])
async def test_after_a_failed_sync_nothing_at_all_is_answered(with_ae: bool) -> None:
    store = ScriptedStore(faults=[BROKEN])
    stream = MemoryStream()
    async with served(channel(store, answer_store_fault=with_ae), stream) as task:
        stream.feed(block(hl7("1")))
        await asyncio.wait_for(asyncio.shield(task), 240.0)
    assert stream.written == b""
    assert stream.closed


async def test_a_frame_that_cannot_be_stored_is_refused_and_taken_when_it_comes_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    store = ScriptedStore(faults=[None, FULL])
    stream = MemoryStream()
    frames = one_record_a_frame(ASTM)
    made = channel(store, new_link=astm_link_of())
    async with served(made, stream):
        stream.feed(ENQ, frames[0])
        await until(lambda: stream.written == ACK + ACK)
        stream.feed(frames[1])
        await until(lambda: stream.written == ACK + ACK + NAK)
        assert made.counts.store_fault is not None
        stream.feed(frames[1])
        await until(lambda: stream.written == ACK + ACK + NAK + ACK)
        assert made.counts.store_fault is None
        assert caplog.messages.count("storing and acknowledging again") == 1
        for number, frame in enumerate(frames[2:], 5):
            stream.feed(frame)
            await until(lambda number=number: len(stream.written) == number)
    assert [message.payload for message in store.messages] == [ASTM]


async def test_a_message_whose_last_frame_cannot_be_stored_is_not_acknowledged() -> None:
    frames = one_record_a_frame(ASTM)
    store = ScriptedStore(faults=[None] * (len(frames) - 1) + [FULL])
    stream = MemoryStream()
    async with served(channel(store, new_link=astm_link_of()), stream):
        stream.feed(ENQ)
        for number, frame in enumerate(frames, 2):
            stream.feed(frame)
            await until(lambda number=number: len(stream.written) == number)
        assert stream.written[-1:] == NAK
        assert store.messages == []


@pytest.mark.usefixtures("soon")
async def test_a_session_that_was_acknowledged_is_stored_as_soon_as_there_is_room() -> None:
    """EOT has no answer, so nobody would send it again."""
    store = ScriptedStore(faults=[None, None, FULL, FULL, FULL])
    stream = MemoryStream()
    seen: list[Stored] = []
    async with served(channel(store, new_link=astm_link_of(end="eot"), stored=seen.append), stream):
        stream.feed(ENQ, wire_frame(1, b"H|\\^&|77||XN\r"), wire_frame(2, b"R|1|^^^WBC|5.1\r"))
        await until(lambda: stream.written == ACK * 3)
        stream.feed(EOT)
        await until(lambda: len(seen) == 1)
    assert len(store.messages) == 1


@pytest.mark.usefixtures("soon")
async def test_a_connection_without_its_answer_is_closed_before_its_evidence_is_kept() -> None:
    store = ScriptedStore(faults=[FULL] * 40)
    stream = MemoryStream()
    async with served(channel(store), stream):
        stream.feed(block(hl7("1")) + block(hl7("2"))[:50])
        await until(lambda: stream.closed)
        assert store.faults  # it still cannot be kept
    assert [message.payload for message in store.incomplete] == [hl7("2")[:49]]


@pytest.mark.usefixtures("soon")
async def test_evidence_that_cannot_be_kept_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unkept_module, "INSIST_BYTES", 100)
    store = ScriptedStore(faults=[FULL] * 1000)
    made = channel(store, max_connections=50)
    tasks = []
    for _ in range(10):
        stream = MemoryStream()
        stream.feed(block(hl7("1"))[:41])
        stream.end()
        tasks.append(asyncio.create_task(made.handle(stream)))
    await until(lambda: sum(task.done() for task in tasks) == 8)
    assert made.counts.faults["evidence-not-kept"] == 8
    store.faults.clear()
    await asyncio.gather(*tasks)
    assert len(store.incomplete) == 2


@pytest.mark.usefixtures("soon")
async def test_a_stop_does_not_wait_for_a_failing_store() -> None:
    store = ScriptedStore(faults=[FULL] * 100_000)
    made = channel(store)
    stream = MemoryStream()
    async with served(made, stream) as task:
        stream.feed(block(hl7("1"))[:40])
        stream.end()
        await until(lambda: len(store.faults) < 99_999)
        made.stop()
        await asyncio.wait_for(asyncio.shield(task), 240.0)


@pytest.mark.parametrize("framing", ["none", "enq-less"])
@pytest.mark.usefixtures("soon")
async def test_a_session_is_not_answered_where_a_stop_came_before_it_was_stored(framing: str) -> None:
    """Records without frames are in the journal only as a whole message: its sender must keep them."""
    store = ScriptedStore()
    made = channel(store, new_link=astm_link_of(acks="session", framing=framing, end="eot"))
    stream = MemoryStream()
    async with served(made, stream) as task:
        stream.feed(ENQ + ASTM.removesuffix(b"L|1|N\r"))
        await until(lambda: stream.written == ACK)
        store.faults = [FULL] * 100_000
        stream.feed(EOT)
        await until(lambda: len(store.faults) < 99_999)
        made.stop()
        stream.end()
        await asyncio.wait_for(asyncio.shield(task), 240.0)
    assert (stream.written, store.messages) == (ACK, [])

    made.begin()
    store.faults = []
    again = MemoryStream()
    async with served(made, again):
        again.feed(ENQ + ASTM.removesuffix(b"L|1|N\r") + EOT)
        await until(lambda: again.written == ACK + ACK)
    assert len(store.messages) == 2  # that of before, which was left in memory, and the one that came again


@pytest.mark.usefixtures("soon")
async def test_what_a_pause_left_unkept_is_kept_by_the_next_connection() -> None:
    """Else its frames would wait, unseen, for the next start of the whole process."""
    store = ScriptedStore()
    made = channel(store, new_link=astm_link_of())
    stream = MemoryStream()
    async with served(made, stream) as task:
        stream.feed(ENQ, *one_record_a_frame(ASTM)[:3])
        await until(lambda: stream.written == ACK * 4)
        store.faults = [FULL] * 100_000
        stream.feed(EOT)
        stream.end()
        await until(lambda: len(store.faults) < 99_999)
        made.stop()
        await asyncio.wait_for(asyncio.shield(task), 240.0)
    assert store.incomplete == []
    store.faults = []
    made.begin()
    again = MemoryStream()
    async with served(made, again):
        await until(lambda: len(store.incomplete) == 1)
    assert [message.payload for message in store.incomplete] == [b"H|\\^&|77||XN\rP|1\rO|1|S1\r"]
    assert store.sessions == [1]


@pytest.mark.usefixtures("soon")
async def test_evidence_is_not_tried_again_after_a_failed_sync() -> None:
    """The process is about to end: what was acknowledged of it stands in the journal, frame by frame."""
    store = ScriptedStore()
    made = channel(store)
    stream = MemoryStream()
    async with served(made, stream) as task:
        stream.feed(block(hl7("1"))[:40])
        store.faults = [FULL, BROKEN, FULL, FULL]
        stream.end()
        await asyncio.wait_for(asyncio.shield(task), 240.0)
    assert (store.faults, store.incomplete) == ([FULL, FULL], [])


# -- places --------------------------------------------------------------------------------------------------------


async def _connect(made: Channel, streams: list[MemoryStream]) -> "list[asyncio.Task[None]]":
    tasks = [asyncio.create_task(made.handle(stream)) for stream in streams]
    await asyncio.sleep(0)
    return tasks


async def _hang_up(streams: list[MemoryStream], tasks: "list[asyncio.Task[None]]") -> None:
    for stream in streams:
        stream.end()
    await asyncio.gather(*tasks)


async def test_a_crowd_of_idle_connections_cannot_keep_an_analyzer_out() -> None:
    clock = ManualClock()
    store = ScriptedStore()
    made = channel(store, clock=clock)
    crowd = [MemoryStream() for _ in range(500)]
    tasks = await _connect(made, crowd)
    assert len(made.connections) == 4
    assert made.counts.faults == {"evicted": 496}
    analyzer = MemoryStream()  # at once: no time has passed
    async with served(made, analyzer):
        analyzer.feed(block(hl7("1")))
        await until(lambda: analyzer.codes == ["AA"])
        assert len(made.connections) == 4
    await _hang_up(crowd, tasks)


async def test_one_byte_now_and_then_does_not_hold_a_place() -> None:
    clock = ManualClock()
    made = channel(ScriptedStore(), clock=clock)
    crowd = [MemoryStream() for _ in range(4)]
    tasks = await _connect(made, crowd)
    for _ in range(3):
        clock.advance(6.0)
        for stream in crowd:
            stream.feed(b"\r")
        await asyncio.sleep(0.01)
    analyzer = MemoryStream()
    async with served(made, analyzer):
        analyzer.feed(block(hl7("1")))
        await until(lambda: analyzer.codes == ["AA"])
    await _hang_up(crowd, tasks)


async def test_an_analyzer_that_sends_is_never_evicted_for_newcomers() -> None:
    clock = ManualClock()
    made = channel(ScriptedStore(), clock=clock, max_connections=2)
    analyzer = MemoryStream()
    async with served(made, analyzer):
        analyzer.feed(block(hl7("1")))
        await until(lambda: analyzer.codes == ["AA"])
        streams: list[MemoryStream] = []
        tasks: list[asyncio.Task[None]] = []
        for number in range(20):
            streams.append(MemoryStream())
            tasks += await _connect(made, streams[-1:])
            analyzer.feed(block(hl7(str(number))))
            await until(lambda number=number: len(analyzer.codes) == number + 2)
        await _hang_up(streams, tasks)
    assert made.counts.faults["evicted"] == 19


async def test_newcomers_of_one_moment_do_not_all_take_one_place() -> None:
    """Whoever is evicted needs a moment to end; meanwhile its place must not be given away again and again."""
    clock = ManualClock()
    made = channel(ScriptedStore(), clock=clock)
    crowd = [MemoryStream() for _ in range(4)]
    tasks = await _connect(made, crowd)
    newcomers = [MemoryStream() for _ in range(50)]
    tasks += await _connect(made, newcomers)
    assert len(made.connections) == 4
    assert made.counts.faults["evicted"] == 50
    assert not any(stream._ended for stream in newcomers[-4:])
    await _hang_up(crowd + newcomers, tasks)


async def test_a_quiet_connection_is_closed_after_the_idle_timeout_if_there_is_one() -> None:
    made = channel(ScriptedStore(), idle_timeout_s=0.02)
    stream = MemoryStream()
    async with served(made, stream) as task:
        await asyncio.wait_for(asyncio.shield(task), 240.0)
        assert stream.closed


@pytest.mark.promise("P10")
async def test_a_block_that_never_ends_is_cut_and_kept_as_evidence() -> None:
    store = ScriptedStore()
    stream = MemoryStream()
    made = channel(store)
    async with served(made, stream) as task:
        stream.feed(b"\x0bMSH|^~\\&|", *[b"x" * 65536] * 20)
        await asyncio.wait_for(asyncio.shield(task), 240.0)
        assert stream.closed
    assert made.counts.faults["too-large"] == 1
    assert [(len(one.payload), one.cut.size) for one in store.incomplete if one.cut] == [(64 * 1024, 1 << 20)]


# -- with the real journal -----------------------------------------------------------------------------------------


async def test_repeats_are_answered_again_and_marked(tmp_path: Path) -> None:
    seen: list[Stored] = []
    async with running(tmp_path) as journal:
        clock = ManualClock()
        stream = MemoryStream()
        async with served(channel(journal, stored=seen.append, clock=clock), stream):
            # By its third the channel is known to change its control ids; by its fifth to use one for other content.
            sent = [("A", "a"), ("B", "a"), ("1", "a"), ("1", "a"), ("1", "b"), ("2", "a"), ("2", "a")]
            for number, payload in enumerate((hl7(*one) for one in sent), 1):
                stream.feed(block(payload))
                await until(lambda number=number: len(stream.codes) == number)
            clock.advance(86_401.0)
            stream.feed(block(hl7("1", "a")))
            await until(lambda: len(stream.codes) == 8)
    assert stream.codes == ["AA"] * 8
    assert [(stored.repeat_of, stored.equal_to, stored.same_id_other_bytes) for stored in seen[2:]] == [
        (None, None, False),
        (3, None, False),
        (None, None, True),
        (None, None, False),
        (None, 6, False),
        (None, 3, False),  # after the window it is another message
    ]


async def test_a_session_ended_by_eot_leaves_nothing_for_the_next_start(tmp_path: Path) -> None:
    stream = MemoryStream()
    seen: list[Stored] = []
    async with running(tmp_path) as journal:
        async with served(channel(journal, new_link=astm_link_of(end="eot"), stored=seen.append), stream):
            stream.feed(ENQ, wire_frame(1, b"H|\\^&|77||XN\r"), wire_frame(2, b"R|1|^^^WBC|5.1\r"))
            await until(lambda: stream.written == ACK * 3)
            stream.feed(EOT)
            await until(lambda: len(seen) == 1)
        trace = trace_of(journal, seen[0].id)
        assert trace is not None
        assert len(trace.frames) == 2
    async with running(tmp_path) as journal:
        made = await journal.run(
            append.assemble,
            lambda *_: pytest.fail("no session is open"),
            repeat_window_s=1.0,
            before=journal.first_session,
        )
        assert made == []


# -- whatever comes ------------------------------------------------------------------------------------------------

pieces = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([block(hl7("1")), block(hl7("2"))[:30], b"\x0b", b"\x1c\r", b"\x1c", ENQ, EOT, b"\x02", b"\x03"]),
    st.sampled_from([wire_frame(n, b"H|\\^&|1||XN\rR|1|^^^WBC|5\rL|1|N\r") for n in (0, 1, 2)]),
    st.builds(lambda content: block(b"MSH|^~\\&|" + content), st.binary(max_size=60)),
)


@settings(max_examples=examples(150))
@given(st.lists(pieces, max_size=12), st.booleans(), st.lists(st.sampled_from([None, None, None, FULL]), max_size=8))
def test_whatever_comes_the_connection_ends_in_order(
    sent: list[bytes], mllp: bool, faults: list[StoreError | None]
) -> None:
    async def go() -> None:
        store = ScriptedStore(faults=faults)
        stream = MemoryStream()
        made = channel(store) if mllp else channel(store, new_link=astm_link_of())
        made.stop()  # a store that fails is not waited for
        stream.feed(*[piece for piece in sent if piece])
        stream.end()
        await asyncio.wait_for(made.handle(stream), 240.0)
        assert made.connections == {}
        if mllp:
            taken = [code for code in stream.codes if code in ("AA", "CA")]
            assert len(taken) <= len(store.messages)

    asyncio.run(go())


async def test_whatever_a_header_holds_the_journal_keeps_it(tmp_path: Path) -> None:
    rng = random.Random(4711)
    odd = ["\x00", "\u0901", "\U0001f600", "\ud800", "'", '"', "\\", "%s", "\x7f", "\u202e", "a" * 300]
    async with running(tmp_path) as journal:
        made = channel(journal)
        stream = MemoryStream()
        async with served(made, stream):
            for number in range(150):
                fields = ["".join(rng.choices(odd, k=rng.randrange(4))) for _ in range(14)]
                codec = rng.choice(["utf-8", "latin-1"])
                content = f"MSH|^~\\&|{'|'.join(fields)}\r".encode(
                    codec, "surrogatepass" if "utf" in codec else "replace"
                )
                content = rng.choice([content, content[: rng.randrange(9, len(content))] + rng.randbytes(5)])
                before = made.counts.messages + made.counts.faults.total()
                stream.feed(block(content.replace(b"\x1c", b"").replace(b"\x0b", b"") + b"\r"))
                await until(lambda before=before: made.counts.messages + made.counts.faults.total() > before)
                assert made.counts.faults.total() == 0, number
        assert len(messages_page(journal, limit=1000)) == made.counts.messages >= 150


# -- ack: on_delivery ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def awaiting(tmp_path: Path) -> AsyncIterator[tuple[Plant, ScriptedDestination, MemoryStream, Channel]]:
    """A channel that answers once all is delivered, to two destinations."""
    async with plant(tmp_path) as made:
        outcomes = Outcomes(partial(trace_of, made.journal))
        events = DeliveryEvents(
            settled=lambda delivery, reason: outcomes.ended(delivery.message_id, delivery.id, dead=reason is not None)
        )
        server, other = [await made.destination(name, events=events) for name in ("server", "other")]
        made.intake._commits._outcomes = outcomes
        made.channel("chemistry", "server", "other", raw=True)
        stream = MemoryStream()
        one = channel(made.journal, stored=made.intake.accept, clock=made.clock, outcomes=outcomes, ack_timeout_s=60.0)
        async with served(one, stream):
            yield made, server, stream, one
        assert other.opened == 1
        await until(lambda: len(outcomes) <= 1)


async def test_the_answer_waits_for_every_delivery(tmp_path: Path) -> None:
    async with awaiting(tmp_path) as (made, server, stream, _):
        server.gate.clear()
        stream.feed(block(hl7("1")))
        await until(lambda: len(made.destinations["other"].taken) == 1)
        await asyncio.sleep(0.01)
        assert stream.codes == []
        server.gate.set()
        await until(lambda: stream.codes == ["AA"])
        for text in (hl7("2"), hl7("3"), hl7("3")):  # a repeat is answered by what became of the first
            stream.feed(block(text))
        await until(lambda: stream.codes == ["AA"] * 4)
        assert len(server.taken) == 3


async def test_a_dead_letter_is_answered_ae_and_so_is_what_takes_too_long(tmp_path: Path) -> None:
    async with awaiting(tmp_path) as (made, server, stream, one):
        server.script = lambda channel, body, attempt: (
            RefusedDeliveryError(ReasonCode.REFUSED) if "R01|1|" in body else None
        )
        stream.feed(block(hl7("1")))
        await until(lambda: stream.codes == ["AE"])
        server.gate.clear()
        patient, one.settings = one.settings, replace(one.settings, ack_timeout_s=0.01)
        stream.feed(block(hl7("2")))
        await until(lambda: stream.codes == ["AE", "AE"])
        one.settings = patient
        stream.feed(block(hl7("2")))  # the sender tries again, and meanwhile the server is back
        await made.settle()
        server.gate.set()
        await until(lambda: stream.codes == ["AE", "AE", "AA"])
        assert len([body for _, body in server.taken if "R01|2|" in body]) == 1


async def test_the_outcome_of_an_older_message_is_found_in_the_journal(tmp_path: Path) -> None:
    async with plant(tmp_path) as made:
        server = await made.destination("server")
        server.script = lambda channel, body, attempt: RefusedDeliveryError(ReasonCode.REFUSED) if body == "2" else None
        made.channel("a", "server", raw=True)
        await made.send("a", "1", "2", "?3")
        await made.settle()
        server.gate.clear()
        await made.send("a", "4")
        await made.settle()
        outcomes = Outcomes(partial(trace_of, made.journal))
        found = [outcomes.expect_known(number) for number in (1, 2, 3, 4)]
        assert [future.done() for future in found] == [True, True, True, False]
        assert [future.result() for future in found[:3]] == [True, False, False]
        outcomes.ended(4, 4, dead=False)
        assert found[3].result()
        assert len(outcomes) == 0


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("state", ["sending", "waiting"])
async def test_what_ended_and_is_not_in_the_journal_yet_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, dead: bool
) -> None:
    """A sender tries again just as the delivery has ended, before that is written."""
    monkeypatch.setattr(outcomes_module, "LATELY", 1)
    async with plant(tmp_path) as made:
        server = await made.destination("server")
        made.channel("a", "server", raw=True)
        if state == "sending":
            server.gate.clear()
        else:  # between two attempts
            server.script = lambda channel, body, attempt: TransientDeliveryError(ReasonCode.BUSY)
        await made.send("a", "1")

        seen: list[DeliveryView] = []  # right after a start it waits for a claim first, which changes its state

        def is_there() -> bool:
            trace = trace_of(made.journal, 1)
            seen.extend(one for one in (trace.deliveries if trace else ()) if one.state == state)
            return bool(seen)

        await until(is_there)
        found = seen[0]
        outcomes = Outcomes(partial(trace_of, made.journal))
        outcomes.ended(1, found.id, dead=dead)
        known = outcomes.expect_known(1)
        assert known.done()
        assert known.result() is not dead
        outcomes.ended(9, 99, dead=False)  # another one; the first is in the journal long since
        assert not outcomes.expect_known(1).done()
        server.script = lambda channel, body, attempt: None
        server.gate.set()


async def test_no_more_messages_are_waited_for_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_module, "CAPACITY", 3)
    outcomes = Outcomes(lambda number: None)
    futures = [outcomes.expect(number) for number in range(5)]
    assert [future.done() for future in futures] == [True, True, False, False, False]
    assert not futures[0].result()
    outcomes.processed(2, 0)
    outcomes.processed(3, 2)
    outcomes.ended(3, 8, dead=True)
    outcomes.ended(3, 9, dead=False)
    outcomes.processed(99, 1)
    assert [future.result() for future in futures[2:4]] == [True, False]
    assert len(outcomes) == 1


# -- the edges of one connection -------------------------------------------------------------------------------------


async def test_a_sender_that_falls_silent_amid_a_message_ends_its_session_and_may_begin_another() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    made = channel(store, new_link=astm_link_of(receive_timeout=0.02))
    async with served(made, stream):
        stream.feed(ENQ, one_record_a_frame(ASTM)[0])
        await until(lambda: made.counts.faults["receive-timeout"] == 1)
        stream.feed(ENQ, *one_record_a_frame(ASTM), EOT)
        await until(lambda: len(store.messages) == 1)
    assert [message.payload for message in store.messages] == [ASTM]


async def test_a_channel_that_was_stopped_can_begin_again() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    made = channel(store)
    made.stop()
    made.begin()
    async with served(made, stream):
        stream.feed(block(hl7("1")))
        await until(lambda: stream.codes == ["AA"])


async def test_a_link_whose_line_is_not_traced_answers_by_itself() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    async with served(channel(store, new_link=lambda: WholeLink("text")), stream):
        stream.feed(b"a text")
        await until(lambda: stream.written == ACK)
    assert [message.payload for message in store.messages] == [b"a text"]
    assert store.lines == []


async def test_a_line_that_turns_out_to_be_mllp_leaves_no_trace_of_itself() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    made = channel(store, new_link=lambda: AutoLink(MllpLink, AstmReceiver))
    async with served(made, stream):
        stream.feed(block(hl7("1")))
        await until(lambda: len(store.messages) == 1)
    assert store.lines == []


async def test_a_message_that_wants_no_answer_gets_none() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    silent = hl7("1").replace(b"|2.5\r", b"|2.5|||NE|NE\r")
    async with served(channel(store), stream):
        stream.feed(block(silent), block(hl7("2")))
        await until(lambda: stream.codes == ["AA"])
    assert b"MSA|AA|2" in stream.written
    assert len(store.messages) == 2


@pytest.mark.parametrize("astm", [False, True])
async def test_what_is_stored_is_handed_on_and_counted(astm: bool) -> None:
    handed: list[Stored] = []
    store, stream = ScriptedStore(), MemoryStream()
    made = channel(store, stored=handed.append, new_link=astm_link_of() if astm else mllp_link)
    async with served(made, stream):
        if astm:
            stream.feed(ENQ, *one_record_a_frame(ASTM), EOT)
        else:
            stream.feed(b"\x0b" + hl7("1") + b"\x1c\n")
        await until(lambda: len(handed) == 1)
    assert [one.payload for one in handed] == [ASTM if astm else hl7("1")]
    assert (made.counts.messages, made.counts.last_message_us) == (1, handed[0].received_us)
    assert made.counts.notes["no CR after FS"] == (0 if astm else 1)


async def test_a_text_that_nobody_waits_for_belongs_to_no_session() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    framing = Framing(start=b"\x02", end=b"\x03")
    async with served(channel(store, new_link=lambda: TextLink(framing, max_message=1000, joins=False)), stream):
        stream.feed(b"\x02one\x03")
        await until(lambda: len(store.messages) == 1)
    assert store.sessions == [0]


async def test_what_is_refused_is_told_in_the_trace_of_the_line_and_in_the_counts() -> None:
    store, stream = ScriptedStore(faults=[FULL]), MemoryStream()
    made = channel(store, new_link=astm_link_of())
    async with served(made, stream):
        stream.feed(ENQ, one_record_a_frame(ASTM)[0])
        await until(lambda: stream.written == ACK + NAK)
        stream.feed(EOT)
    told = [entry.data.decode() for line in store.lines for entry in line.entries if entry.way is LineWay.ABOUT]
    assert "not stored, so refused" in told
    store, stream = ScriptedStore(faults=[FULL]), MemoryStream()
    made = channel(store)
    async with served(made, stream) as task:
        stream.feed(block(hl7("1")))
        await asyncio.wait_for(asyncio.shield(task), 240.0)
    assert made.counts.faults["not-stored"] == 1
    assert made.counts.store_fault is not None


async def test_a_fault_of_ours_in_splitting_costs_no_byte(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def split(payload: bytes) -> list[bytes]:
        raise ZeroDivisionError

    store, stream = ScriptedStore(), MemoryStream()
    made = channel(store)
    monkeypatch.setattr(made._format, "split", split)
    async with served(made, stream):
        stream.feed(block(hl7("1") + hl7("2")))
        await until(lambda: len(store.messages) == 1)
        await until(lambda: bool(stream.codes))
    assert store.messages[0].payload == hl7("1") + hl7("2")
    (record,) = [record for record in caplog.records if record.message.startswith("cannot split")]
    assert vars(record)["channel"] == "chemistry"


async def test_frames_of_which_only_the_message_is_kept_are_acknowledged_at_once_but_the_last() -> None:
    store, stream = ScriptedStore(manual=True), MemoryStream()
    first, *more, last = one_record_a_frame(ASTM)
    async with served(channel(store, new_link=astm_link_of(commit="message")), stream):
        stream.feed(ENQ, first, *more)
        await until(lambda: stream.written == ACK * (2 + len(more)))
        assert store.waiting == []
        stream.feed(last)
        await until(lambda: len(store.waiting) == 1)
        assert stream.written == ACK * (2 + len(more))
        store.release()
        await until(lambda: stream.written == ACK * (3 + len(more)))
    assert [message.payload for message in store.messages] == [ASTM]


async def test_what_follows_a_lost_frame_is_evidence_where_its_sender_waits_for_one_answer_a_session() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    first, second, *more = one_record_a_frame(ASTM)
    made = channel(store, new_link=astm_link_of(acks="session"))
    async with served(made, stream):
        stream.feed(ENQ, first, second.replace(b"P|1", b"P|2"), *more, EOT)
        await until(lambda: stream.written == ACK + NAK)
    assert store.messages == []
    assert [raw for _, raw in store.frames] == [first]
    assert [b"R|1|" in one.payload for one in store.incomplete] == [True]
    assert made.counts.faults["bad-checksum"] == 1


async def test_a_text_that_cannot_be_stored_is_refused_and_taken_when_it_comes_again() -> None:
    store, stream = ScriptedStore(faults=[FULL]), MemoryStream()
    framing = Framing(start=b"\x02", end=b"\x03", good=ACK, bad=NAK)
    made = channel(store, new_link=lambda: TextLink(framing, max_message=1000, joins=False))
    async with served(made, stream):
        stream.feed(b"\x02one\x03")
        await until(lambda: stream.written == NAK)
        stream.feed(b"\x02one\x03")
        await until(lambda: stream.written == NAK + ACK)
    assert [message.payload for message in store.messages] == [b"one"]
    assert made.counts.faults["not-stored"] == 1


async def test_whoever_holds_most_is_cut_when_the_memory_for_unfinished_messages_is_used_up() -> None:
    store, small, large = ScriptedStore(), MemoryStream(), MemoryStream()
    made = channel(store, memory=ReceiveMemory(300_000))
    async with served(made, small), served(made, large) as cut:
        small.feed(b"\x0bMSH|^~\\&|", b"x" * 100_000)
        await until(lambda: any(one.held for one in made.connections.values()))
        large.feed(b"\x0bMSH|^~\\&|", b"y" * 250_000)
        await asyncio.wait_for(asyncio.shield(cut), 240.0)
        assert made.counts.faults["memory"] == 1
        small.feed(b"\x1c\r")
        await until(lambda: len(store.messages) == 1)
    assert [len(one.payload) for one in store.incomplete] == [250_000 + len(b"MSH|^~\\&|")]
