"""A failing test is named at the moment when it fails: its id, and the last line of its error.

pytest itself names it at the end, which `make test` reaches after many minutes.
"""

import pytest


class FailuresAtOnce:
    """A pytest plugin for the process that has the terminal; with xdist that is the controller."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._name(f"{report.nodeid} ({report.when})", report.longreprtext)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._name(report.nodeid, report.longreprtext)

    def _name(self, failed: str, error: str) -> None:
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        raised = [line[1:].strip() for line in error.splitlines() if line.startswith("E ")]
        terminal.write_line(f"\nFAILED {failed}: {next(iter(raised), error.strip()[-200:])}", red=True)
