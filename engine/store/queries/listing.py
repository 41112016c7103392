"""Choose the statement that lists messages or dead letters, so that each scans a narrow index in the page's own order.
Pure SQL.

    filter                                   index that is scanned, newest first
    numbers, control id, lot                 the messages that bear them
    --code                                   message_reason   rows with a reason only: without mapped messages
    --state dead, incomplete                 message_dead
    --state filtered, dismissed              message_ended    rows that are not mapped only
    --state stored                           above the watermark
    --state waiting                          the deliveries that wait or are under way, if they are few
    --type                                   journal_type
    --channel                                journal_channel, block by block
    none of these, --state mapped or delivered
                                             the journal itself: nearly every row fits

The rest of a filter is checked row by row. A small channel takes precedence over a type. Times become numbers by
bisection (`first_at`), since numbers follow time. A query that still is too slow, such as a common type that a large
channel has never sent, ends at the reader's deadline with an error.

Persons who share a patient number: whom a person has separated from the first bearer of their number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

from engine.feature import Hook
from engine.model.content.reagents import lot_key
from engine.model.content.search_keys import NumberKind
from engine.model.errors import StoreError
from engine.model.journal.journal_views import Filter
from engine.store.core.connecting import Execute
from engine.store.core.moments import DISORDER_US, first_at
from engine.store.core.vault import Vault
from engine.store.operations import search_index

NO_LIMIT = 2**62  # above every number: with a bound SQLite searches the index instead of scanning
FEW_WAITING = 50_000  # deliveries; their messages are found in some 50 ms
SMALL_CHANNEL = 20_000  # messages; scanning so many takes some 20 ms

# Of the index journal_channel; the rows of one block are neighbours in the journal, on few pages.
BLOCK_BITS = 10
BLOCKS_AT_ONCE = 512  # searched by one statement

STATES_OF_DELIVERIES = ("waiting", "delivered", "held")
OTHER_KINDS: tuple[NumberKind, ...] = ("specimen", "control")
SEARCHED_KINDS: tuple[NumberKind, ...] = ("patient", *OTHER_KINDS)
CAUSE_BYTES = 8  # the first half of a fingerprint (`engine.store.operations.dead_letters`)
LONGEST_NUMBER = 18  # digits of a message's number here

COLUMNS = "j.id, j.channel, j.seq, j.received_us, j.message_type, j.size, s.state, s.reason, j.meta"
BY_JOURNAL = "journal j LEFT JOIN message_state s ON s.id = j.id"
BY_CHANNEL = "journal j INDEXED BY journal_channel LEFT JOIN message_state s ON s.id = j.id"
BY_STATE = "message_state s CROSS JOIN journal j ON j.id = s.id"


@dataclass(slots=True)
class _Terms:
    """Conditions, and their values in the same order."""

    where: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, term: str, *values: Any) -> None:
        self.where.append(term)
        self.values.extend(values)

    def add_channels(self, wanted: Filter) -> None:
        if wanted.channels is not None:
            self.add(f"+j.channel IN ({', '.join('?' * len(wanted.channels)) or 'NULL'})", *wanted.channels)


def rows(
    execute: Execute, vault: Callable[[], Vault], wanted: Filter, before_id: int | None, limit: int
) -> list[tuple[Any, ...]]:
    """A page of messages, newest first: `COLUMNS` of each.

    Args:
        vault: called only where a number must be hashed; raises ConfigError without the keys.
        before_id: the last id of the page before.
    """
    return _found(execute, vault, wanted, before_id, limit, COLUMNS)


def count(
    execute: Execute, vault: Callable[[], Vault], wanted: Filter, most: int, *, before_id: int | None, after_id: int
) -> int:
    """How many messages all pages of `rows` have, up to ``most``.

    Args:
        before_id, after_id: only messages with a number between them.
    """
    return len(_found(execute, vault, wanted, before_id, most, "1", after_id))


def numbers(
    execute: Execute, vault: Callable[[], Vault], wanted: Filter, most: int, *, before_id: int, after_id: int = 0
) -> list[int]:
    """The ids of `rows`, newest first, up to ``most``; the rest as of `count`."""
    return [row[0] for row in _found(execute, vault, wanted, before_id, most, "j.id", after_id)]


def _found(
    execute: Execute,
    vault: Callable[[], Vault],
    wanted: Filter,
    before_id: int | None,
    limit: int,
    columns: str,
    after_id: int = 0,
) -> list[tuple[Any, ...]]:
    lead = _lead(execute, wanted)
    by_state = lead in ("reason", "dead", "ended")
    number, terms = "s.id" if by_state else "j.id", _Terms(["j.kind = 1"])
    terms.add(f"{number} < ?", NO_LIMIT if before_id is None else before_id)
    if after_id:
        terms.add(f"{number} > ?", after_id)
    oldest = after_id
    if wanted.after_us is not None:
        oldest = max(after_id, first_at(execute, wanted.after_us - DISORDER_US))
        terms.add(f"{number} >= ?", oldest)
        terms.add("j.received_us >= ?", wanted.after_us)
    if wanted.before_us is not None:
        terms.add(f"{number} < ?", first_at(execute, wanted.before_us + DISORDER_US))
        terms.add("j.received_us < ?", wanted.before_us)
    _state(execute, terms, wanted, lead)
    if wanted.code is not None:
        terms.add("s.reason <> '' AND s.reason = ?" if lead == "reason" else "s.reason = ?", wanted.code)
    if wanted.message_type is not None:
        terms.add("j.message_type = ?" if lead == "type" else "+j.message_type = ?", wanted.message_type)
    if wanted.channel is not None:
        terms.add("j.channel = ?" if lead == "channel" else "+j.channel = ?", wanted.channel)
    terms.add_channels(wanted)
    for kind, text in numbers_of(wanted):
        term, those = search_index.term(execute, vault(), kind, text)
        terms.add(term, *those)
    for bears, kinds in ((wanted.bears, SEARCHED_KINDS), (wanted.bears_other, OTHER_KINDS)):
        if bears is not None:
            term, those = _bearing(execute, vault(), kinds, bears)
            terms.add(term, *those)
    if wanted.control_id is not None:
        ids = _with_control_id(execute, vault(), wanted)
        terms.add(f"j.id IN ({','.join('?' * len(ids)) or '0'})", *ids)
    if wanted.lot is not None:
        terms.add(
            "j.id IN (SELECT u.message_id FROM reagent r CROSS JOIN reagent_use u ON u.reagent = r.id"
            " WHERE r.lot_key = ?)",
            lot_key(wanted.lot),
        )
    where = " AND ".join(terms.where)
    if lead != "channel":
        source = BY_STATE if by_state else BY_JOURNAL
        text = f"SELECT {columns} FROM {source} WHERE {where} ORDER BY {number} DESC LIMIT ?"  # noqa: S608 - constants
        return execute(text, [*terms.values, limit]).fetchall()
    text = (
        f"SELECT {columns} FROM {BY_CHANNEL} WHERE (j.id >> {BLOCK_BITS}) = ? AND {where}"  # noqa: S608 - constants
        " ORDER BY j.seq DESC LIMIT ?"
    )
    found: list[tuple[Any, ...]] = []
    for block in _blocks(execute, wanted.channel or "", oldest, before_id):
        found += execute(text, [block, *terms.values, limit - len(found)])
        if len(found) >= limit:
            break
    return found


def _blocks(execute: Execute, channel: str, oldest: int, before_id: int | None) -> Iterator[int]:
    """The blocks with messages of a channel, newest first, from the row ``oldest`` on to before ``before_id``."""
    first, last = execute(  # one at a time: together they would scan the whole table
        "SELECT (SELECT min(id) FROM journal), (SELECT max(id) FROM journal)"
    ).fetchone()
    first = max(oldest, first or 0) >> BLOCK_BITS
    last = (last or 0 if before_id is None else min(before_id - 1, last or 0)) >> BLOCK_BITS
    for newest in range(last, first - 1, -BLOCKS_AT_ONCE):
        found = execute(
            "WITH RECURSIVE every(block) AS (SELECT ? UNION ALL SELECT block - 1 FROM every WHERE block > ?)"  # noqa: S608 - a constant
            " SELECT block FROM every WHERE EXISTS (SELECT 1 FROM journal j INDEXED BY journal_channel"
            f" WHERE (j.id >> {BLOCK_BITS}) = block AND j.channel = ? AND j.kind = 1)",
            (newest, max(first, newest - BLOCKS_AT_ONCE + 1), channel),
        ).fetchall()
        yield from sorted((block for (block,) in found), reverse=True)


def _lead(execute: Execute, wanted: Filter) -> str:
    """The index to scan, by the most selective part of the filter."""
    numbers = (wanted.bears, wanted.bears_other, wanted.control_id, wanted.lot)
    if numbers_of(wanted) or any(one is not None for one in numbers):
        return "numbers"
    if wanted.state == "stored":
        return "stored"
    if wanted.code is not None:
        return "reason"
    if wanted.state in ("dead", "incomplete"):
        return "dead"
    if wanted.state in ("filtered", "dismissed"):
        return "ended"
    if wanted.channel is not None:
        row = execute("SELECT last_seq FROM channel WHERE name = ?", (wanted.channel,)).fetchone()
        if wanted.message_type is None or row is None or row[0] <= SMALL_CHANNEL:
            return "channel"
    return "type" if wanted.message_type is not None else "journal"


def _state(execute: Execute, terms: _Terms, wanted: Filter, lead: str) -> None:
    state = wanted.state
    there = [] if wanted.destination is None else [wanted.destination]
    of_lane = " AND lane IN (SELECT id FROM lane WHERE destination = ?)" if there else ""
    of_message = "SELECT 1 FROM delivery d WHERE d.message_id = j.id"
    if state == "stored":
        watermark = execute("SELECT value FROM meta WHERE name = 'watermark'").fetchone()
        terms.add("s.state IS NULL")
        terms.add("j.id > ?", watermark[0] if watermark else 0)
    elif state == "held":  # a state of its deliveries; the message itself is mapped
        held = "SELECT message_id FROM delivery WHERE state IN ('dead', 'held') AND state = 'held'"
        terms.add(f"j.id IN ({held}{of_lane})", *there)
    elif state == "waiting":
        open_ones = f"SELECT message_id FROM delivery WHERE state = 'waiting'{of_lane}"  # noqa: S608 - constants
        open_ones += f" UNION ALL SELECT message_id FROM delivery WHERE state = 'sending'{of_lane}"  # noqa: S608
        (count,) = execute("SELECT coalesce(sum(open), 0) FROM lane").fetchone()
        if count <= FEW_WAITING:
            terms.add(f"j.id IN ({open_ones})", *there, *there)
        else:  # most of the newest fit, and a page of them is soon found
            terms.add(f"EXISTS ({of_message} AND d.state IN ('waiting', 'sending'){of_lane})", *there)
    elif state == "delivered":
        terms.add(f"EXISTS ({of_message} AND d.state IN ('delivered', 'superseded'){of_lane})", *there)
        terms.add(f"NOT EXISTS ({of_message} AND d.state NOT IN ('delivered', 'superseded'){of_lane})", *there)
    elif wanted.destination is not None:
        terms.add(f"EXISTS ({of_message}{of_lane})", *there)
    if lead == "dead":
        # Word for word as in the index, or SQLite does not use it.
        terms.add("s.state IN ('dead', 'incomplete') AND +s.state = ?", state)
    elif lead == "ended":
        terms.add("s.state <> 'mapped' AND s.state = ?", state)
    elif state is not None and state not in ("stored", *STATES_OF_DELIVERIES):
        terms.add("+s.state = ?", state)


def numbers_of(wanted: Filter) -> list[tuple[NumberKind, str]]:
    """The numbers in a filter."""
    asked: tuple[tuple[NumberKind, str | None], ...] = (
        ("patient", wanted.patient), ("specimen", wanted.specimen), ("control", wanted.number),
    )  # fmt: skip
    return [(kind, text) for kind, text in asked if text is not None]


def _bearing(execute: Execute, vault: Vault, kinds: Sequence[NumberKind], text: str) -> tuple[str, list[int | bytes]]:
    """The term for messages that bear a number of one of these kinds, or have it as their own number here."""
    of_kinds = [search_index.messages_with(execute, vault, kind, text) for kind in kinds]
    own = int(text) if text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER else 0
    statements = [f"SELECT message_id FROM ({statement})" for statement, _ in of_kinds]  # noqa: S608 - constants
    return f"j.id IN ({' UNION ALL '.join([*statements, 'SELECT ?'])})", [
        *(one for _, those in of_kinds for one in those),
        own,
    ]


def _with_control_id(execute: Execute, vault: Vault, wanted: Filter) -> list[int]:
    """The messages remembered with this control id, that is, within the channel's repeat window."""
    if wanted.channel is None:
        raise StoreError("a search for a control id needs the channel")
    control = vault.control_token(wanted.channel, wanted.control_id or "")
    rows = execute(
        "SELECT message_id FROM repeat WHERE token BETWEEN ? AND ? LIMIT 10000", (control, control + b"\xff" * 12)
    )
    return nlargest(100, (row[0] for row in rows))


