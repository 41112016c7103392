"""The bearers of each patient number: the guard that keeps two people from becoming one.

Each patient number (`engine.model.message.Bearer`) has rows with keyed hashes of the records that were seen with it.
The usual message has a record whose hash is known: one look-up. Any other record is compared with the references of its
number (`engine.model.persons`): the record of the same person gets a row and is known from then on; two persons are a
conflict.

    REFERENCE   records are compared with it; another record of the same person adds missing fields
    ALIKE       it says too little to be compared with: UNKNOWN, and no birth date
    FLAGGED     the same person as it seems: no reference before a person has confirmed it
    ERASED      the person was erased, and only the number's hash is left: the next person to bear it is a conflict

A conflict is a question: the message is held until a person answers (`answer`). *Same*: its record becomes a further
reference. *Other*: two persons share the number, and the second one's results get a Patient of their own from then on,
without that number. So a number may have several persons, and each reference belongs to one of them.

A sender that keeps the records of its patients (a message that updates a Patient, as A08 and A40 do) causes no
question: its record replaces the references that belong to another person.

These rows are kept long: for good where the number lasts, and as long as the memory of reports where it is a counter
(with its order and day). Rejecting, dismissing or erasing a message frees no number that another message bears.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from engine.model.errors import IntegrityError
from engine.model.message import Bearer
from engine.model.persons import CONFLICT, FLAGGED, NOTHING, SAME, Person, compare
from engine.store.core.connecting import Execute, Rows
from engine.store.core.vault import NOTE_KEYS, sealed_to
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

COUNTER_MEMORY_US = 90 * 24 * 3_600_000_000
ANSWERS = ("same", "other")
REFERENCE, ALIKE, SEEMS, ERASED = range(4)
FOR_GOOD = 0


_PUT = (
    "INSERT OR REPLACE INTO bearer (number, whole, standing, message_id, others, until_us, noted_us, record, person)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_COLUMN = "bearer"
_NO_RECORD = bytes(16)
_WORST_LAST = (SAME, NOTHING, FLAGGED, CONFLICT)


class _Row(NamedTuple):
    whole: bytes
    standing: int
    message_id: int
    record: bytes
    person: int
    others: int


class BearerComparison(NamedTuple):
    """The result of the comparison for one bearer.

    Attributes:
        known: the record is stored already.
        verdict: same, nothing_to_compare, flagged or conflict.
        other: the message that the compared record came with; 0 where none is known.
        reference: that record.
        person: the person of the record, under this number.
    """

    bearer: Bearer
    known: bool
    verdict: str
    other: int = 0
    reference: Person | None = None
    person: int = 1


def compare_with_known(batch: Batch, message_id: int, bearer: Bearer) -> BearerComparison:
    """Compare a bearer of a message with those that are known. Writes nothing but that a known record came again."""
    if bearer.master:
        return BearerComparison(bearer, False, SAME)
    rows = _rows(batch, bearer.number)
    for row in rows:
        if row.whole != bearer.whole:
            continue
        if not row.others and row.message_id != message_id:
            batch.execute(
                "UPDATE bearer SET others = 1, noted_us = ? WHERE number = ? AND whole = ?",
                (batch.now_us, bearer.number, bearer.whole),
            )
        seen: str = FLAGGED if row.standing == SEEMS else SAME
        return BearerComparison(
            bearer, True, seen if row.person == bearer.person else CONFLICT, row.message_id, None, row.person
        )
    found = BearerComparison(bearer, False, SAME, person=bearer.person)
    person = Person.unpacked(bearer.record) if rows else Person()
    best = len(_WORST_LAST)
    for one in rows:
        if one.standing not in (REFERENCE, ERASED):
            continue
        reference = _opened(batch, bearer.number, one)
        verdict = CONFLICT if reference is None else compare(reference, person)
        if _WORST_LAST.index(verdict) < best:
            best = _WORST_LAST.index(verdict)
            found = BearerComparison(bearer, False, verdict, one.message_id, reference, one.person)
    if found.person != bearer.person:  # its documents were made for another person
        return found._replace(verdict=CONFLICT)
    return found


def is_of_one(batch: Batch, number: bytes) -> bool:
    """Whether no two persons are known under a number."""
    return all(row.person == 1 for row in _rows(batch, number))


def note(batch: Batch, message_id: int, found: Sequence[BearerComparison]) -> None:
    """Record the bearers that were not known; none of them is in conflict."""
    for one in found:
        if one.known:
            continue
        bearer = one.bearer
        if bearer.master:
            _take_over(batch, message_id, bearer, Person.unpacked(bearer.record))
            continue
        standing, record = REFERENCE, bearer.record
        if one.reference is not None and one.verdict == FLAGGED:
            standing = SEEMS
        elif one.reference is not None:
            person = Person.unpacked(record)
            _add_to_references(batch, bearer.number, person)
            record = person.with_what_it_lacks(one.reference).packed()
            standing = REFERENCE if one.verdict == SAME else ALIKE
        assert one.verdict != CONFLICT
        _put(batch, bearer.number, bearer.whole, standing, message_id, record, _until_us(batch, bearer), one.person)


def _take_over(batch: Batch, message_id: int, bearer: Bearer, person: Person) -> None:
    """The sender maintains patient records: keep this person for the number, and those that a person has separated from
    it; delete other references.
    """
    rows = [row for row in _rows(batch, bearer.number) if row.person == 1]
    known = next((row for row in rows if row.whole == bearer.whole), None)
    for row in rows:
        reference = _opened(batch, bearer.number, row)
        if row is not known and (reference is None or compare(reference, person) in (FLAGGED, CONFLICT)):
            batch.execute("DELETE FROM bearer WHERE number = ? AND whole = ?", (bearer.number, row.whole))
    if known is None or known.standing != REFERENCE:
        _put(batch, bearer.number, bearer.whole, REFERENCE, message_id, person.packed(), FOR_GOOD)


def _add_to_references(batch: Batch, number: bytes, person: Person) -> None:
    """Complete a reference of this person with the fields of this record, as when an unknown man gets a name."""
    for row in _rows(batch, number):
        reference = _opened(batch, number, row)
        if row.standing != REFERENCE or reference is None or compare(reference, person) in (FLAGGED, CONFLICT):
            continue
        whole = reference.with_what_it_lacks(person)
        if whole != reference:
            batch.execute(
                "UPDATE bearer SET record = ?, noted_us = ? WHERE number = ? AND whole = ?",
                (_sealed(batch, number, whole.packed()), batch.now_us, number, row.whole),
            )


def ask(batch: Batch, message_id: int, found: Sequence[BearerComparison], *, order_accepted: bool) -> None:
    """Hold a message until a person has answered for these bearers, each for itself; no other question of it is open.

    Args:
        order_accepted: a person has accepted that another patient has the message's order number; the answer for the
            bearers says nothing of it, so it is kept until then.
    """
    answered(batch, message_id)
    for one in found:
        bearer = one.bearer
        sealed = _sealed(batch, bearer.number, bearer.record)
        batch.execute(
            "INSERT INTO bearer_asked (number, whole, message_id, until_us, record, person, order_accepted)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (bearer.number, bearer.whole, message_id, _until_us(batch, bearer), sealed, one.person, order_accepted),
        )


def order_accepted(batch: Batch, message_id: int) -> bool:
    """Whether a person accepted the order number of a message before its bearers were asked for."""
    found = "SELECT 1 FROM bearer_asked WHERE message_id = ? AND order_accepted LIMIT 1"
    return batch.execute(found, (message_id,)).fetchone() is not None


def _until_us(batch: Batch, bearer: Bearer) -> int:
    return FOR_GOOD if bearer.lasting else batch.now_us + COUNTER_MEMORY_US


def answered(batch: Batch, message_id: int) -> None:
    """Clear the questions of a message."""
    batch.execute("DELETE FROM bearer_asked WHERE message_id = ?", (message_id,))


class Question(NamedTuple):
    """What a person is asked of a number.

    Attributes:
        sent: the record of the message.
        known: the one that it is compared with, which came with message ``known_in``; None: erased, or damaged.
        mark: of these two persons: an answer names it, so that it is refused once one of them is another.
        about: number and hash of the record that the answer is kept for; ``until_us``, ``person``: of its row.
    """

    sent: Person
    known: Person | None
    known_in: int
    mark: str
    about: tuple[bytes, bytes]
    until_us: int
    person: int


def questions(rows: Rows, message_id: int) -> list[Question]:
    """Of a held message; of one that was let through: what seems to be the same person. Not of a damaged record."""
    columns = "SELECT number, whole, until_us, record, person FROM"
    found = (
        rows.execute(f"{columns} bearer_asked WHERE message_id = ? ORDER BY number, whole", (message_id,)).fetchall()
        or rows.execute(
            f"{columns} bearer WHERE message_id = ? AND standing = ? ORDER BY number, whole", (message_id, SEEMS)
        ).fetchall()
    )
    return [question for row in found if (question := _question(rows, *row)) is not None]


def _question(rows: Rows, number: bytes, whole: bytes, until_us: int, sealed: bytes, person: int) -> Question | None:
    """Of several records of that person the nearest one is shown, as the guard has compared; of these the newest."""
    try:
        sent = Person.unpacked(rows.vault.open(sealed, _COLUMN, sealed_to(number), ""))
    except IntegrityError:
        return None
    references = rows.execute(
        "SELECT whole, standing, message_id, record, person, others FROM bearer"
        " WHERE number = ? AND person = ? AND standing IN (?, ?)",
        (number, person, REFERENCE, ERASED),
    ).fetchall()
    seen = [(_opened(rows, number, row), row.message_id) for row in (_Row(*one) for one in references)]
    seen.sort(key=lambda one: (_WORST_LAST.index(CONFLICT if one[0] is None else compare(one[0], sent)), -one[1]))
    known, known_in = seen[0] if seen else (None, 0)
    compared = (sent.packed(), b"" if known is None else known.packed(), b"%d" % person)
    mark = rows.vault.past_key(b"compared", number, whole, *compared)[:8].hex()
    return Question(sent, known, known_in, mark, (number, whole), until_us, person)


def covered(execute: Execute, question: Question) -> list[int]:
    """The held messages that one answer covers, in their order: those with its number and its record."""
    same = "SELECT DISTINCT message_id FROM bearer_asked WHERE number = ? AND whole = ? ORDER BY message_id"
    return [message for (message,) in execute(same, question.about).fetchall()]


def waits_for_an_answer(execute: Execute, delivery_id: int) -> bool:
    """Whether a held delivery belongs to a message whose question is still open."""
    return bool(
        execute(
            "SELECT 1 FROM delivery d JOIN bearer_asked a ON a.message_id = d.message_id WHERE d.id = ? LIMIT 1",
            (delivery_id,),
        ).fetchone()
    )


@operation(priority=Priority.SETTLE)
def answer(batch: Batch, message_id: int, mark: str, *, same: bool) -> tuple[list[int], dict[bytes, int]] | None:
    """Record a person's answer: do the two records belong to the ``same`` person?

    For a message that was let through because they seem to be the same person, the answer covers only later messages.

    Returns:
        The messages to process again, in their order; and the new result of `others`. None: no question has this mark
        any more.
    """
    question = next((one for one in questions(batch, message_id) if one.mark == mark), None)
    if question is None:
        return None
    (number, whole), sent = question.about, question.sent
    person = question.person if same else _own_person(batch, number, sent)
    _put(batch, number, whole, REFERENCE, message_id, sent.packed(), question.until_us, person)
    waiting = covered(batch.execute, question)
    if len(waiting) > 1:
        batch.execute("UPDATE bearer SET others = 1 WHERE number = ? AND whole = ?", (number, whole))
    return waiting, others(batch.execute)


def _own_person(batch: Batch, number: bytes, record: Person) -> int:
    """The person to whom a record belongs, where it is not the first: one that was separated before, or a new one."""
    rows = _rows(batch, number)
    for row in rows:
        reference = _opened(batch, number, row) if row.person > 1 and row.standing == REFERENCE else None
        if reference is not None and compare(reference, record) in (SAME, FLAGGED):
            return row.person
    return max((row.person for row in rows), default=1) + 1


def others(execute: Execute) -> dict[bytes, int]:
    """Number and record, concatenated -> person of the number, for all persons but the first."""
    rows = execute("SELECT number, whole, person FROM bearer WHERE person > 1").fetchall()
    return {number + whole: person for number, whole, person in rows}


def forget(batch: Batch, message_id: int) -> None:
    """Forget the records that only this message brought: it was rejected or dismissed."""
    answered(batch, message_id)
    batch.execute("DELETE FROM bearer WHERE message_id = ? AND others = 0", (message_id,))


def erase(
    execute: Execute, message_id: int, numbers: Iterable[bytes], *, person: bool, now_us: int, steady_us: int
) -> None:
    """Erase a message's records. A number that no other message bears keeps its hash alone.

    Args:
        numbers: the lasting numbers of its patient.
        person: delete all that is stored of this patient, also where other messages bear the number.
        now_us, steady_us: as `engine.store.core.writing.batch.Batch` has them.
    """

    def is_borne(number: bytes, condition: str = "") -> bool:
        kept = f"SELECT 1 FROM bearer WHERE number = ? AND (until_us = 0 OR until_us >= ?){condition}"  # noqa: S608 - ours
        return execute(kept, (number, steady_us)).fetchone() is not None

    execute("DELETE FROM bearer_asked WHERE message_id = ?", (message_id,))
    which = "" if person else " AND others = 0"
    found = execute(f"SELECT number, person FROM bearer WHERE message_id = ?{which}", (message_id,)).fetchall()  # noqa: S608 - constants
    if person:
        found += [(number, 1) for number in numbers if is_borne(number)]
    for number, of in dict.fromkeys(found):
        if person:
            execute("DELETE FROM bearer WHERE number = ? AND person = ?", (number, of))
        else:
            execute("DELETE FROM bearer WHERE number = ? AND message_id = ? AND others = 0", (number, message_id))
        if not is_borne(number, f" AND standing = {REFERENCE}"):
            execute(_PUT, (number, _NO_RECORD, ERASED, message_id, True, FOR_GOOD, now_us, b"", 1))


def _rows(batch: Batch, number: bytes) -> list[_Row]:
    return [
        _Row(*row)
        for row in batch.execute(
            "SELECT whole, standing, message_id, record, person, others FROM bearer WHERE number = ?"
            " AND (until_us = 0 OR until_us >= ?)",
            (number, batch.steady_us),
        ).fetchall()
    ]


def _put(
    batch: Batch,
    number: bytes,
    whole: bytes,
    standing: int,
    message_id: int,
    record: bytes,
    until_us: int,
    person: int = 1,
) -> None:
    sealed = _sealed(batch, number, record) if record else b""
    batch.execute(_PUT, (number, whole, standing, message_id, False, until_us, batch.now_us, sealed, person))


def _sealed(batch: Batch, number: bytes, record: bytes) -> bytes:
    return batch.seal(NOTE_KEYS, record, _COLUMN, sealed_to(number), "")


def _opened(rows: Rows, number: bytes, row: _Row) -> Person | None:
    """The record of a row; None where it is erased or damaged, so that its person is unknown."""
    if not row.record:
        return None
    try:
        return Person.unpacked(rows.vault.open(row.record, _COLUMN, sealed_to(number), ""))
    except IntegrityError:
        return None
