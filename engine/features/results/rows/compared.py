"""An older message beside newer ones: which of its results these have a later word of. By facts alone.

sure      it was decided so when the newer one came; or both say the same time of one result of one sample
unsure    the newer one may have a word of it, or had its outcome before the older one
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from engine.features.results.rows import facts
from engine.features.results.rows.facts import Stored
from engine.features.results.rows.judged import Known, receipt_of
from engine.model.content.facts import DATA, DOCUMENT, PICTURE, Facts
from engine.model.errors import IntegrityError
from engine.model.message import Report
from engine.model.texts.reasons import ReasonCode
from engine.store.core.connecting import Rows
from engine.succession.judge import keys
from engine.succession.judge.judging import judge
from engine.succession.judge.reading import key_of, said_in
from engine.succession.judge.samples import at_same_time
from engine.succession.judge.words import Ref, Said
from engine.succession.kinds import FHIR
from engine.succession.steps import CHANGES

# Progress of an order (table 0123); any other code means that it has just begun.
_WITHDRAWN = 5
_STAGE = {
    "partial": 1, "A": 1, "R": 1,
    "preliminary": 2, "M": 2, "P": 2,
    "final": 3, "F": 3,
    "amended": 4, "appended": 4, "corrected": 4, "C": 4,
    "cancelled": _WITHDRAWN, "entered-in-error": _WITHDRAWN, "X": _WITHDRAWN,
}  # fmt: skip
_NOT_SENT = frozenset({"echo", "again", "filtered", "dead"})
_ENCLOSED = (DOCUMENT, PICTURE, DATA)
# In the lanes of one receiver: a result may come from two channels.
THERE = "lane IN (SELECT id FROM lane WHERE destination = (SELECT destination FROM lane WHERE id = ?))"


Overtaken = Literal["", "part", "whole"]


class Older(NamedTuple):
    """A message with one of its documents in a lane.

    Attributes:
        ordinal: of the document; 0: any. has_ids: it has ids of results; else receivers go by number and test.
        has_status: the document shows the status of an order, and takes the place of what was sent before.
    """

    lane: int
    message: int
    reports: Sequence[Report]
    ordinal: int = 0
    has_ids: bool = True
    has_status: bool = False


class _Result(NamedTuple):
    """What is compared of a result.

    Attributes:
        test: as sent. ref: what it is a word of. is_sent: the document has it, as far as is known.
    """

    test: str
    ref: Ref
    is_sent: bool


class Compared:
    """An older message with newer ones.

    Attributes:
        results: of the older one, by place; None: they cannot be read.
        sure: newer message -> places of the older one that it has a later word of; None: unknown. unsure: likewise, of
            those that it may have one of.
    """

    def __init__(self, rows: Rows, older: Older, newer: Sequence[int]) -> None:
        self._rows, self._older = rows, older
        self.own = facts_of(rows, older.message)
        self.sure: dict[int, set[int] | None] = dict.fromkeys(newer)
        self.unsure: dict[int, set[int]] = {one: set() for one in newer}
        self.results = None if self.own is None else self._results(self.own, older)
        self._theirs = {one: read for one in newer if (read := facts_of(rows, one)) is not None} if newer else {}
        if self.own is not None and self.results is not None and self._theirs:
            self._link(self.own, self.results)

    def _results(self, own: Stored, older: Older) -> dict[int, _Result]:
        made = facts.made_of(self._rows, own.message).get(older.ordinal) if older.ordinal else None
        decided = own.decisions or {}

        def is_sent(place: int) -> bool:
            if made is not None:
                return place in made
            return place not in decided or decided[place].kind not in _NOT_SENT

        found = {one.place: _Result(one.test, ref_of(own, one.place), is_sent(one.place)) for one in results_of(own)}
        return found | {
            one.place: _Result(one.measure.test or "", (own.message, one.place), is_sent=True)
            for *_, one in own.facts.results()
            if one.kind in _ENCLOSED
        }

    def _link(self, own: Stored, results: Mapping[int, _Result]) -> None:
        for message in self._theirs:
            self.sure[message] = set()
        places = {one.ref: place for place, one in results.items()}
        enclosed = _enclosed(own.facts)
        for message, read in self._theirs.items():
            made, is_whole = self._made(message)
            into: Mapping[int, set[int] | None] = self.sure if is_whole else self.unsure
            for ref in _later_words(read, made, has_ids=self._older.has_ids):
                self._note(into, message, places.get(ref))
            for decision in (read.decisions or {}).values():
                for meant in (*decision.may_mean, decision.meant):
                    self._note(self.unsure, message, places.get(meant) if meant is not None else None)
            for key in _enclosed(read.facts):
                self._note(into, message, enclosed.get(key))
            self._note_named_alike(message, own, read)
        if unseen := [one for one in sorted(self._theirs) if self._is_unseen(one)]:
            self._judge_late(own, unseen)

    def _note_named_alike(self, message: int, own: Stored, read: Stored) -> None:
        """A receiver without ids goes by number and test, whichever sample or panel they are of; what has no number of
        its order has the id of the next of its test."""
        has_ids = self._older.has_ids
        named = {(one.person, keys.named(one)) for one in results_of(read) if not (has_ids and one.number)}
        for one in results_of(own):
            if (one.person, keys.named(one)) in named:
                self._note(self.unsure, message, one.place)

    def _is_unseen(self, message: int) -> bool:
        """Whether a newer message may have had its outcome before the older one had: an edit, or a late outcome."""
        asked = "SELECT at_us FROM message_state WHERE id = ?"
        at = [self._rows.execute(asked, (one,)).fetchone() for one in (message, self._older.message)]
        return message < self._older.message or None in at or at[0] <= at[1]

    def _judge_late(self, own: Stored, messages: Sequence[int]) -> None:
        """What the judge would say of the older one if it came now; without the settings of its channel."""
        memory = Known(frozenset()).with_those(self._rows, [(one, None, facts.SENT, 1) for one in messages])
        standing = {one.ref: one for one in memory.memory.standing}
        judgement = judge(own.facts, memory.memory, receipt_of(own)._replace(clock_told=True))
        first = facts_of(self._rows, age(self._rows, own.message)[0])
        known = {(one.key, one.version.time) for one in results_of(first)} if first is not None else set()
        for decision in judgement.decisions:
            if decision.reason == ReasonCode.ORDER_MOVED.value:  # another patient's
                continue
            said = judgement.said.get(decision.place)
            for ref in (*decision.may_mean, *([decision.meant] if decision.meant else [])):
                for word in standing[ref].words if ref in standing else ():
                    is_older = ref == decision.meant and said and _is_older_version(decision.kind, said, word)
                    is_sure = is_older and (word.key, word.version.time) in known and self._has_made(word)
                    into = self.sure if is_sure else self.unsure
                    self._note(into, word.message, decision.place)

    def _has_made(self, word: Said) -> bool:
        """Whether the receiver is known to have it."""
        made, is_whole = self._made(word.message)
        return is_whole and (made is None or word.place in made)

    def _made(self, message: int) -> tuple[Collection[int] | None, bool]:
        """The places of the results in what a newer message had delivered (None: all that were not left out), and
        whether that is known: each of its documents in the lane was delivered, and of FHIR it is noted.
        """
        rows = self._rows.execute(
            "SELECT o.ordinal, d.state, o.media_type FROM delivery d"  # noqa: S608 - a constant
            " JOIN document o ON o.id = d.document_id"
            " WHERE d.message_id = ? AND d." + THERE,
            (message, self._older.lane),
        ).fetchall()
        ordinals = {ordinal for ordinal, state, _ in rows if state == "delivered"}
        made = facts.made_of(self._rows, message) if any(kind == FHIR for *_, kind in rows) else {}
        if ordinals and ordinals <= made.keys():
            return {place for one in ordinals for place in made[one]}, True
        return None, not made and all(state == "delivered" for _, state, _ in rows)

    def _note(self, into: Mapping[int, set[int] | None], message: int, place: int | None) -> None:
        if place is not None and (known := into.get(message)) is not None:
            known.add(place)

    # -- answers -------------------------------------------------------------------------------------------------------

    @property
    def is_unknown(self) -> bool:
        """Whether the results of one of them cannot be read."""
        return any(places is None for places in self.sure.values())

    def overtaken(self) -> Overtaken:
        """How much of the older one the newer ones have a later word of, as far as is known."""
        results = self.results or {}
        sure = set[int]().union(*(places or () for places in self.sure.values()))
        sent = {place for place, one in results.items() if one.is_sent}
        if sent and sent <= sure:
            return "whole"
        return "part" if sure or any(self.unsure.values()) else ""

    def have_set_further(self) -> list[int]:
        """The newer ones that have an order of it at a later status, or that it withdraws and they do not."""
        mine = _stages(self.own.facts) if self.own is not None else {}
        return [
            message
            for message, read in self._theirs.items()
            if any(
                stage > mine[order] or mine[order] == _WITHDRAWN != stage
                for order, stage in _stages(read.facts).items()
                if order in mine
            )
        ]

    def of(self, message: int) -> tuple[str, ...] | None:
        """The tests of results that a newer message has a later word of, or may have; None: unknown."""
        places = self.sure[message]
        if places is None or self.results is None:
            return None
        return tuple(self.results[place].test for place in sorted(places | self.unsure[message]))


def facts_of(rows: Rows, message_id: int) -> Stored | None:
    """The facts of a message; None: there are none, or they cannot be read."""
    try:
        return next(facts.stored(rows, [message_id]), None)
    except (IntegrityError, ValueError, TypeError):
        return None


def results_of(one: Stored) -> list[Said]:
    return [said for said, _ in said_in(one.facts, receipt_of(one), judged=True)]


def ref_of(one: Stored, place: int) -> Ref:
    decision = (one.decisions or {}).get(place)
    return (decision.meant if decision is not None else None) or (one.message, place)


def _is_older_version(kind: str, new: Said, one: Said) -> bool:
    """Whether a newer result says again, or corrects, the same measurement, under any settings of their channel.

    Args:
        kind: of the decision about the older one, if it came behind the newer one.
    """
    is_corrected = kind in ("amends", "held") and one.version.said in CHANGES and one.version.has_value
    same = new.person == one.person != "" and new.channel == one.channel and new.key == one.key and not new.organism
    same = same and at_same_time(new, one) and (new.tube, new.collected) == (one.tube, one.collected)
    return same and (is_corrected or kind == "echo")


def _later_words(one: Stored, made: Collection[int] | None, *, has_ids: bool) -> Iterator[Ref]:
    """What a message that was delivered has a word of.

    Args:
        made: the places of the results that it had delivered; None: all that were not left out.
        has_ids: the output has ids of results; else a status alone does not bring the value.
    """
    yield from one.gone
    for place, decision in (one.decisions or {}).items():
        is_sent = decision.kind not in _NOT_SENT if made is None else place in made
        if is_sent and decision.meant is not None and (has_ids or decision.kind != "finishes"):
            yield decision.meant


def _enclosed(said: Facts) -> dict[tuple[str, ...], int]:
    """Pictures and documents, which the judge does not see: person, order, and what it is called, with its time and
    place. Without a number of its order it is no version of another one.
    """
    return {
        (key_of(person), number, order.code or "", one.measure.sub or "", one.measure.test or "", one.at or ""):
            one.place
        for person, order, one in said.results()
        if one.kind in _ENCLOSED and (number := order.filler or order.placer or one.tube)
    }  # fmt: skip


def _stages(said: Facts) -> dict[tuple[str, ...], int]:
    """The progress of each order; of one that comes twice the further."""
    found: dict[tuple[str, ...], int] = {}
    for person in said.people:
        for order in person.orders:
            named = key_of(person), order.placer or "", order.filler or "", order.code or ""
            found[named] = max(_STAGE.get(order.status or "", 0), found.get(named, 0))
    return found


def age(rows: Rows, message_id: int) -> tuple[int, int]:
    """The sort key of messages by age: an edited message has the age of its original and comes after it."""
    first = message_id
    while (row := rows.execute("SELECT original FROM edited WHERE message_id = ?", (first,)).fetchone()) is not None:
        first = row[0]
    return first, message_id
