"""What happened in a laboratory: orders, questions and results as it means them, the messages that say so, and what
people did meanwhile.

A history knows the truth: which person each result is about, whatever number and name its message states. It is plain
data with a JSON form, so that one that showed a fault can be kept.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One statement about one test.

    Attributes:
        person: who was measured, numbered within the history.
        order: the order it belongs to; two orders may bear the same number.
        value: as it is sent; empty for none.
        status: OBX-11 or R-9; G for an isolate that the message does not tell any more, and which is gone by that.
        at: YYYYMMDDHHMMSS of the measurement, or empty.
        word: number of the statement among those about this person, order and test on this channel, from 1 and in the
            order in which the laboratory means them. What is sent again keeps its word. 0: no statement at all, as of a
            rerun that failed.
    """

    person: int
    order: int
    test: str
    value: str
    status: str
    at: str
    word: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A patient's segment as it is stated, and one order's results.

    Attributes:
        order: OBR-3 or O-3.
        code: OBR-4.
        set: OBR-1 or O-2.
        at: OBR-7 or O-8.
    """

    number: str
    name: str
    birth: str
    sex: str
    order: str
    code: str
    set: int
    at: str
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A message. One with the content of an earlier one is the same bytes again.

    Attributes:
        control: MSH-10 or H-3.
        at: MSH-7 or H-14.
    """

    id: int
    channel: int
    control: str
    at: str
    groups: tuple[Group, ...]

    @property
    def results(self) -> tuple[Result, ...]:
        return tuple(result for group in self.groups for result in group.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One order of a message of a laboratory system.

    Attributes:
        control: ORC-1: NW, XO, CA, HD, RL.
        placer: ORC-2.
        test: as the laboratory system calls it.
        stat: urgent; a change of it is other content.
    """

    control: str
    placer: str
    test: str
    stat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """A message of a laboratory system, for one tube of one person.

    Attributes:
        channel: of the laboratory system.
        number: of the patient, as it is stated.
    """

    id: int
    channel: int
    tube: str
    person: int
    number: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A question of an analyzer.

    Attributes:
        tubes: as they are asked for; none: for all. UNREAD: the number was not read.
        cut: the analyzer drops the line at this frame of the answer, 0: once it has asked; None: it takes all of it.
        acks: it acknowledges that frame before.
    """

    id: int
    channel: int
    tubes: tuple[str, ...] = ()
    cut: int | None = None
    acks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """All that was sent is processed before the next step."""

    id: int


Step = Send | Ordering | Asking | Rest
UNREAD = "@12"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a person does: ``release``, ``reject``, ``retry``, ``dismiss``, ``answer``, ``replay`` or ``reprocess``.

    Attributes:
        of: ids of the messages that it is about; none: all of the history that it can be done to.
    """

    act: str
    of: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Steps one after the other; then, if there are any, acts: once the server is well and everything is quiet."""

    steps: tuple[Step, ...] = ()
    acts: tuple[Act, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Attributes:
    protocol: ``hl7`` or ``astm``; ``lis``: a laboratory system that orders, and hears later what became of it.
    numbers: ``lasting``, ``counter`` or empty, where the site has not said.
    specimens: ``unique``, ``day`` or empty: whether a specimen number names a result by itself.
    shared: patient numbers belong to one authority for all channels of the site.
    cultures: its results of test ``ORG:...`` are isolates: each message tells all of the culture.
    asks: how an analyzer gets orders: ``query``, ``download``; empty: it does not.
    speaks: over HL7 how it asks: ``law``, ``law-own``, ``mindray-bs``, ``genexpert`` (`hl7_two_way`).
    tests: of the analyzer, for which there may be orders (`ordered_as`).
    serves: of a laboratory system: the channels that it orders from.
    """

    protocol: str
    numbers: str = ""
    specimens: str = ""
    shared: bool = False
    cultures: bool = False
    asks: str = ""
    speaks: str = ""
    tests: tuple[str, ...] = ()
    serves: tuple[int, ...] = ()


def ordered_as(test: str) -> str:
    """The code of a laboratory system for the test that the analyzers call ``test``."""
    return f"L-{test}"


PANEL = ("L-PANEL", ("GLU", "UREA"))
"""What each laboratory system orders as one test, and the analyzers have no code for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Attributes:
    name: where it comes from: a scene, or ``mixed``.
    plain: whether a person who reads it would expect that nothing is held back.
    """

    name: str
    channels: tuple[Channel, ...]
    rounds: tuple[Round, ...]
    plain: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for one in self.rounds for step in one.steps)

    @property
    def sends(self) -> tuple[Send, ...]:
        """Messages with results."""
        return tuple(step for step in self.steps if isinstance(step, Send))

    @property
    def has_orders(self) -> bool:
        return any(channel.protocol == "lis" for channel in self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How it goes during a round.

    Attributes:
        server: ``well``, ``down`` (503), ``lost`` (takes, and the answer is lost) or ``flaky``.
        kill: the daemon is killed once this share of the round's messages has been answered; None: never.
        lis: whether the laboratory systems can be told of their orders.
    """

    server: str = "well"
    kill: float | None = None
    lis: bool = True

    @property
    def calm(self) -> bool:
        return self.server == "well" and self.kill is None and self.lis


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Histories that share one daemon and one server."""

    histories: tuple[History, ...]
    weather: tuple[Weather, ...]
    seed: str = ""
    broken: tuple[str, ...] = field(default=())  # of a kept one: the invariants that it broke when it was found


def as_json(batch: Batch) -> str:
    return json.dumps(dataclasses.asdict(batch), indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Batch:
    """
    Raises:
        KeyError, TypeError, ValueError: it is no batch.
    """
    read: Json = json.loads(text)
    return Batch(
        histories=tuple(_history(one) for one in read["histories"]),
        weather=tuple(Weather(**one) for one in read["weather"]),
        seed=read["seed"],
        broken=tuple(read["broken"]),
    )


def _history(read: Json) -> History:
    return History(
        name=read["name"],
        plain=read["plain"],
        channels=tuple(
            Channel(**{**one, **{name: tuple(one[name]) for name in ("tests", "serves") if name in one}})
            for one in read["channels"]
        ),
        rounds=tuple(
            Round(
                steps=tuple(_step(step) for step in one["steps"]),
                acts=tuple(Act(act=act["act"], of=tuple(act["of"])) for act in one["acts"]),
            )
            for one in read["rounds"]
        ),
    )


def _step(read: Json) -> Step:
    if "groups" in read:
        return _send(read)
    if "lines" in read:
        return Ordering(**{**read, "lines": tuple(Line(**line) for line in read["lines"])})
    return Asking(**{**read, "tubes": tuple(read["tubes"])}) if "tubes" in read else Rest(**read)


def _send(read: Json) -> Send:
    groups = tuple(
        Group(**{**group, "results": tuple(Result(**result) for result in group["results"])})
        for group in read["groups"]
    )
    return Send(**{**read, "groups": groups})
