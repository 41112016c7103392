"""Count results and their turnaround times by day, analyzer and test, for the reports. Messages do not wait for it.

The outcome of a message keeps codes and times of its results in the row of its state, with keyed hashes of their
specimens. The upkeep counts those of some messages at once into ``result_day``, in the order of the journal. What waits
for its delivery is counted later (``result_pending``), so that a day of the past still changes while its messages are
open. The counts stay when retention deletes the messages, and after an erasure.

Each result is counted once, as its message brought it first:

    final        the first final result of a specimen and test in its channel. Only these have turnaround times
    again        a further final one: within a week where the patient's number is the same, else on the same day
    corrected    a correction or a withdrawal
    preliminary  each other one

A message that is processed again, sent again, or edited changes nothing that was counted. An edited message was
received when its original was. ``delivered`` is when the last destination has got it for the first time. It has no such
time where no destination gets it, or where a delivery is still open after 31 days.

Counts of results in a salvage.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import orjson

from engine.features.reports.rules import LONGEST_S, ResultCounts
from engine.model.content.result_times import CORRECTION, FINAL_RESULT, ResultGroup
from engine.model.journal.records import AGAIN
from engine.store.core.sweeping import Step, sweep
from engine.store.core.writing.batch import Batch
from engine.store.operations.emptying import ErasedMessage
from engine.store.recovery.salvage.tables import Part, Tables

COUNTED_AT_ONCE = 32  # messages in one step, and pending ones: six milliseconds, in which no message is committed
BYTES_AT_ONCE = 32_768  # of their results; a message may have a thousand
DAY_US = 86_400_000_000
SEEN_US = 7 * DAY_US  # how long a counted result is remembered
KEPT_DAYS = 800  # of counts: two years and a margin
CODES = 300  # of one channel and day; those beyond are counted as ''
COUNTED = "-"  # a salvage: a message whose state is lost had its results counted before
EVERY = (partial(sweep, table="result_seen", key=("token",)),)
TEST_BYTES = 6  # of the hash of a test: enough for the tests of one specimen
_OPEN = frozenset({"waiting", "sending", "held", "dead"})
_STATE = (
    "SELECT s.id, j.channel, s.results FROM message_state s JOIN journal j ON j.id = s.id WHERE s.id {} ORDER BY s.id"
)

Key = tuple[str, str, str]
"""Day, channel, code."""
Wait = tuple[str, str, int, int]
"""Day, code, received_us, collected_us of a result that is not delivered yet."""


# -- at the outcome --------------------------------------------------------------------------------------------------


def packed(batch: Batch, channel: str, received_us: int, results: Sequence[ResultGroup]) -> bytes:
    """The results of a message as the row of its state keeps them. Specimens and tests may be anything: they are keyed
    hashes."""
    vault = batch.vault
    day = batch.day_of(received_us)
    groups = []
    for one in results:
        token, tests = "", []
        if one.specimen:
            name = "\0".join((channel, one.patient.strip(), one.specimen.strip(), "" if one.patient else day))
            token = vault.search_token("result", name).hex()
            tests = [vault.test_token(test)[:TEST_BYTES].hex() for test in one.tests]
        groups.append((token, one.collected_us, one.resulted_us, one.state, one.codes, tests))
    return orjson.dumps((received_us, groups))


def before_edits(batch: Batch, edited: int) -> tuple[int | None, bool]:
    """When the original of an edited message was received, that of all edits; whether its results are known already."""
    received_us, known = batch.execute(
        "WITH RECURSIVE before(id) AS (SELECT original FROM edited WHERE message_id = ?"
        " UNION ALL SELECT e.original FROM before b JOIN edited e ON e.message_id = b.id)"
        " SELECT (SELECT j.received_us FROM before b JOIN journal j ON j.id = b.id ORDER BY j.id LIMIT 1),"
        " EXISTS (SELECT 1 FROM before b JOIN message_state s ON s.id = b.id WHERE s.results IS NOT NULL)",
        (edited,),
    ).fetchone()
    return received_us, bool(known)


def note(batch: Batch, message_id: int) -> None:
    """Results of a message were put into its state for the first time."""
    if message_id <= batch.counted_to:
        batch.execute("INSERT OR IGNORE INTO result_pending (message_id, waits) VALUES (?, '')", (message_id,))


def note_again(batch: Batch, message_id: int, results: bytes | None) -> None:
    """A message was processed again: what was counted stays."""
    (before,) = batch.execute("SELECT results FROM message_state WHERE id = ?", (message_id,)).fetchone()
    is_counted = message_id <= batch.counted_to and before is not None
    if is_counted or before == results:
        return
    batch.execute("UPDATE message_state SET results = ? WHERE id = ?", (results, message_id))
    if before is None:
        note(batch, message_id)


# -- counting --------------------------------------------------------------------------------------------------------


def step(batch: Batch, pending_at: int) -> Step:
    """Count the results of the next messages, and of the next pending ones behind the one that was looked at last."""
    new: dict[Key, ResultCounts] = {}
    after = batch.counted_to
    rows, more = _few(batch.execute(f"{_STATE.format('> ?')} LIMIT ?", (after, COUNTED_AT_ONCE)).fetchall())
    for message_id, channel, results in rows:
        if results is not None:
            _count(batch, new, message_id, channel, results)
    if rows:
        _set_position(batch, rows[-1][0])
    looked, more_pending = _few(
        batch.execute(
            "SELECT message_id, waits FROM result_pending WHERE message_id > ? ORDER BY message_id LIMIT ?",
            (pending_at, COUNTED_AT_ONCE),
        ).fetchall()
    )
    for message_id, waits in looked:
        _pending(batch, new, message_id, waits, ends=False)
    _add(batch, new)
    batch.execute("DELETE FROM result_day WHERE day < ?", (batch.day_of(batch.steady_us - KEPT_DAYS * DAY_US),))
    return Step(looked[-1][0] if more_pending else 0, more or more_pending)


def _few(rows: list[Any]) -> tuple[list[Any], bool]:
    """As many rows as are counted at once, by the size of their last column; whether there may be more."""
    size = 0
    for taken, row in enumerate(rows, 1):
        size += len(row[-1] or "")
        if size >= BYTES_AT_ONCE:
            return rows[:taken], True
    return rows, len(rows) == COUNTED_AT_ONCE


def finish(batch: Batch, messages: Iterable[int]) -> None:
    """Count what is still to be counted of messages that are about to be deleted or erased."""
    new: dict[Key, ResultCounts] = {}
    for message_id in messages:
        row = batch.execute("SELECT waits FROM result_pending WHERE message_id = ?", (message_id,)).fetchone()
        if row is not None:
            _pending(batch, new, message_id, row[0], ends=True)
        elif message_id > batch.counted_to:
            _pending(batch, new, message_id, "", ends=True)
    _add(batch, new)


def forget(batch: Batch, message: ErasedMessage) -> int:
    """Erase a message's results; their counts stay."""
    finish(batch, [message.id])
    batch.execute("UPDATE message_state SET results = NULL WHERE id = ?", (message.id,))
    batch.execute("DELETE FROM result_seen WHERE message_id = ?", (message.id,))
    return 0


