"""Erase the stored data of a patient: payloads, documents, notes and lookup entries; numbers, order and chain stay.

A message is found by its patient's number (`engine.store.operations.search_index`). Messages that were never parsed
(unreadable, cut short, repeats, or with more numbers than the index takes) are opened one by one and searched for the
patient's records; where the number occurs anywhere else, a person has to check and name the message.

Erased, for each message:

    its row and its frames          content and notes: an empty content is sealed in their place (`pruned_ranges`)
    its documents                   content, keyed hashes of reports and of conditional keys        the same
    state, deliveries, attempts     details and answers of destinations
    lookup entries                  numbers, repeats, reports, earlier values, line traces
    orders                          content, keyed hashes, words of analyzers; an open one is cancelled

Rows, times, types, sizes, states and reasons stay: they show that something was received and its outcome, and name no
patient. Everything happens in one transaction, with one audit row that has keyed tokens of the patient's numbers.
SQLite overwrites freed space; `engine.store.recovery.compact` then removes what older pages still hold.

Not erased: the audit trail (reasons that people wrote), backups, data at destinations, files elsewhere.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.feature import Hook
from engine.model.content.search_keys import folded
from engine.model.errors import IntegrityError, StoreError
from engine.model.journal.records import KIND_FRAME
from engine.store.core.chain import document_hash, erased_digest
from engine.store.core.checks.pruned_ranges import COMPACT_DUE, DOCUMENT, absence
from engine.store.core.connecting import Execute, reports_of
from engine.store.core.vault import DOCUMENT_KEYS, Vault
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit, emptying, record_outcome, search_index
from engine.store.operations.append import set_state
from engine.store.operations.emptying import ErasedMessage
from engine.store.operations.line_trace import unpack as unpack_line
from engine.store.operations.outbox import decisions

LEFT_OF: Hook[Callable[[Execute, Vault, frozenset[str]], dict[int, bool]]] = Hook("left_of")
FORGETS: Hook[Callable[[Batch, ErasedMessage], int]] = Hook("forgets")
ON_ERASE: Hook[Callable[[Batch, Sequence[int], Sequence[str], int], int]] = Hook("on_erase")

OPENED_AT_ONCE = 100  # messages that one short read searches
_LEAST_DIGITS = 3  # a shorter number occurs everywhere

_PATIENT = re.compile(rb"(?:^|[\r\n\x02\x0b])[0-7]?(PID|MRG|P)([^\w\s])([^\r\n\x03\x17]*)")
_FIELDS = {b"PID": (2, 3, 4), b"MRG": (1,), b"P": (2, 3, 4)}  # positions after a split: PID-2.., MRG-1, P-3..


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message that would be erased.

    Attributes:
        open: it is unfinished: not mapped, dead, or a delivery waits, is under way, held or dead.
        others: it names other patients, too.
        settled_us: the time of its last event.
        gone: it was erased before.
    """

    id: int
    channel: str
    received_us: int
    state: str
    open: bool
    others: bool
    settled_us: int
    gone: bool = False