def letter_terms(
    execute: Execute,
    vault: Callable[[], Vault],
    wanted: Filter,
    before_id: int | None,
    *,
    number: str,
    table: str,
    reason: str,
) -> tuple[str, list[Any]]:
    """The conditions for dead letters, with ``number`` and ``reason`` as the names of their columns.

    Args:
        vault: called only where a cause must be hashed; raises ConfigError without the keys.
        table: the name of ``message_state`` or ``delivery`` in the statement.
    """
    terms = _Terms()
    terms.add(f"{number} < ?", NO_LIMIT if before_id is None else before_id)
    if wanted.after_us is not None:
        terms.add(f"{number} >= ?", first_at(execute, wanted.after_us - DISORDER_US))
    for term, value in (
        ("+j.channel = ?", wanted.channel),
        (f"+{table}.state = ?", wanted.state),
        (f"+{reason} = ?", wanted.code),
        ("+j.message_type = ?", wanted.message_type),
        ("j.received_us >= ?", wanted.after_us),
        ("j.received_us < ?", wanted.before_us),
    ):
        if value is not None:
            terms.add(term, value)
    terms.add_channels(wanted)
    if wanted.cause is not None:  # a letter without a fingerprint has no text, either
        unknown, token = (vault().cause_token("", cause)[:CAUSE_BYTES] for cause in ("", wanted.cause))
        terms.add(f"coalesce(substr({table}.cause_token, 1, {CAUSE_BYTES}), ?) = ?", unknown, token)
    return " AND ".join(terms.where), terms.values


OTHERS: Hook[Callable[[Execute], dict[bytes, int]]] = Hook("others")


def others_of(execute: Execute) -> dict[bytes, int]:
    """Number and record, concatenated -> person of the number, for all persons but the first."""
    return {key: person for one in OTHERS.each() for key, person in one(execute).items()}
