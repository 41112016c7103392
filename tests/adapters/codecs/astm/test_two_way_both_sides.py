"""An analyzer and LabRelay, each sending when it wants to, over a line that loses and spoils bytes in both directions.

In each case both come to rest, nothing is delivered but whole messages, each once; what a side takes for sent has
arrived, what has arrived and is not taken for sent is reported as perhaps there; and nothing of a message is on the
line once it was sent. Time is simulated: a byte arrives before time goes on.

Left out is what no protocol with one-byte answers survives: an answer that turns into ACK or EOT, an ENQ, ACK or EOT
out of nowhere, and a frame that the line itself doubles (its two ACKs would answer two frames). Nor does one survive a
repeat that gets the number of the next frame, with a right sum.

`REACHED` counts what the walks have met, so that a rule that never comes to its fault is noticed. Each fault has a rule
that goes to it: Hypothesis draws constants of all imported modules of the project, so other tests change a walk.
LABRELAY_EXAMPLES=3000 makes more walks.
"""

import os
from collections import Counter
from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from adapters.codecs.astm.sender import SenderOptions, frames_of
from adapters.codecs.astm.sender import State as SenderState
from adapters.codecs.astm.session import AstmOptions
from adapters.codecs.astm.session import State as ReceiverState
from adapters.codecs.astm.two_way import AstmTwoWayLink
from engine.model.link_events import Frame, LinkEvent, NotSent, SendEnd, Sent, SessionEnd
from tests.support.astm_host import sum8
from tests.support.examples import examples

ENQ, ACK, NAK, EOT, STX = b"\x05", b"\x06", b"\x15", b"\x04", b"\x02"
ANSWERS = frozenset(ENQ + ACK + NAK + EOT)
STEPS_TO_REST = 20_000
EXAMPLES = int(os.environ.get("LABRELAY_EXAMPLES", "120"))
REACHED: Counter[str] = Counter()
FAULTS = (
    *("both sent ENQ", "EOT for an ACK", "a frame refused six times", "a record in several frames"),
    *("ACK lost or spoiled", "ENQ lost", "the same frame again", "a wrong frame number", "noise between"),
    *("a line that broke amid a message", "a message in part"),
)


def message_number(side: str, n: int, results: int, filler: int) -> bytes:
    """A message that no other is a part of; each of its records is its own."""
    lines = [f"H|\\^&|{side}{n}||MADE-UP", f"P|1||{side}{n}", f"O|1|{side}{n}||^^^ALL"]
    lines += [f"R|{r}|^^^T{r}|{n}.{r}|{side}{n}||N||F||{'x' * filler}" for r in range(1, results + 1)]
    return "\r".join([*lines, f"L|1|{side}{n}", ""]).encode()


class Side:
    """One end of the line with the caller that it needs, and what it was told."""

    def __init__(self, name: str, receiving: AstmOptions, sending: SenderOptions) -> None:
        self.name = name
        self.receiving, self.sending = receiving, sending
        self.link = AstmTwoWayLink(receiving, sending)
        self.resent = 0
        self.full = False
        self.out: list[bytes] = []  # transmissions on their way
        self.spoiled = False
        self.offered: dict[int, bytes] = {}
        self.sent: set[int] = set()
        self.failed: dict[int, NotSent] = {}
        self.withdrawn: set[int] = set()
        self.delivered: list[bytes] = []
        self.bodies: set[bytes] = set()
        self.misnumbered: set[bytes] = set()
        self.collided = False

    def take(self, events: list[LinkEvent], now: float) -> None:
        while events:
            for event in events:
                if isinstance(event, Frame) and not self.full:
                    self.judge(event.raw)
                    self.link.committed(now)
                    self.delivered += event.completes
                elif isinstance(event, Frame):
                    self.link.failed(now)
                elif isinstance(event, SessionEnd):
                    self.delivered += event.completes
                    REACHED["a message in part"] += bool(event.incomplete)
            self.say()
            events = self.link.receive(b"", now)
        self.say()

    def judge(self, raw: bytes) -> None:
        body = body_of(raw)
        assert body not in self.misnumbered, "a frame was taken whose number is wrong"
        if body not in self.bodies:
            assert int(raw[len(body) + 1 :][:2], 16) == sum8(body), "a frame was taken whose sum is wrong"
            self.collided = True

    def say(self) -> None:
        """Put what the link says onto the line."""
        self.told(self.link.sends_ended())
        if out := self.link.outgoing():
            inside = self.link._receiver.state is not ReceiverState.IDLE
            assert not inside or STX not in out, "a frame inside the session of the other side"
            REACHED["a record in several frames"] += b"\x17" in out
            REACHED["the same frame again"] += self.link._sender.resent > self.resent
            self.resent = self.link._sender.resent
            for ticket in self.sent:
                assert self.offered[ticket].split(b"\r")[0] not in out, "a message that was sent goes out again"
            self.out.append(out)
            self.spoiled = False

    def told(self, ends: list[SendEnd]) -> None:
        for end in ends:
            assert end.ticket not in self.sent
            assert end.ticket not in self.failed
            assert end.ticket not in self.withdrawn
            if isinstance(end, Sent):
                self.sent.add(end.ticket)
            else:
                self.failed[end.ticket] = end
                REACHED["a frame refused six times"] += end.reason == "rejected"

    @property
    def open(self) -> set[int]:
        return self.offered.keys() - self.sent - self.failed.keys() - self.withdrawn


