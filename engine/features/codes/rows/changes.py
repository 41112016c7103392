"""Corrections of code tables (`engine.model.corrections`): rows are added and never changed.

The row has the person's name and reason itself, sealed: the history of a code outlasts the rows of the audit trail.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson

from engine.model.corrections import RowChange
from engine.model.errors import RefusedError
from engine.store.core.batch import Batch, month_of
from engine.store.core.operation import Priority, operation
from engine.store.core.vault import NOTE_KEYS, Vault
from engine.store.operations import audit

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
