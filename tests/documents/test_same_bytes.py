"""The same bytes give the same documents: in another process, with another hash seed, time zone, locale and order of
messages, and whether they are explained or not; and the same as when `golden/hashes.tsv` was written.

That file holds hashes of documents, traces and generated code. A change of the code that is to change none of them
leaves it as it is. After one that is meant: LABRELAY_UPDATE_SAMPLES=1, and look at what other golden files say.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundle_hashes import CODE, PLAIN, TRACE, TRACED
from tests.support.corpus import corpus_files
from tests.support.expected import UPDATE

CHECKOUT = Path(__file__).parents[2]
FROZEN = Path(__file__).parents[1] / "golden" / "hashes.tsv"
DIGITS = 16  # of a hash: enough to see a change
RENEW = (
    "if that is meant, write tests/golden/hashes.tsv anew: "
    "LABRELAY_UPDATE_SAMPLES=1 .venv/bin/python -m pytest -n0 tests/documents/test_same_bytes.py"
)
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
    said = [process.communicate(timeout=500)[0] for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0)
    first, second = map(json.loads, said)
    return first, second


def test_two_processes_give_the_same(runs: tuple[Hashes, Hashes]) -> None:
    first, second = runs
    assert len(second) > (500 if corpus_files() else 70)
    assert second.keys() == {name for name in first if name.endswith(PLAIN)}
    assert [name for name, found in second.items() if first[name] != found] == []


def test_explaining_changes_nothing(runs: tuple[Hashes, Hashes]) -> None:
    hashes, _ = runs
    pairs = {name: name.removesuffix(PLAIN) + TRACED for name in hashes if name.endswith(PLAIN)}
    told = [name for name in hashes if not name.endswith((f" {TRACE}", f" {CODE}"))]
    assert len(pairs) * 2 == len(told)
    assert [name for name, traced in pairs.items() if hashes[name] != hashes[traced]] == []


def test_nothing_is_other_than_it_was(runs: tuple[Hashes, Hashes]) -> None:
    hashes = {name: found[:DIGITS] for name, found in runs[0].items() if not name.endswith(f" {TRACED}")}
    frozen = dict(line.split("\t") for line in FROZEN.read_text().splitlines())
    if UPDATE:
        absent = {} if corpus_files() else {name: found for name, found in frozen.items() if not is_ours(name)}
        frozen = absent | hashes
        FROZEN.write_text("".join(f"{name}\t{found}\n" for name, found in sorted(frozen.items())))
    # Messages of the corpus come and go; samples and mappings are our own.
    ours, was_ours = ({name for name in names if is_ours(name)} for names in (hashes, frozen))
    assert ours == was_ours, f"samples or mappings have come or gone: {RENEW}"
    least = 500 if corpus_files() else len(ours)
    assert len(frozen.keys() & hashes.keys()) >= least, f"too few messages are in both: {RENEW}"
    changed = [name for name, found in hashes.items() if frozen.get(name, found) != found]
    assert changed == [], f"these have other bytes than before: {RENEW}"


def is_ours(name: str) -> bool:
    return "/" in name or name.endswith(f" {CODE}")
