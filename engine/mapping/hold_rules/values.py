"""Values of hold rules: true, false and *unknown*, and numbers with only a bound known (``<5``).

Unknown is None, for tests as for values. It is never taken for false: `both` and `either` are Kleene's, a comparison
with an unknown value is unknown, and a rule that ends as unknown holds. A bound answers where the answer is the same
for every number that it allows: ``<5`` is below 7, is not above 9, and it is unknown whether it is below 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)
QUOTIENT = Context(prec=30, rounding=ROUND_HALF_EVEN)

Test = bool | None


@dataclass(frozen=True, slots=True)
class Bound:
    """A number with its comparator: ``<``, ``<=``, ``>``, ``>=``, or another one that says nothing exact (``ap``)."""

    comparator: str
    number: Decimal


Number = Decimal | Bound


def negated(test: Test) -> Test:
    return None if test is None else not test


def both(tests: Sequence[Callable[[], Test]]) -> Test:
    """``and``: false where one is false, even if others are unknown."""
    return _decided(tests, by=False)


def either(tests: Sequence[Callable[[], Test]]) -> Test:
    """``or``: true where one is true, even if others are unknown."""
    return _decided(tests, by=True)


def _decided(tests: Sequence[Callable[[], Test]], *, by: bool) -> Test:
    found: Test = not by
    for test in tests:
        one = test()
        if one is by:
            return by
        if one is None:
            found = None
    return found


def compare(operator: str, left: Number | None, right: Number | None) -> Test:
    """``== != < <= > >=`` of two numbers."""
    if left is None or right is None:
        return None
    if isinstance(right, Bound):
        if isinstance(left, Bound):
            return None
        return _bound({"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(operator, operator), right, left)
    if isinstance(left, Bound):
        return _bound(operator, left, right)
    match operator:
        case "==":
            return left == right
        case "!=":
            return left != right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case _:
            return left >= right


def _bound(operator: str, left: Bound, limit: Decimal) -> Test:
    match operator:
        case "<":
            if left.comparator in ("<", "<="):
                sure = left.number <= limit if left.comparator == "<" else left.number < limit
                return True if sure else None
            return False if left.comparator in (">", ">=") and left.number >= limit else None
        case ">":
            if left.comparator in (">", ">="):
                sure = left.number >= limit if left.comparator == ">" else left.number > limit
                return True if sure else None
            return False if left.comparator in ("<", "<=") and left.number <= limit else None
        case "<=":
            return negated(_bound(">", left, limit))
        case ">=":
            return negated(_bound("<", left, limit))
        case "!=":
            return negated(_bound("==", left, limit))
        case _:  # equal: only where it cannot be
            apart = _bound("<", left, limit) is True or _bound(">", left, limit) is True
            return False if apart else None


def exact(number: Number | None) -> Decimal | None:
    """A number to compute with; not a bound."""
    return number if isinstance(number, Decimal) else None


def arithmetic(operator: str, left: Number | None, right: Number | None) -> Decimal | None:
    """``+ - * /``; unknown where a side is, and for a division by zero."""
    one, two = exact(left), exact(right)
    if one is None or two is None:
        return None
    try:
        match operator:
            case "+":
                return CONTEXT.add(one, two)
            case "-":
                return CONTEXT.subtract(one, two)
            case "*":
                return CONTEXT.multiply(one, two)
            case _:
                return None if two.is_zero() else QUOTIENT.divide(one, two)
    except (InvalidOperation, ArithmeticError):
        return None


def percent(change: Decimal, of: Decimal) -> Decimal | None:
    """A change in per cent of an earlier value, without regard to its sign; unknown where that is 0."""
    quotient = arithmetic("/", change, abs(of))
    return None if quotient is None else CONTEXT.multiply(quotient, Decimal(100))
