"""Messages judged elsewhere: in order, each once, whatever becomes of the worker; and no message ends them for ever."""

import asyncio
import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.message import FormatOptions, MapContext, Stored
from engine.model.outcome import Outcome
from engine.model.packing import Packer
from engine.model.routes import ChannelRoutes, Processed, Route
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.runtime.worker import frames
from engine.runtime.worker.processor import STRIKES, WINDOW_BYTES, WINDOW_MESSAGES, RemoteProcessor
from engine.runtime.worker.wire import Decoder, Frame
from tests.support.waiting import until

pack = Packer().pack
CHANNEL = ChannelRoutes(
    channel="chem",
    message_format=hl7v2,
    media_type="x",
    options=FormatOptions(),
    routes=(Route(when=None, program=None, to=("a",)),),
    context=MapContext(),
)
MESSAGE = b"MSH|^~\\&|XN|LAB|||20260301||ORU^R01^ORU_R01|1|P|2.5\rPID|1\rOBR|1\rOBX|1|NM|A||1\r"


class Worker:
    """The other side, in the test's hands: reads what was sent, answers when told to."""

    def __init__(self, *, one_by_one: bool = False) -> None:
        self.processor = RemoteProcessor(self._sent, one_by_one=one_by_one)
        self.decoder = Decoder()
        self.asked: list[tuple[int, int]] = []  # number, message id
        self.payloads: list[bytes] = []
        self.forgets = 0
        self.answered: list[tuple[int, str]] = []

    def _sent(self, parts: list[bytes]) -> None:
        for frame in self.decoder.feed(b"".join(parts)):
            if frame.kind == "forget":
                self.forgets += 1
                self.asked.clear()
            else:
                number, stored, _ = frames.read_map(frame)
                self.asked.append((number, stored.id))
                self.payloads.append(stored.payload)

    def ask(self, message_id: int, payload: bytes = MESSAGE) -> None:
        stored = Stored(id=message_id, channel="chem", seq=message_id, payload=payload, received_us=0)
        self.processor.ask(stored, CHANNEL, lambda verdict: self.answered.append((message_id, verdict.detail)))

    def verdict(self, number: int, message_id: int) -> Frame:
        verdict = Outcome("dead", ReasonCode.NO_ROUTE, f"of {message_id}")
        (frame,) = Decoder().feed(b"".join(frames.outcome(number, verdict, CHANNEL, pack)))
        return frame

    def answer(self, count: int = 1) -> None:
        for _ in range(count):
            self.processor.outcome(self.verdict(*self.asked.pop(0)))

    def die(self) -> None:
        self.asked.clear()
        self.processor.lost()

    @property
    def ids(self) -> list[int]:
        return [message_id for _, message_id in self.asked]


def test_what_is_asked_before_a_worker_is_ready_goes_out_once_it_is() -> None:
    worker = Worker()
    worker.ask(1)
    worker.ask(2)
    assert worker.asked == []
    worker.processor.ready()
    worker.ask(3)
    assert worker.ids == [1, 2, 3]
    worker.answer(3)
    assert worker.answered == [(1, "of 1"), (2, "of 2"), (3, "of 3")]


async def test_a_worker_for_large_messages_has_one_at_a_time() -> None:
    worker = Worker(one_by_one=True)
    worker.ask(1)
    worker.ask(2)
    worker.processor.ready()
    worker.ask(3)
    assert worker.ids == [1]
    worker.answer()
    assert worker.ids == [2]
    worker.die()
    worker.processor.ready()
    assert worker.ids == [2]
    worker.answer()
    assert worker.ids == [3]
    worker.answer()
    assert [number for number, _ in worker.answered] == [1, 2, 3]


