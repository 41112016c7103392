"""Redo what people did after the copy: their decisions, from the audit trail alone, and their erasures.

The daemon writes a state snapshot (`engine.store.recovery.backups.state_snapshot`) with each round of pieces, so there
are later decisions only where a crash came between the two, or where the copies are older than snapshots.

    dismiss, reject    a closed delivery is not sent; where a single one was closed and is unknown here, its message
                       becomes a dead letter: a person decides about all of it
    edit               the original is closed, and the two messages refer to each other
    pause, resume      a pause stays in force
    table-set, -unset, -undo    a correction of a code table stays
    user-..., token-...    a removed or disabled user stays out, a role is the last one, a token stays revoked; the link
                       of a wall screen that has been used opens nothing, so the screen needs a new one; new users,
                       passwords and tokens are in no row of the trail

A released result is held again, a retried one is a dead letter again, a replay is not repeated: each needs a person
once more, and sends nothing meanwhile. A delivery that was set aside is tried again. Of an erased message neither the
content nor anything derived from it comes back.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import orjson

from engine.feature import Hook
from engine.model.content.search_keys import folded
from engine.model.errors import IntegrityError
from engine.model.journal.hashes import unpack_reports
from engine.model.journal.records import KIND_ACT, KIND_MESSAGE
from engine.store.core.chain import ROW_COLUMNS
from engine.store.core.checks import pruned_ranges
from engine.store.core.vault import Vault
from engine.store.operations import emptying, search_index
from engine.store.operations.emptying import ErasedAgain, ErasedMessage
from engine.store.queries.reader import Rows
from engine.store.recovery.backups import increments

Redo = Callable[[sqlite3.Connection, Vault, int, int, dict[str, Any]], object]
"""With the row of the audit trail, when, and what was decided, also ``by`` whom."""
REDONE: Hook[Mapping[str, Redo]] = Hook("redone")
VERBS = ("dismiss", "reject", "edit", "pause", "resume")
_TROUBLE = (IntegrityError, ValueError, AttributeError, TypeError, KeyError)

Act = tuple[int, int, str, dict[str, Any]]  # row, when, verb, what


def acts(connection: sqlite3.Connection, vault: Vault, first: int) -> Iterator[Act]:
    """The decisions from row ``first`` on, in their order."""
    redone = _redone()
    for row_id, at_us, body in connection.execute(
        "SELECT id, received_us, body FROM journal WHERE id >= ? AND kind = ? ORDER BY id", (first, KIND_ACT)
    ).fetchall():
        with suppress(*_TROUBLE):
            act = orjson.loads(vault.open(body, "body", row_id, ""))
            if (verb := act.get("verb")) in VERBS:
                yield row_id, at_us, verb, act["what"]
            elif verb in redone:
                yield row_id, at_us, verb, {**act["what"], "by": act["actor"]}


def closed(act: Act) -> list[int]:
    """The messages that a decision has closed as a whole; none where it concerns something else."""
    _, _, verb, what = act
    with suppress(*_TROUBLE):
        if verb == "edit":
            return [int(what["message"])]
        if verb == "dismiss":
            return [int(message) for message in (what["whole"] if "whole" in what else what["messages"])]
    return []


def in_part(act: Act) -> list[int]:
    """The messages for which a decision closed single deliveries, while others may still have to be made."""
    return sorted(concerned(act) - set(closed(act)))


def concerned(act: Act) -> set[int]:
    """The messages that a decision is about."""
    _, _, verb, what = act
    with suppress(*_TROUBLE):
        if verb in ("dismiss", "reject"):
            return {int(message) for message in what.get("messages", ())}
    return set(closed(act))


def apply(connection: sqlite3.Connection, act: Act, vault: Vault) -> list[int]:
    """Redo a decision about known messages and deliveries; return the messages that it changed."""
    row_id, at_us, verb, what = act
    with suppress(*_TROUBLE):
        if verb in ("pause", "resume"):
            _switch(connection, row_id, at_us, verb, what)
            return []
        if (redo := _redone().get(verb)) is not None:
            redo(connection, vault, row_id, at_us, what)
            return []
        changed = {message for message in concerned(act) if _close(connection, message, verb, what)}
        if verb == "edit":
            connection.execute(
                "INSERT OR IGNORE INTO edited (message_id, original, act) VALUES (?, ?, ?)",
                (int(what["edited"]), int(what["message"]), row_id),
            )
        return sorted(changed)
    return []


def _redone() -> dict[str, Redo]:
    """By verb, how decisions about what features have are done again."""
    return {verb: redo for one in REDONE.each() for verb, redo in one.items()}


def _close(connection: sqlite3.Connection, message: int, verb: str, what: dict[str, Any]) -> bool:
    execute = connection.execute
    old = {"reject": ("held",), "dismiss": ("dead",), "edit": ("dead", "waiting", "sending", "held")}[verb]
    new = "rejected" if verb == "reject" else "dismissed"
    named = {int(one) for one in what.get("deliveries", ())}
    marks = ", ".join("?" * len(old))
    found = execute(
        f"SELECT id, lane, state FROM delivery WHERE message_id = ? AND state IN ({marks})",  # noqa: S608 - question marks
        (message, *old),
    ).fetchall()
    if named:  # the named deliveries were made after the last known state, so these numbers now belong to no delivery
        found = [one for one in found if one[0] in named]
    for delivery, lane, state in found:
        close_delivery(connection, delivery, lane, state, new)
    row = execute(
        "SELECT s.state, j.channel FROM message_state s JOIN journal j ON j.id = s.id WHERE s.id = ?", (message,)
    ).fetchone()
    if verb == "reject" or row is None or row[0] not in ("dead", "incomplete"):
        return bool(found)
    execute("UPDATE message_state SET state = 'dismissed' WHERE id = ?", (message,))
    execute(f"UPDATE channel SET {row[0]} = {row[0]} - 1 WHERE name = ?", (row[1],))  # noqa: S608 - one of two words
    return True


def close_delivery(connection: sqlite3.Connection, delivery: int, lane: int, state: str, new: str) -> None:
    """Close a delivery that is open in ``state``, and take it out of its lane's tallies."""
    tally = "open" if state in ("waiting", "sending") else state
    connection.execute("UPDATE delivery SET state = ? WHERE id = ?", (new, delivery))
    connection.execute(f"UPDATE lane SET {tally} = {tally} - 1 WHERE id = ?", (lane,))  # noqa: S608 - one of three words
    connection.execute("UPDATE lane SET held_by = 0 WHERE id = ? AND held_by = ?", (lane, delivery))


