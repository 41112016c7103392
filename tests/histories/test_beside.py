"""Where facts are judged otherwise than documents, a rule says so; and of a plain history nothing is."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.histories.beside import EXPLAINED, Difference, of_results, of_samples

Play = Callable[[Iterable[int], Path], Iterator[Difference]]


@pytest.mark.parametrize(("play", "most"), [(of_samples, 90), (of_results, 60)])
def test_a_rule_explains_each_difference(play: Play, most: int, tmp_path: Path) -> None:
    found = [*play(range(most), tmp_path)]

    assert [one for one in found if one.code not in EXPLAINED] == []
    assert [one for one in found if one.plain and "> held" in one.code] == []


def test_differences_of_samples_are_of_many_rules(tmp_path: Path) -> None:
    """Else nothing would have been compared."""
    codes = {one.code for one in of_samples(range(90), tmp_path)}

    assert {EXPLAINED[code][0] for code in codes} >= {"1", "3", "4", "5"}
