"""Read the queue for people: dead letters, and results that a rule of their route holds."""

from typing import Any

from engine.model.journal.journal_views import DeadLetter, Filter
from engine.model.journal.records import CRITICAL
from engine.store.core.connecting import Execute
from engine.store.core.notes import read_note
from engine.store.queries.listing import letter_terms
from engine.store.queries.reader import Reader

# Word for word as in the indexes, or SQLite does not use them.
_STUCK = {
    "dead": "d.state IN ('dead', 'held') AND d.state = 'dead'",
    "held": "d.state IN ('dead', 'held') AND d.state = 'held'",
    "rejected": "d.state = 'rejected'",
}
_COLUMNS = (  # of `DeadLetter`
    f"j.id, d.id, j.channel, l.destination, d.state, d.cause, d.settled_us, j.message_type, '', d.flags & {CRITICAL}"
)


def dead_letters(
    reader: Reader, wanted: Filter | None = None, *, before_id: int | None = None, limit: int = 50
) -> list[DeadLetter]:
    """A page of dead letters, by message number, newest first.

    Args:
        before_id: the last *message* id of the page before. A page may be longer than ``limit``, so that it never ends
            between the deliveries of one message.
    """
    wanted = wanted or Filter()
    letters: list[DeadLetter] = []
    with reader.snapshot() as execute:
        clause, values = _message_terms(execute, reader, wanted, before_id)
        if not wanted.destination:
            rows = execute(
                "SELECT j.id, 0, j.channel, '', s.state, s.reason, s.at_us, j.message_type"  # noqa: S608 - constants
                " FROM message_state s CROSS JOIN journal j ON j.id = s.id"
                f" WHERE s.state IN ('dead', 'incomplete') AND {clause} ORDER BY s.id DESC LIMIT ?",
                (*values, limit),
            )
            letters += [DeadLetter(*row) for row in rows]
        letters += _stuck(execute, reader, "dead", wanted, before_id, limit)
    letters.sort(key=lambda letter: (-letter.message_id, letter.delivery_id))
    if len(letters) <= limit:
        return letters
    last = letters[limit - 1].message_id
    return [letter for letter in letters if letter.message_id >= last]


def count_dead_letters(reader: Reader, wanted: Filter | None = None, *, before_id: int | None = None) -> int:
    """The number of dead letters that all pages of `dead_letters` from ``before_id`` on would have."""
    wanted = wanted or Filter()
    with reader.snapshot() as execute:
        count = 0
        if not wanted.destination:
            clause, values = _message_terms(execute, reader, wanted, before_id)
            (count,) = execute(
                "SELECT count(*) FROM message_state s CROSS JOIN journal j ON j.id = s.id"  # noqa: S608 - constants
                f" WHERE s.state IN ('dead', 'incomplete') AND {clause}",
                values,
            ).fetchone()
        return int(count) + _count_stuck(execute, reader, "dead", wanted, before_id)


def count_held(reader: Reader, wanted: Filter | None = None) -> int:
    """The number of deliveries that all pages of `held_deliveries` would have."""
    wanted = wanted or Filter()
    with reader.snapshot() as execute:
        return _count_stuck(execute, reader, wanted.state or "held", wanted, None)


def _count_stuck(execute: Execute, reader: Reader, state: str, wanted: Filter, before_id: int | None) -> int:
    clause, values = _delivery_terms(execute, reader, wanted, before_id)
    (stuck,) = execute(
        "SELECT count(*) FROM delivery d CROSS JOIN journal j ON j.id = d.message_id"  # noqa: S608 - constants
        " CROSS JOIN lane l ON l.id = d.lane"
        f" WHERE {_STUCK[state]} AND (? IS NULL OR l.destination = ?) AND {clause}",
        [wanted.destination, wanted.destination, *values],
    ).fetchone()
    return int(stuck)


def _message_terms(execute: Execute, reader: Reader, wanted: Filter, before_id: int | None) -> tuple[str, list[Any]]:
    return letter_terms(execute, lambda: reader.vault, wanted, before_id, number="s.id", table="s", reason="s.reason")


def _delivery_terms(execute: Execute, reader: Reader, wanted: Filter, before_id: int | None) -> tuple[str, list[Any]]:
    return letter_terms(
        execute, lambda: reader.vault, wanted, before_id, number="d.message_id", table="d", reason="d.cause"
    )


def corrections_set_aside(reader: Reader, limit: int) -> list[DeadLetter]:
    """The oldest corrections and withdrawals that a person has set aside and that are still open."""
    rows = reader.rows(
        f"SELECT {_COLUMNS}"  # noqa: S608
        " FROM delivery d INDEXED BY delivery_set_aside CROSS JOIN journal j ON j.id = d.message_id"
        " CROSS JOIN lane l ON l.id = d.lane"
        " WHERE d.state = 'dead' AND d.cause = 'CORRECTION_SET_ASIDE' ORDER BY d.message_id LIMIT ?",
        (limit,),
    )
    return [_letter(row) for row in rows]


def held_deliveries(
    reader: Reader,
    wanted: Filter | None = None,
    *,
    before_id: int | None = None,
    limit: int = 50,
    in_words: bool = True,
) -> list[DeadLetter]:
    """A page of held deliveries, each with its reason as text where ``in_words``; with `Filter.state` ``rejected``: of
    rejected ones. The first page has those with critical values first, however old they are. Otherwise as
    `dead_letters`.

    Raises:
        ConfigError, IntegrityError: a sealed reason cannot be opened.
    """
    wanted = wanted or Filter()
    with reader.snapshot() as execute:
        state = wanted.state or "held"
        first = _stuck(execute, reader, state, wanted, None, limit, critical=True) if before_id is None else []
        there = {letter.delivery_id for letter in first}
        found = _stuck(execute, reader, state, wanted, before_id, limit)
        found = [*first, *(letter for letter in found if letter.delivery_id not in there)]
        if not in_words:
            return found
        sealed = {
            letter.delivery_id: execute("SELECT detail FROM delivery WHERE id = ?", (letter.delivery_id,)).fetchone()[0]
            for letter in found
        }
    return [
        letter._replace(detail=read_note(reader.note(sealed[key], "delivery", key, letter.channel))[0])
        for letter in found
        for key in (letter.delivery_id,)
    ]


def _stuck(
    execute: Execute,
    reader: Reader,
    state: str,
    wanted: Filter,
    before_id: int | None,
    limit: int,
    *,
    critical: bool = False,
) -> list[DeadLetter]:
    """The newest deliveries in a state, including all those of the last message.

    Args:
        critical: only those with a critical value.
    """
    clause, values = _delivery_terms(execute, reader, wanted, before_id)
    select = (
        f"SELECT {_COLUMNS}"  # noqa: S608
        " FROM delivery d CROSS JOIN journal j ON j.id = d.message_id CROSS JOIN lane l ON l.id = d.lane"
        f" WHERE {_STUCK[state]} AND (? IS NULL OR l.destination = ?) AND (d.flags & ?) >= ? AND {clause}"
    )
    values = [wanted.destination, wanted.destination, CRITICAL, CRITICAL * critical, *values]
    rows = execute(f"{select} ORDER BY d.message_id DESC, d.id LIMIT ?", (*values, limit)).fetchall()
    if len(rows) == limit:
        last = rows[-1][0]
        rows = [row for row in rows if row[0] != last]
        rows += execute(f"{select} AND d.message_id = ? ORDER BY d.id", (*values, last)).fetchall()
    return [_letter(row) for row in rows]


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    return DeadLetter(*row)._replace(critical=bool(row[-1]))