class TwoWays(RuleBasedStateMachine):
    @initialize(
        commit=st.sampled_from(["frame", "message"]),
        pack=st.sampled_from(["record", "packed"]),
        limit=st.sampled_from([7, 60, 240]),
        interrupt=st.sampled_from(["yield", "finish"]),
    )
    def connect(self, commit: str, pack: str, limit: int, interrupt: str) -> None:
        self.now = 0.0
        self.bad = 0  # frames to come that are spoiled
        options = AstmOptions(commit=commit)
        self.host = Side("H", options, SenderOptions(pack=pack, frame_limit=limit, on_interrupt=interrupt))
        self.analyzer = Side("A", AstmOptions(), SenderOptions(role="instrument", frame_limit=limit))
        self.sides = (self.host, self.analyzer)

    def other(self, side: Side) -> Side:
        return self.analyzer if side is self.host else self.host

    def chosen(self, which: bool) -> Side:
        return self.sides[which]

    # -- events ----------------------------------------------------------------------------------------------------

    @rule(which=st.booleans(), results=st.integers(0, 4), filler=st.sampled_from([0, 0, 30, 300]))
    def offer(self, which: bool, results: int, filler: int) -> None:
        side = self.chosen(which)
        if len(side.open) > 2:
            return
        ticket = len(side.offered) + 1
        message = message_number(side.name, ticket, results, filler)
        side.offered[ticket] = message
        bodies = {body_of(frame) for frame in frames_of(message, side.sending.frame_limit, side.sending.pack)}
        self.other(side).bodies |= bodies
        self.other(side).misnumbered -= bodies  # a wrong number that made a frame of this later message
        side.link.offer(ticket, message, self.now)
        side.say()

    @rule(which=st.booleans(), at=st.integers(0, 2))
    def withdraw(self, which: bool, at: int) -> None:
        side = self.chosen(which)
        for ticket in sorted(side.open)[at : at + 1]:
            if side.link.withdraw(ticket):
                side.withdrawn.add(ticket)
            side.say()

    def moves(self) -> bool:
        return any(side.out for side in self.sides)

    def exchange(self, side: Side, size: int = 10_000) -> None:
        if not side.out:
            return
        first = side.out[0]
        side.out[0:1] = [first[size:]] if len(first) > size else []
        peer = self.other(side)
        REACHED["both sent ENQ"] += first == ENQ and peer.link._sender.state is SenderState.ESTABLISHING
        if self.bad > 0 and STX in first[:size] and not peer.collided:
            self.bad -= 1
            first = first[:-6] + b"\x7f" + first[-5:]
        peer.take(peer.link.receive(first[:size], self.now), self.now)

    @precondition(moves)
    @rule(which=st.booleans(), size=st.integers(1, 400))
    def some_bytes_arrive(self, which: bool, size: int) -> None:
        self.exchange(self.chosen(which), size)

    @precondition(moves)
    @rule(steps=st.integers(1, 40), first=st.booleans())
    def all_goes_well(self, steps: int, first: bool) -> None:
        for step in range(steps):
            self.exchange(self.chosen(bool(step % 2) == first))

    @rule(which=st.booleans(), at=st.integers(0, 10_000), byte=st.integers(0, 255).filter(lambda b: b not in ANSWERS))
    def a_byte_is_spoiled(self, which: bool, at: int, byte: int) -> None:
        side = self.chosen(which)
        if not side.out or side.spoiled or self.other(side).collided:
            return
        data = side.out[-1]
        at %= len(data)
        side.out[-1] = data[:at] + bytes([byte]) + data[at + 1 :]
        side.spoiled = True

    @rule(which=st.booleans(), at=st.integers(0, 10_000), size=st.sampled_from([1, 1, 5, 10_000]))
    def bytes_are_lost(self, which: bool, at: int, size: int) -> None:
        side = self.chosen(which)
        if not side.out or side.spoiled or self.other(side).collided:
            return
        data = side.out[-1]
        at %= len(data)
        left = data[:at] + (data[at + 1 :] if size == 1 else b"")
        side.out[-1:] = [left] if left else []
        side.spoiled = True

    @rule(which=st.booleans())
    def an_enq_is_lost(self, which: bool) -> None:
        side = self.chosen(which)
        if not side.open:
            self.offer(which, 1, 0)
        if side.out == [ENQ] and not side.spoiled and not self.other(side).collided:
            side.out = []
            side.spoiled = True
            REACHED["ENQ lost"] += 1

    @rule(frames=st.integers(0, 3))
    def the_analyzer_asks_for_the_line(self, frames: int) -> None:
        """EOT in place of its ACK to a frame."""
        if self.reached(self.host, frames, lambda: self.analyzer.out == [ACK]):
            self.analyzer.out = [EOT]
            REACHED["EOT for an ACK"] += 1

    @rule(which=st.booleans(), frames=st.integers(0, 3), byte=st.sampled_from([b"", b"\x00", b"\x07", b"\x86"]))
    def the_ack_of_a_frame_is_lost_or_spoiled(self, which: bool, frames: int, byte: bytes) -> None:
        side = self.chosen(which)
        if self.reached(self.other(side), frames, lambda: side.out == [ACK]) and not side.spoiled:
            side.out = [byte] if byte else []
            side.spoiled = True
            REACHED["ACK lost or spoiled"] += 1

    def reached(self, sender: Side, frames: int, there: Callable[[], bool]) -> bool:
        """All goes well until ``sender`` transfers a message, and that many times more this is ``there``."""
        if not sender.open:
            self.offer(sender is self.analyzer, 2, 30)
        for turn in range(4 * frames + 12):
            if sender.link._sender.state is SenderState.TRANSFERRING and there():
                if frames == 0:
                    return True
                frames -= 1
            self.exchange(self.sides[turn % 2])
        return False

    @rule(frames=st.integers(1, 7))
    def the_line_is_bad_for_some_frames(self, frames: int) -> None:
        self.bad = frames

    @rule()
    def both_begin_at_once(self) -> None:
        if not any(side.out or side.link._sender.waiting or side.link.in_session for side in self.sides):
            self.offer(False, 1, 0)
            self.offer(True, 1, 0)

    @rule(which=st.booleans(), frames=st.integers(0, 3), by=st.integers(1, 7))
    def a_frame_has_a_wrong_number(self, which: bool, frames: int, by: int) -> None:
        """And a right sum. A repeat that has the very number of the next frame cannot be told from it."""
        side = self.chosen(which)
        peer = self.other(side)
        if not self.reached(side, frames, lambda: side.out[-1:] != [] and side.out[-1].startswith(STX)):
            return
        body = body_of(side.out[-1])
        number = (int(body[:1]) + by) % 8
        body = str(number).encode() + body[1:]
        session = peer.link._receiver._session
        if side.spoiled or peer.collided or body in peer.bodies or session is None or number == session.expected:
            return
        peer.misnumbered.add(body)
        side.out[-1] = STX + body + f"{sum8(body):02X}".encode() + b"\r\n"
        side.spoiled = True
        REACHED["a wrong frame number"] += 1

    @rule(which=st.booleans(), noise=st.binary(min_size=1, max_size=4))
    def noise_comes_between(self, which: bool, noise: bytes) -> None:
        """What is heard while neither side says anything."""
        peer = self.chosen(which)
        resting = all(side.link._sender.state is SenderState.IDLE and not side.out for side in self.sides)
        noise = bytes(byte for byte in noise if byte not in ANSWERS)
        if resting and noise:
            REACHED["noise between"] += 1
            peer.take(peer.link.receive(noise, self.now), self.now)

    @rule(which=st.booleans(), full=st.booleans())
    def the_store_is_full_or_not(self, which: bool, full: bool) -> None:
        self.chosen(which).full = full

    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0, 16.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.let_everything_arrive()
        end = self.now + seconds
        while (due := self.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.tick()
            self.let_everything_arrive()
        self.now = end

    @rule(chance=st.integers(0, 3), which=st.booleans(), frames=st.integers(0, 3))
    def the_line_breaks(self, chance: int, which: bool, frames: int) -> None:
        """And is there again at once, with new links; nothing is offered again."""
        if chance != 3:
            return
        self.reached(self.chosen(which), frames, lambda: True)
        amid = any(side.link._sender.state is SenderState.TRANSFERRING for side in self.sides)
        REACHED["a line that broke amid a message"] += amid
        for side in self.sides:
            side.out = []
            for event in side.link.closed():
                assert isinstance(event, SessionEnd)
                side.delivered += event.completes
            side.told(side.link.sends_ended())
            assert side.link.sending == 0
            side.link = AstmTwoWayLink(side.receiving, side.sending)
            side.resent = 0

    # -- time ------------------------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        return min((at for side in self.sides if (at := side.link.deadline()) is not None), default=None)

    def tick(self) -> None:
        for side in self.sides:
            side.take(side.link.tick(self.now), self.now)

    def let_everything_arrive(self) -> None:
        while self.moves():
            self.exchange(self.host)
            self.exchange(self.analyzer)

    # -- what holds ------------------------------------------------------------------------------------------------

    @invariant()
    def what_arrives_is_whole_and_comes_once(self) -> None:
        if not hasattr(self, "sides"):
            return
        for side in self.sides:
            peer = self.other(side)
            if peer.collided:
                continue
            ticket_of = {message: ticket for ticket, message in side.offered.items()}
            arrived = [ticket_of[message] for message in peer.delivered]
            assert len(set(arrived)) == len(arrived)
            assert side.sent <= set(arrived)
            assert not side.withdrawn & set(arrived)
            for ticket in side.failed.keys() & set(arrived):
                assert side.failed[ticket].maybe

    def teardown(self) -> None:
        """Without further faults both come to rest, and every message has ended."""
        if not hasattr(self, "sides"):
            return
        self.bad = 0
        for side in self.sides:
            side.full = False
        for _ in range(STEPS_TO_REST):
            self.let_everything_arrive()
            due = self.next_timer()
            if due is None:
                break
            self.now = max(self.now, due)
            self.tick()
        for side in self.sides:
            assert (side.open, side.link.sending, side.link.deadline()) == (set(), 0, None)
            assert side.link._receiver.state is ReceiverState.IDLE
        self.what_arrives_is_whole_and_comes_once()


def body_of(frame: bytes) -> bytes:
    """What the sum is taken over."""
    return frame[1 : max(frame.rfind(b"\x03"), frame.rfind(b"\x17")) + 1]


TestTwoWays = TwoWays.TestCase
TestTwoWays.settings = settings(
    max_examples=examples(EXAMPLES), stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_walks_meet_every_fault() -> None:
    REACHED.clear()
    run_state_machine_as_test(
        TwoWays,
        settings=settings(
            derandomize=True,
            max_examples=120,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    assert [fault for fault in FAULTS if not REACHED[fault]] == []
