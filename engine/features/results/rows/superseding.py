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

A newer message has a later word of a result where that was decided when it came. One that may have a word of it closes
nothing: a person decides. Nor does one that had its outcome before the older one (an edit has the age of its
original), unless both say the same time of one result (`rows.compared`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from engine.features.results.rows import facts
from engine.features.results.rows.compared import (
    THERE,
    Compared,
    Older,
    Overtaken,
    age,
    facts_of,
    ref_of,
    results_of,
)
from engine.features.results.rows.facts import Stored
from engine.model.content.results import conditional_updates, issues
from engine.model.errors import IntegrityError, StoreError, TooManyAlikeError
from engine.model.journal.hashes import unpack_reports
from engine.model.journal.records import JOINS, RELEASED
from engine.model.message import Report
from engine.store.core.connecting import Rows, body_of
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.succession.judge.reading import key_of
from engine.succession.kinds import FHIR
from engine.succession.list_statements import LISTS
from engine.succession.steps import WITHDRAWN


class NewerMessage(NamedTuple):
    """A newer message that was delivered before an older one.

    Attributes:
        in_common: tests of the older one that it has a later word of, one a result; None where these are unknown.
        report: whether it has set an order further that the older one would set back.
    """

    message_id: int
    in_common: tuple[str, ...] | None = ()
    report: bool = False


# -- which messages are newer -----------------------------------------------------------------------------------------


def _newer(rows: Rows, older: Older, state: str = "delivered") -> list[int]:
    """Newer messages with one of its orders, of which a document was delivered in its lane, or is held there."""
    own = age(rows, older.message)
    in_lane = "SELECT 1 FROM delivery WHERE message_id = ? AND state = ? AND " + THERE  # noqa: S608 - a constant
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
    read = facts_of(batch, message_id)
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


def _compare(rows: Rows, older: Older, newer: Sequence[int]) -> Compared | None:
    """None: it would take too long."""
    try:
        return Compared(rows, older, newer)
    except TooManyAlikeError:
        return None


def _replaces(
    rows: Rows, document_id: int, older: Older, newer: Sequence[int], of: Callable[[bytes], frozenset[bytes]]
) -> bool:
    """Whether a document in FHIR replaces what a newer one has put on a server, ``of`` both, or that is unknown."""
    asked = "SELECT document_id FROM delivery WHERE message_id = ? AND state = 'delivered' AND " + THERE  # noqa: S608
    try:
        mine = of(body_of(rows, document_id))
        return bool(mine) and any(
            not mine.isdisjoint(of(body_of(rows, other)))
            for message in newer
            for (other,) in rows.execute(asked, (message, older.lane)).fetchall()
        )
    except (IntegrityError, ValueError):
        return True


def _held_withdrawals(rows: Rows, older: Older) -> list[int]:
    """Newer messages that are held in the lane, and withdraw one of its results: of the same person, and of the same
    time unless the withdrawal names none."""
    held = _newer(rows, older, "held")
    own = facts_of(rows, older.message) if held else None
    if own is None:
        return []
    mine = {ref_of(own, said.place): said for said in results_of(own)}
    found = []
    for message in held:
        if (read := facts_of(rows, message)) is None:
            continue
        for said in results_of(read):
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


def _delivery(rows: Rows, delivery_id: int) -> tuple[Older, int, int]:
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
    older = Older(lane, message, unpack_reports(packed), ordinal, media_type == FHIR, has_status)
    return older, flags, document_id


# -- for a replay, and for a comparison with today's mapping -----------------------------------------------------------


def newer_delivered(rows: Rows, lane_id: int, message_id: int, reports: Sequence[Report]) -> bool:
    """Whether a newer message has had a later word of a result of a message delivered in a lane, or that is unknown."""
    older = Older(lane_id, message_id, reports)
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
    if not numbers or (compared := _compare(rows, Older(0, message_id, reports), numbers)) is None:
        return {*numbers}
    mine = _orders(rows, compared.own)
    return {one for one in numbers if compared.of(one) != () or not mine.isdisjoint(_orders(rows, facts_of(rows, one)))}


def _orders(rows: Rows, read: Stored | None) -> set[tuple[str, str, bytes]]:
    """The orders of a message: channel, person, and number with its day."""
    if read is None:
        return set()
    tokens = facts.tokens_of(rows, read.message)
    return {(read.channel, key_of(person), token) for person in read.facts.people for token in tokens}
