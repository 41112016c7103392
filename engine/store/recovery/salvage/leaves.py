"""Read rows on unreachable leaf pages, from the file itself.

SQLite finds a row through inner pages; where one of those is damaged, every leaf below it is unreachable, though
intact. Here the pages of the file are scanned one by one, and the cells of table leaves are decoded (SQLite database
file format, https://www.sqlite.org/fileformat2.html, 1.6 B-tree pages, 2.1 record format):

    leaf        0x0D, first freeblock 2, number of cells 2, start of content 2, fragments 1; then 2 bytes per cell
    cell        payload length varint, rowid varint, payload; the rest is on a chain of overflow pages
    record      header length varint, a serial type varint for each column; then the values

Nothing here is proven: a page may be an old one, or belong to another table, and a cell may hold noise. The caller
proves each row, as `engine.store.recovery.salvage.proven` does by its hash. Pages on the free list are skipped: they
may still hold pruned rows.
"""

import mmap
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

Value = int | float | str | bytes | None

LEAF = 0x0D
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)  # by serial type


class _NoRowError(Exception):
    """These bytes are no cell of a table."""


def stray_rows(path: Path, page_bytes: int, columns: int, wanted: Callable[[int], bool]) -> Iterator[list[Value]]:
    """Every row of ``columns`` columns with a ``wanted`` number, as its values. The number is the first value and NULL
    in the record, as SQLite stores an INTEGER PRIMARY KEY in the first column.

    Args:
        path: the database file; its log is ignored.
    """
    if path.stat().st_size < page_bytes:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        usable = page_bytes - content[20]  # reserved space at the end of each page; 0 here
        free = _free_pages(content, page_bytes)
        for page in range(1, len(content) // page_bytes):  # the first page is the schema's
            at = page * page_bytes
            if content[at] != LEAF or page + 1 in free:
                continue
            cells = min(int.from_bytes(content[at + 3 : at + 5]), (page_bytes - 8) // 2)
            for cell in range(cells):
                place = int.from_bytes(content[at + 8 + 2 * cell : at + 10 + 2 * cell])
                with suppress(_NoRowError, IndexError, ValueError, struct.error):
                    row_id, payload = _cell(content, page_bytes, usable, at, place, wanted)
                    values = _record(payload, columns)
                    if values[0] is None:
                        yield [row_id, *values[1:]]


def _free_pages(content: mmap.mmap, page_bytes: int) -> set[int]:
    """Numbers of unused pages, from the chain of trunk pages: next trunk 4, entries 4, and the numbers."""
    free: set[int] = set()
    trunk = int.from_bytes(content[32:36])
    while trunk not in free and 1 < trunk <= len(content) // page_bytes:
        free.add(trunk)
        at = (trunk - 1) * page_bytes
        entries = min(int.from_bytes(content[at + 4 : at + 8]), page_bytes // 4 - 2)
        free.update(struct.unpack_from(f">{entries}I", content, at + 8))
        trunk = int.from_bytes(content[at : at + 4])
    return free


def _cell(
    content: mmap.mmap, page_bytes: int, usable: int, page_at: int, place: int, wanted: Callable[[int], bool]
) -> tuple[int, bytes]:
    size, at = _varint(content, page_at + place)
    row_id, at = _varint(content, at)
    if not wanted(row_id) or size > len(content):
        raise _NoRowError
    most = usable - 35
    if size <= most:
        local = size
    else:
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
    if at + local > page_at + page_bytes:
        raise _NoRowError
    parts, left = [content[at : at + local]], size - local
    number = int.from_bytes(content[at + local : at + local + 4]) if left else 0
    while left:
        begin = (number - 1) * page_bytes
        if number < 1 or begin + page_bytes > len(content):
            raise _NoRowError
        part = content[begin + 4 : begin + 4 + min(left, usable - 4)]
        parts.append(part)
        left -= len(part)
        number = int.from_bytes(content[begin : begin + 4])
    return row_id, b"".join(parts)


def _record(payload: bytes, columns: int) -> list[Value]:
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if at != end or len(kinds) != columns:
        raise _NoRowError
    values = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != len(payload):
        raise _NoRowError
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind in (10, 11):
        raise _NoRowError
    size = (kind - 12) // 2 if kind >= 12 else 8 if kind == 7 else _INTEGER_BYTES[kind]
    part = payload[at : at + size]
    if len(part) != size:
        raise _NoRowError
    at += size
    if kind == 7:
        return float(struct.unpack(">d", part)[0]), at
    if kind < 7:
        return int.from_bytes(part, signed=True), at
    return (part.decode() if kind % 2 else part), at


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for n in range(8):
        byte = data[at + n]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >> 63 else value, at + 9
