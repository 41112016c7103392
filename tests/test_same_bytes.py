"""The same bytes give the same documents: in another process, with another hash seed, time zone, locale and order of
messages, and whether they are explained or not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundle_hashes import PLAIN, TRACED
from tests.support.corpus import needs_corpus

pytestmark = [pytest.mark.corpus, needs_corpus]

CHECKOUT = Path(__file__).parents[1]
Hashes = dict[str, str]


def started(order: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.bundle_hashes", order],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def runs() -> tuple[Hashes, Hashes]:
    one = started("forwards", PYTHONHASHSEED="1", TZ="UTC", LC_ALL="C")
    other = started("backwards", PYTHONHASHSEED="2", TZ="Pacific/Auckland", LC_ALL="tr_TR.UTF-8")
    said = [process.communicate(timeout=240)[0] for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0)
    first, second = map(json.loads, said)
    return first, second


def test_two_processes_give_the_same(runs: tuple[Hashes, Hashes]) -> None:
    first, second = runs
    assert len(second) > 500
    assert second.keys() == {name for name in first if name.endswith(PLAIN)}
    assert [name for name, found in second.items() if first[name] != found] == []


def test_explaining_changes_nothing(runs: tuple[Hashes, Hashes]) -> None:
    hashes, _ = runs
    pairs = {name: name.removesuffix(PLAIN) + TRACED for name in hashes if name.endswith(PLAIN)}
    assert len(pairs) * 2 == len(hashes)
    assert [name for name, traced in pairs.items() if hashes[name] != hashes[traced]] == []
