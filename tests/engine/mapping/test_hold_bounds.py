"""A value that was only sent as a bound (`<5`, `>=200`) is compared as all the values that it can stand for."""

from collections.abc import Callable
from decimal import Decimal
from itertools import product

import pytest

from engine.mapping.hold_rules.values import Bound, compare

Meaning = Callable[[Decimal, Decimal], bool]
COULD_BE: dict[str, Meaning] = {
    "<": lambda x, n: x < n,
    "<=": lambda x, n: x <= n,
    ">": lambda x, n: x > n,
    ">=": lambda x, n: x >= n,
}
TESTS: dict[str, Meaning] = {
    **COULD_BE,
    "==": lambda x, n: x == n,
    "!=": lambda x, n: x != n,
}
NUMBERS = [Decimal(n) for n in (1, 2, 3)]
# Between and at the numbers, and far away on both sides.
ANY = [Decimal(n) / 4 for n in range(17)] + [Decimal(-1000), Decimal(1000)]


@pytest.mark.parametrize(("comparator", "test"), list(product(COULD_BE, TESTS)))
def test_a_bound_says_yes_or_no_only_where_all_of_its_values_do(comparator: str, test: str) -> None:
    for number, limit in product(NUMBERS, NUMBERS):
        said = {TESTS[test](x, limit) for x in ANY if COULD_BE[comparator](x, number)}
        wanted = said.pop() if len(said) == 1 else None
        assert compare(test, Bound(comparator, number), limit) is wanted, (number, limit)


@pytest.mark.parametrize(("comparator", "test"), list(product(COULD_BE, TESTS)))
def test_the_same_from_the_other_side(comparator: str, test: str) -> None:
    for number, limit in product(NUMBERS, NUMBERS):
        said = {TESTS[test](limit, x) for x in ANY if COULD_BE[comparator](x, number)}
        wanted = said.pop() if len(said) == 1 else None
        assert compare(test, limit, Bound(comparator, number)) is wanted, (number, limit)
