"""Pytest's side of the harness: the `trial` fixture, and the recorder that `make faults` adds with ``-p``.

Environment: `LABRELAY_BUDGET_S`, the time for this run of pytest, shared out evenly among what is left of its tests
that take a `trial`; `LABRELAY_RECORDS`, the folder that gets one JSON file for each test.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness.trial import Trial

_TRIAL = pytest.StashKey[Trial]()
_LEFT = pytest.StashKey[list[str]]()
_END = pytest.StashKey[float]()
GRACE_S = 180.0  # what a test may still need once its rounds are over: to drain, to judge


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Iterator[Trial]:
    """How much this run of the test is to do; see `tests.faults.harness.trial`."""
    made = Trial(request.node.name)
    stash = request.config.stash
    if _END in stash:
        left = stash[_LEFT]
        made.until = time.monotonic() + (stash[_END] - time.monotonic()) / max(1, len(left))
        if request.node.nodeid in left:
            left.remove(request.node.nodeid)
    request.node.stash[_TRIAL] = made
    yield made
    print(f"\n{made.node}: seed={made.seed} scale={made.scale}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    budget_s = float(os.environ.get("LABRELAY_BUDGET_S", "0"))
    if not budget_s:
        return
    for item in items:
        item.add_marker(pytest.mark.timeout(budget_s + GRACE_S), append=False)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is left once some were deselected shares the time."""
    budget_s = float(os.environ.get("LABRELAY_BUDGET_S", "0"))
    if budget_s:
        session.config.stash[_END] = time.monotonic() + budget_s
        items = [item.nodeid for item in session.items if "trial" in getattr(item, "fixturenames", ())]
        session.config.stash[_LEFT] = items


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pytest's protocol for wrappers
    folder = os.environ.get("LABRELAY_RECORDS")
    if folder and (report.when == "call" or report.outcome != "passed"):
        _write(Path(folder), item, report)
    return report  # type: ignore[return-value]  # the same


def _write(folder: Path, item: pytest.Item, report: pytest.TestReport) -> None:
    trial = item.stash.get(_TRIAL, None)
    record: dict[str, object] = {
        "node": item.nodeid,
        "outcome": report.outcome,
        "why": _why(report),
        "seconds": round(report.duration, 1),
    }
    if trial is not None:
        record |= {
            "seed": trial.seed,
            "scale": trial.scale,
            "reached": [{"unit": one.unit, "goal": one.goal, "done": one.done} for one in trial.reached],
            "figures": trial.tally.figures() if trial.tally is not None else {},
            "more": trial.more,
        }
    name = "".join(c if c.isalnum() else "_" for c in item.nodeid)[-150:]
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def _why(report: pytest.TestReport) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return report.longreprtext.strip().splitlines()[-1] if report.failed and report.longreprtext.strip() else ""