def _set_position(batch: Batch, counted_to: int) -> None:
    batch.execute("INSERT OR REPLACE INTO result_position (id, counted_to) VALUES (1, ?)", (counted_to,))
    batch.counted_to = counted_to


def _pending(batch: Batch, new: dict[Key, ResultCounts], message_id: int, waits: str, *, ends: bool) -> None:
    """Look at a pending message. ``ends``: nothing more will become of it."""
    row = batch.execute(_STATE.format("= ?"), (message_id,)).fetchone()
    if row is None and not ends:  # its state was lost, and it is processed again
        return
    if row is not None and waits not in ("", COUNTED):
        _deliver(batch, new, message_id, row[1], orjson.loads(waits), ends=ends)
        return
    batch.execute("DELETE FROM result_pending WHERE message_id = ?", (message_id,))
    if row is not None and row[2] is not None and not waits:
        _count(batch, new, message_id, row[1], row[2], ends=ends)


def _count(
    batch: Batch, new: dict[Key, ResultCounts], message_id: int, channel: str, results: bytes, *, ends: bool = False
) -> None:
    came_us, groups = orjson.loads(results)
    day = batch.day_of(came_us)
    waits: list[Wait] = []
    for token, collected_us, resulted_us, state, codes, tests in groups:
        seen = _seen(batch, token) if token and state == FINAL_RESULT else set()
        before = len(seen)
        for code, test in zip(codes, tests or [""] * len(codes), strict=True):
            counts = new.setdefault((day, channel, code), ResultCounts())
            if state == CORRECTION:
                counts.corrected += 1
            elif state != FINAL_RESULT:
                counts.preliminary += 1
            elif test in seen:
                counts.again += 1
            else:
                counts.final += 1
                counts.stages["collected-resulted"].note(collected_us, resulted_us)
                counts.stages["resulted-received"].note(resulted_us, came_us)
                waits.append((day, code, came_us, collected_us))
                if test:
                    seen.add(test)
        if len(seen) > before:
            batch.execute(
                "INSERT INTO result_seen (token, message_id, until_us, tests) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET tests = excluded.tests, until_us = excluded.until_us",
                (bytes.fromhex(token), message_id, batch.steady_us + SEEN_US, orjson.dumps(sorted(seen)).decode()),
            )
    if waits:
        _deliver(batch, new, message_id, channel, waits, ends=ends)


