"""What the judge says of a message (`rows.applying` has its documents say so).

Its memory is what is in force of the orders of a message, of all channels: made of stored facts and of what was decided
of them, and of what became of those messages since. A message of which it can say nothing is held.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import orjson

from engine.features.results.rows import clocks, facts, moved_orders
from engine.features.results.rows.facts import Fate, Numbered, Stored
from engine.model.content.computed import sources_by_test, tests_by_source
from engine.model.content.facts import Facts, stored
from engine.model.errors import TooManyAlikeError
from engine.model.journal.records import Routed
from engine.model.message import Issue
from engine.model.outcome import ReadResults
from engine.model.packing import unpack
from engine.model.process.clock import from_us
from engine.model.texts.reasons import ReasonCode
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.operations.recording import Recording
from engine.succession.judge import clock, composites, cultures
from engine.succession.judge.judging import judge
from engine.succession.judge.memory import note, withdrawn, words_of
from engine.succession.judge.reading import key_of, numbers_in, said_in
from engine.succession.judge.samples import GROWS
from engine.succession.judge.usual import usual
from engine.succession.judge.words import CLOCK, Decision, Judgement, Memory, Receipt, Ref, Said, Standing
from engine.succession.kinds import FHIR
from engine.succession.steps import CHANGES, WITHDRAWN

logger = logging.getLogger("labrelay.journal")

FEW = 10  # messages of an order that are opened, whatever they are of
MOST_RESULTS = 2_000  # of one message that are judged
MOST_MESSAGES = 1_000  # of one order that are remembered; behind more nothing is judged


class Judged(NamedTuple):
    """What the judge says of a message.

    Attributes:
        judgement: None: there is none, for the reason in ``why``.
        memory: what was in force before it. numbers: of its orders, with their days.
        tests: as of `facts.put`.
        is_moved: a person has said that its order was another patient's by mistake.
    """

    judgement: Judgement | None = None
    memory: Memory = Memory()
    numbers: Collection[Numbered] = ()
    why: str = "its results cannot be read"
    is_moved: bool = False
    tests: Collection[str] = ()

    def to(self, destinations: Collection[str]) -> "Judged":
        """What it says to these receivers: what only others lack repeats what they have."""
        if self.judgement is None or not any(True for one in self.judgement.decisions if one.kind == "follows"):
            return self
        standing = {one.ref: one for one in self.memory.standing}
        decisions = []
        for one in self.judgement.decisions:
            if one.kind == "follows" and one.meant in standing:
                said, last = self.judgement.said[one.place].version, standing[one.meant].last.version
                if last.refused and (said.whole, said.said) == (last.whole, last.said):
                    one = one if {*destinations} & {*last.refused} else Decision(one.place, "echo", meant=one.meant)
            decisions.append(one)
        return self._replace(judgement=self.judgement._replace(decisions=tuple(decisions)))

    def repeated(self) -> set[str]:
        """The codes of tests whose results all repeat accepted ones."""
        if self.judgement is None:
            return set()
        codes: dict[bool, set[str]] = {True: set(), False: set()}
        for one in self.judgement.decisions:
            if (said := self.judgement.said.get(one.place)) is not None:
                codes[one.kind in ("echo", "again")].add(said.test)
        return codes[True] - codes[False]

    def issues(self) -> list[Issue]:
        """What is said of a message whose results go out all the same."""
        decisions = self.judgement.decisions if self.judgement is not None else ()
        return [
            Issue(code=one, text=_SAID.get(one, ""))
            for one in dict.fromkeys(one.finding for one in decisions if one.finding)
        ]

    def messages(self) -> set[int]:
        """Those that had a word about its orders."""
        return {word.message for one in self.memory.standing for word in one.words} | self.memory.messages

    def statuses(self) -> dict[Ref, str]:
        """The status with which each result went out, or will."""
        judgement = self.judgement
        own = {(said.message, place): said for place, said in judgement.said.items()} if judgement is not None else {}
        going = {one.place: one.status for one in judgement.decisions} if judgement is not None else {}
        found = {ref: going.get(ref[1], "") for ref in own}
        return found | {one.ref: one.last.version.status for one in self.memory.standing}


_UNKNOWN = ReasonCode.CORRECTS_UNKNOWN.value
_SAID = {
    CLOCK: "times of results are after its receipt, or half a year before",
    _UNKNOWN: "it corrects a result that is not known here",
}
NO_RESULTS = Judged(Judgement((), {}))


class Asked(NamedTuple):
    """What is known of a message beside its facts.

    Attributes:
        older: messages of its orders, as documents tell. to: its receivers.
        moved: what a person has answered (`moved_orders.ANSWERS`), if any. compared: the messages of the other patients
            with whom the person has compared; None: any.
        reused: days after which a unique number may be another specimen's.
        alike: whether other spellings of its patients, under the same numbers, are the same persons.
    """

    older: Sequence[int] = ()
    to: frozenset[str] = frozenset()
    moved: str = ""
    compared: frozenset[int] | None = None
    reused: int = 30
    alike: Callable[[], bool] = bool


def judge_message(now: Recording, read: ReadResults, asked: Asked) -> Judged:
    """Judge the results of a message; never fails."""
    if not read.facts:
        return Judged()
    numbers: Collection[Numbered] = ()
    try:
        said = read.known or stored(orjson.loads(read.facts))
        numbers = numbers_in(said, from_us(now.received_us))
        found = _judged(now, read, said, numbers, asked)
    except TooManyAlikeError:
        return Judged(numbers=numbers, why="there are too many results of one test of its order")
    except Exception:  # an error of ours, or a damaged row, which `labrelay verify` reports
        logger.exception("facts cannot be judged", extra={"channel": now.channel, "journal_id": now.id})
        return Judged(numbers=numbers, why="results of its orders that were accepted before cannot be read")
    if not asked.moved or found.judgement is None or not moved_orders.is_answered(found.judgement, asked.compared):
        return found
    standing = {one.ref: one for one in found.memory.standing}
    answered = moved_orders.answered(found.judgement, standing, asked.moved)
    return found._replace(judgement=answered, is_moved=asked.moved == "withdraw", tests=())


def keep(now: Recording, read: ReadResults, judged: Judged) -> None:
    """Store the facts of a message, with what was decided of them."""
    if not read.facts:
        return
    spared = {to for one in now.routes if one.echo or (one.is_copy and one.passes) for to in one.destinations}
    made = facts.made_of(now.batch, now.id) if now.decision.again else {}
    made |= {place: found for place, one in enumerate(now.routes, start=1) if (found := _made(now, place, one))}
    in_text = {str(place): found for place, found in made.items()}
    facts.put(now.batch, now.id, read, judged.numbers, judged.judgement, judged.tests, spared, in_text)


def _made(now: Recording, place: int, routed: Routed) -> list[int]:
    """The places of the results in a document, in the order of its Observations."""
    document = routed.document
    if document.media_type != FHIR or routed.echo:
        return []
    if not now.facts and len(now.routes) == len(now.made):  # it is as its mapping made it
        return [result for result, _ in document.places]
    body = unpack(document.body) if document.packed else document.body
    return [result for result, identity in document.places if f'"fullUrl":"urn:uuid:{identity}"'.encode() in body]


def _judged(
    now: Recording,
    read: ReadResults,
    said: Facts,
    numbers: Collection[Numbered],
    asked: Asked,
    *,
    of_all: bool = False,
) -> Judged:
    """Args: of_all: after whatever is known of its orders, also of other tests."""
    near = facts.EVER if read.unique else facts.NEAR_DAYS
    tests = {one.measure.test or "" for *_, one in said.results()}
    by_test = sources_by_test(read.computed)
    has_cultures = cultures.are_in(said)
    of_all = of_all or has_cultures or read.whole or any(one.head is not None for *_, one in said.results())
    by_source = tests_by_source(read.computed)
    alone = () if of_all else tests.union(*[by_source[test] for test in tests & by_source.keys()])
    memory = remembered(now.batch, numbers, now.first, asked.older, near=near, to=asked.to, tests=alone)
    if memory is None:
        return Judged(numbers=numbers, why=f"there are more than {MOST_MESSAGES} messages of the same order")
    if not read.unique and has_cultures:
        memory = _with_days(now, said, numbers, asked, memory, GROWS.days, cultures.is_one)
    memory = _with_persons(memory, {key_of(one) for one in said.people}, numbers, asked.alike)
    receipt = Receipt(
        reused=timedelta(days=asked.reused), message=now.id,
        channel=now.channel, received=from_us(now.received_us), is_hl7=read.is_hl7,
        of_site=read.of_site, whole=read.whole, runs_apart=read.runs_apart, one_by_one=read.one_by_one,
        unique=read.unique, of_a_day=read.of_a_day, numbers=read.numbers, orders=read.orders,
        later=now.batch.tail.adopted.came_meanwhile(now.id),
    )  # fmt: skip
    if not any(memory) and (judgement := usual(said, receipt)) is not None:
        return Judged(judgement, memory, numbers, tests=tests)
    if sum(1 for _ in said.results()) > MOST_RESULTS:
        return Judged(numbers=numbers, why=f"it has more than {MOST_RESULTS} results")
    judgement = judge(said, memory, receipt)
    back = {place for place, one in judgement.said.items() if one.version.said in CHANGES}
    is_source = bool(alone and memory.messages) and composites.changes_source(judgement, by_source)
    if is_source or (memory.messages and any(one.meant is None and one.place in back for one in judgement.decisions)):
        return _judged(now, read, said, numbers, asked, of_all=True)  # it may mean what has another code
    if any(one.reason == CLOCK for one in judgement.decisions) and clocks.is_released(now, judgement):
        judgement = judge(said, memory, receipt._replace(clock_told=True))
    if not read.unique and any(map(_corrects_unknown, judgement.decisions)):
        wide = _with_days(now, said, numbers, asked, memory, facts.EVER)
        if wide is not memory:
            found = {one.place: one for one in judge(said, wide, receipt).decisions}
            decisions = [found[one.place] if _corrects_unknown(one) else one for one in judgement.decisions]
            judgement, memory = judgement._replace(decisions=tuple(decisions)), wide
    judgement = composites.with_questions(judgement, memory.standing, by_test)
    return Judged(judgement, memory, numbers, tests=() if _are_of_others(judgement, memory) else tests)


def _are_of_others(judgement: Judgement, memory: Memory) -> bool:
    """Whether a result may be a word of one of another test, or is of a culture."""
    named = {ref: said for one in judgement.decisions if (said := judgement.said.get(one.place)) is not None
             for ref in (*one.may_mean, one.meant) if ref is not None}  # fmt: skip
    same = sum(1 for one in memory.standing if one.ref in named and one.last.test == named[one.ref].test)
    return bool(judgement.gone) or same < len(named) or any(one.organism for one in judgement.said.values())


def _corrects_unknown(one: Decision) -> bool:
    """Whether nothing is known that it takes back."""
    return _UNKNOWN in (one.finding, one.reason) and one.meant is None and not one.may_mean


def _with_days(
    now: Recording,
    said: Facts,
    numbers: Collection[Numbered],
    asked: Asked,
    memory: Memory,
    near: int,
    wanted: Callable[[Said], bool] = lambda _: True,
) -> Memory:
    """With what is known of the same lasting patients under these numbers on other days, up to ``near``: a counter
    has begun anew since, so nothing is asked there about other patients."""
    lasting = {key_of(one) for one in said.people if one.lasting and one.number}
    wide = remembered(now.batch, numbers, now.first, near=near, to=asked.to) if lasting else None
    known = {one.ref for one in memory.standing}
    more = [
        one
        for one in (wide.standing if wide is not None else ())
        if one.ref not in known and one.last.person in lasting and wanted(one.last)
    ]
    return memory._replace(standing=(*more, *memory.standing)) if more else memory


def _with_persons(
    memory: Memory, mine: Collection[str], numbers: Collection[Numbered], alike: Callable[[], bool]
) -> Memory:
    """What is known of the day, with the name of a patient as this message spells it: a counter names one with the name
    alone."""
    spelled = {tuple(one.split(PART)[:2]): one for one in mine if PART in one}
    others = [
        one
        for one in memory.standing
        if one.last.person not in mine and _number(one) in spelled and _of_day(one) in numbers
    ]
    if not others or not alike():
        return memory
    known = {
        one.ref: one._replace(words=tuple(word._replace(person=spelled[_number(one)]) for word in one.words))
        for one in others
    }
    return memory._replace(standing=tuple(known.get(one.ref, one) for one in memory.standing))


def _of_day(one: Standing) -> Numbered:
    return one.last.number, clock.day_of(one.last.version.time or one.last.collected)


def _number(one: Standing) -> tuple[str, ...]:
    return tuple(one.last.person.split(PART)[:2])


PART = "\x1f"


# -- memory ------------------------------------------------------------------------------------------------------------


def remembered(
    batch: Batch,
    numbers: Iterable[Numbered],
    before: int,
    older: Sequence[int] = (),
    *,
    near: int = facts.NEAR_DAYS,
    to: frozenset[str] = frozenset(),
    tests: Collection[str] = (),
) -> Memory | None:
    """What is in force of the orders with these numbers, of all messages older than ``before``; None: of too many.

    Args:
        older: those of which documents tell; without stored facts they are read again.
        near: days, as of `facts.ranges`. to: receivers, as of `Known`.
        tests: of many messages those of these tests alone are opened, where none of the others may tell of them.

    Raises:
        IntegrityError, ValueError, TypeError: stored facts are damaged, or lost and cannot be read again.
    """
    if not (within := facts.ranges(batch, numbers, near)):
        return Memory()
    found = facts.fates(batch, within, before)
    lost = {message for message, *_, is_known in found if not is_known}
    if lost and batch.read_again is None:
        raise ValueError("facts are lost")
    if (lacking := lost.union(older).difference(one[0] for one in found if one[-1])) and _read_again(batch, lacking):
        found = facts.fates(batch, within, before)
    if len(found) > MOST_MESSAGES and len({one[0] for one in found}) > MOST_MESSAGES:
        return None
    if not found:
        return Memory()
    kept = batch.tail.standing.get((within, to))
    if kept is None or not kept.begins(found):
        kept = Known(to)
    if tests and len(found) > FEW and (wanted := facts.of_tests(batch, found, tests)) is not None:
        some = [one for one in found if one[0] in wanted]
        # what waits may have other results that are withdrawn with these
        if len(some) <= max(FEW, len(found) - len(kept.fates)) and not any(one[2] in facts.WAITING for one in some):
            memory = Known(to).with_those(batch, some).memory
            standing = tuple(one for one in memory.standing if one.last.test in tests)
            refused = frozenset(one for one in memory.refused if one.what[1] in tests)
            in_force = frozenset(one[0] for one in found if one[2] == facts.SENT or one[2] in facts.WAITING)
            return Memory(standing, refused, in_force)
    kept = kept.with_those(batch, found[len(kept.fates) :])
    if batch.judged.isdisjoint(one[0] for one in found):  # else this transaction may yet fail
        batch.tail.standing.keep((within, to), kept)
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
        to: receivers: what one of them refused, or never got, goes out again.
        has_isolates: one of the results is the isolate of a culture.
    """

    __slots__ = ("_words", "fates", "has_isolates", "memory", "to")

    def __init__(
        self,
        to: frozenset[str],
        fates: Sequence[Fate] = (),
        memory: Memory | None = None,
        *,
        has_isolates: bool = False,
    ) -> None:
        self.to, self.fates, self.memory, self.has_isolates = to, [*fates], memory or Memory(), has_isolates
        self._words = sum(len(one.words) for one in self.memory.standing)

    def __len__(self) -> int:
        return self._words

    def begins(self, fates: Sequence[Fate]) -> bool:
        """Whether it knows the first of these messages, with all that has become of each."""
        end = len(self.fates)
        return fates[:end] == self.fates and not (0 < end < len(fates) and fates[end][0] == fates[end - 1][0])

    def with_those(self, rows: Rows, more: Sequence[Fate]) -> "Known":
        if not more:
            return self
        standing = {one.ref: one for one in self.memory.standing}
        refused = set(self.memory.refused)
        has_isolates = self.has_isolates
        fates: dict[int, list[Fate]] = {}
        for fate in more:
            fates.setdefault(fate[0], []).append(fate)
        names = facts.destinations(rows, {one[1] for one in more if one[1] is not None}) if self.to else {}
        for one in facts.stored(rows, [*fates]):
            its = fates[one.message]
            # what others have beside these says nothing of these; what an archive alone has, of no receiver
            mine = [fate for fate in its if fate[1] is not None and names.get(fate[1], "") in self.to]
            others = (fate for fate in its if fate[1] is None or names.get(fate[1], "") not in one.spared)
            became = {fate[2] for fate in mine or others}
            sent, waits, is_refused = facts.SENT in became, became & facts.WAITING, facts.REFUSED in became
            if one.decisions is None:
                one = _judged_late(one, standing)
            said = _said(one)
            has_isolates = has_isolates or any(each.isolate for each in said.values())
            if has_isolates:
                told, _ = cultures.with_isolates([*said.values()], [*standing.values()])
                said = {each.place: each for each in told}
            has = [names[fate[1]] for fate in mine if fate[1] is not None and fate[2] != facts.DEAD]
            if (sent or waits) and (lack := self.to.difference(has, one.spared)):
                said = {place: each._replace(version=each.version._replace(refused=lack))
                        for place, each in said.items()}  # fmt: skip
            if sent:
                refused.difference_update(each.content for each in said.values())  # a person's later word
                note(standing, _as_sent(_judgement(one, said), standing), is_sent=True)
            elif waits:
                note(standing, _judgement(one, said), held=True)
            elif is_refused:
                refused.update(each.content for each in said.values() if each.version.said != WITHDRAWN)
            else:  # nothing of it was new
                echoes = [each for each in (one.decisions or {}).values() if each.kind == "echo"]
                note(standing, Judgement(tuple(echoes), said), held=True)
        memory = Memory(tuple(standing.values()), frozenset(refused))
        return Known(self.to, [*self.fates, *more], memory, has_isolates=has_isolates)


