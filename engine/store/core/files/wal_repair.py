"""Make a damaged write-ahead log readable to its end.

SQLite reads a log up to the first frame with a wrong checksum, for each checksum covers all frames before it: one
flipped bit hides every commit behind it. The hidden frames are still there. Here each frame gets the checksum of its
present content, so that SQLite reads on; whether the pages are right, the reader must check (rows of the journal carry
a hash of their own). Source: the SQLite file format, section 4, "The Write-Ahead Log". Pure.

    32  header: magic, version, page size, sequence number, salts 1 and 2, checksums 1 and 2; big-endian
    then frames, each a page behind 24 bytes: page number, pages in all after a commit (else 0), salts, checksums
"""

import struct
from dataclasses import dataclass

_HEADER = struct.Struct(">IIIIIIII")
_FRAME = struct.Struct(">IIIIII")
_MAGIC = (0x377F0682, 0x377F0683)  # checksums over little-endian, over big-endian words
_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Repaired:
    """A log that SQLite reads to its last commit.

    Attributes:
        log: its bytes.
        damaged: the frames, from 1, whose own checksum was wrong.
        hidden: frames that could not be read before.
    """

    log: bytes
    damaged: tuple[int, ...]
    hidden: int


def repair(log: bytes, pages: int, *, keep_damaged: bool = True) -> Repaired | None:
    """None where no frame of ``log`` is hidden, or its header is damaged.

    Args:
        pages: the least number of pages of the database; a page number far beyond it is damaged.
        keep_damaged: also keep damaged frames that name their page.
    """
    if len(log) < _HEADER.size:
        return None
    magic, _, page_size, _, salt_1, salt_2, *stored = _HEADER.unpack_from(log)
    if magic not in _MAGIC or page_size < 512 or page_size & (page_size - 1):
        return None
    words = struct.Struct(f"{'<' if magic == _MAGIC[0] else '>'}{page_size // 4}I")
    order = "<" if magic == _MAGIC[0] else ">"
    head = _sum(struct.unpack_from(f"{order}6I", log), (0, 0))
    if head != tuple(stored):
        return None
    size = _FRAME.size + page_size
    frames = (len(log) - _HEADER.size) // size
    most = pages + frames  # each frame can add one page
    out = bytearray(log[: _HEADER.size])
    was, now = head, head  # the running checksums: as they were written, and as we write them
    damaged: list[int] = []
    hidden = kept = last_commit = strange = 0
    for number in range(1, frames + 1):
        at = _HEADER.size + (number - 1) * size
        page, commit, first, second, *stored = _FRAME.unpack_from(log, at)
        # Frames of an earlier use of the file have other salts and end the log. One such value may be damage.
        if (first, second) != (salt_1, salt_2):
            strange += 1
            if strange > 1 or (first != salt_1 and second != salt_2):
                break
        else:
            strange = 0
        content = words.unpack_from(log, at + _FRAME.size)
        lead = struct.unpack_from(f"{order}2I", log, at)
        was = _sum(content, _sum(lead, was))
        if was != tuple(stored) or (first, second) != (salt_1, salt_2):
            damaged.append(number)
            was = (stored[0], stored[1])
        hidden += bool(damaged)
        astray = not 0 < page <= most or commit > most
        if astray or (damaged and damaged[-1] == number and not keep_damaged):
            continue
        now = _sum(content, _sum(struct.unpack(f"{order}2I", struct.pack(">2I", page, commit)), now))
        out += _FRAME.pack(page, commit, salt_1, salt_2, *now) + log[at + _FRAME.size : at + size]
        kept += 1
        if commit:
            last_commit = kept
    if not damaged:
        return None
    return Repaired(bytes(out[: _HEADER.size + last_commit * size]), tuple(damaged), hidden)


def _sum(words: tuple[int, ...], start: tuple[int, int]) -> tuple[int, int]:
    """SQLite's running checksum, continued from ``start``."""
    first, second = start
    for at in range(0, len(words), 2):
        first = first + words[at] + second & _MASK
        second = second + words[at + 1] + first & _MASK
    return first, second
