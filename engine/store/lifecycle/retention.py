"""Retention: delete old rows that are no longer needed, in small steps, each with a record that proves it was no loss.

A finished message may be deleted once it is old enough: with its frames, documents, deliveries, attempts, the orders
that it made and its own lookup entries. An open, held, dead or incomplete message is never deleted, and neither is a
row that is still needed:

    message     no verdict, dead, incomplete; a delivery that waits, is being sent, held or dead; one of its lanes is
                paused or held; an entry in a short-lived table (repeats, reports) has not expired; an edited message
                made from it still exists; the newest document and the newest delivery of all, from which the next
                numbers count on; an order that it made is open, or its specimen number may still be no other patient's
    audit row   under way; referred to by a gap, a pause, an entry of the to-do list, an operation or
                an edited message; such an order of it
    message     its critical value has been taken by no person: it stays for a year more, also where the journal
                is over its size; then an audit row names it (`engine.store.operations.pruning`)
    record      of an erasure, while one of the rows that it attests exists
    any row     while a person's action is under way (of an operation: its members that are left); the newest row

**The record.** Each step deletes rows in a transaction that also appends a row of kind 4 to the journal: numbered,
chained and anchored like all others. Its ``token`` has 16 bytes for each range that is gone::

    SHA-256("labrelay pruned" | what | first | last | chain value of the last row)[:16]       engine/store/core/chain.py

Table ``pruned`` holds the ranges themselves and the number of that row. A missing number was therefore pruned exactly
where a range covers it *and* the row that the range names is intact and has its digest. Anything else is loss, and this
check needs no key. (With the key it is stronger: the token's own checksum is under the row's seal.) The chain goes on
behind a range from the value that the range keeps. Adjacent ranges become one, attested by the newest record; when a
record is old enough to be deleted, a new one takes its ranges over. Removed documents and deliveries are recorded in
the same way, since their numbers have no gaps either.

**The clock.** Deletion is final, so a clock that was set ahead by years must not make everything old at once. Retention
has a time of its own, which follows the wall clock by `LEAP_US` a walk at most, and by no more than `PACE` times the
time since the last walk (`behind`). After a year without power, retention needs some weeks to catch up; a wrong clock
is noticed before.

**By bytes.** Where the site sets a size and the journal exceeds it, the oldest finished messages are deleted before
their time, but never one younger than ``minimum``.

The file does not shrink: freed space is used again (`labrelay journal compact` returns it to the disk).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from engine.feature import Hook
from engine.model.errors import IntegrityError
from engine.model.journal import records
from engine.model.journal.hashes import unpack_reports
from engine.store.core.connecting import Execute
from engine.store.core.connecting import Rows as Transaction
from engine.store.core.growth import used_bytes
from engine.store.core.moments import DISORDER_US, first_at
from engine.store.core.writing.batch import Batch
from engine.store.operations import audit, bulk
from engine.store.operations.pruning import RECORD_RANGES, PrunableRows, let_go

if TYPE_CHECKING:
    from engine.config.sitewide import RetentionConfig

SECOND_US = 1_000_000
STEP_ROWS = 32  # deletions in one transaction ...
STEP_LOOKS = 400  # ... and rows that it checks, so that remaining rows cost a bounded time, too
DAY_US = 86_400 * SECOND_US
LEAP_US = 7 * DAY_US
PACE = 28  # a leap for each of a day's four walks

VERB = "retention"
ACTOR = "labrelay"
_AGES = ("delivered", "filtered", "dismissed", "audit", "least")
_SETTLED = frozenset({"delivered", "rejected", "dismissed", "superseded"})
_DISMISSED = frozenset({"rejected", "dismissed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The ages (microseconds) at which finished rows are deleted; see `engine.config.sitewide`.

    Attributes:
        least_us: younger rows stay, whatever the size.
        size: bytes of the file that may be in use; None: any.
    """

    delivered_us: int
    filtered_us: int
    dismissed_us: int
    audit_us: int
    least_us: int
    size: int | None = None

    @classmethod
    def of(cls, config: "RetentionConfig") -> "Policy":
        return cls(size=config.size, **{f"{name}_us": round(getattr(config, name) * SECOND_US) for name in _AGES})

    @property
    def shortest_us(self) -> int:
        """The age below which no row is deleted."""
        shortest = min(self.delivered_us, self.filtered_us, self.dismissed_us, self.audit_us)
        return min(shortest, self.least_us) if self.size is not None else shortest

    def later_by(self, behind_us: int) -> "Policy":
        """The same, where retention's own time is that much behind the wall clock."""
        return replace(self, **{f"{name}_us": getattr(self, f"{name}_us") + behind_us for name in _AGES})


