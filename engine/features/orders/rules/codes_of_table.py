"""The codes of an analyzer's tests, read backwards from the table that its results are mapped by: LOINC -> its code.

Rows for several units of a code are one code. Two codes for one LOINC term are two tests of the analyzer: the site says
which of them is ordered (``orders: preferred:``).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from engine.features.orders.config.orders import OrdersConfig
from engine.mapping.tables import Table

WILDCARD = "*"


def codes_of(tables: Iterable[Table], orders: OrdersConfig) -> tuple[dict[str, str], tuple[str, ...]]:
    """LOINC -> the analyzer's code, and what is wrong: lines without a place, each with a way out.

    Args:
        tables: that the channel names for its results.
    """
    found: Mapping[str, dict[str, None]] = defaultdict(dict)
    for table in tables:
        for row in table.rows:
            code = row.cells.get("code", WILDCARD)
            if row.code and code != WILDCARD:
                found[row.code][code] = None
    problems = tuple(_problems(found, orders))
    preferred = frozenset(orders.preferred or ())
    return {
        test: next((code for code in codes if code in preferred), next(iter(codes))) for test, codes in found.items()
    }, problems


def _problems(found: Mapping[str, Mapping[str, None]], orders: OrdersConfig) -> Iterator[str]:
    if not found:
        yield "codes: is missing, and no table of this channel says the LOINC code of a test; give codes"
    preferred = frozenset(orders.preferred or ())
    for test, codes in sorted(found.items()):
        marked = preferred.intersection(codes)
        if len(codes) > 1 and len(marked) != 1:
            text = f"{' and '.join(sorted(codes))} are codes of {test}"
            yield f"{text}; name the one that is ordered in preferred, or give codes"
    for code in sorted(preferred - {code for codes in found.values() for code in codes}):
        yield f"preferred: no row of the table has the code '{code}'; take it out"
