"""A skip nobody knows of fails the run: a test that does not run proves nothing.

Active where the environment variable ``CI`` is set. ``tests/known-skips.txt`` lists what may be skipped, a line each:

    tests/faults/test_disk.py::test_*     a pattern of test ids
    @corpus                               every test with this marker
    # a comment, and why
"""

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

KNOWN_SKIPS = Path(__file__).parents[1] / "known-skips.txt"


class SkipGuard:
    """A pytest plugin that notes skips and fails the run for those that are not known."""

    def __init__(self, known: Path = KNOWN_SKIPS) -> None:
        lines = known.read_text(encoding="utf-8").splitlines() if known.is_file() else []
        self._known = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        self.unknown: list[tuple[str, str]] = []
        self._allowed: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report.nodeid, report.keywords, _reason(report.longrepr))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report.nodeid, {}, _reason(report.longrepr))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unknown and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for entry, count in self._allowed.items():
            terminalreporter.line(f"skipped, as tests/known-skips.txt allows: {count} by {entry}")
        if self.unknown:
            terminalreporter.section("skips that tests/known-skips.txt does not list", red=True, bold=True)
            for name, reason in self.unknown:
                terminalreporter.line(f"{name}: {reason}")

    def _note(self, name: str, keywords: Mapping[str, object], reason: str) -> None:
        for entry in self._known:
            if entry.removeprefix("@") in keywords if entry.startswith("@") else fnmatchcase(name, entry):
                self._allowed[entry] += 1
                return
        self.unknown.append((name, reason))


def _reason(longrepr: object) -> str:
    return str(longrepr[2]) if isinstance(longrepr, tuple) and len(longrepr) == 3 else "no reason given"
