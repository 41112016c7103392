"""A playing analyzer: each message of a shift is sent until the peer has it; the events are counted."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from workbench.errors import DroppedError
from workbench.simulator.astm import AstmPlayer, Habits
from workbench.simulator.dialogue import Dialogue, Tally
from workbench.simulator.faults import TRICKLE_S, Fault, Plan, plan_of
from workbench.simulator.mllp import MllpPlayer
from workbench.simulator.shift import RUNS, PlannedMessage
from workbench.simulator.texts import TextPlayer
from workbench.simulator.wires import Wire

TRIES = 6
AGAIN_AFTER_S = 1.0


class Player(Protocol):
    """A link's way to send one message."""

    def transmissions(self, message: bytes) -> int: ...

    async def send(self, message: bytes, plan: Plan) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaySettings:
    """How a shift is played.

    Attributes:
        faults: the possible faults, chosen by ``seed``.
        rate: messages a second; 0: each as soon as the one before is acknowledged.
        habits: of an E1381 sender.
        again_after: seconds before a message that was not taken is sent again.
        trickle: seconds between two pieces of what trickles.
        tries: of one message, beside those that were broken off on purpose.
    """

    faults: frozenset[Fault] = frozenset()
    seed: int = 0
    rate: float = 0.0
    habits: Habits = field(default_factory=Habits)
    again_after: float = AGAIN_AFTER_S
    trickle: float = TRICKLE_S
    tries: int = TRIES


def player(link: str, wire: Wire, dialogue: Dialogue, habits: Habits) -> Player:
    """``link``: as of a `Model`; ``text-answered`` is text whose sender waits for answers."""
    if link.startswith("text"):
        return TextPlayer(wire, dialogue, answered=link == "text-answered")
    return MllpPlayer(wire, dialogue, habits) if link == "mllp" else AstmPlayer(wire, dialogue, habits)


class Analyzer:
    """One analyzer on one line.

    Attributes:
        acknowledged: the messages that the peer has, in order, as far as they are kept.
    """

    def __init__(self, link: str, wire: Wire, dialogue: Dialogue, manner: PlaySettings | None = None) -> None:
        self._manner = manner or PlaySettings()
        self._wire = wire
        self._talk = dialogue
        self._player = player(link, wire, dialogue, self._manner.habits)
        self.acknowledged: list[PlannedMessage] = []

    async def work(self, sendings: Iterable[PlannedMessage], *, keep: bool = True) -> None:
        """Send everything, in order, each until the peer has it or it is given up. ``keep``: in ``acknowledged``."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        for session, sending in enumerate(sendings):
            if self._manner.rate:
                await asyncio.sleep(max(0.0, due - loop.time()))
                due += 1 / self._manner.rate
            if await self.deliver(sending, session) and keep:
                self.acknowledged.append(sending)

    async def deliver(self, sending: PlannedMessage, session: int) -> bool:
        """Send one message. ``session``: which one it is, so that the same one meets the same faults."""
        talk, again_after = self._talk, self._manner.again_after
        numbers = f" {', '.join(sending.numbers)}" if sending.numbers else ""
        talk.note(f"-- {sending.kind.value}{numbers}, like {sending.sample}")
        plan = plan_of(
            self._manner.faults,
            seed=self._manner.seed,
            session=session,
            transmissions=self._player.transmissions(sending.payload),
            trickle_s=self._manner.trickle,
        )
        tries = 0
        while tries < self._manner.tries:
            try:
                if not self._wire.is_open:
                    await self._wire.open()
                talk.tally.sessions += 1
                if await self._player.send(sending.payload, plan):
                    talk.tally.acknowledged += 1
                    return True
                tries += 1
                talk.note(f"not taken; again after {again_after:g} s")
            except DroppedError:
                plan = _calmed(plan)
                continue
            except (OSError, TimeoutError) as error:
                tries += 1
                talk.tally.lost += 1
                talk.note(f"no line to {self._wire.where}: {str(error) or type(error).__name__}")
                await self._wire.drop()
            plan = _calmed(plan)
            await asyncio.sleep(again_after)
        talk.tally.failed += 1
        talk.note(f"given up after {tries} tries")
        return False


def _calmed(plan: Plan) -> Plan:
    """The plan for the next try, without the faults that occur only once."""
    return replace(plan, damaged=None, deaf=None, dropped=None, contended=False, noise=b"")


def new_seed() -> int:
    """One that no run of the last months on this machine had, so that its specimens are new."""
    return int(time.time()) % (RUNS // 100) * 100 + os.getpid() % 100


def summary(
    tally: Tally, kinds: dict[str, int], seed: int, questions: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The tally for scripts.

    Args:
        questions: of an analyzer that asks (`workbench.simulator.asking.COUNTS`).
    """
    return {
        **({} if questions is None else {"questions": dict(questions)}),
        "seed": seed,
        "messages": dict(kinds),
        "sessions": tally.sessions,
        "acknowledged": tally.acknowledged,
        "failed": tally.failed,
        "frames": tally.frames,
        "repeated": tally.repeated,
        "refused": tally.naks,
        "connections_lost": tally.lost,
        "faults": dict(tally.faults),
        "violations": tally.broken,
        "violation_texts": tally.violations,
    }


def sentences(facts: dict[str, Any]) -> Iterator[str]:
    """The summary for people."""
    kinds = ", ".join(f"{count} {kind}{'s' if count != 1 else ''}" for kind, count in facts["messages"].items())
    yield f"{facts['acknowledged']} messages acknowledged ({kinds or 'none sent'}), {facts['failed']} given up"
    yield (
        f"{facts['sessions']} sessions, {facts['frames']} frames or blocks, {facts['repeated']} of them sent again, "
        f"{facts['refused']} refused, {facts['connections_lost']} connections lost"
    )
    if asked := facts.get("questions"):
        yield (
            f"{asked['asked']} questions, {asked['answered']} answers with {asked['orders']} orders; without an order "
            f"{asked['none']} tubes, without an answer {asked['unanswered']}; {asked['measured']} tests measured"
        )
    if facts["faults"]:
        yield "done on purpose: " + ", ".join(f"{count} {name}" for name, count in sorted(facts["faults"].items()))
    for text, times in Counter(facts["violation_texts"]).items():
        yield f"the peer broke the protocol: {text}{f' ({times} times)' if times > 1 else ''}"
    if facts["violations"] > len(facts["violation_texts"]):
        yield f"... and {facts['violations'] - len(facts['violation_texts'])} times more"
    if not facts["sessions"]:
        yield "no peer was reached, so nothing is known of its protocol"
    elif not facts["violations"]:
        yield "the peer kept the protocol"
    if dead := facts.get("dead_letters"):
        codes = ", ".join(f"{count} {code}" for code, count in sorted(dead.items()))
        yield f"the channel made dead letters: {codes}; look: labrelay dlq list"
    yield f"the same again: --seed {facts['seed']}"
