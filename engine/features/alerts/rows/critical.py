"""Critical values: which message rings, and until when. The judge says which results a message has a word about
(`rules.critical`), and its deliveries say who has it.

An alert is open while a receiver shows its value, or is to get it: a message with it went there, waits, or is held, and
no later word of the same result has gone there. A part of a message that waits for a person is no such word; nor is one
that its receiver refused; of a parted document the part with the result counts. A person who rejects all of a message,
or that part, ends its alert, too. What ended is open again where the value is shown all the same: it is sent, or the
later word is given up.
"""

from collections.abc import Collection, Iterable, Sequence

from engine.features.alerts.rows.changes import CRITICAL_KEY, note_critical, raise_call
from engine.features.alerts.rules.critical import Word
from engine.store.core.writing.batch import Batch
from engine.succession.judge.words import Ref

_DELIVERIES = (
    "SELECT d.lane, o.ordinal, l.destination, d.state FROM delivery d JOIN lane l ON l.id = d.lane"
    " JOIN document o ON o.id = d.document_id WHERE d.message_id = ?"
    " AND o.id NOT IN (SELECT value FROM json_each(?)) ORDER BY d.id"
)
_NOTE = (
    "INSERT INTO critical_result (message_id, of_message, of_place, alert, lacking) VALUES (?1, ?2, ?3, ?4, coalesce("
    "(SELECT lacking FROM critical_result WHERE message_id = ?1 AND of_message = ?2 AND of_place = ?3),"
    " (SELECT json_group_array(id) FROM document WHERE message_id = ?1 AND ordinal IN (SELECT value FROM json_each(?5))"
    " AND revision = (SELECT max(revision) FROM document WHERE message_id = ?1))))"
)
_OUT = frozenset({"waiting", "sending", "delivered"})
_CLOSED = frozenset({"rejected", "superseded"})
_NOWHERE = frozenset({""})  # where a message without a receiver is
_OF_RESULT = "of_message = ? AND of_place = ?"


def note(
    batch: Batch, message_id: int, channel: str, words: Sequence[Word], lacks: Sequence[Collection[int]] = ()
) -> None:
    """A message has its outcome, and its deliveries. ``lacks``: of each document, as of `Routed`."""
    before = _refs(batch, message_id)
    batch.execute(
        "DELETE FROM critical_result WHERE message_id = ?1 OR (alert = ?1 AND message_id < ?1)", (message_id,)
    )
    alerts = {word.ref: _rang_before(batch, word) for word in words}
    rings = any(word.critical and not (word.echo or alerts[word.ref]) for word in words)
    if rings:
        note_critical(batch, message_id, channel)
    batch.executemany(
        _NOTE,
        [
            (message, *word.ref, alerts[word.ref] or word.critical * message_id, str(lacking))
            for word in words
            for lacking in ([nth for nth, places in enumerate(lacks, 1) if word.place in places and not word.echo],)
            if rings or not word.echo  # a message that rings does so for all that it has
            for message in (word.repeats if word.echo else (message_id,))
        ],
    )
    _follow(batch, {*before, *alerts})


def decided(batch: Batch, message_id: int) -> None:
    """A delivery of a message was released, rejected, closed or given up."""
    if batch.notes_critical:
        _follow(batch, _refs(batch, message_id))


def _refs(batch: Batch, message_id: int) -> list[Ref]:
    sql = "SELECT of_message, of_place FROM critical_result WHERE message_id = ?"
    return batch.execute(sql, (message_id,)).fetchall()


def _rang_before(batch: Batch, word: Word) -> int:
    """The alert of the same value; 0: none."""
    sql = (
        "SELECT alert FROM critical_result JOIN critical_value c ON c.message_id = alert"  # noqa: S608 - a constant
        f" WHERE {_OF_RESULT} AND critical_result.message_id = ?"
    )
    rows = (batch.execute(sql, (*word.ref, message)).fetchone() for message in word.repeats if not word.echo)
    return next((row[0] for row in rows if row is not None), 0)


def _follow(batch: Batch, refs: Iterable[Ref]) -> None:
    """Alerts of these results end, or are open again."""
    sql = f"SELECT alert FROM critical_result WHERE {_OF_RESULT} AND alert > 0"  # noqa: S608 - a constant
    for alert in sorted({alert for ref in refs for (alert,) in batch.execute(sql, ref).fetchall()}):
        row = batch.execute("SELECT channel, over_us FROM critical_value WHERE message_id = ?", (alert,)).fetchone()
        if row is None:  # its message was deleted
            continue
        is_live, by = _state(batch, alert)
        if is_live and row[1]:
            _begin_again(batch, alert, row[0])
        elif not (is_live or row[1]):
            _end(batch, alert, by)


def _state(batch: Batch, alert: int) -> tuple[bool, int]:
    """Whether a value of an alert is shown somewhere; and the newest message that says another, 0 without any."""
    sql = f"SELECT message_id, lacking FROM critical_result WHERE {_OF_RESULT} AND message_id > ?"  # noqa: S608
    is_live, by = False, 0
    words = "SELECT of_message, of_place, message_id, lacking FROM critical_result WHERE alert = ?"
    for *word, lacking in batch.execute(words, (alert,)).fetchall():
        shown, _ = _receivers(batch, word[-1], lacking)
        for later, without in batch.execute(sql, word).fetchall():
            _, out = _receivers(batch, later, without)
            shown, by = shown - out, max(by, later * bool(out))
        is_live = is_live or bool(shown)
    return is_live, by


def _receivers(batch: Batch, message_id: int, lacking: str) -> tuple[frozenset[str], frozenset[str]]:
    """Who has a message without those documents, or is to get it; and to whom all of it goes out."""
    rows = batch.execute(_DELIVERIES, (message_id, lacking)).fetchall()
    if not rows:
        return _NOWHERE, _NOWHERE
    shown = frozenset(destination for *_, destination, state in rows if state not in _CLOSED)
    newest = {(lane, ordinal): (destination, state) for lane, ordinal, destination, state in rows}
    out = {destination for destination, state in newest.values() if state in _OUT}
    return shown, frozenset(out.difference(at for at, state in newest.values() if state not in {*_OUT, "superseded"}))


def _end(batch: Batch, alert: int, by: int) -> None:
    """It is for a person again; an alert that one has taken may be kept up to the next look."""
    batch.execute(
        "UPDATE critical_value SET over_us = ?, over_by = ?, taken_us = 0, taken = 0 WHERE message_id = ?",
        (batch.now_us, by, alert),
    )
    over = "UPDATE critical_call SET over_us = ? WHERE message_id = ? AND taken_us = 0"
    batch.execute(over, (batch.now_us, alert))
    batch.execute("UPDATE alert SET taken_us = 0, taken = 0 WHERE key = ?", (CRITICAL_KEY.format(alert),))


def _begin_again(batch: Batch, alert: int, channel: str) -> None:
    batch.execute(
        "UPDATE critical_value SET over_us = 0, over_by = 0, taken_us = 0, taken = 0 WHERE message_id = ?", (alert,)
    )
    batch.execute("DELETE FROM alert WHERE key = ?", (CRITICAL_KEY.format(alert),))  # it starts anew
    raise_call(batch, alert, channel)
