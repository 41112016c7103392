"""Any history of operations on many letters or messages: each that was counted is dealt with once, and no later one.

The model knows which of them there were when a person saw the count, and what has become of each since. It says of
every slice which outcome each of its members has, and never looks at how the journal decides. The daemon is killed just
before and just after each commit: of a beginning, of a slice, of a cancellation. The configuration changes to and fro.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adapters.codecs.hl7v2 import message as hl7v2
from engine.actions import operations
from engine.actions.operations import BulkAct, Slice
from engine.actions.selection import Selection
from engine.actions.underway import Acts
from engine.actions.verbs import bulk_acts
from engine.features.results.acts import dismiss_letters
from engine.features.rework.acts.verbs import replay_documents, reprocess_messages, retry_letters
from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.errors import ReconfiguredError, RefusedError
from engine.model.message import FormatOptions, MapContext
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.routes import ChannelRoutes, Route
from engine.model.texts.reasons import ReasonCode
from engine.store import journal as journal_module
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, bulk, record_outcome
from engine.store.operations.bulk import Member, Operation
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.bulk import operation_if, running_operations
from engine.store.queries.messages import trace_of
from tests.engine.actions.test_configuration_changes import Mapping
from tests.support.examples import examples
from tests.support.journals import WINDOW_S, opened, received, routed

CHANNEL, DESTINATION = "chem", "fhir"
CODES = (ReasonCode.REFUSED, ReasonCode.GAVE_UP)
CONFIGURATIONS = ("a" * 12, "b" * 12)
ROUTES = ChannelRoutes(
    channel=CHANNEL,
    message_format=hl7v2,
    media_type="x-application/hl7-v2+er7",
    options=FormatOptions(),
    routes=(),
    context=MapContext(channel=CHANNEL),
)
DONE = {
    ("retry", True): "requeued",
    ("retry", False): "processed",
    ("dismiss", True): "dismissed",
    ("dismiss", False): "dismissed",
}
BECOMES = {"requeued": "waiting", "processed": "mapped", "dismissed": "dismissed"}
ACTS: dict[str, Callable[..., Any]] = {"retry": retry_letters, "dismiss": dismiss_letters, "replay": replay_documents}
Key = tuple[int, int]  # message, delivery


@dataclass
class Letter:
    """Or a delivery that never died: then ``code`` is empty. ``made_by``: the configuration that made its document."""

    code: str
    died: int  # number of the death, of all deaths
    died_us: int
    state: str = "dead"
    retries: int = 0
    retried_us: int = 0
    made_by: str = ""


@dataclass
class Count:
    """A person was shown this."""

    asked: Selection
    there: dict[Key, int]  # letter -> its death; of a replay: message -> 0
    verbs: tuple[str, ...] = ("retry", "dismiss")


@dataclass
class Order:
    verb: str
    there: dict[Key, int]
    left: list[Key]
    config: str = ""  # of a reprocessing
    stage: str = "running"
    outcomes: Counter[str] = field(default_factory=Counter)


class Operations(RuleBasedStateMachine):
    """One journal with one lane; people, arrivals, kills, restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.patches: list[Any] = [
            mock.patch.object(journal_module, "STOP_S", 120.0),
            mock.patch.object(operations, "SLICE", 2),
            mock.patch.object(operations, "LONGEST_PAUSE_S", 0.0),
            mock.patch.object(operations, "TRY_AGAIN_S", 0.0),
        ]
        for patch in self.patches:
            patch.start()
        self.clock = ManualClock()
        self.loop = asyncio.new_event_loop()
        self.letters: dict[Key, Letter] = {}
        self.counts: list[Count] = []
        self.orders: dict[int, Order] = {}
        self.deaths = 0
        self.config = CONFIGURATIONS[0]
        self.start()

    def start(self) -> None:
        self.kill: str = ""
        self.wrong: AssertionError | None = None
        self.killed = asyncio.Event()
        self.permits = asyncio.Semaphore(0)
        self.stepped = asyncio.Event()
        self.stepping = asyncio.Lock()
        self.examined: set[int] = set()  # reprocessings that go on with their step

        async def begin() -> None:
            self.journal: Journal = opened(Path(self.folder.name), clock=self.clock)
            recovery = recover(self.journal)
            self.journal.start(asyncio.get_running_loop())
            self.real_run: Callable[..., Any] = self.journal.run
            self.journal.run = self.run_gated  # type: ignore[method-assign]
            self.acts = Acts(self.journal, channels=self.channels, clock=self.clock)
            self.put_in_force()
            acts = dict(bulk_acts(self.acts))
            taken_up = self.acts.operations.take_up(acts | {"reprocess": self.examining(acts["reprocess"])})
            self.acts.operations.start = partial(self.start_gated, self.acts.operations.start)  # type: ignore[method-assign]
            assert set(recovery.acts) == taken_up, "no other act is open"

        self.loop.run_until_complete(begin())

    def stop(self) -> None:
        async def end() -> None:
            await self.acts.stop()
            await self.journal.stop()

        self.loop.run_until_complete(end())

    def teardown(self) -> None:
        self.kill = ""
        for _ in range(2 if self.wrong is None else 0):
            self.finish()
            self.stop()
            self.start()
        self.stop()
        self.loop.close()
        for patch in self.patches:
            patch.stop()
        self.folder.cleanup()

    def channels(self) -> dict[str, ChannelRoutes]:
        program: Any = Mapping(self.config)
        return {CHANNEL: replace(ROUTES, routes=(Route(when=None, program=program, to=(DESTINATION,)),))}

    def put_in_force(self) -> None:
        self.journal.upkeep.config_hash = self.config

    # -- the journal, which the process is killed at ---------------------------------------------------------------

    def run_gated(self, function: Any, /, *given: Any, **named: Any) -> Any:
        if function is bulk.step:
            return asyncio.ensure_future(self.step_gated(*given, **named))
        if function in (bulk.begin, bulk.cancel) and self.kill:
            return asyncio.ensure_future(self.killed_at(function, *given, **named))
        return self.real_run(function, *given, **named)

    async def killed_at(self, function: Any, *given: Any, **named: Any) -> Any:
        result = None
        if self.kill == "after":
            result = await self.real_run(function, *given, **named)
        self.killed.set()
        await asyncio.Event().wait()  # nobody is there any more
        return result

    async def start_gated(self, start: Callable[..., Any], act: BulkAct, verb: str, *given: Any, **named: Any) -> Any:
        return await start(self.examining(act) if verb == "reprocess" else act, verb, *given, **named)

    def examining(self, act: BulkAct) -> BulkAct:
        """A reprocessing looks at its messages before its step: nothing else happens between the two."""

        async def examine(order: Operation, members: Sequence[Member]) -> Slice:
            await self.permits.acquire()
            await self.stepping.acquire()
            self.examined.add(order.number)
            return await act(order, members)

        return examine

    async def step_gated(self, number: int, *step: Any, **more: Any) -> Any:
        if number not in self.examined:
            await self.permits.acquire()
            await self.stepping.acquire()
        self.examined.discard(number)
        try:
            return await self.step(number, *step, **more)
        except AssertionError as wrong:  # an operation takes any error for a step that failed
            self.wrong = wrong
            self.stepped.set()
            raise
        except ReconfiguredError:  # it maps the message again, and then comes back
            self.permits.release()
            raise
        finally:
            self.stepping.release()

    async def step(self, number: int, position: int, members: int, *work: Any, **more: Any) -> Any:
        if self.kill == "before":
            return await self.killed_at(bulk.step)
        done = await self.real_run(bulk.step, number, position, members, *work, **more)
        self.expect(number, members, done)
        if self.kill == "after":
            self.kill = "before"  # it is done; only its result is lost
            return await self.killed_at(bulk.step)
        self.stepped.set()
        return done

    # -- the model -------------------------------------------------------------------------------------------------

    def expect(self, number: int, members: int, done: bulk.Done | None) -> None:
        order = self.orders[number]
        if order.stage != "running":
            assert done is None, "nothing is done of what was cancelled"
            return
        assert done is not None
        expected = Counter[str]()
        for key in order.left[:members]:
            if order.verb == "replay":
                expected[self.sent_again(key[0])] += 1
                continue
            if order.verb == "reprocess":
                expected[self.mapped_again(key[0], order.config)] += 1
                continue
            letter = self.letters[key]
            as_counted = letter.state == "dead" and letter.died == order.there[key]
            outcome = DONE[order.verb, bool(key[1])] if as_counted else "skipped"
            expected[outcome] += 1
            letter.state = BECOMES.get(outcome, letter.state)
            if outcome == "requeued":
                letter.retries, letter.retried_us = letter.retries + 1, self.clock.now_us()
            elif outcome == "processed":
                (delivery,) = self.made(key[0])
                self.letters[key[0], delivery] = Letter("", 0, 0, state="waiting", made_by=self.config)
        assert expected == Counter({name: n for name, n in done.outcomes.items() if n})
        order.left = order.left[members:]
        order.outcomes += expected
        if not order.left:
            order.stage = "ended"

    def sent_again(self, message: int) -> str:
        """The outcome of a message in a replay: its document goes where the newest delivery of it has arrived."""
        made, newest = self.made(message), self.letters[max(self.sent(message))]
        if newest.state != "delivered":
            assert made == []
            return "no_document"
        (delivery,) = made
        self.letters[message, delivery] = Letter("", 0, 0, state="waiting", made_by=newest.made_by)
        return "requeued"

    def mapped_again(self, message: int, config: str) -> str:
        """The outcome of a message in a reprocessing: another document than its destination has is sent; it has also
        the one that it refused, which the other replaces.
        """
        made, sent = self.made(message), [self.letters[key] for key in sorted(self.sent(message))]
        refused = [one for one in sent if one.state == "dead" and one.code == ReasonCode.REFUSED.value]
        delivered = [one for one in sent if one.state == "delivered"]
        if config != self.config:
            outcome = "configuration_changed"
        elif any(one.state in ("waiting", "dead") and one not in refused for one in sent):
            outcome = "unsettled"
        elif not refused and not delivered:  # a person has kept it from there
            outcome = "unchanged"
        elif (refused or delivered)[-1].made_by == config:
            outcome = "unsettled" if refused else "unchanged"
        else:
            for one in refused:
                one.state = "superseded"
            (delivery,) = made
            self.letters[message, delivery] = Letter("", 0, 0, state="waiting", made_by=config)
            return "processed"
        assert made == []
        return outcome

    def sent(self, message: int) -> list[Key]:
        return [key for key in self.letters if key[0] == message and key[1]]

    def made(self, message: int) -> list[int]:
        """The deliveries of a message that the model does not know yet."""
        trace = trace_of(self.journal, message)
        assert trace is not None
        return [one.id for one in trace.deliveries if (message, one.id) not in self.letters]

    # -- what happens ----------------------------------------------------------------------------------------------

    @rule(code=st.sampled_from(CODES), n=st.integers(1, 3))
    def deliveries_die(self, code: ReasonCode, n: int) -> None:
        async def work() -> None:
            for _ in range(n):
                key = await self.comes(Outcome("mapped"))
                await self.real_run(attempts.bury, key[1], code)
                self.dies(key, code)

        self.loop.run_until_complete(work())

    @rule(n=st.integers(1, 3))
    def messages_are_delivered(self, n: int) -> None:
        async def work() -> None:
            for _ in range(n):
                self.deaths += 1
                key = await self.comes(Outcome("mapped"))
                await self.real_run(attempts.settle, key[1], self.clock.now_us())
                self.letters[key] = Letter("", 0, 0, state="delivered", made_by=self.config)

        self.loop.run_until_complete(work())

    @rule()
    def a_message_dies(self) -> None:
        async def work() -> None:
            self.dies(await self.comes(Outcome("dead", ReasonCode.NO_ROUTE)), ReasonCode.NO_ROUTE)

        self.loop.run_until_complete(work())

    async def comes(self, outcome: Outcome[Any]) -> Key:
        """A message comes, and its outcome is recorded."""
        payload = f"MSH|^~\\&|A|B|||||ORU^R01|C{self.deaths}|P|2.5\r".encode()
        stored = await self.real_run(append.store_message, received(payload), repeat_window_s=WINDOW_S)
        documents = Mapping(self.config).apply(hl7v2.parse(payload, ROUTES.options), ROUTES.context).documents
        queued = [routed(one.body, claimed=True) for one in documents if outcome.state == "mapped"]
        recorded = await self.real_run(record_outcome.record, stored.id, outcome, queued)
        return stored.id, max((one.id for one in recorded.deliveries), default=0)

    def dies(self, key: Key, code: ReasonCode) -> None:
        self.deaths += 1
        before = self.letters.get(key, Letter("", 0, 0, made_by=self.config))
        self.letters[key] = replace(
            before, code=code.value, died=self.deaths, died_us=self.clock.now_us(), state="dead"
        )
        self.clock.advance(0.001)

    @precondition(lambda self: any(one.state == "waiting" for one in self.letters.values()))
    @rule(data=st.data(), delivered=st.booleans())
    def what_was_tried_or_sent_again_ends(self, data: st.DataObject, delivered: bool) -> None:
        waiting = sorted(key for key, one in self.letters.items() if one.state == "waiting")
        key = data.draw(st.sampled_from(waiting))

        async def work() -> None:
            await self.real_run(claims.claim, CHANNEL, DESTINATION, 1000)
            if delivered:
                await self.real_run(attempts.settle, key[1], self.clock.now_us())
                self.letters[key].state = "delivered"
            else:
                await self.real_run(attempts.bury, key[1], ReasonCode.REFUSED)
                self.dies(key, ReasonCode.REFUSED)

        self.loop.run_until_complete(work())

    @rule(code=st.sampled_from([*CODES, None]))
    def a_person_is_shown_a_count(self, code: ReasonCode | None) -> None:
        asked = Selection(all=True) if code is None else Selection(code=code.value)
        self.clock.advance(0.001)
        found = self.loop.run_until_complete(retry_letters(self.acts, asked, actor="anita", dry_run=True))
        self.clock.advance(0.001)
        wanted = None if code is None else code.value
        there = {
            key: one.died for key, one in self.letters.items() if one.state == "dead" and wanted in (None, one.code)
        }
        assert found["count"] == len(there)
        asked = Selection(all=code is None, code=wanted, last=found["last"], counted_us=found["counted_us"])
        self.counts.append(Count(asked, there))

    @rule()
    def a_person_is_shown_how_far_a_replay_would_reach(self) -> None:
        self.clock.advance(0.001)
        found = self.loop.run_until_complete(
            replay_documents(self.acts, Selection(all=True), actor="anita", dry_run=True)
        )
        self.clock.advance(0.001)
        there = {(message, 0): 0 for (message, _), one in self.letters.items() if one.state == "delivered"}
        assert (found["count"], found["newer"]) == (len(there), 0)
        asked = Selection(all=True, last=found["last"], counted_us=found["counted_us"])
        self.counts.append(Count(asked, there, ("replay",)))

    @precondition(lambda self: self.counts)
    @rule(data=st.data(), kill=st.sampled_from(["", "", "before", "after"]))
    def a_person_begins(self, data: st.DataObject, kill: str) -> None:
        count = data.draw(st.sampled_from(self.counts))
        verb = data.draw(st.sampled_from(count.verbs))
        still = {
            key: died
            for key, died in count.there.items()
            if verb == "replay" or self.is_as_counted(key, died, count.asked.code)
        }
        begin = ACTS[verb](self.acts, count.asked, actor="anita", reason="known", within_s=0)
        self.begins(verb, begin, still, kill)

    @rule(config=st.sampled_from(CONFIGURATIONS))
    def the_configuration_changes(self, config: str) -> None:
        self.config = config
        self.put_in_force()

    @rule(kill=st.sampled_from(["", "", "before", "after"]))
    def a_person_reprocesses(self, kill: str) -> None:
        begin = reprocess_messages(
            self.acts, Selection(channel=CHANNEL), config=self.config, actor="anita", reason="repaired", within_s=0
        )
        if any((one.verb, one.stage) == ("reprocess", "running") for one in self.orders.values()):
            with pytest.raises(RefusedError, match="being reprocessed already"):
                self.loop.run_until_complete(begin)
            return
        mapped = {(message, 0): 0 for message, delivery in self.letters if delivery}
        self.begins("reprocess", begin, mapped, kill, self.config)

    def begins(self, verb: str, begin: Any, still: dict[Key, int], kill: str, config: str = "") -> None:
        known = {one.number for one in running_operations(self.journal)}
        if not self.carry_out(begin, kill if still else ""):
            self.restart()
            begun = {one.number for one in running_operations(self.journal)} - known
            assert len(begun) == (kill == "after")
            (number,) = begun or (0,)
        else:
            answer = self.result
            assert answer["count"] == len(still)
            number = answer["operation"] or 0
            assert bool(number) == bool(still)
        if number:
            self.orders[number] = Order(verb, still, sorted(still), config)

    def is_as_counted(self, key: Key, died: int, code: str | None) -> bool:
        letter = self.letters[key]
        return letter.state == "dead" and letter.died == died and code in (None, letter.code)

    @precondition(lambda self: any(one.stage == "running" for one in self.orders.values()))
    @rule(data=st.data(), kill=st.sampled_from(["", "", "before", "after"]))
    def a_person_cancels(self, data: st.DataObject, kill: str) -> None:
        running = sorted(number for number, one in self.orders.items() if one.stage == "running")
        number = data.draw(st.sampled_from(running))
        alive = self.carry_out(self.acts.operations.cancel(number, actor="bela"), kill)
        if kill != "before":
            self.orders[number].stage = "cancelled"
        if not alive:
            self.restart()

    @precondition(lambda self: any(one.stage == "running" for one in self.orders.values()))
    @rule(kill=st.sampled_from(["", "", "", "before", "after"]))
    def a_slice(self, kill: str) -> None:
        async def one() -> None:
            self.permits.release()
            await self.stepped.wait()

        self.stepped.clear()
        if not self.carry_out(one(), kill):
            self.restart()

    def carry_out(self, work: Any, kill: str) -> bool:
        """Whether the process is alive afterwards."""

        async def both() -> bool:
            self.kill = kill
            doing, dying = asyncio.ensure_future(work), asyncio.ensure_future(self.killed.wait())
            await asyncio.wait({doing, dying}, return_when=asyncio.FIRST_COMPLETED)
            if dying.done():
                doing.cancel()
                return False
            dying.cancel()
            self.result = doing.result()
            return True

        alive = self.loop.run_until_complete(both())
        self.nothing_was_wrong()
        return alive

    def nothing_was_wrong(self) -> None:
        if self.wrong is not None:
            raise self.wrong

    @rule()
    def restart(self) -> None:
        self.stop()
        self.start()

    @rule()
    def finish(self) -> None:
        """All that is under way comes to its end."""

        async def work() -> None:
            for _ in range(10_000):
                self.permits.release()
            for number in self.orders:
                await self.acts.operations.wait(number, 120.0)

        self.loop.run_until_complete(work())
        self.permits = asyncio.Semaphore(0)
        self.nothing_was_wrong()
        assert all(one.stage != "running" for one in self.orders.values())

    # -- what holds ------------------------------------------------------------------------------------------------

    @invariant()
    def letters_are_where_the_model_says(self) -> None:
        for (message, delivery), letter in self.letters.items():
            trace = trace_of(self.journal, message)
            assert trace is not None
            if not delivery:
                assert trace.message.state == letter.state
            else:
                assert [one.shown_state for one in trace.deliveries if one.id == delivery] == [letter.state]

    @invariant()
    def every_member_is_counted_once(self) -> None:
        for number, order in self.orders.items():
            found = operation_if(self.journal, number)
            assert found is not None
            assert (found.stage, found.total, found.last) == (order.stage, len(order.there), found.last)
            assert Counter(found.outcomes) == order.outcomes
            assert found.total - found.position == len(order.left)

    @invariant()
    def a_group_says_what_its_retries_came_to(self) -> None:
        """Retried is not repaired: what is under way, what came back, and what is new."""
        expected = {}
        keys = {(one.code, DESTINATION if delivery else "") for (_, delivery), one in self.letters.items() if one.code}
        for code, destination in keys:
            here = [
                one
                for (_, delivery), one in self.letters.items()
                if (one.code, bool(delivery)) == (code, bool(destination)) and one.state in ("dead", "waiting")
            ]
            dead = [one for one in here if one.state == "dead"]
            back = [one for one in dead if one.retries]
            last_us = max((one.retried_us for one in here), default=0)
            new = [one for one in dead if not one.retries and last_us and one.died_us > last_us]
            if here:
                most = max((one.retries for one in back), default=0)
                expected[code, destination] = (len(dead), len(here) - len(dead), len(back), most, len(new))
        found = {
            (one.reason, one.destination): (one.count, one.retrying, one.back, one.retries, one.new)
            for one in letter_groups(self.journal)
        }
        assert found == expected

    @invariant()
    def the_trail_has_beginning_and_end(self) -> None:
        still = {act.id for act in open_acts(self.journal)}
        assert still == {number for number, one in self.orders.items() if one.stage == "running"}
        rows = acts_page(self.journal, limit=10_000)
        ends = Counter(act.ended for act in rows if act.ended)
        assert ends == {number: 1 for number, one in self.orders.items() if one.stage != "running"}
        cancelled = Counter(act.what["operation"] for act in rows if act.verb == "cancel" and act.actor == "bela")
        assert cancelled == {number: 1 for number, one in self.orders.items() if one.stage == "cancelled"}


TestOperations = Operations.TestCase
TestOperations.settings = settings(
    max_examples=examples(40),
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)
