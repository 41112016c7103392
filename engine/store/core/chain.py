"""The hash of a journal row and the chain through all rows. Pure.

Both cover the *stored* bytes (sealed payload) and the row's fixed fields, so a check needs no key, and a stolen file
confirms no guess about its content.

    hash[n]  = SHA-256(numbers of row n, lengths, texts, bytes)     of the columns that `JournalRow` declares as hashed
    chain[n] = SHA-256(chain[n-1] | hash[n])            chain before the first row: 32 zero bytes

Each row stores both. ``hash`` identifies every damaged row by itself, also next to missing ones; ``chain`` detects rows
that were removed, inserted or reordered; the anchor has the newest chain value.
"""

import struct
from collections.abc import Iterator
from hashlib import sha256
from operator import attrgetter
from typing import Annotated, NamedTuple, get_type_hints

GENESIS = bytes(32)

# id, kind, seq, received_us, session, size, then the lengths of channel, message type, token, meta and body.
_FIXED = struct.Struct(">QBQqQQHHHIQ")

DIGEST_BYTES = 16  # of a pruned range or an erased row

_DOCUMENT = struct.Struct(">QQIIHIIQ")


class Column(NamedTuple):
    """A column of the journal's rows.

    Attributes:
        copied: `struct` code of its number, or of the length of its text, in a backup's piece
            (`engine.store.recovery.backups.increments`).
        hashed: it is part of the row's hash; `row_hash` has an argument of its name.
        sealed: `engine.store.core.vault` seals it under its name, the row's number and channel.
        optional: only a message always has it. Of another row without it, nothing is sealed: the value is empty. The
            row's hash covers that.
    """

    copied: str
    hashed: bool = True
    sealed: bool = False
    optional: bool = False


class JournalRow(NamedTuple):
    """A row of the table ``journal``, its columns in their order. A damaged one may hold values of any type."""

    id: Annotated[int, Column("Q")]
    kind: Annotated[int, Column("B")]
    channel: Annotated[str, Column("H")]
    seq: Annotated[int, Column("Q")]
    received_us: Annotated[int, Column("q")]
    session: Annotated[int, Column("Q")]
    message_type: Annotated[str, Column("H")]
    size: Annotated[int, Column("Q")]
    token: Annotated[bytes, Column("I")]
    hash: Annotated[bytes, Column("H", hashed=False)]
    chain: Annotated[bytes, Column("H", hashed=False)]
    meta: Annotated[bytes, Column("I", sealed=True, optional=True)]
    body: Annotated[bytes, Column("I", sealed=True)]

    @property
    def computed(self) -> bytes:
        """The hash of the row as it is; another than ``hash`` where the row was erased, or changed."""
        return row_hash(*_HASHED(self))

    def follows(self, previous: bytes) -> bool:
        """Whether its chain value goes on from ``previous``."""
        return self.chain == chain_hash(previous, self.hash)


COLUMN_TYPES: dict[str, type] = get_type_hints(JournalRow)
COLUMNS: dict[str, Column] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(JournalRow, include_extras=True).items()
}
SEALED_COLUMNS = tuple(name for name, column in COLUMNS.items() if column.sealed)
ROW_COLUMNS = ", ".join(COLUMNS)
PUT_ROW = f"INSERT INTO journal ({ROW_COLUMNS}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - constants
_HASHED = attrgetter(*(name for name, column in COLUMNS.items() if column.hashed))


def row_hash(
    row_id: int,
    kind: int,
    channel: str,
    seq: int,
    received_us: int,
    session: int,
    message_type: str,
    size: int,
    token: bytes,
    meta: bytes,
    body: bytes,
) -> bytes:
    """SHA-256 of one row. Lengths are part of it, so that no byte can move from one field to the next unnoticed."""
    channel_bytes, type_bytes = channel.encode(), message_type.encode()
    fixed = _FIXED.pack(
        row_id, kind, seq, received_us, session, size,
        len(channel_bytes), len(type_bytes), len(token), len(meta), len(body),
    )  # fmt: skip
    digest = sha256(b"".join((fixed, channel_bytes, type_bytes, token, meta)))
    digest.update(body)
    return digest.digest()


def chain_hash(previous: bytes, own: bytes) -> bytes:
    """The chain value of a row whose predecessor has chain value ``previous``."""
    return sha256(previous + own).digest()


def document_hash(
    document_id: int,
    message_id: int,
    revision: int,
    ordinal: int,
    media_type: str,
    conditional: bytes,
    reports: bytes,
    body: bytes,
) -> bytes:
    """SHA-256 of a document's row, likewise; documents are not chained (they can be made again)."""
    fixed = _DOCUMENT.pack(
        document_id, message_id, revision, ordinal, len(media_type), len(conditional), len(reports), len(body)
    )
    digest = sha256(b"".join((fixed, media_type.encode(), conditional, reports)))
    digest.update(body)
    return digest.digest()


def pruned_digest(what: str, first: int, last: int, chain: bytes) -> bytes:
    """The digest of one pruned range of numbers, as its record stores it (`engine.store.lifecycle.retention`).

    Args:
        what: kind of numbers: ``journal``, ``document``, ``lane N``.
        chain: for rows of the journal, the chain value of the last one, from which the chain goes on.
    """
    fixed = b"".join((b"labrelay pruned\0", what.encode(), b"\0", struct.pack(">QQ", first, last), chain))
    return sha256(fixed).digest()[:DIGEST_BYTES]


def erased_digest(what: str, number: int, stored: bytes, now: bytes) -> bytes:
    """The digest of one erased row, as its record stores it (`engine.store.core.checks.pruned_ranges`).

    Args:
        what: kind of row: ``journal``, ``document``.
        stored: the row's stored hash, which stays unchanged.
        now: the hash of the emptied row.
    """
    fixed = b"".join((b"labrelay erased\0", what.encode(), b"\0", struct.pack(">Q", number), stored, now))
    return sha256(fixed).digest()[:DIGEST_BYTES]


def digests_in(token: bytes) -> Iterator[bytes]:
    """The digests in the token of a record."""
    return (token[at : at + DIGEST_BYTES] for at in range(0, len(token), DIGEST_BYTES))
