"""Tables of limits that hold rules ask for: a site's own CSV files. LabRelay ships none, for limits are a laboratory's.

    critical('critical')            code,unit,low,high           held below `low` or above `high`
    delta_exceeds('delta')          code,unit,change,percent,within     held where it changed by more than that
    interference('hil')             code,index,high              held where that index of its tube is above `high`

A row applies to results with this code (of any system) and this unit, as the document has them: its UCUM code or its
text. A row of `critical` may be of patients of one sex, and of an age `from` and before `until` (`28d`, `18y`); of
several rows the first that fits counts. Of `change` and `percent` either may be left out; where both are given, both
must be exceeded. The table does not apply to a code that no row names. The answer for a code with other units only is
unknown.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from engine.mapping.code_tables.table_files import first_file, rows_in
from engine.mapping.values import decimals
from engine.model.content.results import MEMORY_US, Result, age_days, age_years
from engine.model.errors import LimitsError
from engine.model.texts.spelling import suggestion
from engine.model.texts.units import parse_duration

CRITICAL = ("low", "high")
DELTA = ("change", "percent", "within")
INTERFERENCE = ("high",)
PATIENT = ("sex", "from", "until")
SEXES = frozenset({"female", "male", "other"})
MAX_ROWS = 20_000
_AGE = re.compile(r"([0-9]{1,5})([dy])")
_FOR_PEOPLE = ("note", "source", "display")


@dataclass(frozen=True, slots=True)
class Limit:
    """One row. ``unit``: of an interference its index. ``within_us`` of a delta: how old an earlier value may be.

    ``sex``, ``since``, ``until``: of the patients that it is of; ages with their unit.
    """

    unit: str
    low: Decimal | None = None
    high: Decimal | None = None
    change: Decimal | None = None
    percent: Decimal | None = None
    within_us: int = 0
    sex: str = ""
    since: str = ""
    until: str = ""

    def fits(self, result: Result, now_us: int) -> bool | None:
        """Whether it is of the patient; None: that is not known."""
        answers: list[bool | None] = []
        if self.sex:
            answers.append(None if result.sex in ("", "unknown") else result.sex == self.sex)
        if self.since:
            answers.append(_has_reached(self.since, result, now_us))
        if self.until:
            is_over = _has_reached(self.until, result, now_us)
            answers.append(None if is_over is None else not is_over)
        return False if False in answers else None if None in answers else True


def _has_reached(age: str, result: Result, now_us: int) -> bool | None:
    patients = (age_years if age.endswith("y") else age_days)(result, now_us)
    return None if patients is None else patients >= int(age[:-1])


@dataclass(frozen=True, slots=True)
class Limits:
    """A table: code -> its rows, one for each unit and kind of patient.

    Attributes:
        columns: `CRITICAL`, `DELTA` or `INTERFERENCE`.
    """

    name: str
    columns: tuple[str, ...] = ()
    rows: dict[str, list[Limit]] = field(default_factory=dict)

    def of(self, codes: Sequence[str]) -> list[Limit]:
        """The rows of the first of ``codes`` that the table names."""
        return next((self.rows[code] for code in codes if code in self.rows), [])


def key_of(columns: tuple[str, ...]) -> tuple[str, str]:
    return ("code", "index" if columns == INTERFERENCE else "unit")


def read_limits(name: str, search: Sequence[Path], columns: tuple[str, ...]) -> Limits:
    """The table ``tables/<name>.csv`` of the first `mappings` folder that has it.

    Args:
        columns: `CRITICAL`, `DELTA` or `INTERFERENCE`.

    Raises:
        LimitsError: it is not there, or wrong.
    """
    file = name if name.endswith(".csv") else f"tables/{name}.csv"
    key = key_of(columns)
    path = first_file(file, search)
    if path is None:
        raise LimitsError(
            f"there is no table {file}; make it in the site's mappings/ with the columns {', '.join(key + columns)}"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise LimitsError(f"{file}: cannot be read as UTF-8 ({type(error).__name__})") from error
    problems: list[str] = []
    usual = (*key, *columns, *(PATIENT if columns == CRITICAL else ()), *_FOR_PEOPLE)
    made = Limits(name, columns)
    quotes = "quotes do not match; a quote inside quotes is written twice"
    lines = list(rows_in(text, lambda number: problems.append(f"{file}:{number}:1: {quotes}")))
    header = [cell.strip() for cell in lines[0][1]] if lines else []
    for column in (*key, *(("within",) if "within" in columns else ())):
        if column not in header:
            problems.append(f"{file}:1:1: column '{column}' is missing; the columns are {', '.join(key + columns)}")
    for column in header:
        if column not in usual:
            known = suggestion(column, usual)
            problems.append(f"{file}:1:1: such a table has no column '{column}'{known}")
    if not problems:
        if len(lines) > MAX_ROWS:
            raise LimitsError(f"{file}:{lines[MAX_ROWS][0]}:1: more than {MAX_ROWS} rows")
        for number, cells, _ in lines[1:]:
            named = dict(zip(header, map(str.strip, cells), strict=False))
            _add(made, f"{file}:{number}:1", named, columns, problems)
    if problems:
        raise LimitsError(*problems)
    return made


def _add(made: Limits, place: str, cells: dict[str, str], columns: tuple[str, ...], problems: list[str]) -> None:
    code = cells.get("code", "")
    limit = _limit(place, cells, columns, problems)
    rows = made.rows.setdefault(code, [])
    if not code:
        problems.append(f"{place}: the cell under 'code' is empty; a row needs it")
    elif any(
        (other.unit, other.sex, other.since, other.until) == (limit.unit, limit.sex, limit.since, limit.until)
        for other in rows
    ):
        problems.append(f"{place}: {' and '.join(key_of(columns))} are here a second time; take one of the rows out")
    rows.append(limit)


def _limit(place: str, cells: dict[str, str], columns: tuple[str, ...], problems: list[str]) -> Limit:
    numbers: dict[str, Decimal] = {}
    for column in ("low", "high", "change", "percent"):
        written = cells.get(column)
        if column in columns and written:
            number = decimals.normal(written)
            if number is None or (column in DELTA and Decimal(number) < 0):
                problems.append(f"{place}: {column} '{written}' is no decimal (or below 0); write it as 0.5 or 10")
            else:
                numbers[column] = Decimal(number)
    second = key_of(columns)[1]
    if columns == INTERFERENCE and not cells.get(second):
        problems.append(f"{place}: the cell under 'index' is empty; a row needs it")
    if "*" in (cells.get("code"), cells.get(second)):
        problems.append(f"{place}: * means nothing in a table of limits; write one row for each code and unit")
    if not numbers:
        given = " or ".join(column for column in columns if column != "within")
        problems.append(f"{place}: the row says no limit; give {given}, or take it out")
    if "low" in numbers and "high" in numbers and numbers["low"] > numbers["high"]:
        problems.append(f"{place}: low is above high; exchange them")
    within_us = 0
    if "within" in columns:
        try:
            within_us = int(parse_duration(cells.get("within", "")) * 1e6)
            if not 0 < within_us <= MEMORY_US:
                raise ValueError("earlier values are remembered for 90 days, so at most 90d")
        except ValueError as error:
            problems.append(f"{place}: within: {error}")
    sex, since, until = (cells.get(column, "") for column in PATIENT)
    if sex and sex not in SEXES:
        problems.append(f"{place}: sex '{sex}' is none; write {', '.join(sorted(SEXES))}, or nothing")
    for age in filter(None, (since, until)):
        if not _AGE.fullmatch(age):
            problems.append(f"{place}: '{age}' is no age; write it in days or years, as 28d or 18y")
    return Limit(cells.get(second, ""), within_us=within_us, sex=sex, since=since, until=until, **numbers)
