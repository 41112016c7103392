"""Results that are computed from others: what is doubtful of these is doubtful of them, too. Pure.

    computed.tsv                  by LOINC codes, where the field knows it
    a pack, a channel             `computed: {EGFR: [CRE]}` of its settings, by any code; `{MCHC: []}` takes one out

Each test has all that it is made of: where MCV is made of HCT, MCHC is made of what HCT is, too. A list says nothing of
what makers do differently: whether HCT or MCV is measured, whether LDL is.

Sources: names of LOINC ("by calculation", "creatinine-based formula"); Beckman Coulter AcT 5diff, PN 177196BB, 7-25
(MCH, MCHC); Mindray BC-3000 Plus, 3.4.4 (counts of a differential); Friedewald, Clin Chem 1972;18:499; ICSH/ISTH (INR);
KDIGO 2012 (eGFR, albumin to creatinine); Tietz (gaps, ratios).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import orjson

from engine.model.tables import table_lines

COMPUTED = "computed"  # the setting
Listed = Mapping[str, Sequence[str]]

SHIPPED: Listed = {
    test: sources.split() for test, sources, _ in (line.split("\t") for line in table_lines(__file__, "computed.tsv"))
}


def sources_by_test(listed: Listed | None) -> Mapping[str, frozenset[str]]:
    """The codes of all that each test is made of.

    Args:
        listed: the setting of a channel.
    """
    return _closed(orjson.dumps(listed or {}))


def tests_by_source(listed: Listed | None) -> Mapping[str, frozenset[str]]:
    """`sources_by_test`, the other way round."""
    return _inverted(orjson.dumps(listed or {}))


def sources_of(codes: Iterable[str], by_test: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The codes of all that a result is made of; none, where one of its codes says that it is measured.

    Args:
        codes: of the result, without their systems.
    """
    sources = [by_test[code] for code in codes if code in by_test]
    return frozenset().union(*sources) if all(sources) else frozenset()


@lru_cache(maxsize=256)
def _inverted(listed: bytes) -> Mapping[str, frozenset[str]]:
    tests = _closed(listed)
    every = frozenset[str]().union(*tests.values())
    return {source: frozenset(test for test in tests if source in tests[test]) for source in every}


@lru_cache(maxsize=256)
def _closed(listed: bytes) -> Mapping[str, frozenset[str]]:
    direct: Listed = {**SHIPPED, **orjson.loads(listed)}
    return {code: frozenset(_walked(code, direct, set())) for code in direct}


def _walked(code: str, direct: Listed, seen: set[str]) -> set[str]:
    for source in direct.get(code, ()):
        if source not in seen:
            seen.add(source)
            _walked(source, direct, seen)
    return seen