def _switch(connection: sqlite3.Connection, row_id: int, at_us: int, verb: str, what: dict[str, Any]) -> None:
    kind, name = what["what"], str(what["name"])
    channel, _, destination = (
        name.partition("/") if kind == "lane" else ((name, "", "") if kind == "channel" else ("", "", name))
    )
    paused = verb == "pause"
    connection.execute("DELETE FROM pause WHERE channel = ? AND destination = ?", (channel, destination))
    if paused:
        connection.execute(
            "INSERT INTO pause (channel, destination, since_us, act) VALUES (?, ?, ?, ?)",
            (channel, destination, at_us, row_id),
        )
    if kind == "lane":
        connection.execute(
            "INSERT OR IGNORE INTO lane (channel, destination, last_seq, open, dead, held, delivered_us, paused,"
            " held_by) VALUES (?, ?, 0, 0, 0, 0, 0, 0, 0)",
            (channel, destination),
        )
        connection.execute(
            "UPDATE lane SET paused = ? WHERE channel = ? AND destination = ?", (int(paused), channel, destination)
        )


FORGETS_AGAIN: Hook[Callable[[Rows, ErasedAgain], object]] = Hook("forgets_again")


def run(connection: sqlite3.Connection, vault: Vault, content: increments.Content, first: int) -> None:
    """Erase in the new journal the rows that a piece lists as erased.

    Args:
        first: the first row without a state snapshot: from there on messages have no verdict and no deliveries yet.
    """
    execute = connection.execute
    rows = Rows(execute, vault)
    channels: set[str] = set()
    for what, number, _, act in content.erased:
        if what != pruned_ranges.JOURNAL:
            continue
        row = execute("SELECT kind, channel FROM journal WHERE id = ?", (number,)).fetchone()
        if row is None:
            continue
        kind, channel = row
        channels.add(channel)
        if kind == KIND_MESSAGE:
            _forget(rows, number, channel, act, is_known=act < first)
            if number < first:
                _close_work(connection, number, channel)
    # Line traces may contain their numbers, and cannot be searched here: delete those of the channel.
    connection.executemany("DELETE FROM line_trace WHERE channel = ?", [(channel,) for channel in sorted(channels)])
    _put_emptied(connection, content)


