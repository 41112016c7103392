"""Any history of a channel: nothing that may be another result is taken for a repeat, no double goes out unseen.

The model knows of each message who sent it, what its control id and time were, and whether its answer was written. It
says of the same bytes whether they must be delivered, and never looks at how the journal decides.
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.model.journal.records import Decision
from engine.model.link_events import Line
from engine.model.message import Received, Stored
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store import journal as journal_module
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append as append_ops
from engine.store.operations import record_outcome
from engine.store.queries.messages import trace_of
from tests.support.examples import examples
from tests.support.journals import opened, routed

DAY_S = 86_400.0
MINUTES_10_S = 600.0


class Sent:
    """A message as its sender knows it."""

    def __init__(self, stored: Stored, received: Received, line: Line, at_s: float) -> None:
        self.stored, self.received, self.line, self.at_s = stored, received, line, at_s
        self.lost_s: float | None = None  # since when its sender is without an answer
        self.nothing = False
        self.mapped = True


class Channels(RuleBasedStateMachine):
    """One journal with one channel; crashes, stops in order and hours between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.patience = mock.patch.object(journal_module, "STOP_S", 120.0)  # a stop is in order on a busy machine, too
        self.patience.start()
        self.clock = ManualClock()
        self.loop = asyncio.new_event_loop()
        self.journal: Journal = opened(Path(self.folder.name), clock=self.clock)
        self.start()
        self.sent: list[Sent] = []  # all that was taken, in order
        self.ids: list[str] = []  # of those that show how the analyzer counts
        self.times: list[str] = []
        self.silent = 0  # the others
        self.tokens: set[bytes] = set()

    def start(self) -> None:
        async def begin() -> None:
            recover(self.journal)
            self.journal.start(asyncio.get_running_loop())

        self.loop.run_until_complete(begin())

    def teardown(self) -> None:
        self.loop.run_until_complete(self.journal.stop())
        self.loop.close()
        self.patience.stop()
        self.folder.cleanup()

    @property
    def now_s(self) -> float:
        return self.clock.monotonic()

    # -- what happens --------------------------------------------------------------------------------------------------

    @initialize(control=st.sampled_from(["counts", "constant", "absent", "restarts"]), timed=st.booleans())
    def analyzer(self, control: str, timed: bool) -> None:
        self.control, self.timed, self.number = control, timed, 0

    def next_id(self) -> str:
        self.number += 1
        if self.control == "counts":
            return f"A{self.number}"
        if self.control == "restarts":
            return f"A{self.number % 5}"
        return "1" if self.control == "constant" else ""

    def next_time(self) -> str:
        return f"{self.clock.now() + timedelta(hours=5):%Y%m%d%H%M}" if self.timed else ""

    @rule(value=st.sampled_from(["NEG", "POS"]), peer=st.sampled_from(["10.0.0.1", "10.0.0.2"]), answered=st.booleans())
    def result(self, value: str, peer: str, answered: bool) -> None:
        """A result of a patient. What its sender knows to be new must not be taken for anything else, where no
        evidence says that it is a repeat."""
        control_id, sent = self.next_id(), self.next_time()
        self.arrives(f"{control_id}|{sent}|{value}".encode(), control_id, sent, peer, answered)

    @rule(back=st.integers(0, 3), answered=st.booleans(), other_peer=st.booleans())
    def again(self, back: int, answered: bool, other_peer: bool) -> None:
        """The same bytes once more, of one of the latest messages."""
        if back < len(self.sent):
            first = self.sent[-1 - back]
            peer = "10.0.0.9" if other_peer else first.line.peer
            self.arrives(first.received.payload, first.received.control_id, first.received.sent, peer, answered)

    @rule(minutes=st.sampled_from([0.5, 3.0, 9.0, 30.0, 600.0, 1500.0]))
    def wait(self, minutes: float) -> None:
        self.clock.advance(minutes * 60)

    @rule()
    def dies(self) -> None:
        """The newest message comes to nothing: sent again, it is processed."""
        if self.sent:
            one = self.sent[-1]
            if not one.nothing:
                one.nothing = True
                self.do(
                    self.journal.run(
                        record_outcome.record,
                        one.stored.id,
                        Outcome("dead", ReasonCode.NO_ROUTE),
                        decision=Decision(again=one.mapped),
                    )
                )

    @rule()
    def stops(self) -> None:
        self.loop.run_until_complete(self.journal.stop())
        self.journal = opened(Path(self.folder.name), clock=self.clock)
        self.start()
        for one in self.sent:  # a sender that had no answer before reaches us again from here on
            if one.lost_s is not None and self.now_s - one.lost_s <= MINUTES_10_S:
                one.lost_s = self.now_s

    # -- what must hold ------------------------------------------------------------------------------------------------

    def do(self, future: "asyncio.Future[object]") -> object:
        async def wait() -> object:
            return await future

        return self.loop.run_until_complete(wait())

    def arrives(self, payload: bytes, control_id: str, sent: str, peer: str, answered: bool) -> None:
        line = Line(peer)
        received = Received(
            channel="chem", payload=payload, received_us=self.clock.now_us(), peer=f"{peer}:4000",
            control_id=control_id, sent=sent, line=line,
        )  # fmt: skip

        async def append() -> Stored:
            return await self.journal.run(append_ops.store_message, received, repeat_window_s=DAY_S)

        stored = self.loop.run_until_complete(append())
        known = [one for one in self.sent if one.received.payload == payload]
        first = known[-1] if known else None
        if first is None:
            assert (stored.repeat_of, stored.equal_to) == (None, None)
        elif stored.repeat_of is not None:
            assert stored.repeat_of == first.stored.id
            assert not first.nothing
            assert self.may_be_repeat(first, peer, control_id, sent)
        elif not (first.nothing and first.stored.equal_to is None):
            assert stored.equal_to == first.stored.id, "a double that is delivered is flagged"
            assert first.nothing or not self.had_no_answer(first, peer)
        told = first if stored.repeat_of is not None and first is not None else None
        if told is None:
            told = Sent(stored, received, line, self.now_s)
            self.sent.append(told)
            if first is None or not first.nothing or first.stored.equal_to is not None:
                # Else its sender repeats a message that came to nothing: that is no sign of a counter that goes back.
                self.ids.append(control_id)
                self.times.append(sent)
            else:
                self.silent += 1
            self.do(self.journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed(payload)]))
            delivery = trace_of(self.journal, stored.id).deliveries[0]
            if stored.equal_to is not None:
                assert delivery.key not in self.tokens
            self.tokens.add(delivery.key)
        told.line = line
        if answered:
            told.lost_s = None
            self.journal.answered("chem", [told.stored.id])
        else:
            told.lost_s = self.now_s
            line.ended_us = self.clock.now_us()

    def had_no_answer(self, first: Sent, peer: str) -> bool:
        return (
            first.lost_s is not None
            and first.line.peer == peer
            and self.now_s - first.lost_s <= MINUTES_10_S
            and self.now_s - first.at_s <= DAY_S
        )

    def may_be_repeat(self, first: Sent, peer: str, control_id: str, sent: str) -> bool:
        """Whether any of the three grounds holds; each from the whole history."""
        if self.now_s - first.at_s > DAY_S:
            return False
        if self.had_no_answer(first, peer):
            return True
        if sent and len(set(self.times)) > 1:
            return True
        if not control_id or len(set(self.ids)) < 2:
            return False
        numbers = [int(one[1:]) for one in self.ids]
        reused = any(
            one.received.control_id == other.received.control_id and one.received.payload != other.received.payload
            for one in self.sent
            for other in self.sent
        )
        return not reused and numbers == sorted(numbers) and control_id == self.ids[-1]

    @invariant()
    def nothing_is_open_that_was_answered(self) -> None:
        assert len(self.sent) == len(self.ids) + self.silent


TestChannels = Channels.TestCase
TestChannels.settings = settings(
    max_examples=examples(40), stateful_step_count=25, deadline=None, phases=[Phase.explicit, Phase.generate]
)
