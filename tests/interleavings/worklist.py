"""The worklist as docs/orders.md has it, in plain dictionaries: each operation of the journal, once it is durable."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from engine.model.orders import OrderLine

ANSWERED = ("waiting", "offered", "in_progress")
OPEN = (*ANSWERED, "held", "cancel_pending")
WITH_ANALYZER = ("offered", "in_progress", "cancel_pending")
GIVEN_UP = ("cancelled", "superseded")
RESERVED_S = 120.0  # so long no other analyzer gets what is under way to one


@dataclass(slots=True, eq=False)
class Item:
    """Attributes:
    maybe: an analyzer may have it, and nothing confirmed that.
    channel: that it was given to last, or that measures it though it was not.
    known: bytes of it went out. query: of the answer that is under way; 0: none.
    why: of a held one: ``conflict``, ``specimen``, ``lis``; ``result``: its result is held.
    holds: the messages with a result of it that are held -> whether that is preliminary; and those of them that came
        while the tube was one patient's. before: as it was.
    answered: its result went out while its tube was of two patients, and is certainly its own.
    after: the version that an analyzer must give up first. came: the row of the journal that ordered it.
    """

    number: int
    line: OrderLine
    state: str = "waiting"
    why: str = ""
    maybe: bool = False
    known: bool = False
    query: int = 0
    asked_at: float = 0.0
    channel: str = ""
    after: "Item | None" = None
    run: int = 1
    came: int = 0
    holds: dict[int, bool] = field(default_factory=dict)
    sure: set[int] = field(default_factory=set)
    answered: bool = False
    before: tuple[str, bool] = ("waiting", False)

    @property
    def may_know(self) -> bool:
        return self.known or bool(self.holds)

    @property
    def at_analyzer(self) -> bool:
        return self.may_know or self.query > 0

    @property
    def content(self) -> tuple[str, ...]:
        line = self.line
        return (line.specimen, line.patient.number, line.priority, line.dilution, *line.targets)


@dataclass(slots=True)
class Worklist:
    """The items of one interleaving, in the order of their numbers, which begin behind ``before``."""

    before: int
    codes: dict[str, dict[str, str]]  # channel -> code of the LIS -> code of the analyzer
    items: list[Item] = field(default_factory=list)

    def tube(self, specimen: str) -> list[Item]:
        return [one for one in self.items if one.line.specimen == specimen]

    def numbered(self, numbers: Iterable[int]) -> list[Item]:
        return [self.items[number - self.before - 1] for number in numbers]

    def same(self, line: OrderLine) -> list[Item]:
        """The items with the order number and the test of a line."""
        key = (line.placer, line.test)
        return [one for one in self.items if (one.line.placer, one.line.test) == key and one.state != "superseded"]

    # -- orders --------------------------------------------------------------------------------------------------------

    def take(self, line: OrderLine, *, came: int) -> None:
        before = len(self.items)
        self._take(line)
        for one in self.items[before:]:
            one.came = came

    def _take(self, line: OrderLine) -> None:
        named = self.same(line)
        is_open = [one for one in named if one.state in OPEN]
        match line.action:
            case "cancel":
                for one in is_open:
                    self.cancel(one)
            case "hold" if any(_names(line, one) for one in named):
                for one in filter(partial(_names, line), is_open):
                    if one.state == "waiting" and not one.at_analyzer:
                        one.state, one.why = "held", "lis"
            case "release":
                for one in is_open:
                    self._released_by_lis(one)
            case _:
                self._order(line, named)

    def _order(self, line: OrderLine, same: Sequence[Item]) -> None:
        new = Item(self.before + len(self.items) + 1, line)
        latest = same[-1] if same else None
        in_conflict = [one for one in same if one.state == "held" and one.why == "conflict"]
        if latest is not None and latest.state == "cancel_pending":  # it goes once the analyzer has given that up
            new.after = latest
            self._put(new)
        elif line.action == "rerun" and latest is not None:
            if latest.state not in OPEN:
                new.run = latest.run + 1
                self._put(new)
        elif latest is None or latest.state == "cancelled":
            self._put(new)
        elif latest.content == new.content and not (line.action == "change" and latest in in_conflict):
            self._released_by_lis(latest)
        elif line.action != "change":
            new.state, new.why = "held", "conflict"
            self._put(new)
        else:
            current = next((one for one in reversed(same) if one not in in_conflict), latest)
            if current.state == "resulted":
                return
            for one in in_conflict:
                if one is not current and one.at_analyzer:  # a result of this test came, perhaps for this version
                    self._pending(one)
                elif one is not current:
                    self._end(one, "superseded")
            if current.state in OPEN:
                self._replace(current, new)
            self._put(new)

    def _released_by_lis(self, one: Item) -> None:
        if one.state == "held" and one.why == "lis":
            one.state, one.why, one.maybe = "waiting", "", one.at_analyzer

    def _replace(self, old: Item, new: Item) -> None:
        if old.state in ("waiting", "held") and not old.at_analyzer:
            self._end(old, "superseded")
        else:
            self._pending(old)
            new.after = old

    def _put(self, new: Item) -> None:
        tube = self.tube(new.line.specimen)
        bearers = {
            one.line.patient.number
            for one in tube
            if one.state in OPEN or one.state == "resulted" or one.may_know or one.query > 0
        }
        if bearers - {new.line.patient.number}:
            for one in tube:
                if one.state in ANSWERED or (one.state == "held" and one.why == "lis"):
                    one.state, one.why, one.maybe = "held", "specimen", False
            new.state, new.why = "held", "specimen"
        elif new.line.action == "hold" and new.state == "waiting":
            new.state, new.why = "held", "lis"
        self.items.append(new)

    # -- acts ----------------------------------------------------------------------------------------------------------

    def cancel(self, one: Item) -> None:
        if one.state in ("offered", "in_progress") or (one.state in ("waiting", "held") and one.at_analyzer):
            self._pending(one)
        elif one.state in ("waiting", "held"):
            self._end(one, "cancelled")

    @staticmethod
    def _pending(one: Item) -> None:
        one.state, one.maybe, one.why = "cancel_pending", False, "result" if one.why == "result" else ""

    def cancel_by_hand(self, one: Item) -> None:
        if one.state == "cancel_pending" and not one.query:
            self._end(one, "cancelled")
        else:
            self.cancel(one)

    def release_by_hand(self, one: Item) -> None:
        is_answered = one.answered and one.why == "specimen"
        one.state, one.why, one.maybe = "waiting", "", one.at_analyzer
        if is_answered:
            self._end(one, "resulted")

    def resend(self, one: Item) -> None:
        one.maybe = one.state != "waiting"
        one.state, one.why = "waiting", ""

    # -- questions and answers -----------------------------------------------------------------------------------------

    def ask(self, channel: str, specimen: str, now: float) -> list[Item]:
        """The items of the answer; they are not under way yet (`under_way`)."""
        tube = self.tube(specimen)
        if len({one.line.patient.number for one in tube if one.state in (*ANSWERED, "cancel_pending")}) > 1:
            return []
        return [
            one
            for one in tube
            if one.state in ANSWERED
            and one.after is None
            and (not one.line.targets or channel in one.line.targets)
            and one.line.test in self.codes[channel]
            and not self._is_elsewhere(one, channel, now)
        ]

    @staticmethod
    def _is_elsewhere(one: Item, channel: str, now: float) -> bool:
        under_way = one.query > 0 and one.asked_at > now - RESERVED_S
        return one.channel != channel and (one.state in WITH_ANALYZER or under_way)

    def under_way(self, found: Iterable[Item], query: int, channel: str, now: float) -> None:
        for one in found:
            one.query, one.channel, one.asked_at = query, channel, now

    def offered(self, numbers: Sequence[int], channel: str) -> None:
        for one in self.numbered(numbers):
            if one.channel == channel:
                one.query, one.known = 0, True
                if one.state == "waiting":
                    one.state = "offered"
                elif one.why == "result" and one.before[0] == "waiting":
                    one.before = ("offered", one.before[1])

    def not_offered(self, query: int, numbers: Sequence[int], *, maybe: bool) -> None:
        for one in self.numbered(numbers):
            if one.query not in (0, query):
                one.known = one.known or maybe
                continue
            one.query = 0
            if maybe:
                self._maybe_sent(one)
            elif one.state == "cancel_pending" and not one.may_know:
                self._end(one, "cancelled")

    def recover(self) -> None:
        for one in self.items:
            if one.query:
                one.query = 0
                self._maybe_sent(one)

    def _maybe_sent(self, one: Item) -> None:
        one.known = True
        if one.state in ("waiting", "offered"):
            one.state, one.maybe = "waiting", True
        elif one.why == "result" and one.before[0] in ("waiting", "offered"):
            one.before = ("waiting", True)

    # -- results -------------------------------------------------------------------------------------------------------

    def result(
        self, channel: str, specimen: str, patient: str, test: str, *, final: bool, came: int, held: bool = False
    ) -> None:
        near = [
            one
            for one in self.tube(specimen)
            if one.line.test == test
            and one.came < came
            and patient in ("", one.line.patient.number)
            and (not one.line.targets or channel in one.line.targets)
        ]
        with_analyzer = [one for one in near if one.state in WITH_ANALYZER]
        chosen = (
            [one for one in with_analyzer if one.channel == channel]
            or with_analyzer
            or [one for one in near if one.state in OPEN and one.after is None]
            or [one for one in near if one.state == "resulted"][-1:]
            or [one for one in near if one.state in GIVEN_UP][-1:]
        )
        for one in chosen:
            if (held or not final) and one.state != "resulted" and not one.at_analyzer:
                one.channel = channel
            if held:
                self._hold(one, came, final=final)
            else:
                self._measured(one, final=final, sure=patient != "")

    def _measured(self, one: Item, *, final: bool, sure: bool) -> None:
        one.known = True
        if final and sure and one.state == "held" and one.why == "specimen":
            one.answered = True
        if one.state in ANSWERED:
            one.maybe = False
            if final:
                self._end(one, "resulted")
            elif one.why == "result":
                one.before = ("in_progress", False)
            else:
                one.state = "in_progress"
        elif final and (one.state == "cancel_pending" or (one.state == "held" and one.why == "lis")):
            self._end(one, "resulted")

    def _hold(self, one: Item, message: int, *, final: bool) -> None:
        if one.state == "resulted":
            return
        one.holds[message] = not final
        if one.state != "held":
            one.sure.add(message)
        if one.state in ANSWERED:
            if one.why != "result":
                one.before = (one.state, one.maybe)
            one.state, one.maybe, one.why = "in_progress", False, "result"
        elif one.state == "cancel_pending":
            one.why = "result"

    def decided(self, message: int, *, released: bool) -> None:
        """A person has decided about a message whose results were held."""
        for one in self.items:
            if message not in one.holds:
                continue
            preliminary = one.holds.pop(message)
            if released:
                self._measured(one, final=not preliminary, sure=message in one.sure)
            if one.why == "result" and not one.holds:
                one.why = ""
                if one.state != "cancel_pending":
                    one.state, one.maybe = one.before
            if one.state == "cancel_pending" and not one.at_analyzer:  # none is left to give it up
                self._end(one, "cancelled")

    def _end(self, one: Item, state: str) -> None:
        one.state, one.maybe, one.why = state, False, ""
        for other in self.items:
            if other.after is one:
                other.after = None


def _names(line: OrderLine, one: Item) -> bool:
    """Whether a hold names this item: all that it says agrees."""
    return (one.line.specimen, one.line.patient) == (line.specimen, line.patient)
