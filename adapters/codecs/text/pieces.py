"""Cut a text into the pieces that rules take: lines, tagged fields, or rows of cells. Pure.

Each piece knows its place in the text, in words that hold nothing of its content: ``line 14``, ``field 3``, ``row 2``
(rows and lines are counted from 1 in the text, as an editor shows them; the header of a CSV text is a row too).
"""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from adapters.codecs.text.layout_language import Fields, Lines, Rows
from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode

# Of one text. Analyzers send some hundred pieces; a regular expression's time grows faster than the line it looks at.
MAX_PIECES = 10_000
MAX_PIECE = 4096
MAX_CELLS = 200_000

_LINE_END = re.compile("\r\n|\r|\n")
# Byte order marks, and the encoding to split the bytes after them: delimiters of UTF-8 are those of Latin-1.
_MARKS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF8, "latin-1"))


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece.

    Attributes:
        text: a line, or the value of a tagged field.
        tag: of a tagged field.
        cells: of a row, by the names of its columns.
    """

    place: str
    text: str = ""
    tag: str = ""
    cells: dict[str, str] = field(default_factory=dict)


def pieces(text: str, how: Lines | Fields | Rows, columns: tuple[str, ...]) -> list[Piece]:
    """The pieces of a text that are not blank, in order; rows of one key together, at the place of the first.

    Args:
        columns: of rows, those that must be there.

    Raises:
        ContentError: UNREADABLE, the text has another form; TOO_LARGE, it has more pieces than any sender makes.
    """
    if isinstance(how, Rows):
        rows = _rows(text, how, columns)
        first: dict[tuple[str, ...], int] = {}
        return sorted(rows, key=lambda row: first.setdefault(_key(row.cells, how), len(first))) if how.key else rows
    found = list(_lines(text, how) if isinstance(how, Lines) else _fields(text, how))
    if len(found) > MAX_PIECES:
        raise ContentError(ReasonCode.TOO_LARGE, f"more than {MAX_PIECES} lines or fields")
    for piece in found:
        if len(piece.text) > MAX_PIECE:
            raise ContentError(ReasonCode.TOO_LARGE, f"more than {MAX_PIECE} characters", place=piece.place)
    return found


def _lines(text: str, how: Lines) -> Iterator[Piece]:
    lines = text.split(how.ends) if how.ends else _LINE_END.split(text)
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield Piece(f"line {number}", line.rstrip())


def _fields(text: str, how: Fields) -> Iterator[Piece]:
    for number, one in enumerate((part for part in text.split(how.separator) if part.strip()), 1):
        content = one.strip("\r\n")
        if how.end:
            content = content.removesuffix(how.end)
        if how.tag:
            tag, value = content[: how.tag], content[how.tag :]
        else:
            tag, _, value = content.partition(how.until)
        yield Piece(f"field {number}", value, tag.strip())


# -- rows --------------------------------------------------------------------------------------------------------


def _rows(text: str, how: Rows, columns: tuple[str, ...]) -> list[Piece]:
    names: list[str] = []
    found: list[Piece] = []
    cells_seen = 0
    for raw in _read(text, how):
        place = f"row {raw.line}"
        if how.header and not names:
            names = _header(raw.cells, place, columns)
            continue
        if not how.header:
            names = [str(number) for number in range(1, len(raw.cells) + 1)]
        cells = raw.cells
        while len(cells) > len(names) and not cells[-1].strip():
            cells = cells[:-1]
        if len(cells) != len(names):
            detail = f"{len(cells)} cells, and the header names {len(names)} columns"
            raise ContentError(ReasonCode.UNREADABLE, detail, place=place)
        if missing := [name for name in columns if name not in names]:
            raise ContentError(ReasonCode.UNREADABLE, f"there is no column {missing[0]}", place=place)
        cells_seen += len(cells)
        if len(found) >= MAX_PIECES or cells_seen > MAX_CELLS:
            raise ContentError(ReasonCode.TOO_LARGE, f"more than {MAX_PIECES} rows or {MAX_CELLS} cells")
        found.append(Piece(place, cells=dict(zip(names, (cell.strip() for cell in cells), strict=True))))
    if how.header and not names:
        raise ContentError(ReasonCode.UNREADABLE, "there is no row with the names of the columns")
    return found


def _key(cells: dict[str, str], how: Rows) -> tuple[str, ...]:
    return tuple(cells.get(column, "").strip() for column in how.key)


def _header(cells: list[str], place: str, columns: tuple[str, ...]) -> list[str]:
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    if missing := [name for name in columns if name not in names]:
        wanted = ", ".join(missing[:5])
        raise ContentError(ReasonCode.UNREADABLE, f"the header has no column {wanted}", place=place)
    if len(set(names)) != len(names):
        raise ContentError(ReasonCode.UNREADABLE, "the header names a column twice", place=place)
    return names


@dataclass(frozen=True, slots=True)
class _Raw:
    """A row and its place: in lines from 1, and as characters of the text."""

    line: int
    start: int
    end: int
    cells: list[str]


def _read(text: str, how: Rows) -> Iterator[_Raw]:
    """The rows of a text that are not blank, without those lines that the layout does not need.

    Raises:
        ContentError: UNREADABLE, with the text of Python's csv module in its strict mode.
    """
    lines = text.splitlines(keepends=True) if not _odd_line_ends(text) else _split_keeping(text)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    taken = 0  # lines that the reader was given

    def given() -> Iterator[str]:
        nonlocal taken
        while taken < len(lines):
            taken += 1
            yield lines[taken - 1]

    reader = csv.reader(given(), delimiter=how.delimiter, quotechar=how.quote, strict=True)
    while True:
        begins = taken
        if begins < len(lines) and _is_skipped(lines[begins], begins, how):
            taken += 1
            continue
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ContentError(ReasonCode.UNREADABLE, f"no readable CSV: {error}", place=f"row {begins + 1}") from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield _Raw(begins + 1, offsets[begins], offsets[taken], cells)


def _is_skipped(line: str, number: int, how: Rows) -> bool:
    return number < how.skip or (
        how.skip_lines is not None and how.skip_lines.fullmatch(line.strip()[:MAX_PIECE]) is not None
    )


def _odd_line_ends(text: str) -> bool:
    """Whether `str.splitlines` would cut at more than CR and LF."""
    return re.search("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", text) is not None


def _split_keeping(text: str) -> list[str]:
    return [line for line in re.split("(?<=\n)|(?<=\r)(?!\n)", text) if line]


def split_rows(payload: bytes, how: Rows) -> list[bytes]:
    """The messages of a file of rows: each holds the header and the rows of one key, in the order of their first row.

    A file that cannot be read is one message; parsing it says what is wrong.
    """
    if not how.key:
        return [payload]
    mark, name = next(((mark, name) for mark, name in _MARKS if payload.startswith(mark)), (b"", "latin-1"))
    text = payload[len(mark) :].decode(name, errors="surrogateescape" if name == "latin-1" else "replace")
    groups: dict[tuple[str, ...], list[str]] = {}
    head = ""
    try:
        names: list[str] = []
        for raw in _read(text, how):
            if how.header and not names:
                names = [cell.strip() for cell in raw.cells]
                head = text[: raw.end]
                continue
            cells = dict(zip(names or map(str, range(1, len(raw.cells) + 1)), raw.cells, strict=False))
            groups.setdefault(_key(cells, how), []).append(text[raw.start : raw.end])
    except ContentError:
        return [payload]
    if len(groups) < 2:
        return [payload]
    return [mark + (head + "".join(rows)).encode(name) for rows in groups.values()]