@dataclass(slots=True)
class PatientData:
    """The stored data of a patient.

    Attributes:
        unsure: messages in which the number occurs, but not in the place of a patient number.
        unreadable: messages that cannot be opened; unknown whether they belong to the patient.
        orders: of the patient by number, also those that no message of the patient brought -> whether each is open.
        edited: messages that a person made from these by editing, or from which these were made: perhaps because the
            patient's number was wrong.
    """

    messages: list[Message] = field(default_factory=list)
    unsure: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    edited: list[int] = field(default_factory=list)
    orders: dict[int, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureResult:
    """The result of an erasure; ``act`` is the audit row."""

    act: int
    messages: int
    frames: int
    documents: int
    closed: int
    values: int
    lines: int


# -- finding ---------------------------------------------------------------------------------------------------------


Snapshot = Callable[[], AbstractContextManager[Execute]]


def find(snapshot: Snapshot, vault: Vault, numbers: Sequence[str], also: Iterable[int] = ()) -> PatientData:
    """Find the patient's stored data by these numbers, with messages that a person names in addition.

    Args:
        snapshot: begins a short read; a daemon may write between two of them, and messages that it has pruned are
            left out.

    Raises:
        StoreError: a named message does not exist.
    """
    wanted = frozenset(filter(None, map(folded, numbers)))
    named = frozenset(also)
    with snapshot() as execute:
        ids = dict.fromkeys(search_index.messages(execute, vault, "patient", wanted))
        never = [one for one in _never_read(execute, vault) if one[0] not in ids]
    found = PatientData()
    for at in range(0, len(never), OPENED_AT_ONCE):
        with snapshot() as execute:
            _open(execute, vault, never[at : at + OPENED_AT_ONCE], wanted, ids, found)
    ids |= dict.fromkeys(named)
    for message_id in sorted(ids):
        with snapshot() as execute:
            try:
                found.messages.append(_message(execute, vault, message_id, wanted))
            except StoreError:
                if message_id in named:
                    raise
    with snapshot() as execute:
        found.unsure = [message_id for message_id in found.unsure if message_id not in ids]
        for left_of in LEFT_OF.each():
            found.orders |= left_of(execute, vault, wanted)
        found.edited = sorted(_edited(execute, ids) - ids.keys() - set(found.unsure))
    return found


def _open(
    execute: Execute,
    vault: Vault,
    never: Iterable[tuple[int, str]],
    wanted: frozenset[str],
    ids: dict[int, None],
    found: PatientData,
) -> None:
    """Search messages without index entries: the patient's go to ``ids``, the others to their lists in ``found``."""
    for message_id, channel in never:
        try:
            payload = _payload(execute, vault, message_id, channel)
        except IntegrityError:
            found.unreadable.append(message_id)
            continue
        if payload is None:
            continue
        if wanted & set(_patients(payload)):
            ids[message_id] = None
        elif any(_stands_in(number, payload) for number in wanted):
            found.unsure.append(message_id)


def _edited(execute: Execute, ids: Iterable[int]) -> set[int]:
    """The other versions of these messages that are not erased yet."""
    return {
        other
        for message_id in ids
        for (other,) in execute(
            "SELECT other FROM (SELECT original AS other FROM edited WHERE message_id = ?1"
            " UNION SELECT message_id FROM edited WHERE original = ?1)"
            " WHERE NOT EXISTS (SELECT 1 FROM erased WHERE what = 'journal' AND number = other)",
            (message_id,),
        ).fetchall()
    }


def _never_read(execute: Execute, vault: Vault) -> Iterator[tuple[int, str]]:
    """Messages that are not in the search index, or may not be."""
    never = execute(
        "SELECT j.id, j.channel FROM journal j LEFT JOIN message_state s ON s.id = j.id WHERE j.kind = 1 AND"
        " (s.state IS NULL OR s.state <> 'mapped') ORDER BY j.id"
    ).fetchall()
    for message_id in search_index.not_all_known(execute, vault):
        never += execute("SELECT id, channel FROM journal WHERE id = ?", (message_id,)).fetchall()
    yield from sorted(set(never))


def _message(execute: Execute, vault: Vault, message_id: int, wanted: frozenset[str]) -> Message:
    row = execute(
        "SELECT j.channel, j.received_us, s.state, s.at_us, EXISTS (SELECT 1 FROM erased WHERE what = 'journal'"
        " AND number = j.id) FROM journal j LEFT JOIN message_state s ON s.id = j.id WHERE j.id = ? AND j.kind = 1",
        (message_id,),
    ).fetchone()
    if row is None:
        raise absence(execute, "message", message_id, vault=vault)
    channel, received_us, state, at_us, gone = row
    states, settled_us = set(), 0
    for delivery, at in execute("SELECT state, settled_us FROM delivery WHERE message_id = ?", (message_id,)):
        states.add(delivery)
        settled_us = max(settled_us, at)
    others = False
    with suppress(IntegrityError):
        if not gone:
            payload = _payload(execute, vault, message_id, channel) or b""
            others = any(not bearer & wanted for bearer in _bearers(payload))
    return Message(
        id=message_id,
        channel=channel,
        received_us=received_us,
        state=state or "stored",
        open=state in (None, "dead", "incomplete") or bool(states & {"waiting", "sending", "held", "dead"}),
        others=others,
        settled_us=max(received_us, at_us or 0, settled_us),
        gone=bool(gone),
    )


def _payload(execute: Execute, vault: Vault, message_id: int, channel: str) -> bytes | None:
    """None where retention has deleted it since it was found."""
    row = execute("SELECT body FROM journal WHERE id = ?", (message_id,)).fetchone()
    return None if row is None else vault.open(row[0], "body", message_id, channel)


def _bearers(payload: bytes) -> Iterator[frozenset[str]]:
    """The numbers of each patient in a text, from the records of HL7 v2 and E1394 alone, however damaged it is."""
    header = re.search(rb"(?:MSH|H)([^\w\s])([^\w\s]{1,5})", payload)
    marks = (header[1] + header[2] if header else b"|\\^&~") + b"^~&\\"
    cut = re.compile(b"[" + re.escape(marks) + b"]")
    for record in _PATIENT.finditer(payload):
        if record[1] == b"MRG":
            continue
        fields = record[0].lstrip(b"\r\n\x02\x0b01234567").split(record[2])
        texts = (
            folded(part.decode("latin-1"))
            for at in _FIELDS[record[1]]
            if at < len(fields)
            for part in cut.split(fields[at])
        )
        if bearer := frozenset(filter(None, texts)):
            yield bearer


def _patients(payload: bytes) -> Iterator[str]:
    for bearer in _bearers(payload):
        yield from bearer


def _stands_in(number: str, content: bytes) -> bool:
    """Whether a number occurs in a text as a word of its own."""
    if len(number) < _LEAST_DIGITS:
        return False
    text = re.escape(number.encode("utf-8", "surrogatepass"))
    return re.search(rb"(?<![0-9A-Za-z])" + text + rb"(?![0-9A-Za-z])", content, re.IGNORECASE) is not None


# -- erasing ---------------------------------------------------------------------------------------------------------


@operation(priority=Priority.SETTLE)
def erase(
    batch: Batch, messages: Sequence[int], numbers: Sequence[str], *, actor: str, reason: str, more: dict[str, Any]
) -> ErasureResult:
    """Erase these messages and everything made from them, in this transaction.

    Args:
        numbers: the patient's; the audit trail gets keyed tokens of them.
        more: further contents of the audit row (the authority, overridden refusals).

    Raises:
        StoreError: there is no such message, or one of its deliveries is being attempted.
    """
    (before,) = batch.execute("PRAGMA secure_delete").fetchone()
    batch.execute("PRAGMA secure_delete = ON")
    try:
        return _erase(batch, messages, numbers, actor=actor, reason=reason, more=more)
    finally:
        batch.execute(f"PRAGMA secure_delete = {('OFF', 'ON', 'FAST')[before]}")


def _erase(
    batch: Batch, messages: Sequence[int], numbers: Sequence[str], *, actor: str, reason: str, more: dict[str, Any]
) -> ErasureResult:
    batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, 1)", (COMPACT_DUE,))
    tokens = [batch.vault.search_token("patient", folded(number)).hex() for number in numbers]
    what = {"messages": list(messages), "patient": tokens, "reason": reason, **more}
    act = audit.note(batch, actor, "erase", what)
    closed = values = 0
    lines = _forget_lines(batch, messages, numbers)
    emptied: list[tuple[str, int, bytes]] = []
    frames = documents = 0
    for message_id in messages:
        row = batch.execute(
            "SELECT j.channel, j.size, s.state FROM journal j LEFT JOIN message_state s ON s.id = j.id"
            " WHERE j.id = ? AND j.kind = 1",
            (message_id,),
        ).fetchone()
        if row is None:
            raise absence(batch.execute, "message", message_id)
        channel, size, state = row
        closed += _close(batch, message_id, channel, size, state)
        values += _forget(batch, message_id, channel, numbers)
        one_frames = _empty_message(batch, message_id, channel, act)
        one_documents = _empty_documents(batch, message_id, channel)
        emptying.empty_notes(batch.execute, message_id)
        frames, documents = frames + len(one_frames) - 1, documents + len(one_documents)
        emptied += one_frames + one_documents
    closed += sum(on_erase(batch, messages, numbers, act) for on_erase in ON_ERASE.each())
    emptying.vouch(batch, emptied, act)
    return ErasureResult(
        act=act, messages=len(messages), frames=frames, documents=documents, closed=closed, values=values, lines=lines
    )


