"""What the laboratory systems of a history ordered, step by step, as each was answered; and what was measured.

It knows the truth of the history alone, and nothing of the product.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.histories.history import PANEL, Asking, History, Line, Ordering, Rest, Result, Send, ordered_as
from tests.histories.laboratory import stamp
from tests.histories.model import Fault, decided, shown
from tests.histories.render import here
from tests.histories.seen import Reply, Row, Seen, SeenOrders

LIVE, HELD, CONFLICT, CANCELLED, REPLACED = "live", "held", "conflict", "cancelled", "superseded"
OPEN = (LIVE, HELD, CONFLICT)
Key = tuple[int, str, str]  # laboratory system, order number, test


def _waits(row: Row) -> bool:
    """Whether a person must decide on the message, or on a document of it."""
    return row.state == "held" or any(one.state == "held" for one in row.deliveries)


@dataclass(slots=True, eq=False)
class Version:
    """An order as its laboratory system means it.

    Attributes:
        step: that ordered it.
        ended: the step that cancelled or replaced it; 0: none.
        doubted: the step since which its tube has two patients; 0: none.
        holds: (from, to) of each hold of the laboratory system; to 0: it holds.
    """

    key: Key
    tube: str
    person: int
    number: str
    stat: bool
    step: int
    wish: str = LIVE
    ended: int = 0
    doubted: int = 0
    holds: list[list[int]] = field(default_factory=list)

    @property
    def test(self) -> str:
        return self.key[2]

    def is_open_at(self, step: int) -> bool:
        return self.step < step and not 0 < self.ended < step

    def is_held_at(self, step: int) -> bool:
        return any(begin < step and not 0 < end < step for begin, end in self.holds)


@dataclass(slots=True, eq=False)
class Measured:
    """A result that an analyzer's message had acknowledged.

    Attributes:
        born: the step whose message had it first.
        old: it was measured long before the history. held: a person is to say whether it goes out, or has said no.
        waits: a person is to say.
    """

    step: int
    channel: int
    result: Result
    tube: str
    stated: str
    born: int
    old: bool
    held: bool
    waits: bool

    @property
    def final(self) -> bool:
        return self.result.status in "FC"


class Book:
    """The orders of a history, as they were meant and answered."""

    def __init__(self, history: History, seen: Seen, orders: SeenOrders, place: int, calm: bool) -> None:
        self.history, self.seen, self.orders, self.calm = history, seen, orders, calm
        self.faults: list[Fault] = []
        self.versions: list[Version] = []
        self.blurred: set[Key] = set()  # keys whose state no one can tell from what was said
        self.refused: Counter[Key] = Counter()  # lines that can never run
        self._place = place
        self.steps = {step.id: step for step in history.steps}
        self.rests = [step.id for step in history.steps if isinstance(step, Rest)]
        self.measured = self._measured()
        for step in history.steps:
            if isinstance(step, Ordering):
                self._take(step)

    def of_place(self, text: str) -> str:
        return here(text, self._place)

    # -- what was ordered ----------------------------------------------------------------------------------------------

    def _take(self, step: Ordering) -> None:
        said = self.orders.said.get(step.id, ())
        if len(said) != len(step.lines):
            self._wrong("ANSWER", f"{len(step.lines)} orders are answered with {len(said)}", step)
            return
        for line, code in zip(step.lines, said, strict=True):
            panel, tests = PANEL
            for test in map(ordered_as, tests) if line.test == panel else (line.test,):
                self._line(step, line, test, code)

    def _line(self, step: Ordering, line: Line, test: str, code: str) -> None:
        key = (step.channel, line.placer, test)
        mine = [one for one in self.versions if one.key == key and one.wish != REPLACED]
        latest = mine[-1] if mine else None
        if not self._runs(step.channel, test):
            wanted = "UC" if line.control == "CA" else "UR" if line.control == "RL" else None
            if code not in ("UA", "UX", "UH", wanted):
                self._wrong("ANSWER", f"{line.control} of a test that no analyzer has is answered {code}", step)
            if wanted is None:
                self.refused[key] += 1
            return
        if any(one.wish == CONFLICT for one in mine):
            self.blurred.add(key)  # a person decides
        match line.control:
            case "NW":
                self._new(step, line, key, latest, code)
            case "XO":
                self._change(step, line, key, latest, code)
            case "CA":
                self._cancel(step, [one for one in mine if one.wish in OPEN], key, code)
            case "HD":
                self._hold(step, line, key, latest, code)
            case _:
                for one in mine:
                    if one.wish == HELD:
                        self._release(one, step)

    def _new(self, step: Ordering, line: Line, key: Key, latest: Version | None, code: str) -> None:
        if latest is None or latest.wish == CANCELLED:
            if latest is not None and (self.may_have(latest) or self.results_of(latest)):
                self.blurred.add(key)  # the one before may not have ended yet
            self._put(step, line, key, code, ok="OK")
        elif self._is_same(latest, step, line):
            if latest.wish == HELD:
                self._release(latest, step)
            wanted = {"UA"} if latest.doubted or latest.wish == CONFLICT else {"OK"}
            if code not in wanted:
                self._wrong("ANSWER", f"an order that is there is answered {code}", step)
        else:
            if code != "UA":
                self._wrong("ANSWER", f"other content under one number is answered {code}", step)
            self._put(step, line, key, code, ok="OK", wish=CONFLICT)

    def _change(self, step: Ordering, line: Line, key: Key, latest: Version | None, code: str) -> None:
        if latest is None or latest.wish == CANCELLED:
            self._new(step, line, key, latest, {"XR": "OK", "UX": "UA"}.get(code, code))
        elif self._is_same(latest, step, line):
            if latest.wish == HELD:
                self._release(latest, step)
        elif code == "XR" or latest.doubted or self._other_on(step)[0]:
            latest.wish, latest.ended = REPLACED, step.id
            self._put(step, line, key, code, ok="XR")
        elif not any(one.final for one in self.results_of(latest)):
            self._wrong("ANSWER", f"a change of an order without result is answered {code}", step)

    def _cancel(self, step: Ordering, named: list[Version], key: Key, code: str) -> None:
        if code == "CR":
            for one in named:
                one.wish, one.ended = CANCELLED, step.id
            if not named and not any(one.key == key for one in self.versions):
                self._wrong("ANSWER", "a cancel of no order is answered CR", step)
        elif any(not any(result.final for result in self.results_of(one)) for one in named):
            self._wrong("ANSWER", f"a cancel of an order without result is answered {code}", step)

    def _hold(self, step: Ordering, line: Line, key: Key, latest: Version | None, code: str) -> None:
        if latest is None:
            self._put(step, line, key, code, ok="HR", wish=HELD)
        elif latest.wish in (LIVE, HELD) and code == "HR":
            if latest.wish == LIVE:
                latest.wish = HELD
                latest.holds.append([step.id, 0])
        elif latest.wish == LIVE and not (self.may_have(latest) or self.results_of(latest) or latest.doubted):
            self._wrong("ANSWER", f"a hold of an order that no analyzer has is answered {code}", step)

    @staticmethod
    def _release(one: Version, step: Ordering) -> None:
        one.wish = LIVE
        for hold in one.holds:
            hold[1] = hold[1] or step.id

    def _put(self, step: Ordering, line: Line, key: Key, code: str, *, ok: str, wish: str = LIVE) -> None:
        sure, perhaps = self._other_on(step)
        new = Version(key, self.of_place(step.tube), step.person, step.number, line.stat, step.id, wish)
        if wish == HELD:
            new.holds.append([step.id, 0])
        if wish == CONFLICT:
            doubted = bool(sure)
            if perhaps and not sure:
                self.blurred |= {one.key for one in self.on(new.tube)} | {key}
        else:
            doubted = code != ok
            if code == ok and sure:
                self._wrong("ANSWER", f"an order for the tube of another patient is answered {code}", step)
            if code != ok and not (sure or perhaps):
                self._wrong("ANSWER", f"a plain order ({line.control}) is answered {code}", step)
        if doubted:
            new.doubted = step.id
            for one in self.on(new.tube):
                if one.wish in OPEN and not one.doubted:
                    one.doubted = step.id
        self.versions.append(new)

    def _other_on(self, step: Ordering) -> tuple[list[Version], list[Version]]:
        """Orders of other patients for the tube that keep its number: surely; and perhaps, for they were cancelled."""
        others = [one for one in self.on(self.of_place(step.tube)) if one.number != step.number]
        sure = [one for one in others if one.wish in OPEN]
        perhaps = [one for one in others if one.wish not in OPEN and (self.may_have(one) or self.results_of(one))]
        return sure, perhaps

    def _is_same(self, one: Version, step: Ordering, line: Line) -> bool:
        return (one.tube, one.number, one.stat) == (self.of_place(step.tube), step.number, line.stat)

    def _wrong(self, invariant: str, words: str, step: Ordering) -> None:
        self.faults.append(Fault(invariant, words, step.id))

    # -- what is known -------------------------------------------------------------------------------------------------

    def on(self, tube: str) -> list[Version]:
        return [one for one in self.versions if one.tube == tube]

    def _runs(self, lis: int, test: str) -> bool:
        return any(self.has_code(channel, test) for channel in self.history.channels[lis].serves)

    def has_code(self, channel: int, test: str) -> bool:
        return test in map(ordered_as, self.history.channels[channel].tests)

    def serves(self, one: Version, channel: int) -> bool:
        return channel in self.history.channels[one.key[0]].serves and self.has_code(channel, one.test)

    def given(self, one: Version, *, whole: bool = False) -> list[tuple[int, Reply]]:
        """Replies with the test of the tube, that came after the order, with their channels."""
        return [
            (channel, reply)
            for channel, replies in self.orders.replies.items()
            for reply in replies
            if (reply.asking if reply.asking >= 0 else reply.step) > one.step
            and any((tube, ordered_as(test)) == (one.tube, one.test) for tube, test in reply.orders)
            and (reply.whole or not whole)
            and not (one.ended and reply.asking > one.ended)
        ]

    def may_have(self, one: Version, before: int = 1 << 30, *, but: int = -1) -> bool:
        """Whether an analyzer may have been given the order before a step: it asked, or gets orders unasked."""
        for step in self.history.steps:
            if isinstance(step, Asking) and one.step < step.id < before and step.channel != but:
                asked = not step.tubes or one.tube in map(self.of_place, step.tubes)
                if asked and self.serves(one, step.channel) and one.is_open_at(step.id):
                    return True
        return any(
            channel.asks == "download" and number != but and self.serves(one, number)
            for number, channel in enumerate(self.history.channels)
        )

    def may_confirm(self, one: Version) -> bool:
        """Whether an analyzer that may have been given the order can say that it has it."""
        return any(channel.speaks and self.serves(one, at) for at, channel in enumerate(self.history.channels))

    def results_of(self, one: Version) -> list[Measured]:
        """Results of the test of the tube and of the person, that came after the order."""
        return [
            each
            for each in self.measured
            if each.step > one.step
            and (each.tube, ordered_as(each.result.test), each.result.person) == (one.tube, one.test, one.person)
            and self.serves(one, each.channel)
        ]

    def _measured(self) -> list[Measured]:
        born: dict[tuple[int, str, str, str], int] = {}
        rows: defaultdict[int, list[Row]] = defaultdict(list)
        for row in self.seen.rows:
            rows[row.send].append(row)
        found = []
        for step in self.history.steps:
            if not isinstance(step, Send) or step.id not in self.seen.answered:
                continue
            for group in step.groups:
                for result in group.results:
                    mark = (step.channel, group.order, result.test, result.at)
                    found.append(
                        Measured(
                            step=step.id, channel=step.channel, result=result, tube=self.of_place(group.order),
                            stated=group.number, born=born.setdefault(mark, step.id), old=result.at < stamp(0),
                            held=any(shown(row) or decided(row) for row in rows[step.id]),
                            waits=any(_waits(row) for row in rows[step.id]),
                        )
                    )  # fmt: skip
        return found

    def siblings(self, one: Version) -> list[Version]:
        """Other orders for the same test of the tube."""
        return [other for other in self.on(one.tube) if other is not one and other.test == one.test]
