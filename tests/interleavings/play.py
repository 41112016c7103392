"""One interleaving: what happens next is drawn, and after each step the judge looks.

REPLY      an answer is to the question that its line asked last, for that tube, with all tests of it once and no other
DURABLE    it is noted before its first byte
STALE      what the analyzer said between the look-up and the answer has it looked up anew
DOUBLED    each tube of a question is answered once, however often its orders were looked up
ITEMS      each item is in the state that docs/orders.md gives it
KNOWN      an analyzer that was told of an item is known to have it, or perhaps to have it
TWICE      an item that two analyzers have is marked
EXPLAINED  each question has its answer, or says why there is none
REST       the lines come to rest, and a question after that gets its answer
"""

import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from engine.features.orders import rows as acting
from engine.features.orders import rows as worklist
from engine.features.orders.exchange import taking
from engine.features.results.rows import hold_queue
from engine.model.orders import OrderedPatient, OrderLine
from engine.model.process.clock import ManualClock, to_us
from engine.model.values import changed
from engine.model.worklist import TakeSettings
from engine.store.operations import append, record_outcome
from tests.interleavings.analyzer import Analyzer, Answer, Message, Mode
from tests.interleavings.desk import CODES, Cable, Site, Step, StillLoop
from tests.interleavings.worklist import ANSWERED, Item, Worklist

STEPS = 60
TO_REST_S = 600.0
OLD_US = to_us(datetime(2026, 2, 1, tzinfo=UTC))  # no order is so old
HELD_S = 40.0  # longer than a line is left to the analyzer
UNREAD = "@12"  # in place of a number that the analyzer could not read
TESTS = ("GLU", "UREA", "NA")
SETTINGS = TakeSettings(known_channels={name: frozenset(codes) for name, codes in CODES.items()})
KINDS = (
    "order", "order", "order", "change", "cancel", "cancel", "hold", "release", "rerun", "by hand", "ask", "ask", "ask",
    "withdraw", "result", "result", "result", "decide", "decide",
    "line", "line", "line", "line", "line", "line", "line", "line", "commit", "commit",
    "commit", "commit", "process", "process", "wait", "damage", "lose", "interrupt", "cut", "half open", "kill",
    "unread",
)  # fmt: skip


class BrokenError(AssertionError):
    """A rule does not hold; the text begins with its name."""


def expect(rule: str, holds: bool, words: object = "") -> None:
    if not holds:
        raise BrokenError(f"{rule}: {words}")


@dataclass(slots=True)
class Asked:
    """A question that was looked up.

    Attributes:
        looks: of each time, the tubes that it was looked up for, with their items.
        wholes: tubes whose part of the answer the analyzer has whole, by the number of the look-up.
        looked_at: the operation of the journal that looked it up last.
    """

    cable: str
    tubes: tuple[str, ...]
    looks: list[list[tuple[str, list[Item]]]] = field(default_factory=list)
    wholes: list[tuple[int, str]] = field(default_factory=list)
    looked_at: int = 0


class Laboratory:
    """Many interleavings, one after the other, on one journal."""

    def __init__(self, data: Path, loop: StillLoop, clock: ManualClock) -> None:
        self.data, self.loop, self.clock = data, loop, clock
        self.site = Site(data, loop, clock)
        self.counts: Counter[str] = Counter()
        self._cables = itertools.count(1)

    async def play(self, seed: str) -> None:
        await Interleaving(self, seed).play()

    async def restart(self) -> None:
        await self.site.kill()
        self.site = Site(self.data, self.loop, self.clock)
        self.counts["restarts"] += 1

    def cable(self) -> Cable:
        return Cable(f"cable-{next(self._cables)}")


