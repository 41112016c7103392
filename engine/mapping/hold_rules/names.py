"""The names that a hold rule may use about a result, and its functions, with their documentation.

The input of a hold rule. The parts of its expression are functions of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from engine.mapping.hold_rules.values import Bound, Number, Test
from engine.model.content.results import EarlierResults, Result, age_days, age_years

MAX_UNKNOWN = 3  # reasons that are reported


@dataclass(slots=True)
class HoldContext:
    """The input of a hold rule.

    Attributes:
        result: an empty one for a rule that reads no result.
        tests: answers of the conditions about the message, by their number.
        warnings: codes of those that the mapping gave.
        told: all results of the document, and what its message says beside them.
        score: the number that another program gives the result.
        unknown: collects descriptions of values that are not known.
    """

    result: Result
    earlier: EarlierResults
    tests: Sequence[bool]
    now_us: int
    warnings: tuple[str, ...] = ()
    told: Sequence[Result] = ()
    score: Decimal | None = None
    unknown: list[str] = field(default_factory=list)

    @property
    def tube(self) -> list[Result]:
        """Those of the same tube; nothing where it is not known which that is."""
        return [one for one in self.told if one.tube == self.result.tube] if self.result.tube else []

    def miss(self, what: str) -> None:
        if what not in self.unknown and len(self.unknown) < MAX_UNKNOWN:
            self.unknown.append(what)


T = TypeVar("T")
Texts = tuple[str, ...]
TestOf = Callable[[HoldContext], Test]
NumberOf = Callable[[HoldContext], Number | None]
TextsOf = Callable[[HoldContext], Texts | None]


@dataclass(frozen=True, slots=True)
class TestTerm:
    of: TestOf


@dataclass(frozen=True, slots=True)
class NumberTerm:
    of: NumberOf


@dataclass(frozen=True, slots=True)
class TextTerm:
    """One text or several; several are equal to a text where one of them is. Empty: known to be none."""

    of: TextsOf


Term = TestTerm | NumberTerm | TextTerm


def value_of(asked: HoldContext) -> Number | None:
    result = asked.result
    if result.value is None:
        asked.miss("value: the result is no number")
        return None
    return Bound(result.comparator, result.value) if result.comparator else result.value


def _missing(name: str, why: str, read: Callable[[HoldContext], Decimal | None]) -> NumberOf:
    def number(asked: HoldContext) -> Number | None:
        found = read(asked)
        if found is None:
            asked.miss(f"{name}: {why}")
        return found

    return number


def _code(asked: HoldContext) -> Texts | None:
    if not asked.result.codes:
        asked.miss("code: the result has none")
        return None
    return tuple(code for _, code in asked.result.codes)


def _unit(asked: HoldContext) -> Texts | None:
    if not asked.result.units and asked.result.value is not None:
        asked.miss("unit: the number has none")
        return None
    return asked.result.units


def _text(asked: HoldContext) -> Texts | None:
    if asked.result.text is None:
        asked.miss("text: the result has no value")
        return None
    return (asked.result.text,)


def _sex(asked: HoldContext) -> Texts | None:
    if not asked.result.sex or asked.result.sex == "unknown":
        asked.miss("sex: not known")
        return None
    return (asked.result.sex,)


def _whole(number: int | None) -> Decimal | None:
    return None if number is None else Decimal(number)


# name -> (its term, what the documentation says)
NAMES: dict[str, tuple[Term, str]] = {
    "code": (
        TextTerm(_code),
        "the codes of the result (LOINC, the analyzer's own), of any system; `==` is true where one of them is equal",
    ),
    "flags": (TextTerm(lambda asked: asked.result.flags), "its flags (`H`, `LL`, `A` ...); none is known to be none"),
    "warnings": (
        TextTerm(lambda asked: asked.warnings),
        "codes of the warnings of its message: `=warnings == 'SAME_CODE'`",
    ),
    "status": (TextTerm(lambda asked: (asked.result.status,)), "`final`, `preliminary`, `corrected` ..."),
    "value": (NumberTerm(value_of), "the number; unknown for words; `<5` is a bound, and compared as one"),
    "text": (TextTerm(_text), "the result as it is written, words or number; unknown where a measurement failed"),
    "unit": (
        TextTerm(_unit),
        "the unit's UCUM code and its text; `==` holds for either; unknown where a number has none",
    ),
    "low": (
        NumberTerm(_missing("low", "the result has no lower limit", lambda asked: asked.result.low)),
        "lower end of the one reference range; unknown without one",
    ),
    "high": (
        NumberTerm(_missing("high", "the result has no upper limit", lambda asked: asked.result.high)),
        "upper end of it",
    ),
    "dilution": (
        NumberTerm(_missing("dilution", "not stated", lambda asked: asked.result.dilution)),
        "by which factor its specimen was diluted (TCD-2 to TCD-4; setting `dilution`), 1: not; unknown where none is "
        "stated, or two are",
    ),
    "score": (
        NumberTerm(_missing("score", "no program gave it", lambda asked: asked.score)),
        "the number of another program, at the rule's `score:`; where that gives none the rule holds nothing, and the "
        "message has the warning `NO_SCORE`",
    ),
    "sex": (TextTerm(_sex), "of the patient: `female`, `male`, `other`; unknown where it is not said"),
    "age": (
        NumberTerm(_missing("age", "no date of birth", lambda a: _whole(age_years(a.result, a.now_us)))),
        "of the patient in whole years when it was measured; unknown without a whole date of birth",
    ),
    "age_days": (
        NumberTerm(_missing("age_days", "no date of birth", lambda a: _whole(age_days(a.result, a.now_us)))),
        "the same in days",
    ),
}

# signature -> what the documentation says
FUNCTIONS: dict[str, str] = {
    "previous(within)": "the patient's last value with this code and unit, measured before this one and at most "
    "`'7d'` before; unknown where there is none",
    "delta(within)": "`value - previous(within)`",
    "delta_percent(within)": "the same in per cent of the earlier value; unknown where that is 0",
    "days_since(within)": "days since that value was measured: `=abs(delta('7d') / days_since('7d')) > 44` is a change "
    "per day",
    "delta_exceeds('table')": "whether it changed by more than the row of `tables/<table>.csv` allows (columns "
    "`code`, `unit`, `change`, `percent`, `within`; where both limits are given, both must "
    "be exceeded)",
    "critical('table')": "whether it is below `low` or above `high` of its row in `tables/<table>.csv` (columns "
    "`code`, `unit`, `low`, `high`; also `sex`, and ages `from` and `until`, as `28d` or `18y`); so are measuring "
    "ranges and absurd values",
    "other('code')": "the number of another result of its tube in its message; unknown where there is none, or two "
    "that differ. A result that the code table leaves out counts, too",
    "interference('table')": "whether an index of haemolysis, icterus or lipaemia of its tube is above `high` of its "
    "row in `tables/<table>.csv` (columns `code`, `index`, `high`; `index` is a code, as of `other`)",
    "failed_deltas('table')": "how many results of its tube changed by more than `delta_exceeds` allows; those without "
    "an earlier value do not count, and it is unknown where none has one",
    "qc_failed(within)": "whether the last run of a control of this test on this channel failed, of any material, "
    "within `'24h'` before the message; unknown where no control was judged in that time",
    "abs(number)": "without its sign",
    "known(x)": "whether x is known; never unknown itself",
}
