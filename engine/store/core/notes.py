"""The notes of deliveries and of their attempts: why one is where it is, and how the destination answered."""

from typing import Any

import orjson

from engine.model.errors import IntegrityError
from engine.store.core.vault import Vault


def note_of(detail: str, answer: bytes) -> dict[str, Any]:
    """The note to seal, as `read_note` reads it; empty where there is nothing to say."""
    note: dict[str, Any] = {}
    if detail:
        note["detail"] = detail
    if answer:
        # One character per byte: an answer may be anything, and must be read back unchanged.
        note["answer"] = answer.decode("latin-1")
    return note


def read_note(opened: bytes) -> tuple[str, bytes]:
    """(detail, answer) of a note that `bury` or `postpone` stored; both are empty without a note."""
    if not opened:
        return "", b""
    note = orjson.loads(opened)
    return note.get("detail", ""), note.get("answer", "").encode("latin-1")


def opened_note(vault: Vault | None, sealed: bytes, column: str, row_id: int, channel: str) -> dict[str, Any]:
    """A sealed JSON object; empty without the keys, or where it is empty or damaged: `labrelay verify` reports that."""
    try:
        return dict(orjson.loads(vault.open(sealed, column, row_id, channel))) if sealed and vault is not None else {}
    except IntegrityError:
        return {}
