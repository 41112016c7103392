"""Random histories of orders, cancels, questions, downloads and results of two analyzers with the same tests.

    what goes to an analyzer     one tube of one patient; items that wait, and are under way to no other
    twice                        only what is MAYBE_KNOWN, or was asked for by the analyzer itself
    what is taken back           was sent to this analyzer, is cancelled, is told once, and no other order asks for it
    in the end                   nothing waits that could go, and each analyzer has been told of each such cancel

Steps are rolled back at random, as a crash does.
"""

from collections import Counter
from pathlib import Path
from random import Random

from engine.features.orders import rows as worklist
from engine.features.orders.rows import items
from engine.features.orders.rows.items import Kept
from engine.model.orders import ANSWERED_STATES, Asked, ItemReason, ItemState, OrderedPatient, OrderLine, Question, Tube
from engine.model.values import changed
from engine.model.worklist import AskSettings, ResultOf, TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.integrity import verify
from tests.support.journals import running

HISTORIES = 600
AT_ONCE = 100
STEPS = 30
CHANNELS = ("chem", "chem2")


class History:
    def __init__(self, batch: Batch, random: Random, name: int) -> None:
        self.batch, self.random, self.name = batch, random, name
        self.codes = {f"GLU-{name}": "10", f"UREA-{name}": "20"}
        self.take = TakeSettings(known_channels={channel: frozenset(self.codes) for channel in CHANNELS})
        self.message = name * 1_000
        self.under_way: dict[str, tuple[int, Tube, bool]] = {}
        self.went: Counter[int] = Counter()
        self.told: Counter[int] = Counter()
        self.numbers: set[int] = set()

    def settings(self, channel: str) -> AskSettings:
        return AskSettings(channel=channel, codes=self.codes)

    def one(self, number: int) -> Kept:
        found = items.by_number(self.batch, number)
        assert found is not None
        return found

    def is_wanted(self, given_up: Kept) -> bool:
        """Whether its analyzer has the same test of the same tube for another order, which it is to measure."""
        near = [self.one(number) for number in self.numbers if number != given_up.number]
        return any(
            (one.line.specimen, one.line.test, one.channel)
            == (given_up.line.specimen, given_up.line.test, given_up.channel)
            and one.known
            and one.state in ANSWERED_STATES
            for one in near
        )

    # -- steps -----------------------------------------------------------------------------------------------------

    def order(self) -> None:
        line = OrderLine(
            placer=f"{self.name}-{self.random.randrange(4)}",
            test=self.random.choice(tuple(self.codes)),
            specimen=f"{self.name}-{self.random.randrange(3)}",
            patient=OrderedPatient(number=f"{self.name}-{self.random.choice('AAAAAAB')}"),
            priority=self.random.choice(("stat", "routine")),
            targets=self.random.choice(((), (), ("chem",))),
        )
        if self.random.random() < 0.3:
            line = OrderLine(action="cancel", placer=line.placer, test=line.test)
        self.message += 1
        for done in worklist.take_orders(self.batch, self.message, "his", [line], self.take):
            if done.number:
                self.numbers.add(done.number)

    def download(self, channel: str) -> None:
        if channel in self.under_way:
            return
        before = {number: self.one(number) for number in self.numbers}
        found = worklist.download(self.batch, self.settings(channel), orders=True, cancels=True)
        for tube in found.tubes:
            assert tube.items
            assert len({one.line.specimen for one in tube.items}) == 1
            takes_back = {one.line.action == "cancel" for one in tube.items}
            for one in tube.items:
                was = before[one.number]
                assert was.query == 0
                if takes_back == {True}:
                    assert (was.state, was.sent, was.channel) == (ItemState.CANCEL_PENDING, True, channel)
                    assert one.code == was.code
                    assert not self.told[one.number]
                    assert not self.is_wanted(was)
                else:
                    assert takes_back == {False}
                    assert was.state is ItemState.WAITING
                    assert not self.went[one.number] or was.reason is ItemReason.MAYBE_KNOWN
                    assert not was.targets or channel in was.targets
            assert len({one.line.patient for one in tube.items}) == 1
            self.under_way[channel] = found.query, tube, takes_back == {True}

    def ask(self, channel: str) -> None:
        if channel not in self.under_way:
            self.message += 1
            question = Question(kind="specimens", asked=(Asked(specimen=f"{self.name}-{self.random.randrange(3)}"),))
            found = worklist.answer(self.batch, self.message, question, self.settings(channel))
            (tube,) = found.tubes
            self.under_way[channel] = found.query, tube, False

    def settle(self, channel: str, how: str) -> None:
        if channel not in self.under_way:
            return
        query, tube, takes_back = self.under_way.pop(channel)
        numbers = [one.number for one in tube.items]
        if how == "sent" and takes_back:
            worklist.taken_back(self.batch, query, numbers, channel, 1)
            self.told.update(numbers)
        elif how == "sent":
            worklist.offered(self.batch, query, numbers, channel, 1)
        else:
            worklist.not_offered(self.batch, query, numbers, "test", maybe=how == "maybe")
        if how != "not" and not takes_back:
            self.went.update(numbers)

    def result(self, channel: str) -> None:
        self.message += 1
        specimen = f"{self.name}-{self.random.randrange(3)}"
        test = ResultOf(test=self.random.choice(tuple(self.codes)))
        worklist.result(self.batch, self.message, channel, specimen, "", [test])

    # -- a whole history -------------------------------------------------------------------------------------------

    def run(self) -> None:
        for _ in range(STEPS):
            channel = self.random.choice(CHANNELS)
            step = self.random.choice(("order", "order", "download", "download", "ask", "result", "settle", "crash"))
            if step == "order":
                self.order()
            elif step == "download":
                self.download(channel)
            elif step == "ask":
                self.ask(channel)
            elif step == "result":
                self.result(channel)
            elif step == "settle":
                self.settle(channel, self.random.choice(("sent", "sent", "not", "maybe")))
            elif channel not in self.under_way:  # a crash before the commit
                self.batch.execute("SAVEPOINT crash")
                self.download(channel)
                self.under_way.pop(channel, None)
                self.batch.execute("ROLLBACK TO crash")
                self.batch.execute("RELEASE crash")
                self.restart()
        self.come_to_rest()

    def restart(self) -> None:
        """What was under way is perhaps sent."""
        for channel in list(self.under_way):
            self.settle(channel, "maybe")

    def come_to_rest(self) -> None:
        for channel in CHANNELS * 2:
            self.settle(channel, "sent")
            self.download(channel)
            while channel in self.under_way:
                self.settle(channel, "sent")
                self.download(channel)
        for number in self.numbers:
            one = self.one(number)
            assert one.query == 0
            assert self.told[number] <= 1
            if one.state is ItemState.CANCEL_PENDING and one.sent and one.channel:
                assert self.told[number] == 1 or self.is_wanted(one)
            if one.state is ItemState.WAITING:
                found = worklist.answer(
                    self.batch,
                    0,
                    Question(kind="specimens", asked=(Asked(specimen=one.line.specimen),)),
                    changed(self.settings("chem"), again=False),
                )
                assert not found.tubes[0].items


async def test_no_order_goes_twice_unmarked_and_none_stays_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    sent: Counter[str] = Counter()

    def several(batch: Batch, start: int) -> None:
        for name in range(start, start + AT_ONCE):
            history = History(batch, Random(name), name)
            history.run()
            sent.update(went=history.went.total(), told=history.told.total())

    async with running(data) as journal:
        for start in range(0, HISTORIES, AT_ONCE):
            await journal.writer.submit(lambda batch, start=start: several(batch, start))
    assert verify.run(data) == []
    assert sent["went"] > HISTORIES
    assert sent["told"] > HISTORIES // 20
