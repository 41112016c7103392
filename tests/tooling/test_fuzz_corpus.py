"""The kept inputs of the fuzzer (T16): every parser keeps its word on each of them, without the fuzzer itself.

`make fuzz` goes on from here and finds new ones; see `tests/fuzz`.
"""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import kept as store
from tests.fuzz.targets import LONGEST, TARGETS

MiB = 1 << 20


@pytest.mark.timeout(120)  # some milliseconds each; one that hangs is told by name in the traceback
@pytest.mark.parametrize("name", TARGETS)
def test_each_kept_input_is_read_or_refused(name: str) -> None:
    seeds = list(store.seeds(name))
    inputs = [*store.kept(name), *seeds[:: 1 + len(seeds) // 60]]
    assert len(inputs) > 10, "the corpus is not there"
    for data in inputs:
        try:
            TARGETS[name](data)
        except Exception as error:
            error.add_note(f"input: {store.as_line(data)}")
            raise


@pytest.mark.parametrize("name", ["mllp", "astm_link", "e1394", "hl7"])
def test_no_kept_input_takes_more_memory_than_its_size_explains(name: str) -> None:
    tracemalloc.start()
    try:
        for data in store.kept(name):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            TARGETS[name](data)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 4 * MiB, store.as_line(data)  # an input has at most 4 KiB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_are_small_and_in_order(name: str) -> None:
    inputs = [data for data in store.kept(name) if len(data) > LONGEST]
    assert inputs == []
    lines = (store.CORPUS / f"{name}.txt").read_text(encoding="ascii").splitlines()
    assert lines == sorted(set(lines), key=lambda line: (len(line), line)), "renew it with: make fuzz FUZZ=--keep"


@given(st.binary(max_size=60))
def test_what_is_kept_is_what_was_found(data: bytes) -> None:
    line = store.as_line(data)
    assert store.as_bytes(line) == data
    assert line.isascii()
    assert not line.startswith("#")
    assert len(line.splitlines()) <= 1