class Rows(Transaction, Protocol):
    """The input of a check: one transaction, and its time."""

    @property
    def now_us(self) -> int: ...


class Need(NamedTuple):
    """What a feature says of a row of the journal.

    Attributes:
        changed_us: when what was made of the row has changed last: its age counts from then.
        why: why it stays, for people; empty: it may go.
        for_us: how long it stays for that beyond its age; 0: as long as it is so.
    """

    changed_us: int = 0
    why: str = ""
    for_us: int = 0


KEEPS: Hook[Callable[[Rows, int, int], Need]] = Hook("keeps")
ON_WALK: Hook[Callable[[Batch, int], object]] = Hook("on_walk")


@dataclass(slots=True)
class RetentionWalk:
    """One walk over the journal, from its oldest row to the newest that can be old enough.

    Attributes:
        position: the row that was checked last.
        until: the row at which the walk ends.
        act: its audit row; 0 before the first deletion.
        gone: deleted ``messages``, ``frames``, ``acts``, ``records``, ``bytes``, and ``early``: messages deleted for
            size.
        behind_us: how far retention's time is behind the wall clock.
    """

    position: int = 0
    until: int = 0
    act: int = 0
    gone: Counter[str] = field(default_factory=Counter)
    finished: bool = False
    behind_us: int = 0


# -- one step ------------------------------------------------------------------------------------------------------


def start(rows: Rows, *, policy: Policy) -> RetentionWalk:
    """Begin a new walk."""
    behind_us = behind(rows.execute, rows.now_us)
    # Rows are out of order in time by at most the disorder; each row's own time is compared as well.
    bound = first_at(rows.execute, rows.now_us - policy.later_by(behind_us).shortest_us + DISORDER_US)
    return RetentionWalk(until=bound - 1, behind_us=behind_us)


def behind(execute: Execute, now_us: int) -> int:
    """How far retention's own time is behind the wall clock, from the notes of the last walk."""
    row = execute("SELECT value FROM meta WHERE name = 'retention_clock'").fetchone()
    if row is None:
        return 0
    said = orjson.loads(row[0])
    passed_us = max(now_us - said["at_us"], 0)
    own_us = min(now_us, said["own_us"] + min(LEAP_US, PACE * passed_us))
    return now_us - int(own_us)


def step(batch: Batch, *, policy: Policy, run: RetentionWalk, limit: int = STEP_ROWS) -> RetentionWalk:
    """Delete a few rows; return the state of the walk after the commit.

    The first step with a deletion writes the audit row of the start, the last step that of the end.
    """
    if _busy(batch.execute, run.act):
        return run
    policy = policy.later_by(run.behind_us)
    if not run.position:
        own = orjson.dumps({"at_us": batch.now_us, "own_us": batch.now_us - run.behind_us}).decode()
        batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('retention_clock', ?)", (own,))
    _forget_lines(batch, policy)
    for go_on in ON_WALK.each():
        go_on(batch, batch.now_us - policy.filtered_us)
    found = find_prunable(batch, policy, run.position, run.until, newest=batch.last_id, limit=limit)
    finished = found.position >= run.until
    run = RetentionWalk(found.position, run.until, run.act, run.gone.copy(), finished, run.behind_us)
    if found.rows:
        if not run.act:
            run.act = audit.begin(batch, ACTOR, VERB, {"up_to": run.until})
        let_go(batch, found)
        run.gone.update(found.counts)
    if run.finished:
        finish(batch, run)
    return run


def finish(batch: Batch, run: RetentionWalk, *, stopped: bool = False) -> None:
    """Write the end of a walk that has deleted rows."""
    if run.act:
        outcome: dict[str, Any] = dict(run.gone)
        if stopped:
            outcome["stopped"] = True
        audit.end(batch, run.act, outcome)
        last = orjson.dumps({"at_us": batch.now_us, **outcome}).decode()
        batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('retention', ?)", (last,))


