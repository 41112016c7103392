"""What every fault test may ask for; and of one that fails, the end of each log that a daemon of it has written."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.faults.harness.plugin import trial

__all__ = ["trial"]

LAST_BYTES = 20_000  # of one log


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    folder: Path | None = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and folder is not None:
        for log in sorted(folder.rglob("daemon.log")):
            text = log.read_bytes()[-LAST_BYTES:].decode(errors="replace")
            report.sections.append((str(log.relative_to(folder)), text))
    return report
