"""16-byte keyed hashes in one run of bytes, as a document's row keeps them and as they travel between processes.

conditional keys    16 each
reports             16 of the number, 16 of its patient and 16 of the person (zeros where the message names none)
"""

from engine.message import Report

HASH_BYTES = 16
_NOBODY = bytes(HASH_BYTES)


def split_hashes(packed: bytes) -> tuple[bytes, ...]:
    return tuple(packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES))


def pack_reports(reports: tuple[Report, ...]) -> bytes:
    return b"".join(one.key + (one.patient or _NOBODY) + (one.person or _NOBODY) for one in reports)


def unpack_reports(packed: bytes) -> list[Report]:
    parts = split_hashes(packed)
    said = [b"" if part == _NOBODY else part for part in parts]
    return [Report(parts[at], said[at + 1], said[at + 2]) for at in range(0, len(parts), 3)]
