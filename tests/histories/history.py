"""What happened in a laboratory: results as it means them, the messages that say so, and what people did meanwhile.

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
class Act:
    """What a person does: ``release``, ``reject``, ``retry``, ``dismiss``, ``answer``, ``replay`` or ``reprocess``.

    Attributes:
        of: ids of the messages that it is about; none: all of the history that it can be done to.
    """

    act: str
    of: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Messages one after the other; then, if there are any, acts: once the server is well and everything is quiet."""

    sends: tuple[Send, ...] = ()
    acts: tuple[Act, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Attributes:
    protocol: ``hl7`` or ``astm``.
    numbers: ``lasting``, ``counter`` or empty, where the site has not said.
    specimens: ``unique``, ``day`` or empty: whether a specimen number names a result by itself.
    shared: patient numbers belong to one authority for all channels of the site.
    cultures: its results of test ``ORG:...`` are isolates: each message tells all of the culture.
    """

    protocol: str
    numbers: str = ""
    specimens: str = ""
    shared: bool = False
    cultures: bool = False


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
    def sends(self) -> tuple[Send, ...]:
        return tuple(send for one in self.rounds for send in one.sends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How it goes during a round.

    Attributes:
        server: ``well``, ``down`` (503), ``lost`` (takes, and the answer is lost) or ``flaky``.
        kill: the daemon is killed once this share of the round's messages has been answered; None: never.
    """

    server: str = "well"
    kill: float | None = None

    @property
    def calm(self) -> bool:
        return self.server == "well" and self.kill is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Histories that share one daemon and one server. ``workers``: of the site."""

    histories: tuple[History, ...]
    weather: tuple[Weather, ...]
    workers: int = 0
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
        workers=read["workers"],
        seed=read["seed"],
        broken=tuple(read["broken"]),
    )


def _history(read: Json) -> History:
    return History(
        name=read["name"],
        plain=read["plain"],
        channels=tuple(Channel(**one) for one in read["channels"]),
        rounds=tuple(
            Round(
                sends=tuple(_send(send) for send in one["sends"]),
                acts=tuple(Act(act=act["act"], of=tuple(act["of"])) for act in one["acts"]),
            )
            for one in read["rounds"]
        ),
    )


def _send(read: Json) -> Send:
    groups = tuple(
        Group(**{**group, "results": tuple(Result(**result) for result in group["results"])})
        for group in read["groups"]
    )
    return Send(**{**read, "groups": groups})
