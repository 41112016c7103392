"""The facts of messages, sealed with their outcomes, and what was decided of them: one row a message.

    content    [is it HL7, facts, decisions, gone, spared, made]     decisions: only those that are not plainly new

A row is found by the numbers of its orders and their days, from whichever channel it came. It goes with its message,
and its patient.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from engine.model.content import facts as packing
from engine.model.content.facts import Facts
from engine.model.errors import IntegrityError, NotComparedError
from engine.model.message import Stored as Message
from engine.model.outcome import ReadResults
from engine.store.core.connecting import Execute, Rows
from engine.store.core.vault import NOTE_KEYS
from engine.store.core.writing.batch import Batch
from engine.succession.judge.words import Decision, Judgement, Ref

COLUMN = "fact"
DAY_BYTES = 3
TEST_BYTES = 2
TOKEN_BYTES = 8 + DAY_BYTES
NEAR_DAYS = 2  # how near a day must be for its order to be the same one
EVER = 2 ** (8 * DAY_BYTES) - 1

# Each delivery of the messages that a statement selects, with what became of it: it was sent (1), waits for a person
# (2), was refused by one (3), or by its receiver (4). Of one that waits for the answer whose it is nothing is known.
_FATES = (
    "SELECT n.message_id, d.lane, CASE WHEN d.state IN ('waiting', 'sending', 'delivered') THEN 1"
    " WHEN d.state = 'held' AND d.cause NOT IN ('IDENTITY_CONFLICT', 'ORDER_MOVED') THEN 2 WHEN d.state = 'dead' THEN 4"
    " WHEN d.state IN ('rejected', 'dismissed') OR s.state = 'dismissed' THEN 3 END,"
    " f.message_id IS NOT NULL OR j.id IS NULL FROM ({}) n"
    " LEFT JOIN delivery d ON d.message_id = n.message_id LEFT JOIN message_state s ON s.id = n.message_id"
    " LEFT JOIN fact f ON f.message_id = n.message_id LEFT JOIN journal j ON j.id = n.message_id"
    " ORDER BY n.message_id, d.id"
)
_WITH = "SELECT message_id FROM fact_number WHERE number BETWEEN ? AND ? AND message_id < ?"
_STORED = (
    "SELECT f.message_id, j.channel, j.received_us, f.content FROM fact f JOIN journal j ON j.id = f.message_id"
    " WHERE f.message_id IN ({}) ORDER BY f.message_id"
)
_TESTS = (
    "SELECT message_id, tests FROM fact WHERE message_id IN (SELECT value FROM json_each(?))"
    " AND (tests = x''{})"  # what is not of them stays out of Python, whose part is most of the cost
)
_HAS = " OR instr(tests, ?)"
MOST_TESTS = 100  # of one message that are looked for
_AT_ONCE = 500  # terms that SQLite takes in a compound SELECT
NOTHING_MADE: Mapping[str, Sequence[int]] = MappingProxyType({})


Numbered = tuple[str, int]  # a number of an order, and a day of it as in date.toordinal
Range = tuple[bytes, bytes]


# What became of a delivery of a message: the message, the lane, SENT and so on, and whether the facts of the message
# are stored: a salvage may have found its numbers alone. A plain row, since an order may have hundreds, which are
# looked up for each message of it.
Fate = tuple[int, int | None, int | None, int]
SENT, WAITS, REFUSED, DEAD = 1, 2, 3, 4
WAITING = frozenset({WAITS, DEAD})  # for a person


class Stored(NamedTuple):
    """A row.

    Attributes:
        decisions: by place, of those that were decided; None: the message was never judged.
        spared: receivers for which it had nothing that was new, and those whose copies pass: these make nothing so.
    """

    message: int
    channel: str
    received_us: int
    is_hl7: bool
    facts: Facts
    decisions: dict[int, Decision] | None
    gone: tuple[Ref, ...]
    spared: frozenset[str]


def put(
    batch: Batch,
    message_id: int,
    read: ReadResults,
    numbers: Collection[Numbered],
    judged: Judgement | None,
    tests: Collection[str] = (),
    spared: Collection[str] = (),
    made: Mapping[str, Sequence[int]] = NOTHING_MADE,
) -> None:
    """Store the facts of a message, in place of those from an earlier processing.

    Args:
        numbers: of its orders, with their days. spared: as of `Stored`.
        tests: all that its results, and what was decided of them, are of; none: it is of interest for any other test.
        made: ordinal of a document in FHIR -> the places of its results, in the order of its Observations.
    """
    if forget(batch.execute, message_id):
        batch.tail.standing.forget()
    batch.judged.add(message_id)
    tokens = [_token(batch, number) + day.to_bytes(DAY_BYTES) for number, day in sorted(numbers)]
    decisions, gone = _packed(judged)
    rest = orjson.dumps((decisions, gone, sorted(spared), _shortened(made)), default=tuple)[1:]
    content = b"[%d,%b,%b" % (read.is_hl7, read.facts, rest)
    sealed = batch.seal(NOTE_KEYS, content, COLUMN, message_id, "")
    batch.execute(
        "INSERT INTO fact (message_id, reader, numbers, tests, content) VALUES (?, ?, ?, ?, ?)",
        (message_id, read.reader, b"".join(tokens), b"".join(_tests(batch, tests)), sealed),
    )
    batch.executemany(  # a salvage may have found them without the facts
        "INSERT OR IGNORE INTO fact_number (number, message_id) VALUES (?, ?)", [(one, message_id) for one in tokens]
    )


def _token(batch: Batch, number: str) -> bytes:
    return batch.vault.search_token(COLUMN, number)


def ranges(batch: Batch, numbers: Iterable[Numbered], near: int) -> tuple[Range, ...]:
    """Where the messages of orders with these numbers are, up to ``near`` days from theirs."""
    days: dict[str, list[int]] = {}
    for number, day in sorted(numbers):
        days.setdefault(number, []).append(day)
    spans = []
    for number, some in days.items():
        token, first, last = _token(batch, number), max(some[0] - near, 0), min(some[-1] + near, EVER)
        spans.append((token + first.to_bytes(DAY_BYTES), token + last.to_bytes(DAY_BYTES)))
    return tuple(spans)


def ranges_of(rows: Rows, message_id: int) -> tuple[Range, ...]:
    """As `ranges`, of the orders of a message whose facts are stored, up to `NEAR_DAYS` from theirs."""
    days: dict[bytes, list[int]] = {}
    for token in tokens_of(rows, message_id):
        days.setdefault(token[:-DAY_BYTES], []).append(int.from_bytes(token[-DAY_BYTES:]))
    return tuple(
        (token + max(min(some) - NEAR_DAYS, 0).to_bytes(DAY_BYTES), token + (max(some) + NEAR_DAYS).to_bytes(DAY_BYTES))
        for token, some in days.items()
    )


def tokens_of(rows: Rows, message_id: int) -> list[bytes]:
    """The numbers of the orders of a message, with their days, as they are stored."""
    row = rows.execute("SELECT numbers FROM fact WHERE message_id = ?", (message_id,)).fetchone()
    numbers = row[0] if row is not None else b""
    return [numbers[at : at + TOKEN_BYTES] for at in range(0, len(numbers), TOKEN_BYTES)]


def fates(batch: Batch, within: Sequence[Range], before: int) -> list[Fate]:
    """Of the messages within these ranges that are older than ``before``, the oldest first."""
    if len(within) > _AT_ONCE:
        parts = (fates(batch, within[at : at + _AT_ONCE], before) for at in range(0, len(within), _AT_ONCE))
        return sorted(dict.fromkeys(fate for part in parts for fate in part), key=lambda fate: fate[0])
    select = " UNION ".join([_WITH] * len(within))
    return batch.execute(_FATES.format(select), [bound for span in within for bound in (*span, before)]).fetchall()


def destinations(rows: Rows, lanes: Collection[int]) -> dict[int, str]:
    """The receivers of these lanes."""
    marks = ",".join("?" * len(lanes))
    return dict(rows.execute(f"SELECT id, destination FROM lane WHERE id IN ({marks})", [*lanes]))  # noqa: S608


def of_tests(batch: Batch, some: Iterable[Fate], tests: Collection[str]) -> set[int] | None:
    """Those of these messages that tell of one of the tests; None: one of them may tell of any."""
    wanted, found = _tests(batch, tests), set[int]()
    if len(wanted) > MOST_TESTS:
        return None
    numbers = orjson.dumps([one[0] for one in some])
    for message, told in batch.execute(_TESTS.format(_HAS * len(wanted)), (numbers, *wanted)):
        if not told:
            return None
        if not wanted.isdisjoint(told[at : at + TEST_BYTES] for at in range(0, len(told), TEST_BYTES)):
            found.add(message)
    return found


def _tests(batch: Batch, tests: Iterable[str]) -> set[bytes]:
    return {batch.vault.test_token(one)[:TEST_BYTES] for one in tests}


def stored(rows: Rows, messages: Sequence[int]) -> Iterator[Stored]:
    """The rows of these messages.

    Raises:
        IntegrityError, ValueError, TypeError: one is damaged.
    """
    for at in range(0, len(messages), _AT_ONCE):
        some = messages[at : at + _AT_ONCE]
        for message, channel, received_us, sealed in rows.execute(_STORED.format(",".join("?" * len(some))), some):
            content = orjson.loads(rows.vault.open(sealed, COLUMN, message, ""))
            is_hl7, said, decisions, gone, spared, _ = content
            yield Stored(
                message, channel, received_us, bool(is_hl7), packing.stored(said),
                None if decisions is None else {one[0]: _decision(one) for one in decisions},
                tuple((one, place) for one, place in gone), frozenset(spared),
            )  # fmt: skip


def made_of(rows: Rows, message_id: int) -> dict[int, list[int]]:
    """As ``made`` of `put`; nothing, where it is not known.

    Raises:
        NotComparedError: the row is damaged.
    """
    row = rows.execute("SELECT content FROM fact WHERE message_id = ?", (message_id,)).fetchone()
    if row is None:
        return {}
    try:
        made = orjson.loads(rows.vault.open(row[0], COLUMN, message_id, ""))[-1]
        return {int(one): [*range(1, told + 1)] if isinstance(told, int) else told for one, told in made.items()}
    except (IntegrityError, ValueError, TypeError) as error:
        raise NotComparedError(f"the results of message {message_id} cannot be read", message_id) from error


def _shortened(made: Mapping[str, Sequence[int]]) -> dict[str, int | Sequence[int]]:
    """With the number of the places, where these are all in their order."""
    return {one: len(told) if [*told] == [*range(1, len(told) + 1)] else told for one, told in made.items()}


def has(batch: Batch, message_id: int) -> bool:
    return batch.execute("SELECT 1 FROM fact WHERE message_id = ?", (message_id,)).fetchone() is not None


def message_of(batch: Batch, message_id: int) -> Message:
    """A message, to be read again.

    Raises:
        IntegrityError: it is damaged.
    """
    channel, seq, received_us, sealed = batch.execute(
        "SELECT channel, seq, received_us, body FROM journal WHERE id = ?", (message_id,)
    ).fetchone()
    payload = batch.vault.open(sealed, "body", message_id, channel)
    return Message(id=message_id, channel=channel, seq=seq, payload=payload, received_us=received_us)


def _packed(judged: Judgement | None) -> tuple[list[list[Any]] | None, Sequence[Ref]]:
    if judged is None:
        return None, ()
    told = [one for one in judged.decisions if one.kind != "new" or one.reason or one.finding]
    return [[*one[:4], one.meant, one.may_mean] for one in told], judged.gone


def _decision(said: list[Any]) -> Decision:
    place, kind, status, reason, meant, may_mean = said
    named = tuple((one, at) for one, at in may_mean)
    return Decision(place, kind, status, reason, meant=(meant[0], meant[1]) if meant else None, may_mean=named)


def forget(execute: Execute, message_id: int) -> bool:
    """Delete the facts of a message; return whether it had any."""
    row = execute("DELETE FROM fact WHERE message_id = ? RETURNING numbers", (message_id,)).fetchone()
    for at in range(0, len(row[0]) if row is not None else 0, TOKEN_BYTES):
        number = row[0][at : at + TOKEN_BYTES]
        execute("DELETE FROM fact_number WHERE number = ? AND message_id = ?", (number, message_id))
    return row is not None


def prune(batch: Batch, messages: Iterable[int]) -> None:
    """These messages are about to be deleted."""
    for message_id in messages:
        forget(batch.execute, message_id)
