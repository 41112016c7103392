"""Sender and receiver together, in any order of events, over a line that loses and spoils bytes in both directions.

In each case both come to rest, no frame is taken that was not sent, nothing is delivered but whole messages, and
what the sender takes for sent has arrived. Time is simulated: a byte on the line arrives before time goes on, since an
answer that comes when nobody waits for it any more cannot be told from the next one's.

Left out is what no protocol with one-byte answers survives: an answer that turns into ACK or EOT on its way, and an ENQ
out of nowhere. A frame whose eight-bit sum is right by chance is one too; one fault a frame cannot do that, except that
a STX may appear in it.
"""

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.sender import AstmSender, Failed, SenderOptions, Sent, frames_of
from adapters.codecs.astm.sender import State as SenderState
from adapters.codecs.astm.session import AstmOptions
from adapters.codecs.astm.session import State as ReceiverState
from engine.model.link_events import Frame, LinkEvent, SessionEnd
from tests.support.astm_host import sum8
from tests.support.examples import examples

ENQ, ACK, EOT = b"\x05", b"\x06", b"\x04"
STEPS_TO_REST = 10_000  # far fewer are needed: a few for each frame of each message, and the timers of both


def message_number(n: int, results: int, filler: int) -> bytes:
    """A message that no other is a part of."""
    lines = [f"H|\\^&|{n}||MADE-UP", "P|1||SIM-1", f"O|1|S{n}||^^^ALL"]
    lines += [f"R|{r}|^^^T{r}|{n}.{r}|mmol/L||N||F||{'x' * filler}" for r in range(1, results + 1)]
    return "\r".join([*lines, "L|1|N", ""]).encode()


