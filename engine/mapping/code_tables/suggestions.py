"""Suggestions of a pack: meanings that published sources give the codes of an analyzer. No mapping reads them.

    code,unit_in,analyte,loinc,...,status                     header: `COLUMNS`, all and in this order; `#` as in tables
    158/,U/l,alkaline phosphatase,6768-6,...,suggested

A row names one code with one unit (blank: sent without), the analyte, its source and what it takes for granted. Several
rows of one code and unit are candidates to choose from; a row without a LOINC code names the analyte alone. A person
chooses, looks at the preview and puts the row in force; until then each is `suggested`, the only status there is.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

from engine.mapping.code_tables import units
from engine.mapping.code_tables.gaps import plain
from engine.mapping.code_tables.plausible import Kinds
from engine.mapping.code_tables.table_files import Finding, rows_in
from engine.mapping.code_tables.tables import VALUE_TYPES

MAX_ROWS = 2_000
LONGEST = 500  # characters of a cell
LONGEST_NOTE = 200  # of a correction's cell
SUGGESTED = "suggested"
MAKER, PUBLISHED = "maker", "published"  # a document of the maker; another published source
_ALWAYS = ("code", "analyte", "specimen", "assumes", "by", "source", "link", "status")
_OF_A_TERM = ("display", "type", "property")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One row.

    Attributes:
        analyzer, line: the pack, and the place in its file.
        loinc, display, type, scale, ucum: cells for a row of a code table; empty: the source does not lead to them.
        property, specimen: of the term, as LOINC writes it, and as its name says it.
        assumes: what must hold at the site for it to be true.
        by: `MAKER` or `PUBLISHED`. source: title, and section or page. link: its address.
    """

    analyzer: str
    line: int
    code: str
    unit_in: str
    analyte: str
    loinc: str
    display: str
    type: str
    scale: str
    ucum: str
    property: str
    specimen: str
    assumes: str
    by: str
    source: str
    link: str
    status: str

    def is_for(self, code: str, unit: str) -> bool:
        """Whether it is about this code with this unit; large and small letters of a unit are the same."""
        return self.code == code and self.unit_in.casefold() == unit.casefold()

    def draft(self) -> dict[str, str]:
        """The cells of a row for a code table, without its key; empty without a LOINC code."""
        if not self.loinc:
            return {}
        note = f"suggested: {self.source}"[:LONGEST_NOTE].strip()
        cells = {name: getattr(self, name) for name in ("loinc", "display", "type", "scale", "ucum")} | {"note": note}
        return {name: cell for name, cell in cells.items() if cell}

    def cells(self) -> dict[str, str]:
        """The row as its file has it."""
        return {name: cell for name, cell in asdict(self).items() if name in COLUMNS}


COLUMNS = tuple(name for name in Suggestion.__dataclass_fields__ if name not in ("analyzer", "line"))


def read_suggestions(text: str, analyzer: str) -> tuple[list[Suggestion], list[Finding]]:
    """The sound rows of a file, in its order, and what is wrong with the others, each with its line."""
    found: list[Suggestion] = []
    wrong: list[Finding] = []
    rows = rows_in(text, lambda line: wrong.append(Finding(line, 1, "quotes do not match")))
    line, header, _ = next(rows, (1, [], ""))
    if tuple(header) != COLUMNS:
        return [], [*wrong, Finding(line, 1, f"the header is not {','.join(COLUMNS)}")]
    seen: dict[tuple[str, str, str], int] = {}
    for line, cells, _ in rows:
        if len(found) == MAX_ROWS:
            wrong.append(Finding(line, 1, f"more than {MAX_ROWS} rows"))
            break
        if len(cells) != len(COLUMNS):
            wrong.append(Finding(line, 1, f"{len(cells)} cells under {len(COLUMNS)} columns"))
            continue
        row = dict(zip(COLUMNS, map(str.strip, cells), strict=True))
        problems = [*_problems(row)]
        key = row["code"], row["unit_in"].casefold(), row["loinc"]
        if key in seen:
            problems.append(f"the same code, unit and LOINC code as in line {seen[key]}; remove one of the two rows")
        seen.setdefault(key, line)
        wrong += [Finding(line, 1, problem) for problem in problems]
        if not problems:
            found.append(Suggestion(analyzer, line, **row))
    return found, sorted(wrong, key=lambda one: one.line)


def _problems(row: Mapping[str, str]) -> Iterator[str]:
    for name, cell in row.items():
        if not cell.isprintable() or len(cell) > LONGEST:
            yield f"{name}: a cell has at most {LONGEST} visible characters"
    for name in _ALWAYS:
        if not row[name]:
            yield f"the cell under '{name}' is empty; a suggestion needs it"
    if row["status"] and row["status"] != SUGGESTED:
        yield f"status '{row['status']}': a person confirms it at a site, never this file; write {SUGGESTED}"
    if row["by"] and row["by"] not in (MAKER, PUBLISHED):
        yield f"by '{row['by']}': write {MAKER} or {PUBLISHED}"
    if row["link"] and not row["link"].startswith(("https://", "http://")):
        yield "link: an address begins with https:// or http://"
    if "*" in (row["code"], row["unit_in"]):
        yield "* would match anything"
    if row["loinc"]:
        yield from _term_problems(row)
    else:
        more = [name for name in (*_OF_A_TERM, "scale", "ucum") if row[name]]
        if more:
            yield f"{', '.join(more)} without a LOINC code; an analyte alone has none of them"


def _term_problems(row: Mapping[str, str]) -> Iterator[str]:
    if not units.LOINC_SHAPE.fullmatch(row["loinc"]) or not units.loinc_check_digit_holds(row["loinc"]):
        yield f"'{row['loinc']}' is no LOINC code: its form or its check digit is wrong"
    for name in _OF_A_TERM:
        if not row[name]:
            yield f"the cell under '{name}' is empty; a LOINC code needs it"
    if row["type"] and row["type"] not in VALUE_TYPES:
        yield f"'{row['type']}' is no type of value (HL7 table 0125)"
    if row["scale"] not in ("", "Ord"):
        yield f"scale '{row['scale']}': write Ord, or nothing"
    if row["ucum"] and (problem := units.ucum_problem(row["ucum"])):
        yield f"'{row['ucum']}' is no UCUM unit: {problem}"


def doubt(one: Suggestion, kinds: Kinds) -> str:
    """Why a row cannot be true as far as the tables of terms and units know; empty: nothing speaks against it."""
    if not one.loinc:
        return ""
    if one.loinc not in kinds.names:
        return f"the table of terms (tables/loinc.csv) does not have LOINC {one.loinc}"
    found = kinds.doubt(one.draft() | {"unit_in": one.unit_in})
    return found[1] if found is not None else ""


def csv_lines(rows: Iterable[Suggestion]) -> Iterator[str]:
    """Header and rows, as a pack's file has them; no cell is a formula in a spreadsheet. None without a row."""
    for at, one in enumerate(rows):
        if not at:
            yield ",".join(COLUMNS)
        out = io.StringIO()
        csv.writer(out, lineterminator="").writerow(map(plain, one.cells().values()))
        yield out.getvalue()
