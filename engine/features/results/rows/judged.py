"""What the judge says of a message. It decides about HL7 v2 and lists (`rows.applying`); about FHIR it decides nothing
yet, and what it would have decided otherwise is counted.

Its memory is what is in force of the orders of a message, of all channels: made of stored facts and of what was decided
of them, and of what became of those messages since. A message of which it can say nothing is held, where it decides.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from engine.features.results.rows import facts
from engine.features.results.rows.differences import differences
from engine.features.results.rows.facts import Fate, Numbered, Stored
from engine.model.content.facts import Facts, stored
from engine.model.errors import TooManyAlikeError
from engine.model.outcome import ReadResults
from engine.model.process.clock import from_us
from engine.store.core.writing.batch import Batch
from engine.store.operations.recording import Recording
from engine.succession.judge import cultures
from engine.succession.judge.judging import judge
from engine.succession.judge.memory import note
from engine.succession.judge.reading import numbers_in, said_in
from engine.succession.judge.usual import usual
from engine.succession.judge.words import CLOCK, Decision, Judgement, Memory, Receipt, Ref, Said, Standing
from engine.succession.steps import WITHDRAWN

logger = logging.getLogger("labrelay.journal")

DIFFERS = "judged: "  # counters of differences: its code follows
MOST_RESULTS = 2_000  # of one message that are judged
MOST_MESSAGES = 1_000  # of one order that are remembered; behind more nothing is judged


class Judged(NamedTuple):
    """What the judge says of a message.

    Attributes:
        judgement: None: there is none, for the reason in ``why``.
        memory: what was in force before it. numbers: of its orders, with their days.
    """

    judgement: Judgement | None = None
    memory: Memory = Memory()
    numbers: Collection[Numbered] = ()
    why: str = "its results cannot be read"

    def statuses(self) -> dict[Ref, str]:
        """The status with which each result went out, or will."""
        judgement = self.judgement
        own = {(said.message, place): said for place, said in judgement.said.items()} if judgement is not None else {}
        going = {one.place: one.status for one in judgement.decisions} if judgement is not None else {}
        found = {ref: going.get(ref[1], "") for ref in own}
        return found | {one.ref: one.last.version.status for one in self.memory.standing}


def judge_message(now: Recording, read: ReadResults, older: Sequence[int], to: frozenset[str]) -> Judged:
    """Judge the results of a message; never fails.

    Args:
        older: messages of its orders, as documents tell. to: its receivers that have no ids.
    """
    if not read.facts:
        return Judged()
    numbers: Collection[Numbered] = ()
    try:
        said = read.known or stored(orjson.loads(read.facts))
        numbers = numbers_in(said, from_us(now.received_us))
        return _judged(now, read, said, numbers, older, to)
    except TooManyAlikeError:
        return Judged(numbers=numbers, why="there are too many results of one test of its order")
    except Exception:  # an error of ours, or a damaged row, which `labrelay verify` reports
        logger.exception("facts cannot be judged", extra={"channel": now.channel, "journal_id": now.id})
        return Judged(numbers=numbers, why="results of its orders that were accepted before cannot be read")


def keep(now: Recording, read: ReadResults, judged: Judged) -> None:
    """Store the facts of a message, with what was decided of them."""
    spared = {destination for one in now.routes if one.echo for destination in one.destinations}
    if read.facts:
        facts.put(now.batch, now.id, read, judged.numbers, judged.judgement, spared)


def tell(now: Recording, judgement: Judgement) -> None:
    """Count what was decided otherwise, and say so in the log; before rules hold any document."""
    for code in differences(now, judgement):
        now.batch.count(now.channel, "", DIFFERS + code)
        logger.info(
            "facts would be judged otherwise", extra={"channel": now.channel, "journal_id": now.id, "detail": code}
        )


def _judged(
    now: Recording,
    read: ReadResults,
    said: Facts,
    numbers: Collection[Numbered],
    older: Sequence[int],
    to: frozenset[str],
) -> Judged:
    memory = remembered(now.batch, numbers, now.first, older, unique=read.unique, to=to)
    if memory is None:
        return Judged(numbers=numbers, why=f"there are more than {MOST_MESSAGES} messages of the same order")
    receipt = Receipt(
        message=now.id, channel=now.channel, received=from_us(now.received_us), is_hl7=read.is_hl7,
        of_site=read.of_site, whole=read.whole, runs_apart=read.runs_apart, one_by_one=read.one_by_one,
        unique=read.unique, of_a_day=read.of_a_day, numbers=read.numbers, orders=read.orders,
    )  # fmt: skip
    judgement = None if memory.standing or memory.refused else usual(said, receipt)
    if judgement is None and sum(1 for _ in said.results()) > MOST_RESULTS:
        return Judged(numbers=numbers, why=f"it has more than {MOST_RESULTS} results")
    judgement = judgement or judge(said, memory, receipt)
    if any(one.reason == CLOCK for one in judgement.decisions):
        if _is_clock_told(now.batch, now.channel):
            judgement = judge(said, memory, receipt._replace(clock_told=True))
        else:
            now.batch.count(now.channel, "", CLOCK_TOLD)
    return Judged(judgement, memory, numbers)


CLOCK_TOLD = "clock_told"  # counter: messages of a channel that were held for a wrong clock


def _is_clock_told(batch: Batch, channel: str) -> bool:
    told = "SELECT 1 FROM counter WHERE channel = ? AND destination = '' AND name = ? LIMIT 1"
    return batch.execute(told, (channel, CLOCK_TOLD)).fetchone() is not None


# -- memory ------------------------------------------------------------------------------------------------------------


def remembered(
    batch: Batch,
    numbers: Iterable[Numbered],
    before: int,
    older: Sequence[int] = (),
    *,
    unique: bool = False,
    to: frozenset[str] = frozenset(),
) -> Memory | None:
    """What is in force of the orders with these numbers, of all messages older than ``before``; None: of too many.

    Args:
        older: those of which documents tell; without stored facts they are read again.
        to: receivers: what one of them refused, or never got, goes out again.

    Raises:
        IntegrityError, ValueError, TypeError: stored facts are damaged.
    """
    if not (within := facts.ranges(batch, numbers, unique=unique)):
        return Memory()
    found = facts.fates(batch, within, before, to)
    if (lacking := {*older} - {one.message for one in found}) and _read_again(batch, lacking):
        found = facts.fates(batch, within, before, to)
    if not found or len(found) > MOST_MESSAGES:
        return None if found else Memory()
    kept = batch.tail.standing.get(within)
    if kept is None or found[: len(kept.fates)] != kept.fates:
        kept = Known()
    kept = kept.with_those(batch, found[len(kept.fates) :])
    if batch.judged.isdisjoint(one.message for one in found):  # else this transaction may yet fail
        batch.tail.standing.keep(within, kept)
    return kept.memory


def _read_again(batch: Batch, messages: Iterable[int]) -> bool:
    """Store the facts of messages that have none, read by their channels; whether there is any."""
    found = False
    if (read_again := batch.read_again) is None:
        return False
    for message in sorted(messages):
        if not facts.has(batch, message):
            received = facts.message_of(batch, message)
            read = read_again(received)
            if not read.facts:
                raise ValueError(f"the results of message {message} cannot be read")
            said = read.known or stored(orjson.loads(read.facts))
            facts.put(batch, message, read, numbers_in(said, from_us(received.received_us)), None)
            found = True
    return found


class Known:
    """What is in force of some orders after these messages. It never changes.

    Attributes:
        has_isolates: one of the results is the isolate of a culture.
    """

    __slots__ = ("fates", "has_isolates", "memory")

    def __init__(self, fates: Sequence[Fate] = (), memory: Memory | None = None, *, has_isolates: bool = False) -> None:
        self.fates, self.memory, self.has_isolates = [*fates], memory or Memory(), has_isolates

    def __len__(self) -> int:
        return sum(len(one.words) for one in self.memory.standing)

    def with_those(self, batch: Batch, more: Sequence[Fate]) -> "Known":
        if not more:
            return self
        standing = {one.ref: one for one in self.memory.standing}
        refused = set(self.memory.refused)
        has_isolates = self.has_isolates
        became = {one.message: one for one in more}
        for one in facts.stored(batch, [*became]):
            fate = became[one.message]
            if one.decisions is None:
                one = _judged_late(one, standing)
            said = _said(one)
            has_isolates = has_isolates or any(each.isolate for each in said.values())
            if has_isolates:
                told, _ = cultures.with_isolates([*said.values()], [*standing.values()])
                said = {each.place: each for each in told}
            if fate.sent:
                if fate.lack - one.spared:
                    said = {place: each._replace(version=each.version._replace(refused=True))
                            for place, each in said.items()}  # fmt: skip
                note(standing, _judgement(one, said, _as_sent), is_sent=True)
            elif fate.waits:
                note(standing, _judgement(one, said), held=True)
            elif fate.refused:
                refused.update(each.content for each in said.values() if each.version.said != WITHDRAWN)
            else:  # nothing of it was new
                echoes = [each for each in (one.decisions or {}).values() if each.kind == "echo"]
                note(standing, Judgement(tuple(echoes), said), held=True)
        memory = Memory(tuple(standing.values()), frozenset(refused))
        return Known([*self.fates, *more], memory, has_isolates=has_isolates)


def _said(one: Stored) -> dict[int, Said]:
    return {said.place: said for said, _ in said_in(one.facts, _receipt(one), judged=True)}


def _receipt(one: Stored) -> Receipt:
    return Receipt(one.message, one.channel, from_us(one.received_us), is_hl7=one.is_hl7)


def _judged_late(one: Stored, standing: Mapping[Ref, Standing]) -> Stored:
    """As a message that was never judged is now, without the settings that its channel had."""
    judgement = judge(one.facts, Memory(tuple(standing.values())), _receipt(one))
    return one._replace(decisions={each.place: each for each in judgement.decisions}, gone=judgement.gone)


def _judgement(
    one: Stored, said: dict[int, Said], as_is: Callable[[Decision], Decision] = lambda decision: decision
) -> Judgement:
    decided = one.decisions or {}
    decisions = (decided.get(place) or Decision(place, "new", each.version.said) for place, each in said.items())
    return Judgement(tuple(map(as_is, decisions)), said, one.gone)


def _as_sent(decision: Decision) -> Decision:
    """Of what was sent all the same, if one result alone may be meant by it: it is a word of that."""
    if decision.meant is None and len(decision.may_mean) == 1:
        return decision._replace(meant=decision.may_mean[0])
    return decision
