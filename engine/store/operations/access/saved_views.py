"""Saved views of users (`saved_view`). A view that one user has is no act of the trail; one that all have is, for it
changes the pages of others.

A name is a person's own words, and a query may name people: both are sealed.
"""

from typing import Any

import orjson

from engine.model.errors import LabRelayError, RefusedError
from engine.model.saved_views import OF_ALL
from engine.store.core.batch import Batch
from engine.store.core.notes import opened_note
from engine.store.core.operation import Priority, operation
from engine.store.core.vault import NOTE_KEYS
from engine.store.operations import audit

COLUMN = "saved_view"  # the place of a sealed text, with its number
MOST = 50  # of one user, and of all users together
TAKEN = "there is a view of that name already"
TOO_MANY = "there are too many views; remove one first"
GONE = "there is no such view any more"


@operation(priority=Priority.SETTLE)
def save(batch: Batch, user: int, name: str, path: str, query: str) -> int:
    """Keep an address for a user; return its number.

    Raises:
        RefusedError: there is one of that name, or there are too many.
    """
    _raise_if_no_room(batch, user, name)
    (newest,) = batch.execute("SELECT coalesce(max(id), 0) FROM saved_view").fetchone()
    number = max(batch.now_us, int(newest) + 1)
    _put(batch, number, user, {"name": name, "path": path, "query": query})
    return number


@operation(priority=Priority.SETTLE)
def rename(batch: Batch, number: int, user: int, name: str, actor: str) -> None:
    """Give a view another name.

    Args:
        user: who has it; `OF_ALL`: all.

    Raises:
        RefusedError: there is another one of that name.
        LabRelayError: this user has no such view.
    """
    text = _text(batch, number, user)
    _raise_if_taken(batch, user, name, but=number)
    _put(batch, number, user, {**text, "name": name})
    if user == OF_ALL:
        audit.note(batch, actor, "view-renamed", {**_said(text), "to": name})


@operation(priority=Priority.SETTLE)
def share(batch: Batch, number: int, user: int, actor: str) -> None:
    """Give a view of a user to all; raises as `rename`, and where there are too many."""
    text = _text(batch, number, user)
    _raise_if_no_room(batch, OF_ALL, text["name"])
    _put(batch, number, OF_ALL, text)
    audit.note(batch, actor, "view-shared", _said(text))


@operation(priority=Priority.SETTLE)
def withdraw(batch: Batch, number: int, user: int, actor: str) -> None:
    """Take a view from all; this user has it then. Raises as `share`."""
    text = _text(batch, number, OF_ALL)
    _raise_if_no_room(batch, user, text["name"])
    _put(batch, number, user, text)
    audit.note(batch, actor, "view-withdrawn", _said(text))


@operation(priority=Priority.SETTLE)
def remove(batch: Batch, number: int, user: int, actor: str) -> None:
    """Forget a view, also a damaged one; ``user`` as of `rename`.

    Raises:
        LabRelayError: this user has no such view.
    """
    text = _texts(batch, user).get(number)
    if text is None:
        raise LabRelayError(GONE)
    batch.execute("DELETE FROM saved_view WHERE id = ?", (number,))
    if user == OF_ALL:
        audit.note(batch, actor, "view-removed", _said(text))


def _texts(batch: Batch, user: int) -> dict[int, dict[str, Any]]:
    """By number; empty where a row is damaged."""
    rows = batch.execute("SELECT id, text FROM saved_view WHERE user = ?", (user,)).fetchall()
    return {number: opened_note(batch.vault, sealed, COLUMN, number, "") for number, sealed in rows}


def _text(batch: Batch, number: int, user: int) -> dict[str, Any]:
    text = _texts(batch, user).get(number)
    if not text:
        raise LabRelayError(GONE)
    return text


def _raise_if_taken(batch: Batch, user: int, name: str, but: int = 0) -> None:
    names = {str(text.get("name", "")).casefold() for other, text in _texts(batch, user).items() if other != but}
    if name.casefold() in names:
        raise RefusedError(TAKEN)


def _raise_if_no_room(batch: Batch, user: int, name: str) -> None:
    (count,) = batch.execute("SELECT count(*) FROM saved_view WHERE user = ?", (user,)).fetchone()
    if count >= MOST:
        raise RefusedError(TOO_MANY)
    _raise_if_taken(batch, user, name)


def _put(batch: Batch, number: int, user: int, text: dict[str, Any]) -> None:
    sealed = batch.seal(NOTE_KEYS, orjson.dumps(text), COLUMN, number, "")
    batch.execute("INSERT OR REPLACE INTO saved_view (id, user, text) VALUES (?, ?, ?)", (number, user, sealed))


def _said(text: dict[str, Any]) -> dict[str, str]:
    """For the trail; a damaged view has no words."""
    return {"view": text.get("name", ""), "list": text.get("path", ""), "query": text.get("query", "")}