async def test_what_the_worker_for_large_messages_has_is_compressed_here_and_goes_whole_to_the_next_one() -> None:
    worker = Worker(one_by_one=True)
    plain, dense = MESSAGE + b"OBX|2|NM|A||1\r" * 2000, random.Random(1).randbytes(2000)
    for number, payload in enumerate((plain, dense), 1):
        worker.ask(number, payload)
    worker.processor.ready()
    oldest = worker.processor._asked[0]
    await until(lambda: oldest.packed is not None)
    assert oldest.packed is not None
    assert (oldest.stored.payload, len(oldest.packed) < len(plain) // 4) == (b"", True)
    for _ in range(2):
        worker.die()
        worker.processor.ready()
    worker.answer()
    await asyncio.get_running_loop().run_in_executor(None, bool)
    worker.die()
    worker.processor.ready()
    assert worker.payloads == [plain, plain, plain, dense, dense]
    worker.answer()
    assert not worker.processor._bytes
    worker.ask(3, plain)
    await until(lambda: worker.processor._asked[0].packed is not None)
    worker.die()
    worker.processor.process_here()
    await until(lambda: len(worker.answered) == 3)


def test_no_more_is_outstanding_than_the_window_allows() -> None:
    worker = Worker()
    worker.processor.ready()
    for number in range(WINDOW_MESSAGES):
        assert worker.processor.has_room()
        worker.ask(number)
    assert not worker.processor.has_room()
    worker.answer()
    assert worker.processor.has_room()


def test_no_more_bytes_are_outstanding_than_the_window_allows() -> None:
    worker = Worker()
    worker.processor.ready()
    worker.ask(1, bytes(WINDOW_BYTES - 1))
    assert worker.processor.has_room()
    worker.ask(2, b"x")
    assert not worker.processor.has_room()
    worker.answer()
    assert worker.processor.has_room()


def test_what_is_forgotten_is_never_answered_and_its_late_verdicts_hit_nobody_else() -> None:
    worker = Worker()
    worker.processor.ready()
    worker.ask(1)
    worker.ask(2)
    late = [worker.verdict(*asked) for asked in worker.asked]
    worker.processor.forget()
    assert worker.forgets == 1
    worker.processor.outcome(late[0])
    worker.ask(2)
    worker.processor.outcome(late[1])  # the same message, asked under its old number
    assert worker.answered == []
    worker.answer()
    assert worker.answered == [(2, "of 2")]


def test_after_a_worker_ended_messages_go_out_one_at_a_time_until_the_suspects_are_through() -> None:
    worker = Worker()
    worker.processor.ready()
    for message_id in (1, 2, 3):
        worker.ask(message_id)
    worker.answer()
    worker.die()
    worker.ask(4)
    worker.ask(5)
    worker.processor.ready()
    assert worker.ids == [2]
    worker.answer()
    assert worker.ids == [3]
    worker.answer()
    assert worker.ids == [4, 5]  # nobody suspects these
    worker.answer(2)
    assert [message_id for message_id, _ in worker.answered] == [1, 2, 3, 4, 5]


def test_a_message_that_ends_worker_after_worker_is_dead_and_the_rest_goes_on() -> None:
    worker = Worker()
    for message_id in (1, 2, 3):
        worker.ask(message_id)
    lives = 0
    while not worker.answered:
        worker.processor.ready()
        if worker.ids[0] == 1:
            worker.die()
            lives += 1
    assert lives == STRIKES + 1  # in the first one it was not the only one under suspicion
    assert worker.answered == [(1, f"the worker process ended {STRIKES} times while it was processed")]
    worker.processor.ready()
    assert worker.ids == [2]
    worker.answer()
    worker.answer()
    assert [message_id for message_id, _ in worker.answered] == [1, 2, 3]


def test_a_worker_that_is_given_another_configuration_makes_no_message_suspect() -> None:
    worker = Worker()
    worker.processor.ready()
    for _ in range(STRIKES * 2):
        worker.ask(1)
        worker.processor.pause()
        worker.die()
        worker.processor.forget()
        worker.processor.ready()
    worker.ask(1)
    worker.ask(2)
    assert worker.ids == [1, 2]
    assert worker.answered == []


async def test_where_no_worker_can_be_had_this_process_judges_in_the_same_order() -> None:
    worker = Worker()
    for message_id in range(20):
        worker.ask(message_id)
    worker.processor.process_here()
    worker.ask(20)
    await until(lambda: len(worker.answered) == 21)
    assert [message_id for message_id, _ in worker.answered] == list(range(21))
    assert worker.asked == []


async def test_where_no_worker_for_large_messages_can_be_had_all_else_gets_as_much_time_as_they_take() -> None:
    """Mapped one after the other they would hold back every acknowledgement until the last."""
    worker = Worker(one_by_one=True)
    large = MESSAGE + b"OBX|2|NM|A||1\r" * 2000
    for message_id in range(6):
        worker.ask(message_id, large)
    turns: list[int] = []  # messages answered until then, at each turn that others get
    worker.processor.process_here()
    while len(worker.answered) < 6:
        turns.append(len(worker.answered))
        await asyncio.sleep(0)
    assert set(turns) == set(range(6)), "each has some of its own"
    assert [message_id for message_id, _ in worker.answered] == list(range(6))


async def test_a_worker_that_is_back_takes_over_where_this_process_stopped() -> None:
    worker = Worker()
    for message_id in range(20):
        worker.ask(message_id)
    worker.processor.process_here()
    await asyncio.sleep(0)
    done = len(worker.answered)
    assert 0 < done < 20
    worker.processor.ready()
    assert worker.ids == list(range(done, 20))
    worker.answer(20 - done)
    await asyncio.sleep(0)
    assert [message_id for message_id, _ in worker.answered] == list(range(20))


steps = st.lists(st.sampled_from(["ask", "answer", "die", "ready"]), max_size=60)


@given(steps)
def test_whatever_happens_every_message_is_answered_once_and_in_order(moves: list[str]) -> None:
    worker = Worker()
    asked = 0
    for move in moves:
        if move == "ask":
            asked += 1
            worker.ask(asked)
        elif move == "answer" and worker.asked:
            worker.answer()
        elif move == "die":
            worker.die()
        elif move == "ready" and not worker.asked:
            worker.processor.ready()
    worker.die()
    while worker.processor.outstanding:
        worker.processor.ready()
        worker.answer(len(worker.asked))
    assert [message_id for message_id, _ in worker.answered] == list(range(1, asked + 1))


def test_a_verdict_is_read_with_the_routes_that_the_message_was_asked_with() -> None:
    worker = Worker()
    worker.processor.ready()
    seen: list[Processed] = []
    other = replace(CHANNEL, routes=(Route(when=None, program=None, to=("b",)),))
    stored = Stored(id=1, channel="chem", seq=1, payload=MESSAGE, received_us=0)
    worker.processor.ask(stored, other, seen.append)
    (frame,) = Decoder().feed(b"".join(frames.outcome(worker.asked[0][0], process(stored, other), other, pack)))
    worker.processor.outcome(frame)
    assert seen[0].documents[0][1] is other.routes[0]