class Interleaving:
    def __init__(self, laboratory: Laboratory, seed: str) -> None:
        self.lab, self.random = laboratory, Random(seed)
        self.loop, self.clock = laboratory.loop, laboratory.clock
        self.name = seed.replace("/", "-")
        self.tubes = tuple(f"{self.name}{end}" for end in ("T1", "T01", "t1"))
        self.analyzers = {name: Analyzer(self.random) for name in CODES}
        self.left: list[Cable] = []  # connections that no end has closed yet
        self.asked: dict[int, Asked] = {}
        self.has: dict[int, Counter[str]] = {}  # number of an item -> channels whose analyzer has it, how often
        self.holding: dict[int, int] = {}  # delivery that is held -> its message
        self.said_at: dict[str, int] = {}  # cable -> the operation that stored its last message
        self.operations = 0
        self.breaks = 0.2  # share of the answers whose last ACK does not arrive
        self.counter = itertools.count(1)
        self.expected = Worklist(0, CODES)

    @property
    def site(self) -> Site:
        return self.lab.site

    async def play(self) -> None:
        await self._settle()
        with self.site.journal.snapshot() as execute:
            (before,) = execute("SELECT coalesce(max(number), 0) FROM order_item").fetchone()
            (self.first_message,) = execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()
            (self.first_query,) = execute("SELECT coalesce(max(number), 0) FROM order_query").fetchone()
        self.expected.before = before
        for channel in self.analyzers:
            self._connect(channel)
        for _ in range(4):
            self._order("new")
        for _ in range(STEPS):
            await self._step(self.random.choice(KINDS))
        await self._end()

    # -- what happens --------------------------------------------------------------------------------------------------

    async def _step(self, kind: str) -> None:
        random, channel = self.random, self.random.choice(tuple(CODES))
        analyzer = self.analyzers[channel]
        match kind:
            case "order" | "change" | "cancel" | "hold" | "release" | "rerun":
                self._order("new" if kind == "order" else kind)
            case "by hand":
                self._by_hand()
            case "ask" if len(analyzer.jobs) < 3:
                tubes = random.sample(self.tubes, 2) if random.random() < 0.15 else [random.choice(self.tubes)]
                analyzer.jobs.append(self._question(tuple(tubes)))
            case "unread":
                analyzer.jobs.append(self._question((UNREAD,)))
            case "withdraw" if analyzer.asked:
                analyzer.jobs.append(self._question(analyzer.asked[-1].tubes, withdrawn=True))
            case "result" if len(analyzer.jobs) < 3:
                analyzer.jobs.append(self._result(channel))
            case "line":
                for _ in range(random.choice((1, 3, 10, 30))):
                    await self._line(analyzer)
                    await self._commit(random.randrange(3))
                    self._look()
            case "commit":
                await self._commit(random.randrange(1, 5))
            case "process" if self.site.waiting:
                self.site.process()
            case "decide" if self.holding:
                act = hold_queue.release if random.random() < 0.5 else hold_queue.reject
                self.site.run(act, [random.choice(tuple(self.holding))], actor="asha", reason="looked at")
            case "wait":
                await self._wait(random.choice((0.3, 1.0, 3.0, 9.0, 16.0, 21.0)))
            case "damage" | "lose":
                self._spoil(analyzer, lost=kind == "lose")
            case "interrupt":
                analyzer.interrupts = True
            case "cut" if random.random() < 0.4:
                self._cut(channel)
                if random.random() < 0.7:
                    self._connect(channel)
            case "half open" if random.random() < 0.3:  # the analyzer comes anew, and its old line stays open
                if analyzer.cable is not None:
                    self.left.append(analyzer.cable)
                    analyzer.plug(None)
                self._connect(channel)
            case "kill" if random.random() < 0.3:
                if random.random() < 0.6:
                    self._apply(self.site.writer.commit(random.randrange(1, 5), hand_over=False))
                await self._restart()
        await self.loop.quiet()
        self._look()

    def _order(self, action: str) -> None:
        random = self.random
        line = OrderLine(
            action=action, placer=f"{self.name}-{random.randrange(4)}", specimen=random.choice(self.tubes),
            test=random.choice(TESTS), priority=random.choice(("routine", "routine", "stat")),
            patient=OrderedPatient(number=f"{self.name}-{random.choice('AAAAAAAB')}"),
            targets=("chem",) if random.random() < 0.15 else (),
        )  # fmt: skip
        if action in ("cancel", "release"):
            line = OrderLine(action=action, placer=line.placer, test=line.test)
        elif action == "hold" and (same := self.expected.same(line)):
            line = changed(same[-1].line, action="hold")
        self.site.run(taking.add, "op", [line], SETTINGS)

    def _by_hand(self) -> None:
        if self.expected.items:
            act = self.random.choice((acting.cancel, acting.release, acting.resend))
            self.site.run(act, self.random.choice(self.expected.items).number, actor="op", reason="asked")

    def _question(self, tubes: tuple[str, ...], *, withdrawn: bool = False) -> Message:
        sign = self.clock.now_us() // 1_000_000 if self.random.random() < 0.2 else next(self.counter)
        ids = "\\".join(f"^{tube}" for tube in tubes)
        text = f"H|\\^&|||A^1|||||LIS||P|1|{sign}\rQ|1|{ids}||ALL||||||||{'A' if withdrawn else 'O'}\r"
        text += "L|1|T\r" if withdrawn else "L|1|N\r"
        read = tuple("" if tube == UNREAD else tube for tube in tubes)
        return Message("withdrawal" if withdrawn else "question", text.encode(), () if withdrawn else read)

    def _result(self, channel: str) -> Message:
        """Of a test that this analyzer was told to run, or of any."""
        mine = [one for one in self.expected.items if channel in self.has.get(one.number, ())]
        test, tube = self.random.choice(tuple(CODES[channel])), self.random.choice(self.tubes)
        patient = f"{self.name}-{self.random.choice('AAAAB')}"
        if mine and self.random.random() < 0.8:
            line = self.random.choice(mine).line
            test, tube, patient = line.test, line.specimen, line.patient.number
        status, patient = self.random.choice("FFFP"), patient if self.random.random() < 0.7 else ""
        value = "999" if self.random.random() < 0.25 else next(self.counter)
        at = "20000101000000" if self.random.random() < 0.1 else self.random.choice(("", "", "20260101080000"))
        text = (
            f"H|\\^&|||A^1|||||LIS||P|1|{next(self.counter)}\rP|1|{patient}\r"
            f"O|1|{tube}||^^^{CODES[channel][test]}|R\r"
            f"R|1|^^^{CODES[channel][test]}|{value}|mmol/L||N||{status}||||{at}\rL|1|N\r"
        )
        return Message("result", text.encode())

    # -- lines ---------------------------------------------------------------------------------------------------------

    def _connect(self, channel: str) -> None:
        analyzer = self.analyzers[channel]
        if analyzer.cable is None:
            cable = self.lab.cable()
            analyzer.plug(cable)
            self.site.connect(channel, cable)

    def _cut(self, channel: str) -> None:
        analyzer = self.analyzers[channel]
        if analyzer.cable is not None:
            if self.random.random() < 0.5:
                analyzer.cable.feed(bytes(analyzer.out))
            analyzer.cable.end()
            analyzer.plug(None)

    async def _line(self, analyzer: Analyzer) -> None:
        """Bytes go on, in one direction or in both."""
        cable = analyzer.cable
        if cable is None:
            return
        if analyzer.jobs and analyzer.mode is Mode.IDLE and not analyzer.host.receiving and not analyzer.out:
            analyzer.begin(self.clock.monotonic())
        if analyzer.out:
            size = len(analyzer.out) if self.random.random() < 0.8 else self.random.randrange(1, len(analyzer.out) + 1)
            cable.feed(bytes(analyzer.out[:size]))
            del analyzer.out[:size]
            await self.loop.quiet()
        if cable.said and self.random.random() < 0.9:
            said, cable.said = bytes(cable.said), bytearray()
            analyzer.hear(said, self.clock.monotonic())
            if analyzer.heard and analyzer.heard[-1].whole and analyzer.out and self.random.random() < self.breaks:
                self._look()
                await self._break(analyzer)

    async def _break(self, analyzer: Analyzer) -> None:
        """The analyzer has the whole answer, and its last ACK does not arrive."""
        how = self.random.choice(("cut", "kill", "damage"))
        channel = next(name for name, one in self.analyzers.items() if one is analyzer)
        if how == "cut":
            analyzer.out.clear()
            self._cut(channel)
        elif how == "kill":
            await self._restart()
        else:
            analyzer.out[-1] = self.random.randrange(0x20, 0x7F)
        await self.loop.quiet()

    def _spoil(self, analyzer: Analyzer, *, lost: bool) -> None:
        """A byte on its way, in one direction."""
        cable = analyzer.cable
        for way in [analyzer.out, cable.said] if cable is not None else []:
            if way and self.random.random() < 0.5:
                at = self.random.randrange(len(way))
                if lost:
                    del way[at]
                else:
                    way[at] = (way[at] + self.random.randrange(1, 128)) % 256
                return

    async def _wait(self, seconds: float) -> None:
        """Time passes. A journal that takes longer than an analyzer waits is another test's."""
        now = self.clock.monotonic()
        if seconds > 10.0 or any(one.waits and now + seconds - one.since >= 15.0 for one in self.analyzers.values()):
            await self._flush()
        self.clock.advance(seconds)
        await self.loop.quiet()
        for analyzer in self.analyzers.values():
            analyzer.tick(self.clock.monotonic())

    async def _flush(self) -> None:
        """All that is under way arrives, until everything waits for something else."""
        for _ in range(10_000):
            await self._commit(100)
            busy = False
            for analyzer in self.analyzers.values():
                cable = analyzer.cable
                if cable is not None and (analyzer.out or cable.said):
                    busy = True
                    await self._line(analyzer)
                    await self.loop.quiet()
                    self._look()
            if not busy and not self.site.writer.queued:
                return
        raise BrokenError("REST: the lines do not come to rest")

    # -- the journal ---------------------------------------------------------------------------------------------------

    async def _commit(self, most: int) -> None:
        self._apply(self.site.writer.commit(most))
        await self.loop.quiet()

    async def _settle(self) -> None:
        while self.site.writer.queued or self.site.waiting:
            await self._commit(100)
            while self.site.waiting:
                self.site.process()

    async def _restart(self) -> None:
        await self.lab.restart()
        for analyzer in self.analyzers.values():
            analyzer.plug(None)
        self.left.clear()
        self._apply(self.site.writer.commit(1))  # what was under way, before anything else

    def _apply(self, steps: list[Step]) -> None:
        """The operations that became durable."""
        expected, now = self.expected, self.clock.monotonic()
        for step in steps:
            given = step.given
            self.operations += 1
            if step.function in (append.store_message, append.store_completing_frame):
                messages = [given[0]] if step.function is append.store_message else given[4]
                self.said_at.update((one.peer, self.operations) for one in messages)
            elif step.function is taking.add:
                expected.take(given[1][0], came=step.result[0])
            elif step.function is worklist.answer:
                self._looked_up(step, now)
            elif step.function is worklist.offered:
                expected.offered(given[1], given[2])
            elif step.function is worklist.not_offered:
                expected.not_offered(given[0], given[1], maybe=step.named["maybe"])
            elif step.function is worklist.recover:
                expected.recover()
            elif step.function is record_outcome.record and not step.result.already:
                self._recorded(step)
            elif step.function in (hold_queue.release, hold_queue.reject):
                done = step.result[0] if step.function is hold_queue.release else step.result
                if done.get("released") or done.get("rejected"):
                    self.expected.decided(self.holding.pop(given[0][0]), released="released" in done)
            elif step.function in (acting.cancel, acting.release, acting.resend):
                (one,) = expected.numbered(given)
                {
                    acting.cancel: expected.cancel_by_hand,
                    acting.release: expected.release_by_hand,
                    acting.resend: expected.resend,
                }[step.function](one)
        if steps:
            self._compare()

    def _looked_up(self, step: Step, now: float) -> None:
        message, question, settings = step.given
        if question.kind == "cancel":
            return
        cable = self.site.lines[message]
        tubes = tuple(one.specimen for one in question.asked)
        found = [self.expected.ask(settings.channel, tube, now) for tube in tubes]
        said = [[item.number for item in tube.items] for tube in step.result.tubes]
        expect("REPLY", said == [[one.number for one in items] for items in found], (tubes, said))
        for items in found:
            self.expected.under_way(items, step.result.query, settings.channel, now)
        asked = self.asked.setdefault(message, Asked(cable, tubes))
        told = [tube for _, tube in asked.wholes]
        expect("DOUBLED", Counter(told) + Counter(tubes) == Counter(asked.tubes), ("looked up", tubes, "told", told))
        asked.looks.append(list(zip(tubes, found, strict=True)))
        asked.looked_at = self.operations
        self.lab.counts["questions looked up"] += 1

    def _recorded(self, step: Step) -> None:
        message, outcome, _ = step.given
        with self.site.journal.snapshot() as execute:
            (channel,) = execute("SELECT channel FROM journal WHERE id = ?", (message,)).fetchone()
        for tube in outcome.tubes:
            for test in tube.tests:
                self.lab.counts["results"] += 1
                if 0 < test.measured_us < OLD_US:  # an analyzer sends its memory: it is of none of these orders
                    self.lab.counts["old results"] += 1
                    continue
                held = bool(step.result.held)
                self.expected.result(
                    channel, tube.specimen, tube.patient_number, test.test, final=test.final, came=message, held=held
                )
        if step.result.held:
            self.lab.counts["held results"] += 1
            with self.site.journal.snapshot() as execute:
                (delivery,) = execute("SELECT id FROM delivery WHERE message_id = ?", (message,)).fetchone()
            self.holding[delivery] = message

    # -- the judge -----------------------------------------------------------------------------------------------------

    def _compare(self) -> None:
        with self.site.journal.snapshot() as execute:
            rows = execute(
                "SELECT number, state, reason, sent, query FROM order_item WHERE number > ? ORDER BY number",
                (self.expected.before,),
            ).fetchall()
        found = [
            (number, state, reason == "MAYBE_KNOWN", bool(sent), query) for number, state, reason, sent, query in rows
        ]
        wanted = [(one.number, one.state, one.maybe, one.may_know, one.query) for one in self.expected.items]
        for number in self.has:
            (one,) = self.expected.numbered([number])
            expect("KNOWN", one.at_analyzer, (number, one.state))
        expect("ITEMS", found == wanted, [pair for pair in itertools.zip_longest(found, wanted) if pair[0] != pair[1]])

    def _look(self) -> None:
        """What the analyzers have heard since the last look."""
        for channel, analyzer in self.analyzers.items():
            heard, analyzer.heard = analyzer.heard, []
            for answer in heard:
                assert analyzer.cable is not None
                self._judge(channel, analyzer.cable.peer, answer)

    def _judge(self, channel: str, cable: str, answer: Answer) -> None:
        asked = self.asked.get(answer.question)
        expect("DURABLE", asked is not None and len(asked.looks) >= answer.look, answer)
        assert asked is not None
        expect("REPLY", asked.cable == cable, "on another line")
        expect("REPLY", asked.tubes in answer.wanted, ("nothing asked for it", asked.tubes, answer))
        expect("STALE", asked.looked_at >= self.said_at[cable], answer)
        tube, items = asked.looks[answer.look - 1][answer.part - 1]
        codes = {(tube, CODES[channel][one.line.test]) for one in items}  # of two orders for one test: once
        fits = Counter(answer.orders) == Counter(codes) if answer.whole else not Counter(answer.orders) - Counter(codes)
        expect("REPLY", fits, (answer, codes))
        if answer.whole:
            expect("DOUBLED", answer.look == len(asked.looks), answer)
            expect("DOUBLED", tube not in [told for _, told in asked.wholes], answer)
            asked.wholes.append((answer.look, tube))
            self.lab.counts["answers"] += 1
            for one in items:
                self.has.setdefault(one.number, Counter())[channel] += 1
                self.lab.counts["orders told"] += 1

    # -- the end -------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        for cable in self.left:
            cable.end()
        for analyzer in self.analyzers.values():
            analyzer.interrupts = False
        self.breaks = 0.0
        await self._rest()
        self._judge_rest()
        for _ in range(2):  # what no one answered ends, and then the line is left to the analyzer
            await self._wait(HELD_S)
        for channel in self.analyzers:
            await self._ask_all(channel)
        for channel in self.analyzers:
            self._cut(channel)
        await self.loop.quiet()
        await self._settle()
        self.lab.counts["interleavings"] += 1
        self.lab.counts["items"] += len(self.expected.items)

    async def _rest(self) -> None:
        until = self.clock.monotonic() + TO_REST_S
        for channel in self.analyzers:
            self._connect(channel)
        while True:
            await self._flush()
            await self._settle()
            if all(one.rests for one in self.analyzers.values()):
                with self.site.journal.snapshot() as execute:
                    (open_,) = execute("SELECT count(*) FROM order_item WHERE query > 0").fetchone()
                if not open_:
                    return
            expect("REST", self.clock.monotonic() < until, "the lines do not come to rest")
            for analyzer in self.analyzers.values():
                if analyzer.jobs and not analyzer.waits and not analyzer.host.receiving:
                    await self._line(analyzer)
            await self._wait(2.0)

    def _judge_rest(self) -> None:
        for number, channels in self.has.items():
            (one,) = self.expected.numbered([number])
            expect("KNOWN", one.may_know, (number, one.state))
            expect("KNOWN", one.state != "waiting" or one.maybe or self._was(one, "resend"), (number, one.state))
            if len(channels) > 1:
                expect("TWICE", self._was(one, "MAYBE_KNOWN", "resend"), number)
        with self.site.journal.snapshot() as execute:
            rows = execute(
                "SELECT q.number, q.items, q.open, q.ended_us, q.outcome,"
                " (SELECT count(*) FROM order_asked a WHERE a.query = q.number AND a.none <> '')"
                " FROM order_query q WHERE q.number > ?",
                (self.first_query,),
            ).fetchall()
        for number, items, open_, ended_us, outcome, nones in rows:
            expect("EXPLAINED", not open_ and ended_us > 0, f"question {number} is under way without end")
            expect("EXPLAINED", bool(outcome) or (not items and nones > 0), f"question {number} says nothing")
        with self.site.journal.snapshot() as execute:
            nowhere = execute(
                "SELECT id FROM message_state WHERE reason = 'QUESTION' AND id > ?"
                " AND id NOT IN (SELECT message_id FROM order_query WHERE number > ?)",
                (self.first_message, self.first_query),
            ).fetchall()
        expect("EXPLAINED", not nowhere, f"questions {nowhere} are in no log")

    def _was(self, one: Item, *words: str) -> bool:
        """Whether one of these events or reasons is in the history of an item."""
        with self.site.journal.snapshot() as execute:
            rows = execute("SELECT event, reason FROM order_event WHERE item = ?", (one.number,)).fetchall()
        return any(word in words for row in rows for word in row)

    async def _ask_all(self, channel: str) -> None:
        """A calm line: each tube is asked for, and gets all that it should."""
        analyzer = self.analyzers[channel]
        for tube in self.tubes:
            analyzer.jobs.append(self._question((tube,)))
            before = sum(len(asked.wholes) for asked in self.asked.values())
            await self._rest()
            await self._wait(1.0)
            await self._flush()
            after = sum(len(asked.wholes) for asked in self.asked.values())
            expect("REST", after == before + 1, f"the question for {tube} has no answer")
            for one in self.expected.tube(tube):
                if one.state in ANSWERED and one.channel == channel and one.after is None:
                    expect("KNOWN", one.may_know, one.number)
