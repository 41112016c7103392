"""Large messages judged elsewhere: in order, each once, whatever becomes of the process; none ends them for ever."""

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
from engine.runtime.large import frames
from engine.runtime.large.processor import STRIKES, RemoteProcessor
from engine.runtime.large.wire import Decoder, Frame
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


class Other:
    """The other side, in the test's hands: reads what was sent, answers when told to."""

    def __init__(self) -> None:
        self.processor = RemoteProcessor(self._sent)
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


async def test_what_is_asked_goes_out_one_at_a_time_once_the_process_is_ready() -> None:
    other = Other()
    other.ask(1)
    other.ask(2)
    assert other.ids == []
    other.processor.ready()
    other.ask(3)
    assert other.ids == [1]
    other.answer()
    assert other.ids == [2]
    other.die()
    other.processor.ready()
    assert other.ids == [2]
    other.answer()
    assert other.ids == [3]
    other.answer()
    assert [number for number, _ in other.answered] == [1, 2, 3]


async def test_what_the_process_has_is_compressed_here_and_goes_whole_to_the_next_one() -> None:
    other = Other()
    plain, dense = MESSAGE + b"OBX|2|NM|A||1\r" * 2000, random.Random(1).randbytes(2000)
    for number, payload in enumerate((plain, dense), 1):
        other.ask(number, payload)
    other.processor.ready()
    oldest = other.processor._asked[0]
    await until(lambda: oldest.packed is not None)
    assert oldest.packed is not None
    assert (oldest.stored.payload, len(oldest.packed) < len(plain) // 4) == (b"", True)
    for _ in range(2):
        other.die()
        other.processor.ready()
    other.answer()
    await asyncio.get_running_loop().run_in_executor(None, bool)
    other.die()
    other.processor.ready()
    assert other.payloads == [plain, plain, plain, dense, dense]
    other.answer()
    other.ask(3, plain)
    await until(lambda: other.processor._asked[0].packed is not None)
    other.die()
    other.processor.process_here()
    await until(lambda: len(other.answered) == 3)


async def test_what_is_forgotten_is_never_answered_and_its_late_verdicts_hit_nobody_else() -> None:
    other = Other()
    other.processor.ready()
    other.ask(1)
    other.ask(2)
    (asked,) = other.asked
    late = other.verdict(*asked)
    other.processor.forget()
    assert other.forgets == 1
    other.processor.outcome(late)
    other.ask(1)
    other.processor.outcome(late)  # the same message, asked under its old number
    assert other.answered == []
    other.answer()
    assert other.answered == [(1, "of 1")]


async def test_a_message_that_ends_process_after_process_is_dead_and_the_rest_goes_on() -> None:
    other = Other()
    for message_id in (1, 2, 3):
        other.ask(message_id)
    lives = 0
    while not other.answered:
        other.processor.ready()
        if other.ids[0] == 1:
            other.die()
            lives += 1
    assert lives == STRIKES
    assert other.answered == [(1, f"the process for large messages ended {STRIKES} times while it was processed")]
    other.processor.ready()
    assert other.ids == [2]
    other.answer()
    other.answer()
    assert [message_id for message_id, _ in other.answered] == [1, 2, 3]


async def test_a_process_that_is_given_another_configuration_makes_no_message_suspect() -> None:
    other = Other()
    other.processor.ready()
    for _ in range(STRIKES * 2):
        other.ask(1)
        other.processor.pause()
        other.die()
        other.processor.forget()
        other.processor.ready()
    other.ask(1)
    other.ask(2)
    assert other.ids == [1]
    assert other.answered == []


async def test_where_no_process_can_be_had_this_process_judges_in_the_same_order() -> None:
    other = Other()
    for message_id in range(20):
        other.ask(message_id)
    other.processor.process_here()
    other.ask(20)
    await until(lambda: len(other.answered) == 21)
    assert [message_id for message_id, _ in other.answered] == list(range(21))
    assert other.asked == []


async def test_where_no_process_can_be_had_all_else_gets_as_much_time_as_they_take() -> None:
    """Mapped one after the other they would hold back every acknowledgement until the last."""
    other = Other()
    large = MESSAGE + b"OBX|2|NM|A||1\r" * 2000
    for message_id in range(6):
        other.ask(message_id, large)
    turns: list[int] = []  # messages answered until then, at each turn that others get
    other.processor.process_here()
    while len(other.answered) < 6:
        turns.append(len(other.answered))
        await asyncio.sleep(0)
    assert set(turns) == set(range(6)), "each has some of its own"
    assert [message_id for message_id, _ in other.answered] == list(range(6))


async def test_a_process_that_is_back_takes_over_where_this_process_stopped() -> None:
    other = Other()
    for message_id in range(20):
        other.ask(message_id)
    other.processor.process_here()
    while not other.answered:  # noqa: ASYNC110 - a turn of the loop each
        await asyncio.sleep(0)
    done = len(other.answered)
    assert 0 < done < 20
    other.processor.ready()
    assert other.ids == [done]
    other.answer(20 - done)
    await asyncio.sleep(0)
    assert [message_id for message_id, _ in other.answered] == list(range(20))


steps = st.lists(st.sampled_from(["ask", "answer", "die", "ready"]), max_size=60)


@given(steps)
def test_whatever_happens_every_message_is_answered_once_and_in_order(moves: list[str]) -> None:
    asyncio.run(played(moves))


async def played(moves: list[str]) -> None:
    other = Other()
    asked = 0
    for move in moves:
        if move == "ask":
            asked += 1
            other.ask(asked)
        elif move == "answer" and other.asked:
            other.answer()
        elif move == "die":
            other.die()
        elif move == "ready" and not other.asked:
            other.processor.ready()
    other.die()
    while other.processor.outstanding:
        other.processor.ready()
        other.answer(len(other.asked))
    assert [message_id for message_id, _ in other.answered] == list(range(1, asked + 1))


async def test_a_verdict_is_read_with_the_routes_that_the_message_was_asked_with() -> None:
    other = Other()
    other.processor.ready()
    seen: list[Processed] = []
    channel = replace(CHANNEL, routes=(Route(when=None, program=None, to=("b",)),))
    stored = Stored(id=1, channel="chem", seq=1, payload=MESSAGE, received_us=0)
    other.processor.ask(stored, channel, seen.append)
    (frame,) = Decoder().feed(b"".join(frames.outcome(other.asked[0][0], process(stored, channel), channel, pack)))
    other.processor.outcome(frame)
    assert seen[0].documents[0][1] is channel.routes[0]