class BothSides(RuleBasedStateMachine):
    @initialize(
        commit=st.sampled_from(["frame", "message"]),
        numbers=st.sampled_from(["strict", "warn"]),
        role=st.sampled_from(["instrument", "host"]),
        pack=st.sampled_from(["record", "packed"]),
        limit=st.sampled_from([7, 60, 240]),
    )
    def connect(self, commit: str, numbers: str, role: str, pack: str, limit: int) -> None:
        self.options = AstmOptions(commit=commit, frame_numbers=numbers)
        self.how = SenderOptions(role=role, pack=pack, frame_limit=limit)
        self.now = 0.0
        self.sender = AstmSender(self.how)
        self.receiver = AstmReceiver(self.options)
        self.there: list[bytes] = []  # transmissions on their way to the receiver
        self.spoiled = False  # the newest of them was
        self.back = b""  # answers on their way to the sender
        self.held: list[LinkEvent] = []  # events from a frame on, of which nothing is known to be durable yet
        self.offered: list[bytes] = []
        self.bodies: set[bytes] = set()
        self.sent: list[bytes] = []
        self.failed: list[bytes] = []
        self.delivered: list[bytes] = []
        self.collided = False
        self.full = False
        self.held_since = 0.0
        self.late = False  # the journal took longer than a sender waits

    # -- what the callers do ---------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Put what both say onto the line."""
        if out := self.sender.outgoing():
            self.there.append(out)
            self.spoiled = False
        self.back += self.receiver.outgoing()

    def received(self, events: list[LinkEvent]) -> None:
        if events:
            self.held_since = self.now
        self.held += events
        while self.held and not isinstance(self.held[0], Frame):
            event = self.held.pop(0)
            if isinstance(event, SessionEnd):
                self.delivered += event.completes

    def told(self, events: list[Sent | Failed]) -> None:
        for event in events:
            (self.sent if isinstance(event, Sent) else self.failed).append(event.message)

    def one_exchange(self) -> bool:
        """What is said arrives, what came is durable: False where there is nothing to be done without waiting."""
        if self.held:
            self.the_journal_answers(True)
        elif self.there:
            self.some_bytes_arrive(10_000)
        elif self.back:
            self.some_answers_arrive(10_000)
        else:
            return False
        return True

    # -- events ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.offered) - len(self.sent) - len(self.failed) < 3)
    @rule(results=st.integers(0, 6), filler=st.sampled_from([0, 0, 30, 300]))
    def offer(self, results: int, filler: int) -> None:
        message = message_number(len(self.offered) + 1, results, filler)
        self.offered.append(message)
        self.bodies |= {body_of(frame) for frame in frames_of(message, self.how.frame_limit, self.how.pack)}
        self.sender.offer(message, self.now)
        self.pump()

    @precondition(lambda self: self.held or self.there or self.back)
    @rule(exchanges=st.integers(1, 40))
    def all_goes_well(self, exchanges: int) -> None:
        while exchanges and self.one_exchange():
            exchanges -= 1

    @precondition(lambda self: self.held or self.there or self.back)
    @rule(seconds=st.sampled_from([0.0, 11.0]))
    def all_goes_well_for_long(self, seconds: float) -> None:
        self.now += seconds
        self.tick()
        self.all_goes_well(200)

    @precondition(lambda self: self.there and not self.held)
    @rule(size=st.integers(1, 400))
    def some_bytes_arrive(self, size: int) -> None:
        if self.late:  # whatever came while the journal took its time is read at once
            first, self.there = b"".join(self.there), []
            size, self.late = len(first), False
        else:
            first = self.there[0]
            self.there[0:1] = [first[size:]] if len(first) > size else []
        self.received(self.receiver.receive(first[:size], self.now))
        self.pump()

    @precondition(lambda self: self.held)
    @rule(durable=st.sampled_from([True, True, True, False]))
    def the_journal_answers(self, durable: bool) -> None:
        frame = self.held.pop(0)
        assert isinstance(frame, Frame)
        self.late = self.now - self.held_since > self.options.answer_within
        if durable and not self.full:
            self.judge(frame)
            self.receiver.committed(self.now)
            self.delivered += frame.completes
        else:
            self.receiver.failed(self.now)
        self.received([])
        if not self.held:
            self.received(self.receiver.receive(b"", self.now))
        self.pump()

    def judge(self, frame: Frame) -> None:
        body = body_of(frame.raw)
        if body not in self.bodies:
            given = frame.raw[len(body) + 1 :][:2]
            assert int(given, 16) == sum8(body), "a frame was taken whose sum is wrong"
            self.collided = True

    @precondition(lambda self: self.back)
    @rule(size=st.integers(1, 3))
    def some_answers_arrive(self, size: int) -> None:
        came, self.back = self.back[:size], self.back[size:]
        self.told(self.sender.receive(came, self.now))
        self.pump()

    @precondition(lambda self: self.there and not self.spoiled and not self.collided)
    @rule(at=st.integers(0, 10_000), byte=st.integers(0, 255).filter(lambda byte: byte != ENQ[0]))
    def a_byte_is_spoiled(self, at: int, byte: int) -> None:
        data = self.there[-1]
        at %= len(data)
        if data[at] != byte:
            self.there[-1] = data[:at] + bytes([byte]) + data[at + 1 :]
            self.spoiled = True

    @precondition(lambda self: self.there and not self.spoiled and not self.collided)
    @rule(at=st.integers(0, 10_000), size=st.sampled_from([1, 1, 5, 10_000]))
    def bytes_are_lost(self, at: int, size: int) -> None:
        """One, or a run of them; a run that ends in the middle of a frame leaves its end."""
        data = self.there[-1]
        at %= len(data)
        left = data[:at] + (data[at + 1 :] if size == 1 else b"")
        self.there[-1:] = [left] if left else []
        self.spoiled = True

    @precondition(lambda self: self.back)
    @rule(byte=st.one_of(st.none(), st.integers(0, 255).filter(lambda byte: byte not in ACK + EOT)))
    def an_answer_is_lost_or_spoiled(self, byte: int | None) -> None:
        self.back = self.back[:-1] + (bytes([byte]) if byte is not None else b"")

    @precondition(lambda self: not (self.there or self.back or self.held) and self.sender.state is SenderState.IDLE)
    @rule(noise=st.binary(min_size=1, max_size=4).map(lambda data: data.replace(ENQ, b"").replace(EOT, b"")))
    def noise_comes_between_two_transmissions(self, noise: bytes) -> None:
        self.received(self.receiver.receive(noise, self.now))
        self.pump()

    @rule(chance=st.integers(0, 3))
    def the_journal_is_full_or_not(self, chance: int) -> None:
        self.full = chance == 3

    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0, 16.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.let_everything_arrive()
        end = self.now + seconds
        while (due := self.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.tick()
            self.let_everything_arrive()
        self.now = end

    @precondition(lambda self: self.there or self.held)
    @rule(chance=st.integers(0, 3))
    def the_line_breaks(self, chance: int) -> None:
        """And is there again at once, with a new link at the receiver's end; the sender offers nothing again."""
        if chance != 3:
            return
        self.there, self.back, self.held, self.late = [], b"", [], False
        self.received(self.receiver.closed())
        assert not self.held
        self.told(self.sender.closed())
        self.receiver = AstmReceiver(self.options)
        self.pump()

    # -- time ------------------------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        due = [at for at in (self.sender.deadline(), self.receiver.deadline()) if at is not None]
        return min(due, default=None)

    def tick(self) -> None:
        if not self.held:
            self.received(self.receiver.tick(self.now))
        self.told(self.sender.tick(self.now))
        self.pump()

    def let_everything_arrive(self) -> None:
        while (self.there and not self.held) or self.back:
            if self.there and not self.held:
                self.some_bytes_arrive(10_000)
            if self.back:
                self.some_answers_arrive(10_000)

    # -- what holds ------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_delivered_but_whole_messages(self) -> None:
        if not self.collided:
            assert set(self.delivered) <= set(self.offered)

    @invariant()
    def what_was_sent_has_arrived(self) -> None:
        if not self.collided:
            assert set(self.sent) <= set(self.delivered)

    def teardown(self) -> None:
        """Without further faults both come to rest."""
        if not hasattr(self, "now"):
            return
        self.full = False
        for _ in range(STEPS_TO_REST):
            if self.one_exchange():
                continue
            due = self.next_timer()
            if due is None:
                break
            self.now = max(self.now, due)
            self.tick()
        assert (self.sender.state, self.sender.waiting) == (SenderState.IDLE, 0)
        assert self.receiver.state is ReceiverState.IDLE
        assert sorted([*self.sent, *self.failed]) == sorted(self.offered)
        self.nothing_is_delivered_but_whole_messages()
        self.what_was_sent_has_arrived()


def body_of(frame: bytes) -> bytes:
    """What the sum is taken over."""
    return frame[1 : max(frame.rfind(b"\x03"), frame.rfind(b"\x17")) + 1]


TestBothSides = BothSides.TestCase
TestBothSides.settings = settings(
    max_examples=examples(120), stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_of_what_waited_behind_a_slow_journal_only_the_last_enq_is_answered() -> None:
    """Two ACKs at once would answer the ENQ, and then the frame that it lets go: one that nobody has stored."""
    receiver = AstmReceiver()
    first, *_ = frames_of(b"H|\\^&\rL|1|N\r")
    receiver.receive(ENQ + first, 0.0)
    assert receiver.outgoing() == ACK
    receiver.committed(40.0)
    assert receiver.outgoing() == b""  # its sender gave up at 15 s, tried again at 25 s, and again at 50 s
    events = receiver.receive(EOT + ENQ + EOT + ENQ, 50.1)
    assert receiver.outgoing() == ACK
    assert [type(event) for event in events] == [SessionEnd]
    assert receiver.state is ReceiverState.RECEIVING


def test_a_keep_alive_in_one_piece_is_answered_as_ever() -> None:
    receiver = AstmReceiver()
    receiver.receive(ENQ + EOT + ENQ + EOT, 0.0)
    assert receiver.outgoing() == ACK + ACK