def _seen(batch: Batch, token: str) -> set[str]:
    """The tests of a specimen of which a final result was counted."""
    row = batch.execute(
        "SELECT tests FROM result_seen WHERE token = ? AND until_us >= ?", (bytes.fromhex(token), batch.steady_us)
    ).fetchone()
    return set() if row is None else set(orjson.loads(row[0]))


def _deliver(
    batch: Batch, new: dict[Key, ResultCounts], message_id: int, channel: str, waits: Sequence[Wait], *, ends: bool
) -> None:
    """Count the delivery of these results, or let them wait for it."""
    delivered_us = _delivered_us(batch, message_id)
    if delivered_us is None and not ends and waits[0][2] > batch.steady_us - LONGEST_S * 1_000_000:
        known = orjson.dumps(waits).decode()
        batch.execute(
            "INSERT INTO result_pending (message_id, waits) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET waits = excluded.waits WHERE waits <> excluded.waits",
            (message_id, known),
        )
        return
    batch.execute("DELETE FROM result_pending WHERE message_id = ?", (message_id,))
    for day, code, came_us, collected_us in waits:
        stages = new.setdefault((day, channel, code), ResultCounts()).stages
        stages["received-delivered"].note(came_us, delivered_us or 0)
        stages["collected-delivered"].note(collected_us, delivered_us or 0)


def _delivered_us(batch: Batch, message_id: int) -> int | None:
    """When the last of its destinations had a message, or its edit, first; 0: never. None: a delivery is still open."""
    first: dict[int, int] = {}
    for lane, state, settled_us in batch.execute(_DELIVERIES, (message_id, AGAIN)).fetchall():
        if state in _OPEN:
            return None
        if state == "delivered":
            first[lane] = min(settled_us, first.get(lane, settled_us))
    return max(first.values(), default=0)


_DELIVERIES = (
    "WITH RECURSIVE edit(id) AS (VALUES (?1)"
    " UNION ALL SELECT e.message_id FROM edit JOIN edited e ON e.original = edit.id)"
    " SELECT d.lane, d.state, d.settled_us FROM edit JOIN delivery d ON d.message_id = edit.id WHERE NOT d.flags & ?2"
    " UNION ALL SELECT 0, 'waiting', 0 FROM edit LEFT JOIN message_state s ON s.id = edit.id"  # an edit to be mapped
    " WHERE edit.id <> ?1 AND (s.id IS NULL OR s.state = 'dead')"
)


def _add(batch: Batch, new: dict[Key, ResultCounts]) -> None:
    """Add counts to those of their days."""
    known: dict[tuple[str, str], set[str]] = {}
    found: dict[Key, ResultCounts] = {}
    for (day, channel, code), counts in sorted(new.items()):
        if (day, channel) not in known:
            known[day, channel] = _codes(batch, day, channel)
        codes = known[day, channel]
        place = code if code in codes or len(codes) < CODES else ""
        codes.add(place)
        found.setdefault((day, channel, place), ResultCounts()).add(counts)
    for key, counts in found.items():
        if row := batch.execute(_OF_DAY, key).fetchone():
            counts.add(ResultCounts.of_json(orjson.loads(row[0])))
        batch.execute(
            "INSERT OR REPLACE INTO result_day (day, channel, code, changed_us, counts) VALUES (?, ?, ?, ?, ?)",
            (*key, batch.now_us, orjson.dumps(counts.as_json()).decode()),
        )


_OF_DAY = "SELECT counts FROM result_day WHERE day = ? AND channel = ? AND code = ?"


def _codes(batch: Batch, day: str, channel: str) -> set[str]:
    rows = batch.execute("SELECT code FROM result_day WHERE day = ? AND channel = ?", (day, channel)).fetchall()
    return {code for (code,) in rows}


def keep_counted(tables: Tables) -> None:
    """Count no results twice, for the reports.

    They are neither those of a message that is processed again, nor all where it is lost how far they were counted.
    """
    execute = tables.new.execute
    if "result_position" in tables.damaged:
        execute("INSERT OR IGNORE INTO result_position (id, counted_to) SELECT 1, coalesce(max(id), 0) FROM journal")
    execute(
        "INSERT OR IGNORE INTO result_pending (message_id, waits) SELECT j.id, ? FROM journal j"
        " WHERE j.kind = 1 AND j.id <= (SELECT counted_to FROM result_position)"
        " AND NOT EXISTS (SELECT 1 FROM message_state WHERE id = j.id)",
        (COUNTED,),
    )


SALVAGE = Part(again=keep_counted)
