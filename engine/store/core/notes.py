"""The notes of deliveries and of their attempts: why one is where it is, and how the destination answered."""

from typing import Any

import orjson


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
