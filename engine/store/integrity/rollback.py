"""Detect a data folder that was rolled back to an earlier state, by knowledge about its journal elsewhere.

A snapshot of a machine, or a copy of the folder, brings journal and anchor back together. Both agree, every hash is
right, and rows acknowledged since are gone. Only sources outside the folder reveal it: a second anchor, the copies of
the backup, the head of the chain in the log (`engine.runtime.upkeep.other_history`).

A journal that goes on on another machine is such a one, too: the folder of copies names a later incarnation
(`engine.store.operations.incarnation`), which delivers what is open here.

Analyzers go on sending, so such a journal receives and acknowledges. It delivers nothing until a person resumes
deliveries: it does not know which corrections, withdrawals and newer results it had sent, and an older one would
overwrite them. One transaction records the loss (action ``rollback``), leaves the lost numbers unused, marks open
deliveries as maybe delivered and orders that wait as maybe known, suspends patients' consents, and pauses all
deliveries.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hmac import compare_digest

import orjson

from engine.feature import Hook
from engine.model.journal.records import MAYBE_DELIVERED
from engine.store.core.anchor import Mark, Sealing
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import last_number
from engine.store.core.connecting import Execute
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.integrity import looks
from engine.store.operations import audit, incarnation, pauses
from engine.store.operations.incarnation import GO_ON, Incarnation

ON_EARLIER_STATE: Hook[Callable[[Batch, int], object]] = Hook("on_earlier_state")
HISTORY_FROM = "history_from"  # key of the table `meta`: the audit row before which witnesses do not count
WHAT_TO_DO = (
    "let the analyzers send again from then on, correct what is known to be newer elsewhere, then let it deliver: "
    "labrelay resume deliveries --reason TEXT"
)


@dataclass(frozen=True, slots=True)
class Witness:
    """A source outside of the data folder that knows a row of the journal.

    Attributes:
        place: description of the source: "the anchor in /mnt/other".
        mark: ``chain`` is empty where only the number is known.
        sealed: it is an anchor, so it must have the journal's seal.
        incarnation: of the journal, where it has written this; one that only claims the folder of copies knows row 0.
    """

    place: str
    mark: Mark
    sealed: bool = False
    incarnation: Incarnation | None = None


@dataclass(frozen=True, slots=True)
class Rollback:
    """Rows that were acknowledged and are not in the journal.

    Attributes:
        text: the problem, with the range and the witness.
        first, last: the missing row numbers; 0 and 0 where they are unknown.
        later: the incarnation that the journal goes on as.
    """

    text: str
    first: int = 0
    last: int = 0
    later: Incarnation | None = None


def find(execute: Execute, witnesses: Iterable[Witness], journal_id: bytes, seal: Sealing | None) -> Rollback | None:
    """Compare the journal with the witnesses; the one with the highest row determines the range.

    Args:
        seal: `Vault.anchor_seal`, where the key was found: without it the seal of an anchor cannot be checked.
    """
    last_id, since, own = last_number(execute), _history_from(execute), incarnation.of(execute)
    witnesses = list(witnesses)
    later = own.overtaken_by(one.incarnation for one in witnesses if one.incarnation is not None)
    furthest: Witness | None = None
    doubted: Rollback | None = None
    for one in witnesses:
        mark = one.mark
        if mark.journal_id != journal_id or mark.last_id == 0 or mark.last_id < since:
            continue
        if own.claims and one.incarnation is not None and one.incarnation.number < own.number:
            continue  # a person has said that the journal goes on here, and not there
        if one.sealed and seal is not None and not compare_digest(mark.seal, seal(mark.said)):
            doubted = doubted or Rollback(f"{one.place} was not written with this journal's key")
        elif mark.last_id > last_id:
            furthest = one if furthest is None or mark.last_id > furthest.mark.last_id else furthest
        elif doubted is None and (text := _differs(execute, mark)):
            doubted = Rollback(f"{text} ({one.place} knows it): this journal goes on from an earlier state of itself")
    first, last = (0, 0) if furthest is None else (last_id + 1, furthest.mark.last_id)
    if later is not None and (furthest is not None or not incarnation.is_noted(execute, later)):
        # It has the rows that are missing here.
        return Rollback(f"this journal goes on elsewhere, as {later}; here is {own}. {GO_ON}", first, last, later)
    if furthest is None:
        return doubted
    rows = f"row {first} was" if first == last else f"rows {first} to {last} were"
    text = f"{rows} acknowledged and are not in the journal ({furthest.place} knows): its folder was put back, or cut"
    return Rollback(text.replace("was acknowledged and are", "was acknowledged and is"), first, last)


@operation(priority=Priority.SETTLE)
def note(batch: Batch, found: Rollback) -> int:
    """Record it, and pause all deliveries; return the id of the audit row."""
    before = batch.last_id
    what = {"reason": found.text, "first": found.first, "last": found.last, "newest": before}
    act = audit.give_up(batch, "labrelay", "rollback", what, [(found.first, found.last)] if found.last else [])
    begin_history(batch, act)
    pauses.stop_deliveries(batch, act)
    go_on_from_earlier_state(batch, act)
    # A delivery that is open here was open then, and may have been made since.
    batch.execute(
        "UPDATE delivery SET flags = flags | ? WHERE state IN ('waiting', 'sending', 'held', 'dead')",
        (MAYBE_DELIVERED,),
    )
    batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('restored_to', ?)", (before,))
    batch.tail.restored_to = before
    said = orjson.dumps({"act": act, "first": found.first, "last": found.last, "text": found.text})
    batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (pauses.ROLLED_BACK, said))
    if found.later is not None:
        incarnation.note(batch.execute, found.later)
    return act


def go_on_from_earlier_state(batch: Batch, act: int) -> None:
    """What happened after that state is unknown here, and known elsewhere; the row of this act says why."""
    for go_on in ON_EARLIER_STATE.each():
        go_on(batch, act)


def begin_history(batch: Batch, act: int) -> None:
    """Ignore witnesses of rows before ``act`` from now on: they belong to an earlier history."""
    batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (HISTORY_FROM, act))
    looks.forget(batch.execute)


def undecided(execute: Execute) -> Rollback | None:
    """The rollback without a person's decision: all deliveries are still paused."""
    row = execute(
        "SELECT value FROM meta WHERE name = ? AND EXISTS"
        " (SELECT 1 FROM pause WHERE channel = '' AND destination = '')",
        (pauses.ROLLED_BACK,),
    ).fetchone()
    if row is None:
        return None
    said = orjson.loads(row[0])
    return Rollback(said["text"], said["first"], said["last"])


def _history_from(execute: Execute) -> int:
    row = execute("SELECT value FROM meta WHERE name = ?", (HISTORY_FROM,)).fetchone()
    return int(row[0]) if row is not None else 0


def _differs(execute: Execute, mark: Mark) -> str:
    """The error text where the row of a mark differs from the acknowledged one; else empty."""
    row = execute("SELECT chain FROM journal WHERE id = ?", (mark.last_id,)).fetchone()
    if row is not None:
        other = mark.chain and row[0] != mark.chain
        return f"row {mark.last_id} is not the one that was acknowledged under this number" if other else ""
    gap = execute("SELECT 1 FROM gap WHERE first_id <= ? AND last_id >= ?", (mark.last_id, mark.last_id)).fetchone()
    gone = pruned_ranges.around(execute, pruned_ranges.JOURNAL, mark.last_id)
    if gone is not None and gone.last == mark.last_id and mark.chain and gone.chain not in (b"", mark.chain):
        return f"row {mark.last_id} is not the one that was acknowledged under this number"
    if gap is not None or (gone is not None and pruned_ranges.is_vouched_for(execute, gone)):
        return ""
    return f"row {mark.last_id} was acknowledged and is not in the journal"
