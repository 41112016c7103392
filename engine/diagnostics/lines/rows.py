"""Recognise rows of cells (CSV) in what came, and write a layout for them. Pure.

What a column means is proposed by the word above it, and said by a person: a wrong column would be a wrong result.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

DELIMITERS = ";\t|,"
MOST_CELLS = 200
IDLE_S = 2  # that ends a text; as `adapters.codecs.draft_link` has it
# What a column means -> its field of E1394.
ROLES = {
    "specimen": "O-3",
    "test": "R-3.4",
    "value": "R-4",
    "unit": "R-5",
    "range": "R-6",
    "flag": "R-7",
    "time": "R-13",
    "patient": "P-3",
}
NEEDED = ("specimen", "test", "value")
HEADS = {
    "specimen": "sample sampleid samplenumber sampleno specimen specimenid tube tubeid barcode probe",
    "test": "test testcode testname assay parameter analyte item",
    "value": "result value concentration conc",
    "unit": "unit units",
    "range": "range reference referencerange refrange normalrange",
    "flag": "flag flags",
    "time": "time date datetime measured measuredat resulttime",
    "patient": "patient patientid patientnumber pid",
}
_DAYS = ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d")
TIMES = (*(f"{day} {clock}" for day in _DAYS for clock in ("%H:%M:%S", "%H:%M")), "%Y%m%d%H%M%S")
_NUMBER = re.compile(r"[<>]?=? ?[+-]?\d+([.,]\d+)*")
_GROUP = re.compile(r"\D*[1-9]\d{0,2}[.,]\d{3}")  # a sign of decimals, or of thousands


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one number of cells.

    Attributes:
        header: the first row names the columns; else they are called 1, 2, 3 ...
        cells: all rows but headers.
    """

    delimiter: str
    header: bool
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]

    def values(self, column: str) -> list[str]:
        at = self.columns.index(column)
        return [row[at] for row in self.cells if row[at]]

    def proposed(self) -> dict[str, str]:
        """Role -> column, where exactly one has a usual word for it; none without a header."""
        found: dict[str, list[str]] = {}
        for role, column in _roles(self.columns) if self.header else ():
            found.setdefault(role, []).append(column)
        return {role: columns[0] for role, columns in found.items() if len(columns) == 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """What a person says of rows.

    Attributes:
        columns: role -> column.
        decimal: the sign of numbers. time: how a time is written, as `datetime.strptime` has it.
        controls: how the numbers of controls begin; empty: no row is one.
        final: its results are final; else their status is unknown.
    """

    columns: Mapping[str, str]
    decimal: str = "."
    time: str = ""
    controls: str = ""
    final: bool = False


def _roles(columns: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each role and column that has a usual word for it."""
    for column in columns:
        word = "".join(sign for sign in column.casefold() if sign.isalnum())
        yield from ((role, column) for role, words in HEADS.items() if word in words.split())


def rows_in(texts: Iterable[bytes]) -> Rows | None:
    """The rows of texts that have the same columns; None: they are no rows."""
    given = [text for text in map(_text, texts) if text.strip()]
    for delimiter in DELIMITERS:
        tables = [_table(text, delimiter) for text in given]
        widths = {len(row) for table in tables for row in table}
        if not tables or not all(tables) or len(widths) != 1 or not 3 <= min(widths) <= MOST_CELLS:
            continue
        head, every = tables[0][0], [row for table in tables for row in table]
        if _is_header(head, every):
            return Rows(delimiter, True, head, tuple(row for row in every if row != head))
        names = tuple(str(at) for at in range(1, len(head) + 1))
        return Rows(delimiter, False, names, tuple(every))
    return None


def decimal_of(values: Iterable[str]) -> str:
    """The decimal sign of numbers; empty: unclear, as of ``1,234`` or ``1.234``."""
    parted = [one for one in values if _NUMBER.fullmatch(one) and ("," in one or "." in one)]
    signs = {sign for one in parted for sign in one if sign in ",."}
    is_clear = len(signs) == 1 and not all(map(_GROUP.fullmatch, parted))
    if parted and not (is_clear and all(len(re.findall("[.,]", one)) == 1 for one in parted)):
        return ""
    return "," if "," in signs else "."


def times_of(values: Sequence[str]) -> list[str]:
    """The ways of writing a time that fit all of them."""
    return [form for form in TIMES if values and all(_fits(value, form) for value in values)]


def problems(rows: Rows, meant: Meant) -> Iterator[str]:
    """Why no layout can be written."""
    if missing := [role for role in NEEDED if role not in meant.columns]:
        yield f"say which column has: {', '.join(missing)}"
    if unknown := [name for name in meant.columns.values() if name not in rows.columns]:
        yield f"there is no column {unknown[0]}"
        return
    if len({*meant.columns.values()}) != len(meant.columns):
        yield "one column cannot mean two things"
    if any(re.search(r"[{}\"\\]", name) or not name.isprintable() for name in rows.columns):
        yield "the name of a column has a sign that a layout cannot have: write a layout yourself"
    if meant.decimal not in (".", ","):
        yield "say which sign its numbers have: a full stop or a comma"
    column = meant.columns.get("time")
    if column and meant.time not in times_of(rows.values(column)):
        yield "say how its times are written"
    if not re.fullmatch(r"[\w -]*", meant.controls):
        yield "numbers of controls begin with letters, digits, blanks, - or _"


def layout_text(name: str, rows: Rows, meant: Meant) -> str:
    """The text of ``layouts/NAME.yaml``."""
    used = {role: column for role, column in meant.columns.items() if role in ROLES}
    specimen = used["specimen"]
    cut = [f'as: csv, delimiter: "{"<TAB>" if rows.delimiter == chr(9) else rows.delimiter}"']
    cut += [] if rows.header else ["header: false"]
    cut += [f"key: {_quoted(specimen)}"]
    if unused := [column for column in rows.columns if column not in used.values()]:
        cut.append(f"ignore: [{', '.join(map(_quoted, unused))}]")
    lines = [f"layout: {name}", "about: rows of cells, as the analyzer sent them while it was added"]
    lines += ["evidence: its own messages; a person said what each column means", ""]
    lines += [f"framing: {{idle: {IDLE_S}s}}    # nothing marks the end of a text", "", f"text: {{{', '.join(cut)}}}"]
    lines += [f'decimal: "{meant.decimal}"', "unread: refuse", "required: [O-3, R-3.4, R-4]", "", "rules:"]
    person = [f'P-3: "{{{used["patient"]}}}"'] if "patient" in used else []
    lines.append(f"  - {{set: {{{', '.join([*person, _set(used, 'specimen')])}}}}}")
    if meant.controls:
        lines.append(f'  - {{if: {{{_quoted(specimen)}: "{meant.controls}.*"}}, set: {{O-12: Q}}}}')
    lines += ["  - new: R", "    set:"]
    lines += [
        f"      {_set(used, role)}" for role in ROLES if role in used and ROLES[role][0] == "R" and role != "time"
    ]
    lines += ["      R-9: F"] if meant.final else []
    if "time" in used:
        lines.append(f'      R-13: {{take: "{{{used["time"]}}}", time: "{meant.time}"}}')
    return "\n".join(lines) + "\n"


def _set(used: Mapping[str, str], role: str) -> str:
    return f'{ROLES[role]}: "{{{used[role]}}}"'


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _text(data: bytes) -> str:
    with suppress(UnicodeDecodeError):
        return data.decode("utf-8-sig")
    return data.decode("cp1252", "replace")


def _table(text: str, delimiter: str) -> list[tuple[str, ...]]:
    """None where a row is broken."""
    lines = [line for line in re.split("\r\n|\r|\n", text.strip("\x00\x1a")) if line.strip()]
    try:
        rows = [tuple(map(str.strip, row)) for row in csv.reader(lines, delimiter=delimiter, strict=True)]
    except csv.Error:
        return []
    while len(rows[0]) > 1 and all(len(row) == len(rows[0]) and not row[-1] for row in rows):
        rows = [row[:-1] for row in rows]
    return [row for row in rows if any(row)]


def _is_header(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> bool:
    """Names of columns, and no result: with a usual word, or without any digit, which each specimen and time has."""
    if len({*head}) != len(head) or not all(head) or any(map(_NUMBER.fullmatch, head)):
        return False
    if any(re.search(r"\d", cell) for cell in head) and len([*_roles(head)]) < 2:
        return False
    return any(_NUMBER.fullmatch(cell) for row in rows if row != head for cell in row)


def _fits(value: str, form: str) -> bool:
    with suppress(ValueError):
        datetime.strptime(value, form)
        return True
    return False
