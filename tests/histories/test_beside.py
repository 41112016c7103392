"""Of a plain history nothing is held; of others something is, for many reasons."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.histories.beside import Held, of_results, of_samples

Play = Callable[[Iterable[int], Path], Iterator[Held]]


@pytest.mark.parametrize(("play", "most"), [(of_samples, 90), (of_results, 60)])
def test_nothing_is_held_of_a_plain_history(play: Play, most: int, tmp_path: Path) -> None:
    found = [*play(range(most), tmp_path)]

    assert found
    assert [one for one in found if one.plain] == []


def test_what_is_held_of_samples_is_so_for_many_reasons(tmp_path: Path) -> None:
    causes = {one.cause for one in of_samples(range(90), tmp_path)}

    assert causes >= {"CORRECTS_UNKNOWN", "SAMPLE_UNKNOWN", "REJECTED_BEFORE", "POOL"}
