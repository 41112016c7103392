"""What a correction of a code table means beside the table's files: the row that it covers, and what is wrong with it.

Stricter than for a file, since no second person reads it before it is in force: a LOINC code whose check digit does not
hold is refused, and one that the table of terms does not have needs ``yes`` under ``meant``, as each doubt does.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from engine.mapping.code_tables.plausible import Kinds
from engine.mapping.code_tables.table_files import FOR_PEOPLE, NO_RESULT, check_row
from engine.mapping.code_tables.tables import Table
from engine.model.site.corrections import KEY_COLUMNS, ORDER, SOURCE, RowChange
from engine.model.texts.spelling import suggestion

MOST_NAMED = 5  # rows of the files
LONGEST = 200  # characters of a cell
FREE = ("device", "specimen")  # blank is any
MEANT = "meant"
_BESIDE = frozenset({*KEY_COLUMNS, SOURCE, "note", MEANT})
_EATEN = ("'=", "'+", "'-", "'@")  # a table's reader takes this apostrophe for a spreadsheet's


class Problem(NamedTuple):
    """What is wrong in a cell. ``doubt``: a person who is sure writes yes under ``meant``."""

    column: str
    text: str
    doubt: bool = False


def whole_key(table: Table, key: Mapping[str, str]) -> dict[str, str]:
    """The cells of a key as they are stored: also the blank ones, but for columns where blank is any."""
    blank = {column: "" for column in table.asked if column not in FREE}
    return {**blank, **{column: cell for column, cell in key.items() if cell or column not in FREE}}


def covered(table: Table, key: Mapping[str, str]) -> dict[str, str]:
    """The cells, besides key and remarks, of the row that decides about ``key``; none: no row does."""
    values = tuple(key.get(column, "*" if column in FREE else "") for column in table.key)
    row = table.find(values) or next((row for row in table.rows if row.name == ",".join(values)), None)
    return {name: cell for name, cell in row.cells.items() if name not in _BESIDE} if row is not None else {}


def beside(table: Table, change: RowChange) -> dict[str, dict[str, str]]:
    """The files' rows of other keys of which a change takes the place, where they mean something else: each by its key,
    with its meaning. A blank device or specimen takes the place of the rows that name one; ``type`` ``none`` is about a
    code with every unit, here as in a row of the files.
    """
    if not change.cells:
        return {}
    mine, says = _values(table, change.key), _meaning(table, change.cells)
    found = {}
    for row in table.rows:
        theirs, meaning = _values(table, row.cells), _meaning(table, row.cells)
        leaves_out = theirs[0] == mine[0] and NO_RESULT in (says.get("type"), meaning.get("type"))
        if theirs != mine and meaning != says and (leaves_out or _cuts_into(mine, theirs)):
            found[",".join(theirs)] = meaning
    return found


def _values(table: Table, cells: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(cells.get(column, "*" if column in FREE else "") for column in table.asked)


def _meaning(table: Table, cells: Mapping[str, str]) -> dict[str, str]:
    return {name: cell for name, cell in cells.items() if name not in FOR_PEOPLE and name not in table.asked}


def _cuts_into(upper: Sequence[str], lower: Sequence[str]) -> bool:
    """Whether both keys can match one code, and ``lower`` is not wider: a usual row that ``upper`` refines."""
    pairs = list(zip(upper, lower, strict=True))
    return all(one == other or "*" in (one, other) for one, other in pairs) and any(
        other not in (one, "*") for one, other in pairs
    )


def columns_of(table: Table) -> tuple[str, ...]:
    """The columns that a row for this table may have: its own, and those that every table of codes may have."""
    usual = ORDER[len(KEY_COLUMNS) :] if table.key[0] == "code" else ()
    return tuple(dict.fromkeys((*table.asked, *usual, *table.columns, "note", MEANT)))


def named(rows: Mapping[str, Mapping[str, str]]) -> str:
    """Rows of the files in words, by their keys: ``HGB,g/dL,*,UR (725-2)``; some of many."""
    said = [f"{key} ({cells.get('loinc') or cells.get('type', 'no term')})" for key, cells in rows.items()]
    more = [f"and {len(said) - MOST_NAMED} more"] if len(said) > MOST_NAMED else []
    return ", ".join([*said[:MOST_NAMED], *more])


def problems(table: Table, change: RowChange, kinds: Kinds | None) -> Iterator[Problem]:
    """Everything that is wrong with a row that a person wants to add above this table's files."""
    cells = {**change.cells, **{column: cell for column, cell in change.key.items() if cell}}
    first = table.key[0]
    known = columns_of(table)
    for column, cell in cells.items():
        if column not in known:
            yield Problem(column, f"table {table.name} has no column {column}{suggestion(column, known)}")
        elif not cell.isprintable() or cell != cell.strip() or not cell or len(cell) > LONGEST:
            yield Problem(
                column, f"a cell has 1 to {LONGEST} visible characters, and none but spaces between words is blank"
            )
        elif cell.startswith(_EATEN):
            yield Problem(column, "a cell cannot begin with an apostrophe before =, +, - or @")
    for column in change.key:
        if column in known and column not in table.asked:
            yield Problem(column, f"rows of table {table.name} are looked up by {', '.join(table.asked)}")
    if not change.key.get(first):
        yield Problem(first, f"the cell under '{first}' is empty; a row needs it")
    elif change.key[first] == "*":
        yield Problem(first, "* would match anything")
    if not change.cells:
        return
    says = change.cells.keys() - FOR_PEOPLE
    if not says and not change.cells.get("note"):
        text = "the row does not say what the code means; to take a row of the files away, give a note alone"
        yield Problem("loinc" if "loinc" in table.columns else first, text)
    if change.beside and change.cells.get(MEANT) != "yes":
        text = f"this row also takes the place of other rows of the files: {named(change.beside)}"
        yield Problem(first, f"{text}; where that is right, write yes under {MEANT}", doubt=True)
    doubt = kinds.doubt if kinds is not None else None
    for column, text, severity in check_row(cells, table.asked, doubt):
        yield Problem(column, text, severity == "doubt")
    code = change.cells.get("loinc")
    if kinds is not None and code is not None and code not in kinds.names and cells.get(MEANT) != "yes":
        text = f"the table of terms (tables/loinc.csv) does not have LOINC {code}; compare it at loinc.org"
        yield Problem("loinc", f"{text}, and write yes under {MEANT}", doubt=True)
