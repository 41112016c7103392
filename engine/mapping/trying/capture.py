"""Bytes from a line with their times and directions, and the file that keeps them.

A capture file is one of two. Raw bytes, as the other side sent them: every tool reads that, and times and answers are
lost. Or, where its name ends in ``.ndjson``, one JSON object a line that keeps them::

    {"at": "2026-03-01T10:02:11.120431Z", "from": "them", "hex": "05"}
    {"at": "2026-03-01T10:02:11.121002Z", "from": "us", "hex": "06"}

Both hold patient data.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode

NDJSON = ".ndjson"


class Direction(StrEnum):
    """Who sent the bytes."""

    THEM = "them"
    US = "us"
    UNKNOWN = "unknown"  # one recording of a line may hold both sides


@dataclass(frozen=True, slots=True)
class CapturedBytes:
    """Bytes that were received or sent together.

    Attributes:
        at_us: when, in microseconds since 1970 (UTC); 0 if not recorded.
    """

    data: bytes
    way: Direction = Direction.UNKNOWN
    at_us: int = 0


def read(data: bytes) -> list[CapturedBytes]:
    """The pieces of a capture file; which of the two kinds it is, its first byte says.

    Raises:
        ContentError: UNREADABLE, it begins like a file with times and does not go on like one; names the line.
    """
    if not data.startswith(b'{"at"'):
        return [CapturedBytes(data)] if data else []
    return [_piece(line, number) for number, line in enumerate(data.splitlines(), 1) if line.strip()]


def line_of(piece: CapturedBytes) -> bytes:
    """One piece as a line of a ``.ndjson`` capture."""
    at = datetime.fromtimestamp(piece.at_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return json.dumps({"at": at, "from": piece.way.value, "hex": piece.data.hex()}).encode() + b"\n"


def received(pieces: Iterable[CapturedBytes]) -> bytes:
    """The bytes that the other side sent, or all bytes where the direction is not known."""
    return b"".join(piece.data for piece in pieces if piece.way is not Direction.US)


def _piece(line: bytes, number: int) -> CapturedBytes:
    try:
        given = json.loads(line)
        at = datetime.fromisoformat(given["at"])
        return CapturedBytes(bytes.fromhex(given["hex"]), Direction(given["from"]), round(at.timestamp() * 1_000_000))
    except (ValueError, KeyError, TypeError) as error:
        detail = 'not a line of a capture: {"at": ..., "from": "them" or "us", "hex": ...}'
        raise ContentError(ReasonCode.UNREADABLE, detail, place=f"line {number}") from error
