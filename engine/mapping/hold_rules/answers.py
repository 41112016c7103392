"""Runtime of compiled hold rules: comparisons, earlier values, controls, tables of limits.

An unknown value is neither true nor false; it is recorded in `HoldContext`.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from engine.mapping.hold_rules import limits
from engine.mapping.hold_rules.names import HoldContext, NumberOf, T, TestOf, TextsOf, value_of
from engine.mapping.hold_rules.values import Number, Test, both, compare, either, exact, percent


def compared(operator: str, left: NumberOf, right: NumberOf) -> TestOf:
    return lambda asked: compare(operator, left(asked), right(asked))


def same(left: TextsOf, right: TextsOf) -> TestOf:
    def test(asked: HoldContext) -> Test:
        some, others = left(asked), right(asked)
        return None if some is None or others is None else not set(some).isdisjoint(others)

    return test


def quietly(asked: HoldContext, of: Callable[[HoldContext], T | None]) -> T | None:
    """A value whose absence is an answer, and is not reported."""
    before = list(asked.unknown)
    found = of(asked)
    asked.unknown[:] = before
    return found


def first_of(
    first: Callable[[HoldContext], T | None], second: Callable[[HoldContext], T | None]
) -> Callable[[HoldContext], T | None]:
    """``first | second``: the first that is known."""

    def value(asked: HoldContext) -> T | None:
        found = quietly(asked, first)
        return second(asked) if found is None else found

    return value


def one_of(
    condition: TestOf, first: Callable[[HoldContext], T | None], second: Callable[[HoldContext], T | None]
) -> Callable[[HoldContext], T | None]:
    """``first if condition else second``; unknown where the condition is."""

    def value(asked: HoldContext) -> T | None:
        test = condition(asked)
        return None if test is None else first(asked) if test else second(asked)

    return value


def _earlier(asked: HoldContext, within_us: int, told: str) -> Decimal | None:
    if not asked.result.subject:
        asked.miss(f"{told}: the result names no patient")
        return None
    found = asked.earlier.value(asked.result, within_us)
    if found is None:
        asked.miss(f"{told}: no earlier value of this patient with this code and unit in that time")
    return found


def _change(asked: HoldContext, within_us: int, told: str) -> tuple[Decimal, Decimal] | None:
    """The change, and the earlier value."""
    value = exact(value_of(asked))
    before = _earlier(asked, within_us, told)
    if value is None:
        asked.miss(f"{told}: the result is no exact number")
    return None if value is None or before is None else (value - before, before)


def _previous(within_us: int, told: str) -> NumberOf:
    return lambda asked: _earlier(asked, within_us, told)


def _delta(within_us: int, told: str) -> NumberOf:
    return lambda asked: None if (found := _change(asked, within_us, told)) is None else found[0]


def _delta_percent(within_us: int, told: str) -> NumberOf:
    def number(asked: HoldContext) -> Number | None:
        found = _change(asked, within_us, told)
        if found is None:
            return None
        made = percent(*found)
        if made is None:
            asked.miss(f"{told}: the earlier value is 0")
        return made

    return number


def _days_since(within_us: int, told: str) -> NumberOf:
    def number(asked: HoldContext) -> Number | None:
        if _earlier(asked, within_us, told) is None:
            return None
        found = asked.earlier.days(asked.result, within_us)
        if found is None:
            asked.miss(f"{told}: it is not known when the earlier value was measured")
        return found

    return number


PAST: dict[str, Callable[[int, str], NumberOf]] = {
    "previous": _previous,
    "delta": _delta,
    "delta_percent": _delta_percent,
    "days_since": _days_since,
}


def qc_failed(within_us: int, told: str) -> TestOf:
    def test(asked: HoldContext) -> Test:
        codes = (*(code for _, code in asked.result.codes), *asked.result.made_of)
        failed = asked.earlier.control_failed(codes, within_us)
        if failed is None:
            asked.miss(f"{told}: no control of this test was judged in that time")
        return failed

    return test


def _rows_for(asked: HoldContext, table: limits.Limits, told: str) -> list[limits.Limit] | bool:
    """The rows for a result; True: the table has the code and not the unit, False: it does not have the code."""
    rows = table.of([code for _, code in asked.result.codes])
    if not rows:
        return False
    units = asked.result.units or ("",)
    if of_unit := [row for row in rows if row.unit in units]:
        return of_unit
    asked.miss(f"{told}: the table has the code, and not with this unit")
    return True


def critical(table: limits.Limits, told: str) -> TestOf:
    def test(asked: HoldContext) -> Test:
        rows = _rows_for(asked, table, told)
        if isinstance(rows, bool):
            return None if rows else False
        value = value_of(asked)
        answers: list[Test] = []
        for row in rows:
            fits = row.fits(asked.result, asked.now_us)
            if fits is not False:
                answers.append(_is_beyond(value, row))
            if fits:
                break
        else:
            asked.miss(f"{told}: no row is known to be of the patient's age and sex")
            return None
        if len({*answers}) > 1:
            asked.miss(f"{told}: it depends on the patient's age or sex, which is not known")
            return None
        return answers[0]

    return test


def _is_beyond(value: Number | None, row: limits.Limit) -> Test:
    below = False if row.low is None else compare("<", value, row.low)
    above = False if row.high is None else compare(">", value, row.high)
    return either([lambda: below, lambda: above])


def delta_exceeds(table: limits.Limits, told: str) -> TestOf:
    def test(asked: HoldContext) -> Test:
        rows = _rows_for(asked, table, told)
        if isinstance(rows, bool):
            return None if rows else False
        row = rows[0]
        found = _change(asked, row.within_us, told)
        if found is None:
            return None
        change, before = found
        by_number = True if row.change is None else abs(change) > row.change
        share = percent(change, before)
        by_share: Test = (
            True if row.percent is None else compare(">", None if share is None else abs(share), row.percent)
        )
        return both([lambda: by_number, lambda: by_share])

    return test


def other(code: str, told: str) -> NumberOf:
    """The number of another result of the tube."""

    def number(asked: HoldContext) -> Number | None:
        if not asked.result.tube:
            asked.miss(f"{told}: it is not known which tube the result is of")
            return None
        found = {
            value_of(replace(asked, result=one, unknown=[]))
            for one in asked.tube
            if one is not asked.result and code in [own for _, own in one.codes]
        }
        if len(found) != 1:
            asked.miss(f"{told}: its tube has {'several that differ' if found else 'none'}")
            return None
        (value,) = found
        if value is None:
            asked.miss(f"{told}: that result is no number")
        return value

    return number


def interference(table: limits.Limits, told: str) -> TestOf:
    def test(asked: HoldContext) -> Test:
        rows = table.of([code for _, code in asked.result.codes])
        for source in asked.result.made_of:
            rows = [*rows, *(row for row in table.of([source]) if row not in rows)]
        answers = [compare(">", other(row.unit, f"{told}, {row.unit}")(asked), row.high) for row in rows]
        return True if True in answers else None if None in answers else False

    return test


def failed_deltas(table: limits.Limits, told: str) -> NumberOf:
    exceeds = delta_exceeds(table, told)

    def number(asked: HoldContext) -> Number | None:
        tube = [one for one in asked.tube if not one.beside] or [asked.result]
        judged = [
            exceeds(replace(asked, result=one, unknown=[])) for one in tube if table.of([code for _, code in one.codes])
        ]
        if judged and not any(one is not None for one in judged):
            asked.miss(f"{told}: no result of its tube has an earlier value")
            return None
        return Decimal(sum(one is True for one in judged))

    return number