def _said(one: Stored) -> dict[int, Said]:
    return {said.place: said for said, _ in said_in(one.facts, receipt_of(one), judged=True)}


def receipt_of(one: Stored) -> Receipt:
    return Receipt(one.message, one.channel, from_us(one.received_us), is_hl7=one.is_hl7)


def _judged_late(one: Stored, standing: Mapping[Ref, Standing]) -> Stored:
    """As a message that was never judged is now, without the settings that its channel had."""
    judgement = judge(one.facts, Memory(tuple(standing.values())), receipt_of(one))
    return one._replace(decisions={each.place: each for each in judgement.decisions}, gone=judgement.gone)


def _judgement(one: Stored, said: dict[int, Said]) -> Judgement:
    decided = one.decisions or {}
    decisions = tuple(decided.get(place) or Decision(place, "new", each.version.said) for place, each in said.items())
    return Judgement(decisions, said, one.gone)


def _as_sent(judged: Judgement, standing: Mapping[Ref, Standing]) -> Judgement:
    """With what a release has withdrawn, and what was sent all the same as a word of what it may mean."""
    if not any(one.kind == "held" for one in judged.decisions):
        return judged
    words = words_of(judged.decisions, judged.said, standing)
    decisions = tuple(one._replace(meant=words.get(one.place)) for one in judged.decisions)
    return Judgement(decisions, judged.said, withdrawn(judged))