def _forget(rows: Rows, message_id: int, channel: str, act: int, *, is_known: bool) -> None:
    """Delete the lookup entries and notes of an erased message, before its documents are emptied. Where the audit row
    is gone or damaged, too much goes rather than too little.
    """
    execute = rows.execute
    packed = execute("SELECT reports FROM document WHERE message_id = ?", (message_id,)).fetchall()
    patients = {one.patient for (reports,) in packed for one in unpack_reports(reports) if one.patient}
    at_us, tokens = _erased_by(rows, act)
    person = (tokens is None or bool(tokens)) and len(patients) <= 1
    one = ErasedAgain(
        message=ErasedMessage(id=message_id, channel=channel, patients=patients, person=person),
        at_us=at_us,
        is_known=is_known,
        is_his=lambda own: tokens is None or _token(rows, own) in tokens,
    )
    for forget in FORGETS_AGAIN.each():
        forget(rows, one)
    search_index.forget(execute, message_id)
    execute("DELETE FROM report WHERE message_id = ?", (message_id,))
    emptying.empty_notes(execute, message_id)


def _token(rows: Rows, number: str) -> str:
    return rows.vault.search_token("patient", folded(number)).hex()


def _erased_by(rows: Rows, act: int) -> tuple[int, frozenset[str] | None]:
    """The time of an erasure, and keyed tokens of the numbers it names; None: its audit row is gone or damaged."""
    at_us, sealed = rows.execute("SELECT received_us, body FROM journal WHERE id = ?", (act,)).fetchone() or (0, b"")
    with suppress(IntegrityError):
        return at_us, frozenset(orjson.loads(rows.vault.open(sealed, "body", act, ""))["what"].get("patient") or ())
    return at_us, None


def _close_work(connection: sqlite3.Connection, message_id: int, channel: str) -> None:
    """Close an erased message: it must not be sent or processed any more, for its documents are empty."""
    execute = connection.execute
    for delivery, lane, state in execute(
        "SELECT id, lane, state FROM delivery WHERE message_id = ? AND state IN ('waiting', 'sending', 'dead', 'held')",
        (message_id,),
    ).fetchall():
        close_delivery(connection, delivery, lane, state, "dismissed")
        execute("UPDATE delivery SET lease = 0 WHERE id = ?", (delivery,))
    row = execute("SELECT state FROM message_state WHERE id = ?", (message_id,)).fetchone()
    state = row[0] if row is not None else "stored"
    if state in ("stored", "dead", "incomplete"):
        execute(
            "INSERT INTO message_state (id, state, reason, at_us, mapping, detail)"
            " SELECT id, 'dismissed', '', received_us, '', x'' FROM journal WHERE id = ?"
            " ON CONFLICT (id) DO UPDATE SET state = 'dismissed'",
            (message_id,),
        )
        execute(f"UPDATE channel SET {state} = {state} - 1 WHERE name = ?", (channel,))  # noqa: S608 - as above


def _put_emptied(connection: sqlite3.Connection, content: increments.Content) -> None:
    for table, columns, rows in (
        ("journal", ROW_COLUMNS, content.emptied_rows),
        ("document", increments.DOCUMENT_COLUMNS, content.emptied_documents),
    ):
        sets = ", ".join(f"{name} = ?" for name in columns.split(", ")[1:])
        update = f"UPDATE {table} SET {sets} WHERE id = ?"  # noqa: S608 - constants
        connection.executemany(update, [(*row[1:], row[0]) for row in rows])
    connection.executemany(
        "INSERT OR IGNORE INTO erased (what, number, record, act) VALUES (?, ?, ?, ?)", content.erased
    )