def find_prunable(rows: Rows, policy: Policy, after: int, until: int, *, newest: int, limit: int) -> PrunableRows:
    """Find rows behind ``after`` that may be deleted: at most ``limit`` of them, with `STEP_LOOKS` checks."""
    execute = rows.execute
    found = PrunableRows(after)
    acted_on = bulk.members_left(execute)
    if acted_on is None:
        return found  # the operation will be ended for it
    ranges = 0
    over = over_size(execute, policy)
    for row_id, kind, channel, received_us, session, size, token, chain in execute(
        "SELECT id, kind, channel, received_us, session, size, token, chain FROM journal WHERE id > ? AND id <= ?"
        " ORDER BY id LIMIT ?",
        (after, min(until, newest - 1), STEP_LOOKS),
    ).fetchall():
        found.position, found.looked = row_id, found.looked + 1
        if kind == records.KIND_MESSAGE:
            if row_id in acted_on:
                found.kept["acted on"] += 1
                continue
            early = _judge(rows, policy, row_id, received_us, token, over, found.kept)
            if early is None:
                continue
            frames = _frames(rows, row_id, channel, session)
            if frames is None:
                found.kept["damaged"] += 1
                continue
            found.messages.append(row_id)
            found.rows.update(frames)
            found.rows[row_id] = chain
            found.counts.update(messages=1, early=int(early), frames=len(frames), bytes=size)
        elif kind in (records.KIND_ACT, records.KIND_PRUNED, records.KIND_ERASED):
            if received_us >= rows.now_us - policy.audit_us or _needed(execute, row_id):
                continue
            needs = _needs(rows, row_id, kind)
            if any(one.why or one.changed_us >= rows.now_us - policy.audit_us for one in needs):
                continue
            found.rows[row_id] = chain
            found.counts["acts" if kind == records.KIND_ACT else "records"] += 1
            if kind == records.KIND_PRUNED:
                found.records.append(row_id)
                ranges += execute("SELECT count(*) FROM pruned WHERE record = ?", (row_id,)).fetchone()[0]
        if len(found.rows) >= limit or ranges >= RECORD_RANGES:
            return found
    if found.looked < STEP_LOOKS:
        found.position = until
    return found


def survey(rows: Rows, *, policy: Policy, newest: int) -> PrunableRows:
    """Preview: the rows that a walk would delete now, and the reasons why others of that age stay; changes nothing.

    Where the journal exceeds its size, this counts all messages that may be deleted for it, even those beyond the
    limit.
    """
    run, found = start(rows, policy=policy), PrunableRows(0)
    policy, found.behind_us = policy.later_by(run.behind_us), run.behind_us
    while found.position < run.until:
        part = find_prunable(rows, policy, found.position, run.until, newest=newest, limit=STEP_LOOKS)
        if part.position == found.position:
            break
        found.position = part.position
        found.counts.update(part.counts)
        found.kept.update(part.kept)
    return found


def over_size(execute: Execute, policy: Policy) -> bool:
    """Whether more of the file is in use than the site allows."""
    return policy.size is not None and used_bytes(execute) > policy.size


# -- rows that may be deleted --------------------------------------------------------------------------------------


def _busy(execute: Execute, own: int) -> bool:
    """Whether an action is under way that may concern any message. An operation concerns its own members alone."""
    return (
        execute(
            "SELECT 1 FROM open_act WHERE id <> ? AND id NOT IN (SELECT number FROM operation WHERE stage = 'running')"
            " LIMIT 1",
            (own,),
        ).fetchone()
        is not None
    )


def _judge(
    rows: Rows, policy: Policy, message_id: int, received_us: int, token: bytes, over: bool, kept: Counter[str]
) -> bool | None:
    """Whether a message may be deleted: None: it stays; True: it is deleted before its time."""
    execute, now_us = rows.execute, rows.now_us
    if received_us > now_us - policy.shortest_us:
        return None
    state = execute("SELECT state, at_us FROM message_state WHERE id = ?", (message_id,)).fetchone()
    if state is None or state[0] not in ("mapped", "filtered", "dismissed"):
        kept[state[0] if state else "stored"] += 1
        return None
    deliveries = execute(
        "SELECT d.id, d.state, d.settled_us, l.paused OR l.held_by"
        " OR EXISTS (SELECT 1 FROM pause p WHERE p.destination = l.destination)"
        " FROM delivery d JOIN lane l ON l.id = d.lane WHERE d.message_id = ?",
        (message_id,),
    ).fetchall()
    for _, one, _, stopped in deliveries:
        if one not in _SETTLED or stopped:
            kept["lane stopped" if one in _SETTLED else one] += 1
            return None
    states = {one for _, one, _, _ in deliveries}
    if state[0] == "filtered":
        age_us = policy.filtered_us
    elif state[0] == "dismissed" or states & _DISMISSED:
        age_us = policy.dismissed_us
    else:
        age_us = policy.delivered_us
    needs = _needs(rows, message_id, records.KIND_MESSAGE)
    changes = (*(one.changed_us for one in needs), *(settled_us for _, _, settled_us, _ in deliveries))
    last_us = max(received_us, state[1], *changes)
    for one in needs:
        if one.why and (not one.for_us or last_us >= now_us - age_us - one.for_us):
            kept[one.why] += 1
            return None
    early: bool = last_us >= now_us - age_us
    if early and not (over and last_us < now_us - policy.least_us):
        return None
    if (
        _remembered(execute, message_id, token, now_us)
        or _counted_from(execute, message_id, deliveries)
        or execute("SELECT 1 FROM edited WHERE original = ?", (message_id,)).fetchone()
    ):
        kept["still needed"] += 1
        return None
    return early