def _close(batch: Batch, message_id: int, channel: str, size: int, state: str | None) -> int:
    """Dismiss all open work of a message in this state: nothing of it can be sent any more."""
    states = dict(batch.execute("SELECT id, state FROM delivery WHERE message_id = ?", (message_id,)).fetchall())
    if "sending" in states.values():
        raise StoreError(f"an attempt to deliver message {message_id} is under way; nothing was erased, try again")
    deliveries = [delivery for delivery, one in states.items() if one in ("waiting", "dead", "held")]
    closed = decisions.dismiss(batch, deliveries, "erased")
    if state is None:
        set_state(batch, message_id, channel, "dismissed", None)
        batch.closes(message_id, channel, size)
        return closed + 1
    return closed + record_outcome.dismiss(batch, [message_id], "erased")


def _forget(batch: Batch, message_id: int, channel: str, numbers: Sequence[str]) -> int:
    """Delete a message's lookup entries; return the number of deleted earlier values."""
    patients = {one.patient for one in reports_of(batch, message_id) if one.patient}
    # In a message with several patients the patient's own entries cannot be identified here.
    person = bool(numbers) and len(patients) <= 1
    message = ErasedMessage(id=message_id, channel=channel, patients=patients, person=person)
    gone = sum(forget(batch, message) for forget in FORGETS.each())
    record_outcome.free(batch, message_id)
    search_index.forget(batch.execute, message_id)
    batch.execute("UPDATE unfinished SET token = x'', bytes = 0 WHERE message_id = ?", (message_id,))
    return gone


