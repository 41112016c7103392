"""Keep older results from replacing newer ones that were delivered (P3).

A lane keeps its order, so this concerns retries, replays, and routes without order. Whatever goes out, also a copy of
the bytes: it is decided by the facts of both messages, never by their documents.

    newer messages had delivered           the older one
    a later word of each of its results    is closed: it is an older version and nothing else
    of some of them                        a person decides: sending it would undo newer results, and closing it would
                                           lose the others (one test of a panel is run again, and comes first)
    no result of it                        is sent: analyzers send the tests of one specimen in several sessions
    ... but its order at a later status    a person decides, where the output has the status of an order
    ... but the same document (ABDM)       a person decides: its receiver shows one of both
    results that cannot be read            a person decides

A newer message has a later word of a result where that was decided when it came. One that may have a word of it, or
came before the older one had its outcome, closes nothing: a person decides.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from engine.features.results.rows import facts
from engine.features.results.rows.facts import Stored
from engine.features.results.rows.judged import Known, receipt_of
from engine.model.content.facts import DATA, DOCUMENT, PICTURE, Facts
from engine.model.content.results import conditional_updates, issues
from engine.model.errors import IntegrityError, StoreError, TooManyAlikeError
from engine.model.journal.hashes import unpack_reports
from engine.model.journal.records import JOINS, RELEASED
from engine.model.message import Report
from engine.model.texts.reasons import ReasonCode
from engine.store.core.connecting import Rows, body_of
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.succession.judge import keys
from engine.succession.judge.judging import judge
from engine.succession.judge.reading import key_of, said_in
from engine.succession.judge.words import Ref, Said
from engine.succession.kinds import FHIR
from engine.succession.list_statements import LISTS
from engine.succession.steps import WITHDRAWN

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
_THERE = "lane IN (SELECT id FROM lane WHERE destination = (SELECT destination FROM lane WHERE id = ?))"

Overtaken = Literal["", "part", "whole"]


class _Older(NamedTuple):
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


class NewerMessage(NamedTuple):
    """A newer message that was delivered before an older one.

    Attributes:
        in_common: tests of the older one that it has a later word of, one a result; None where these are unknown.
        report: whether it has set an order further that the older one would set back.
    """

    message_id: int
    in_common: tuple[str, ...] | None = ()
    report: bool = False


class _Compared:
    """An older message with newer ones.

    Attributes:
        results: of the older one, by place; None: they cannot be read.
        sure: newer message -> places of the older one that it has a later word of; None: unknown. unsure: likewise, of
            those that it may have one of.
    """

    def __init__(self, rows: Rows, older: _Older, newer: Sequence[int]) -> None:
        self._rows, self._older = rows, older
        self.own = _read(rows, older.message)
        self.sure: dict[int, set[int] | None] = dict.fromkeys(newer)
        self.unsure: dict[int, set[int]] = {one: set() for one in newer}
        self.results = None if self.own is None else self._results(self.own, older)
        self._theirs = {one: read for one in newer if (read := _read(rows, one)) is not None} if newer else {}
        if self.own is not None and self.results is not None and self._theirs:
            self._link(self.own, self.results)

    def _results(self, own: Stored, older: _Older) -> dict[int, _Result]:
        made = facts.made_of(self._rows, own.message).get(older.ordinal) if older.ordinal else None
        decided = own.decisions or {}

        def is_sent(place: int) -> bool:
            if made is not None:
                return place in made
            return place not in decided or decided[place].kind not in _NOT_SENT

        found = {one.place: _Result(one.test, _ref(own, one.place), is_sent(one.place)) for one in _said(own)}
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
        named = {(one.person, keys.named(one)) for one in _said(read) if not (has_ids and one.number)}
        for one in _said(own):
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
        words = {one.ref: {word.message for word in one.words} for one in memory.memory.standing}
        for decision in judge(own.facts, memory.memory, receipt_of(own)._replace(clock_told=True)).decisions:
            if decision.reason != ReasonCode.ORDER_MOVED.value:  # else another patient's
                meant = (*decision.may_mean, *([decision.meant] if decision.meant else []))
                for message in {one for ref in meant for one in words.get(ref, ())}:
                    self._note(self.unsure, message, decision.place)

    def _made(self, message: int) -> tuple[Collection[int] | None, bool]:
        """The places of the results in what a newer message had delivered (None: all that were not left out), and
        whether that is known: each of its documents in the lane was delivered, and of FHIR it is noted.
        """
        rows = self._rows.execute(
            "SELECT o.ordinal, d.state, o.media_type FROM delivery d"  # noqa: S608 - a constant
            " JOIN document o ON o.id = d.document_id"
            " WHERE d.message_id = ? AND d." + _THERE,
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


def _read(rows: Rows, message_id: int) -> Stored | None:
    """The facts of a message; None: there are none, or they cannot be read."""
    try:
        return next(facts.stored(rows, [message_id]), None)
    except (IntegrityError, ValueError, TypeError):
        return None


def _said(one: Stored) -> list[Said]:
    return [said for said, _ in said_in(one.facts, receipt_of(one), judged=True)]


def _ref(one: Stored, place: int) -> Ref:
    decision = (one.decisions or {}).get(place)
    return (decision.meant if decision is not None else None) or (one.message, place)


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


# -- which messages are newer -----------------------------------------------------------------------------------------


def _newer(rows: Rows, older: _Older, state: str = "delivered") -> list[int]:
    """Newer messages with one of its orders, of which a document was delivered in its lane, or is held there."""
    own = age(rows, older.message)
    in_lane = "SELECT 1 FROM delivery WHERE message_id = ? AND state = ? AND " + _THERE  # noqa: S608 - a constant
    return [
        one
        for one in sorted(_of_its_orders(rows, older.message, own[0], older.reports))
        if age(rows, one) > own and rows.execute(in_lane, (one, state, older.lane)).fetchone()
    ]


def _of_its_orders(rows: Rows, message_id: int, after: int, reports: Iterable[Report]) -> set[int]:
    """Other messages behind ``after`` that have an order of a message, by facts, or as documents tell."""
    numbered = "SELECT message_id FROM fact_number WHERE number BETWEEN ? AND ? AND message_id > ?"
    told = "SELECT message_id FROM report WHERE key = ? AND patient = ? AND message_id > ?"  # facts cannot be read
    asked = [(numbered, *one) for one in facts.ranges_of(rows, message_id)]
    asked += [(told, one.key, one.patient) for one in reports]
    found = {one for sql, *values in asked for (one,) in rows.execute(sql, (*values, after)).fetchall()}
    return found - {message_id}


def age(rows: Rows, message_id: int) -> tuple[int, int]:
    """The sort key of messages by age: an edited message has the age of its original and comes after it."""
    first = message_id
    while (row := rows.execute("SELECT original FROM edited WHERE message_id = ?", (first,)).fetchone()) is not None:
        first = row[0]
    return first, message_id


# -- before a delivery is sent, and where a person releases it --------------------------------------------------------


@operation(priority=Priority.SETTLE)
def overtaken_before_sent(batch: Batch, delivery_id: int) -> Overtaken:
    """How much of a delivery that is about to be sent was delivered in its lane by newer messages.

    A released delivery is checked more strictly: see `overtaken`. A document that the destination already has, sent
    again by a person, can lose nothing: with one result in common it is an older version.
    """
    older, flags, document_id = _delivery(batch, delivery_id)
    if flags & RELEASED:
        return overtaken(batch, delivery_id)
    if not (newer := _newer(batch, older)):
        return ""
    had = batch.execute(
        "SELECT 1 FROM delivery WHERE message_id = ? AND lane = ? AND document_id = ? AND state = 'delivered'",
        (older.message, older.lane, document_id),
    ).fetchone()
    compared = _compare(batch, older, newer)
    if compared is None or compared.is_unknown:
        return "whole" if had else "part"
    found = compared.overtaken()
    if had or found:
        return "whole" if had and found else found
    is_back = older.has_status and compared.have_set_further()
    return "part" if is_back or (older.has_ids and _replaces(batch, document_id, older, newer, issues)) else ""


@operation(priority=Priority.SETTLE)
def have_in_common(batch: Batch, delivery_id: int, others: Iterable[int]) -> bool:
    """Whether a delivery has tests in common with one of ``others``, so that a receiver could mistake the one for the
    other; True also where that is unknown.
    """
    asked = "SELECT message_id FROM delivery WHERE id = ? AND (id = ? OR state IN ('waiting', 'sending'))"
    rows = [batch.execute(asked, (one, delivery_id)).fetchone() for one in (delivery_id, *others)]
    mine, *theirs = (_tests(batch, row[0]) for row in rows if row is not None)  # without those closed meanwhile
    return any(not mine or not one or not mine.isdisjoint(one) for one in theirs)


def _tests(batch: Batch, message_id: int) -> set[str]:
    """The tests of a message; empty: it has none, or they cannot be read."""
    read = _read(batch, message_id)
    return set() if read is None else {one.measure.test or "" for *_, one in read.facts.results()}


def overtaken(rows: Rows, delivery_id: int) -> Overtaken:
    """How much of a held delivery was delivered in its lane by newer messages.

    ``part``, too: it would replace a resource that a newer message has updated, or a newer message that withdraws one
    of its results is held itself: a person decides about that one first. That a newer message has its order at a later
    status takes nothing from it: the person has seen that.
    """
    older, _, document_id = _delivery(rows, delivery_id)
    if newer := _newer(rows, older):
        compared = _compare(rows, older, newer)
        kinds = (conditional_updates, issues) if older.has_ids else ()
        if (
            compared is None
            or compared.is_unknown
            or any(_replaces(rows, document_id, older, newer, of) for of in kinds)
        ):
            return "part"
        if found := compared.overtaken():
            return found
    return "part" if _held_withdrawals(rows, older) else ""


def _compare(rows: Rows, older: _Older, newer: Sequence[int]) -> _Compared | None:
    """None: it would take too long."""
    try:
        return _Compared(rows, older, newer)
    except TooManyAlikeError:
        return None


def _replaces(
    rows: Rows, document_id: int, older: _Older, newer: Sequence[int], of: Callable[[bytes], frozenset[bytes]]
) -> bool:
    """Whether a document in FHIR replaces what a newer one has put on a server, ``of`` both, or that is unknown."""
    asked = "SELECT document_id FROM delivery WHERE message_id = ? AND state = 'delivered' AND " + _THERE  # noqa: S608
    try:
        mine = of(body_of(rows, document_id))
        return bool(mine) and any(
            not mine.isdisjoint(of(body_of(rows, other)))
            for message in newer
            for (other,) in rows.execute(asked, (message, older.lane)).fetchall()
        )
    except (IntegrityError, ValueError):
        return True


def _held_withdrawals(rows: Rows, older: _Older) -> list[int]:
    """Newer messages that are held in the lane, and withdraw one of its results: of the same person, and of the same
    time unless the withdrawal names none."""
    held = _newer(rows, older, "held")
    own = _read(rows, older.message) if held else None
    if own is None:
        return []
    mine = {_ref(own, said.place): said for said in _said(own)}
    found = []
    for message in held:
        if (read := _read(rows, message)) is None:
            continue
        for said in _said(read):
            decision = (read.decisions or {}).get(said.place)
            meant = () if decision is None else (decision.meant, *decision.may_mean)
            gone = [mine[ref] for ref in meant if ref in mine and said.version.said == WITHDRAWN]
            if any(one.person == said.person and said.version.time in ("", one.version.time) for one in gone):
                found.append(message)
    return found


def overtaken_by(rows: Rows, delivery_id: int) -> list[NewerMessage]:
    """The newer messages that keep a delivery from being sent; where none of them does, all newer ones."""
    older, *_ = _delivery(rows, delivery_id)
    numbers = list(dict.fromkeys([*_newer(rows, older), *_held_withdrawals(rows, older)]))
    compared = _compare(rows, older, numbers)
    if compared is None:
        return [NewerMessage(one, None) for one in numbers]
    further = set(compared.have_set_further()) if older.has_status else set()
    found = [NewerMessage(one, tests, not tests and one in further) for one in numbers for tests in (compared.of(one),)]
    return [one for one in found if one.in_common or one.in_common is None or one.report] or found


def _delivery(rows: Rows, delivery_id: int) -> tuple[_Older, int, int]:
    """A delivery, with its flags and document.

    Raises:
        StoreError: no delivery has that number.
    """
    row = rows.execute(
        "SELECT d.lane, d.message_id, o.reports, o.ordinal, d.flags, o.media_type, o.id FROM delivery d"
        " JOIN document o ON o.id = d.document_id WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    if row is None:
        raise StoreError(f"there is no delivery {delivery_id}")
    lane, message, packed, ordinal, flags, media_type, document_id = row
    # `engine.features.results.rows.report_lists` keeps what the receiver has of a report that is joined.
    has_status = media_type not in LISTS and not (media_type == FHIR and flags & JOINS)
    older = _Older(lane, message, unpack_reports(packed), ordinal, media_type == FHIR, has_status)
    return older, flags, document_id


# -- for a replay, and for a comparison with today's mapping -----------------------------------------------------------


def newer_delivered(rows: Rows, lane_id: int, message_id: int, reports: Sequence[Report]) -> bool:
    """Whether a newer message has had a later word of a result of a message delivered in a lane, or that is unknown."""
    older = _Older(lane_id, message_id, reports)
    if not (newer := _newer(rows, older)):
        return False
    compared = _compare(rows, older, newer)
    return compared is None or compared.is_unknown or bool(compared.overtaken())


def newer_of(rows: Rows, message_id: int) -> set[int]:
    """The newer messages without which a replay of a message would end with an older version of its results: those of
    its orders and persons in its channel, on their days; of a day beside it, or of another channel, those with a later
    word of a result.
    """
    packed = rows.execute("SELECT reports FROM document WHERE message_id = ?", (message_id,)).fetchall()
    reports = [report for (one,) in packed for report in unpack_reports(one)]
    first, _ = own = age(rows, message_id)
    numbers = [one for one in sorted(_of_its_orders(rows, message_id, first, reports)) if age(rows, one) > own]
    if not numbers or (compared := _compare(rows, _Older(0, message_id, reports), numbers)) is None:
        return {*numbers}
    mine = _orders(rows, compared.own)
    return {one for one in numbers if compared.of(one) != () or not mine.isdisjoint(_orders(rows, _read(rows, one)))}


def _orders(rows: Rows, read: Stored | None) -> set[tuple[str, str, bytes]]:
    """The orders of a message: channel, person, and number with its day."""
    if read is None:
        return set()
    tokens = facts.tokens_of(rows, read.message)
    return {(read.channel, key_of(person), token) for person in read.facts.people for token in tokens}