def _needs(rows: Rows, row_id: int, kind: int) -> list[Need]:
    """What the features say of a row; first what keeps it without an end."""
    return sorted((keeps(rows, row_id, kind) for keeps in KEEPS.each()), key=lambda one: one.for_us)


def _remembered(execute: Execute, message_id: int, token: bytes, now_us: int) -> bool:
    """Whether a short-lived table still names the message: as the first of repeats, or as the owner of a report."""
    if execute(
        "SELECT 1 FROM repeat WHERE token = substr(?, 1, 24) AND message_id = ? AND until_us >= ?",
        (token, message_id, now_us),
    ).fetchone():
        return True
    for (packed,) in execute(
        "SELECT reports FROM document WHERE message_id = ? AND reports <> x''", (message_id,)
    ).fetchall():
        for report in unpack_reports(packed):
            if execute(
                "SELECT 1 FROM report WHERE key = ? AND message_id = ? AND until_us >= ? LIMIT 1",
                (report.key, message_id, now_us),
            ).fetchone():
                return True
    return False


def _counted_from(execute: Execute, message_id: int, deliveries: Sequence[tuple[Any, ...]]) -> bool:
    """Whether the message has the newest document or delivery of all: a number is never given twice."""
    newest = execute("SELECT max(id) FROM delivery").fetchone()[0]
    if any(delivery[0] == newest for delivery in deliveries):
        return True
    owner = execute("SELECT message_id FROM document ORDER BY id DESC LIMIT 1").fetchone()
    return owner is not None and owner[0] == message_id


def _frames(rows: Rows, message_id: int, channel: str, session: int) -> dict[int, bytes] | None:
    """The frames of a message, with their chain values; None where the row does not list them."""
    if not session:
        return {}
    sealed = rows.execute("SELECT meta FROM journal WHERE id = ?", (message_id,)).fetchone()[0]
    try:
        first, last = orjson.loads(rows.vault.open(sealed, "meta", message_id, channel)).get("frames", (0, -1))
    except (IntegrityError, ValueError, AttributeError):
        return None
    return dict(
        rows.execute(
            "SELECT id, chain FROM journal WHERE id BETWEEN ? AND ? AND kind = ? AND session = ? AND channel = ?",
            (first, last, records.KIND_FRAME, session, channel),
        ).fetchall()
    )


def _needed(execute: Execute, row_id: int) -> bool:
    """Whether another row still refers to an audit row."""
    return any(
        execute(query, (row_id,)).fetchone()
        for query in (
            "SELECT 1 FROM open_act WHERE id = ?",
            "SELECT 1 FROM gap WHERE act = ? LIMIT 1",
            "SELECT 1 FROM edited WHERE act = ? LIMIT 1",
            "SELECT 1 FROM pause WHERE act = ? LIMIT 1",
            "SELECT 1 FROM operation WHERE number = ?",
            "SELECT 1 FROM erased WHERE record = ? LIMIT 1",
        )
    )


def _forget_lines(batch: Batch, policy: Policy) -> None:
    """Delete old line traces: those of a quiet channel would otherwise outlive its messages."""
    batch.execute(
        "DELETE FROM line_trace WHERE id IN (SELECT id FROM line_trace ORDER BY id LIMIT ?) AND began_us < ?",
        (STEP_ROWS, batch.now_us - policy.delivered_us),
    )
