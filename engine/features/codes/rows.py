"""The tables of this feature, with all of its SQL.

The table of corrections of code tables.

Corrections of code tables (`engine.model.site.corrections`): rows are added and never changed.

The row has the person's name and reason itself, sealed: the history of a code outlasts the rows of the audit trail.

Read the corrections of code tables.

Verify the corrections of code tables.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import orjson

from engine.feature import Table
from engine.model.errors import IntegrityError, RefusedError
from engine.model.journal.records import KIND_ACT
from engine.model.site.corrections import Correction, RowChange
from engine.store.core.vault import NOTE_KEYS, Vault
from engine.store.core.writing.batch import Batch, month_of
from engine.store.core.writing.operation import Priority, operation
from engine.store.integrity.row_check import Finding
from engine.store.operations import audit
from engine.store.queries.acts import act_of
from engine.store.queries.reader import Reader

TABLES = (Table(name="correction", sealed="SELECT 'correction', version, '', text FROM correction"),)


COLUMN = "correction"  # the place of a sealed text, with its version
MOST = 20_000  # rows, each of at most some kB
_TEXT = ("channel", "table", "key", "cells", "covers", "beside", "undoes", "reason", "by")
VERBS = ("table-set", "table-unset", "table-undo")
_INSERT = "INSERT INTO correction (version, act, at_us, text) VALUES (?, ?, ?, ?)"


@operation(priority=Priority.SETTLE)
def add(batch: Batch, change: RowChange, actor: str, *, version: int) -> int:
    """Add a correction; return its version.

    Args:
        version: of the corrections that the person has seen.

    Raises:
        RefusedError: there is another one since, or there are too many.
    """
    (now,) = batch.execute("SELECT coalesce(max(version), 0) FROM correction").fetchone()
    raise_if_changed(now, version)
    if now >= MOST:
        raise RefusedError(f"there are {now} corrections, which is the most: put them into files of the site")
    what = {
        "channel": change.channel,
        "table": change.table,
        "key": dict(change.key),
        "cells": dict(change.cells),
        "covers": dict(change.covers),
        "beside": {key: dict(cells) for key, cells in change.beside.items()},
    }
    undone = {"undoes": change.undoes} if change.undoes else {}
    act = audit.note(
        batch, actor, "table-undo" if undone else "table-set" if change.cells else "table-unset",
        {"version": now + 1, **what, **undone, "reason": change.reason},
    )  # fmt: skip
    text = orjson.dumps(content({**what, "undoes": change.undoes, "reason": change.reason, "by": str(actor)}))
    batch.execute(_INSERT, (now + 1, act, batch.now_us, batch.seal(NOTE_KEYS, text, COLUMN, now + 1, "")))
    return int(now) + 1


def add_again(connection: sqlite3.Connection, vault: Vault, act: int, at_us: int, what: Mapping[str, Any]) -> None:
    """Add a correction of which a backup has the row of the audit trail alone.

    Args:
        what: of that row, with the person's name as ``by``.
    """
    version = int(what["version"])
    sealed = vault.sealer(NOTE_KEYS, month_of(at_us)).seal(orjson.dumps(content(what)), COLUMN, version, "")
    connection.execute(f"{_INSERT} ON CONFLICT DO NOTHING", (version, act, at_us, sealed))


REDONE = dict.fromkeys(VERBS, add_again)


def content(what: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a correction that its sealed text has.

    Args:
        what: of its row of the audit trail, with the person's name as ``by``.
    """
    return {name: {"undoes": 0, **what}[name] for name in _TEXT}


def raise_if_changed(now: int, seen: int) -> None:
    """Raises RefusedError where the newest version is not the one that a person has seen."""
    if now != seen:
        raise RefusedError(f"the corrections have changed meanwhile (version {seen} to {now}): look at them again")


def list_corrections(reader: Reader, lost: Callable[[int], None] | None = None) -> list[Correction]:
    """All that were ever made, oldest first. Of a damaged one its row of the audit trail is read.

    Args:
        lost: called with the version of each that cannot be read so either, or is missing; it is left out.

    Raises:
        ConfigError: there are some, and the key of the journal is not at hand.
        IntegrityError: one of them is damaged, or of a form that is not known: which rows decide is unknown then.
    """
    found: dict[int, Correction] = {}
    newest = 0
    for row in reader.rows("SELECT version, act, at_us, text FROM correction ORDER BY version"):
        newest, act, at_us, sealed = row
        text: dict[str, Any] | None
        try:
            text = content(orjson.loads(reader.vault.open(sealed, COLUMN, newest, "")))
        except (IntegrityError, KeyError) as error:
            text = _in_trail(reader, newest, act)
            if text is None and lost is None:
                raise IntegrityError(f"correction {newest} of the code tables cannot be read") from error
        if text is not None:
            found[newest] = Correction(version=newest, act=act, at_us=at_us, **text)
    if lost is not None:
        for version in range(1, newest + 1):
            if version not in found:
                lost(version)
    return list(found.values())


def _in_trail(reader: Reader, version: int, act: int) -> dict[str, Any] | None:
    """What the audit trail has of a correction; None: its row is gone, damaged, or about something else."""
    for row in reader.rows("SELECT id, received_us, body FROM journal WHERE id = ? AND kind = 3", (act,)):
        with suppress(IntegrityError, KeyError):  # it is damaged, or of another form
            said = act_of(reader, row)
            if said.verb in VERBS and said.what["version"] == version:
                return content({**said.what, "by": said.actor})
    return None


def missing_corrections(connection: sqlite3.Connection, vault: Vault | None) -> Iterator[Finding]:
    """Corrections of code tables that the audit trail names and that are missing: also the newest, of which the numbers
    that are left say nothing.
    """
    if vault is None:
        return
    there = {version for (version,) in connection.execute("SELECT version FROM correction")}
    for row_id, sealed in connection.execute("SELECT id, body FROM journal WHERE kind = ? ORDER BY id", (KIND_ACT,)):
        with suppress(IntegrityError):  # the check of the journal's rows names it
            act = orjson.loads(vault.open(sealed, "body", row_id, ""))
            if act.get("verb") in VERBS and (version := act["what"]["version"]) not in there:
                text = f"correction {version} of the code tables is missing; row {row_id} of the audit trail has it"
                yield Finding("missing", "correction", version, version, text)


CHECKS = {"correction": missing_corrections}
