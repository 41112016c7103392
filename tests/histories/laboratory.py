"""A laboratory that is being made up: its clock, its people, and its book of statements."""

import random
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any

from tests.histories.history import (
    Act,
    Asking,
    Channel,
    Group,
    History,
    Line,
    Ordering,
    Rest,
    Result,
    Round,
    Send,
    Step,
    ordered_as,
)
from tests.histories.render import HERE

START = datetime.combine(date.today() - timedelta(days=60), time(8))  # past, and no wrong clock's
ROUNDS = 4
DAY = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody, and how the requests call them."""

    who: int
    number: str
    name: str = ""
    birth: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Attributes:
    number: OBR-3; other orders may have it as well.
    minutes: when it was collected.
    """

    order: int
    number: str
    code: str = "PANEL"
    set: int = 1
    minutes: int | None = None


class Laboratory:
    """Makes one history. ``minutes`` is its clock, since the first morning."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.minutes = rng.randrange(0, 120)
        self.channels: list[Channel] = []
        self.controls: dict[int, str] = {}  # of each channel: counts, constant, absent, restarts
        self.rounds: list[tuple[list[Step], list[Act]]] = [([], [])]
        self.sends: list[Send] = []
        self._steps = 0
        self._counted: dict[int, int] = defaultdict(int)
        self._people = 0
        self._orders = 0
        self._values = 0
        self._words: dict[tuple[int, int, int, str], int] = defaultdict(int)
        self._ended: dict[tuple[int, int, int, str], bool] = defaultdict(bool)  # its last word was a final one

    def history(self, name: str, *, plain: bool = False) -> History:
        return History(
            name=name,
            plain=plain,
            channels=tuple(self.channels),
            rounds=tuple(Round(steps=tuple(steps), acts=tuple(acts)) for steps, acts in self.rounds),
        )

    # -- what there is -------------------------------------------------------------------------------------------------

    def channel(self, protocol: str = "", *, control: str = "", **more: Any) -> int:
        """A new analyzer; returns its number."""
        self.channels.append(Channel(protocol=protocol or self.rng.choice(("hl7", "hl7", "astm")), **more))
        number = len(self.channels) - 1
        self.controls[number] = control or self.rng.choice(("counts", "counts", "constant", "absent", "restarts"))
        if self.channels[number].protocol == "hl7" and self.controls[number] == "absent":
            self.controls[number] = "constant"  # MSH-10 is required: there it is a constant
        self._counted[number] = self.rng.randrange(1, 500)
        return number

    def person(self, number: str, name: str = "", birth: str = "", sex: str = "") -> Person:
        """Another human being, whatever they are called."""
        self._people += 1
        return Person(who=self._people - 1, number=number, name=name, birth=birth, sex=sex)

    def order(self, number: str = "", *, code: str = "PANEL") -> Order:
        """Another order, collected now."""
        self._orders += 1
        wanted = number or f"{HERE}{self._orders:02d}"
        return Order(order=self._orders - 1, number=wanted, code=code, minutes=self.minutes)

    def value(self) -> str:
        """A number that no other statement of this history has."""
        self._values += 1
        return f"{self._values}.{self.rng.randrange(1, 10)}"

    # -- what happens ----------------------------------------------------------------------------------------------

    def later(self, minutes: int) -> None:
        self.minutes += minutes

    def next_round(self) -> None:
        if len(self.rounds) < ROUNDS:
            self.rounds.append(([], []))

    def act(self, act: str, *sends: Send) -> None:
        """At the end of this round. What follows belongs to the next."""
        self.rounds[-1][1].append(Act(act=act, of=tuple(send.id for send in sends)))
        self.next_round()

    def say(
        self,
        channel: int,
        person: Person,
        order: Order,
        *results: tuple[str, str] | tuple[str, str, str],
        at: int | None = None,
        timed: bool = True,
        late: bool = False,
    ) -> Send:
        """Send results, each (test, status) with a value of its own or (test, status, value).

        Args:
            at: when they were measured, else now.
            timed: False where the message has no times at all.
            late: what was true before the newest statement, and comes after it.
        """
        group = self.group(channel, person, order, *results, at=at, timed=timed, late=late)
        return self.message(channel, group, timed=timed)

    def group(
        self, channel: int, person: Person, order: Order, *results: Any, at: int | None = None, timed: bool = True,
        late: bool = False,
    ) -> Group:  # fmt: skip
        measured = stamp(self.minutes if at is None else at) if timed else ""
        collected = self.minutes if order.minutes is None else order.minutes
        return Group(
            number=person.number,
            name=person.name,
            birth=person.birth,
            sex=person.sex,
            order=order.number,
            code=order.code,
            set=order.set,
            at=stamp(collected) if timed else "",
            results=tuple(
                self._result(channel, person, order, measured, late, *result) for result in results
            ),
        )  # fmt: skip

    def message(self, channel: int, *groups: Group, timed: bool = True) -> Send:
        send = Send(
            id=self._steps,
            channel=channel,
            control=self._control(channel),
            at=stamp(self.minutes) if timed else "",
            groups=groups,
        )
        self._sent(send)
        self.later(self.rng.randrange(1, 6))
        return send

    def memory(self, send: Send) -> Send:
        """The analyzer sends a result of its memory: another control id and time of the message, all else equal."""
        again = replace(send, id=self._steps, control=self._control(send.channel), at=send.at and stamp(self.minutes))
        self._sent(again)
        self.later(1)
        return again

    def again(self, send: Send) -> Send:
        """The same bytes."""
        same = replace(send, id=self._steps)
        self._sent(same)
        return same

    def _sent(self, send: Send) -> None:
        self.sends.append(send)
        self._happened(send)

    def _happened(self, step: Step) -> None:
        self._steps += 1
        self.rounds[-1][0].append(step)

    # -- orders --------------------------------------------------------------------------------------------------------

    def ask_for(self, lis: int, person: Person, tube: str, *orders: tuple[str, str, str], stat: bool = False) -> None:
        """A laboratory system sends orders, each (ORC-1, order number, test)."""
        lines = tuple(
            Line(control=control, placer=placer, test=ordered_as(test), stat=stat) for control, placer, test in orders
        )
        self._happened(
            Ordering(id=self._steps, channel=lis, tube=tube, person=person.who, number=person.number, lines=lines)
        )

    def ask(self, channel: int, *tubes: str, cut: int | None = None) -> None:
        """An analyzer asks which tests to run; without tubes for all."""
        acks = self.rng.random() < 0.5
        self._happened(Asking(id=self._steps, channel=channel, tubes=tubes, cut=cut, acks=acks))

    def rest(self) -> None:
        self._happened(Rest(id=self._steps))

    def _result(
        self, channel: int, person: Person, order: Order, at: str, late: bool, test: str, status: str, value: str = "?"
    ) -> Result:
        key = (channel, person.who, order.order, test)
        failed = status == "X" or value in ("", "----")
        if status == "X":
            value = ""
        if late and not self._ended[key]:
            late = False  # nothing that it could come after
        word = 0
        if not failed and not late:
            self._words[key] += 1
            word = self._words[key]
            self._ended[key] = status not in "PSRI"
        value = self.value() if value == "?" else value
        return Result(person=person.who, order=order.order, test=test, value=value, status=status, at=at, word=word)

    def _control(self, channel: int) -> str:
        self._counted[channel] += 1
        match self.controls[channel]:
            case "counts":
                return str(self._counted[channel])
            case "restarts":
                return str(1 + self._counted[channel] % 3)
            case "constant":
                return "1"
        return ""


def stamp(minutes: int) -> str:
    return (START + timedelta(minutes=minutes)).strftime("%Y%m%d%H%M%S")