def _forget_lines(batch: Batch, messages: Sequence[int], numbers: Sequence[str]) -> int:
    """Delete the line traces of these messages, and other traces of their channels that contain these numbers."""
    sessions: dict[str, set[int]] = {}
    for message_id in messages:
        row = batch.execute("SELECT channel, session FROM journal WHERE id = ?", (message_id,)).fetchone()
        if row is not None:
            sessions.setdefault(row[0], set()).add(row[1])
    gone = []
    for channel, own in sessions.items():
        for row_id, session, sealed in batch.execute(
            "SELECT id, session, content FROM line_trace WHERE channel = ?", (channel,)
        ).fetchall():
            if session and session in own:
                gone.append((row_id,))
                continue
            with suppress(IntegrityError, ValueError):
                opened = batch.vault.open(sealed, "line_trace", row_id, channel)
                content = b"".join(one.data for one in unpack_line(opened))
                if any(_stands_in(folded(number), content) for number in numbers):
                    gone.append((row_id,))
    batch.executemany("DELETE FROM line_trace WHERE id = ?", gone)
    return len(gone)


def _empty_message(batch: Batch, message_id: int, channel: str, act: int) -> list[tuple[str, int, bytes]]:
    """Empty a message's row and those of its frames; (kind, number, digest) of each that was not empty yet."""
    session, sealed = batch.execute("SELECT session, meta FROM journal WHERE id = ?", (message_id,)).fetchone()
    kept: dict[str, Any] = {"peer": "", "id": "", "erased": act}
    with suppress(IntegrityError, ValueError):
        meta = orjson.loads(batch.vault.open(sealed, "meta", message_id, channel))
        names = ("frames", "repeat_of", "equal_to", "rejected_before", "filtered", "incomplete")
        kept |= {name: meta[name] for name in names if name in meta}
    rows = [emptying.empty_row(batch, message_id, {"meta": orjson.dumps(kept)})]
    if session and "frames" in kept:
        first, last = kept["frames"]
        for (frame,) in batch.execute(
            "SELECT id FROM journal WHERE id BETWEEN ? AND ? AND kind = ? AND session = ? AND channel = ? ORDER BY id",
            (first, last, KIND_FRAME, session, channel),
        ).fetchall():
            rows.append(emptying.empty_row(batch, frame, {}))
    return rows


def _empty_documents(batch: Batch, message_id: int, channel: str) -> list[tuple[str, int, bytes]]:
    rows = []
    for document_id, revision, ordinal, media_type, stored in batch.execute(
        "SELECT id, revision, ordinal, media_type, hash FROM document WHERE message_id = ? ORDER BY id", (message_id,)
    ).fetchall():
        sealed = batch.seal(DOCUMENT_KEYS, b"", "document", document_id, channel)
        batch.execute(
            "UPDATE document SET conditional = x'', reports = x'', body = ? WHERE id = ?", (sealed, document_id)
        )
        now = document_hash(document_id, message_id, revision, ordinal, media_type, b"", b"", sealed)
        rows.append((DOCUMENT, document_id, erased_digest(DOCUMENT, document_id, stored, now)))
    return rows
