"""Explain why a number of the journal has no message: a lost one must not look like one that never came.

Numbers are given without gaps. A number below the newest without a row was pruned by retention
(`engine.store.core.checks.pruned_ranges`), or given up by a person (table ``gap``: a salvage, a restore, an accepted
loss), or its row is missing: a damaged page.
"""

import orjson

from engine.model.errors import AbsentError, IntegrityError, StoreError
from engine.model.journal import records
from engine.model.process.clock import from_us
from engine.model.texts.phrases import N_, Said
from engine.store.core.anchor import Mark
from engine.store.core.checks import pruned_ranges
from engine.store.core.rows import Execute
from engine.store.core.vault import Vault

NO_MESSAGE = N_("there is no message {n}")
LET_GO = N_("message {n} is not kept any longer: retention deleted it on {day}")
_OTHERS = {
    records.KIND_FRAME: "a frame",
    records.KIND_ACT: "an entry of the audit trail",
    records.KIND_PRUNED: "a record of rows that retention deleted",
    records.KIND_ERASED: "a record of erased rows",
}


def absence(
    execute: Execute, kind: str, row_id: int, *, vault: Vault | None = None, mark: Mark | None = None
) -> StoreError:
    """The error for a number without a message (or row): an `IntegrityError` where the row is missing.

    Args:
        kind: ``message`` or ``row``, for the text.
        vault: the keys; with them the error also names how a lost number was lost.
        mark: of the anchor, where it is known; read *before* the snapshot was taken, as in
        `engine.store.core.checks.loss`.

    Raises:
        sqlite3.Error: the journal cannot be read.
    """
    row = execute("SELECT kind FROM journal WHERE id = ?", (row_id,)).fetchone()
    if row is not None:
        return AbsentError(
            f"there is no {kind} {row_id}: this is the number of {_OTHERS.get(row[0], 'something else')}"
        )
    let_go = pruned_ranges.around(execute, pruned_ranges.JOURNAL, row_id)
    if let_go is not None:
        at = execute("SELECT received_us FROM journal WHERE id = ?", (let_go.record,)).fetchone()
        if kind == "message" and at is not None:
            return AbsentError(Said(LET_GO, n=row_id, day=f"{from_us(at[0]):%Y-%m-%d}"))
        return AbsentError(f"{kind} {row_id} is not kept any longer: retention deleted it")
    gap = execute(
        "SELECT first_id, last_id, act FROM gap WHERE first_id <= ? AND last_id >= ?", (row_id, row_id)
    ).fetchone()
    if gap is not None:
        first, last, act = gap
        verb, how = _told(execute, vault, act)
        numbers = f"the number {first}" if first == last else f"the numbers {first} to {last}"
        listed = f"labrelay audit list{f' --act {verb}' if verb else ''}"
        return StoreError(
            f"{kind} {row_id} is not here: the row with {numbers} {how}; "
            f"entry {act} of the audit trail says who noted that, and why ({listed})"
        )
    if 0 < row_id <= _newest(execute, mark):
        return IntegrityError(
            f"{kind} {row_id} is missing: its number was given, and no record says that it was deleted. "
            "labrelay verify shows what is damaged"
        )
    return AbsentError(
        Said(NO_MESSAGE, n=row_id) if kind == "message" else f"there is no {kind} {row_id} in the journal"
    )


def _newest(execute: Execute, mark: Mark | None) -> int:
    """The newest number that was given, according to the journal and its anchor."""
    newest, journal_id = execute(
        "SELECT coalesce(max(id), 0), (SELECT value FROM meta WHERE name = 'journal_id') FROM journal"
    ).fetchone()
    return max(newest, mark.last_id) if mark is not None and mark.journal_id == journal_id else int(newest)


def _told(execute: Execute, vault: Vault | None, act: int) -> tuple[str, str]:
    """The verb of the action behind a gap, and a text on how its numbers were lost; an empty verb where it cannot be
    opened.
    """
    row = execute("SELECT body FROM journal WHERE id = ?", (act,)).fetchone()
    if vault is None or row is None:
        return "", "was lost"
    try:
        content = orjson.loads(vault.open(row[0], "body", act, ""))
    except (IntegrityError, ValueError):
        return "", "was lost"
    if content["verb"] == "salvage":
        return "salvage", "was lost with damaged pages"
    if content["verb"] == "restore" and not content["what"]["known"]:
        return "restore", "came after the backup that was restored, if it came at all"
    if content["verb"] == "restore":
        return "restore", "was lost: it is not in the backup that was restored"
    return content["verb"], "was lost, and a person has accepted that"
