"""The daemon's usage: what the kernel and Python count, read from the real process that a benchmark starts."""

import gc
from pathlib import Path

import pytest

from workbench.bench.processes import UNDER_TEST, JsonProcess, Usage, cost_of
from workbench.bench.under_test import usage


def test_usage_between_two_moments_is_of_each_process() -> None:
    before = Usage({1: 2.0, 2: 1.0}, collections=4, collected=100, blocks=1000)
    after = Usage({1: 2.5, 2: 3.0, 3: 0.25}, collections=6, collected=110, blocks=900)
    assert after.since(before) == Usage({1: 0.5, 2: 2.0, 3: 0.25}, collections=2, collected=10, blocks=-100)


def test_objects_that_only_the_collector_frees_are_counted() -> None:
    gc.collect()
    counts = usage()
    before = counts("")
    for _ in range(50):
        circle: list[object] = []
        circle.append(circle)
    del circle
    gc.collect()
    after = counts("")
    assert after["collections"] > before["collections"]
    assert after["collected"] - before["collected"] >= 50


def test_the_process_under_test_keeps_its_compiled_modules_as_an_installation_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    process = JsonProcess("workbench.bench.sink")
    try:
        process.hear()
        assert b"PYTHONDONTWRITEBYTECODE" not in Path(f"/proc/{process.process.pid}/environ").read_bytes()
    finally:
        process.stop()


def test_the_process_under_test_is_the_command_line() -> None:
    process = JsonProcess(str(UNDER_TEST), "usage", "version")
    assert process.process.stdout is not None
    assert process.process.stdout.read().startswith("labrelay ")
    process.stop()
    assert process.process.returncode == 0


def test_cpu_time_of_another_process_is_its_own() -> None:
    took_s, cpu_s = cost_of("-c", "sum(range(3_000_000))")
    assert cpu_s > 0.01
    assert took_s > 0
