"""A failing test is named while the others still run, with workers and without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
TESTS = """
import pathlib, time

def test_a():
    assert 1 + 1 == 3, "sums"

def test_b():
    while not pathlib.Path(__file__).with_name("named").exists():
        time.sleep(0.01)
"""
CONFTEST = """
from tests.support.failures import FailuresAtOnce

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config))
"""


@pytest.mark.parametrize("workers", ["-n0", "-n1"])
def test_a_failure_is_named_at_once_with_its_error(tmp_path: Path, workers: str) -> None:
    """The second test ends when the terminal has named the first one."""
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "test_two.py").write_text(TESTS, encoding="utf-8")
    ran = subprocess.Popen(
        [sys.executable, "-m", "pytest", workers, "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with ran:
        assert ran.stdout is not None
        try:
            named = next(line for line in ran.stdout if line.startswith("FAILED "))
            (tmp_path / "named").touch()
            assert named == "FAILED test_two.py::test_a (call): AssertionError: sums\n"
            ran.communicate(timeout=300)
        finally:
            ran.kill()
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(("passes", "ends"), [("second", 0), ("third", 1)])
def test_what_failed_is_run_once_more_also_of_a_file_of_another_name(tmp_path: Path, passes: str, ends: int) -> None:
    """A file that is found by its path alone, as those of `make e2e` are."""
    (tmp_path / "walk.py").write_text(
        "from pathlib import Path\n\n"
        "def test_a():\n"
        '    runs = Path(__file__).with_name("runs")\n'
        '    runs.write_text((runs.read_text() if runs.exists() else "") + "x")\n'
        f"    assert len(runs.read_text()) >= {('first', 'second', 'third').index(passes) + 1}\n",
        encoding="utf-8",
    )
    ran = subprocess.run(
        [sys.executable, CHECKOUT / "tools" / "run_tests.py", "-n0", "--rootdir", str(tmp_path), "walk.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == ends, ran.stdout
    assert ("== FAILED ONCE, passed alone: walk.py::test_a" in ran.stdout) == (ends == 0)
    assert (tmp_path / "runs").read_text() == "xx"
