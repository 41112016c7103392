"""The fast set: what `make test` runs. It has each test that takes little processor time, and some that take more.

`tests/timings.tsv` has the seconds of processor time of each test above `LISTED_S`, its children's counted. `make
timings` renews it. A test is known by its module and its name, not by its folder. A test above `SLOW_S` is slow: `make
test-all` runs it, and `make test` leaves it out unless it carries `@pytest.mark.promise(...)`.

Tests that draw examples draw fewer in the fast set (`tests/support/examples.py`); the file has their time with these.

A run of the fast set keeps the names of the tests that passed in the file that `LABRELAY_PASSED` names; another run of
the same commit leaves these out with `--passed FILE`, but not those that it runs in another way.

Each process of a whole run of the fast set collects its own part of the files: to collect all takes as long as many
tests. For parts that end together, `tests/timings.tsv` also has the seconds that pass in a module of the fast set,
waits counted, where these are above `LONG_S`.
"""

import os
import resource
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import heapreplace
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support import examples

T = TypeVar("T")
TESTS = Path(__file__).parents[1]
TIMINGS = TESTS / "timings.tsv"
SLOW_S = 0.08  # the figure with which `make test` takes five minutes on two quiet cores
LISTED_S = 0.05  # of a test that the file names
OUTGROWN = 2.0  # a test of the fast set that takes so many times SLOW_S is named
PER_TEST_S = 0.012  # of one that the file does not name, with its share of the collection: for equal parts
BESIDE_S = 0.006  # of pytest itself, for each test
LONG_S = 0.5  # of a module that the file names
NAMED_AT_MOST = 20


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("labrelay")
    group.addoption("--fast", action="store_true", help="the fast set alone: tests/support/fast_set.py")
    group.addoption("--fewer-examples", action="store_true", help="draw as few examples as the fast set does")
    group.addoption("--passed", metavar="FILE", help="leave out the tests that passed in a run of the fast set")
    group.addoption("--timings", metavar="FILE", help="write the processor time of each test above a figure")


def configure(config: pytest.Config) -> None:
    """Before any module of tests is imported."""
    if config.getoption("--fast") or config.getoption("--fewer-examples"):
        examples.fewer()
    config.pluginmanager.register(ProcessorTime(), "processor-time")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Judged(config), "judged-times")
    elif "files" in config.workerinput:
        config.pluginmanager.register(OwnFiles(config.workerinput["files"]), "own-files")


def name_of(nodeid: str) -> str:
    """``folder/test_x.py::test_y[z]`` is ``test_x::test_y[z]``."""
    path, _, rest = nodeid.partition("::")
    return f"{Path(path).stem}::{rest}"


def read_timings(path: Path | None = None) -> dict[str, float]:
    """Name of a test -> seconds of processor time. Empty where there is no file."""
    path = path or TIMINGS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {name: float(seconds) for seconds, name in (line.split("\t", 1) for line in lines)}


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the slow tests out."""
    timings = read_timings()
    slow = [
        one
        for one in items
        if timings.get(name_of(one.nodeid), 0) > SLOW_S and one.get_closest_marker("promise") is None
    ]
    if slow:
        config.hook.pytest_deselected(items=slow)
        left_out = set(slow)
        items[:] = [one for one in items if one not in left_out]


def leave_out_passed(config: pytest.Config, items: list[pytest.Item], measured: Collection[str]) -> None:
    """But those that draw more examples here or may do so, and those of files whose coverage is measured.

    Args:
        measured: paths from the root of the repository.
    """
    names = set(Path(config.getoption("--passed")).read_text(encoding="utf-8").splitlines())
    passed = {one for one in items if one.nodeid in names and not _draws(one) and one.location[0] not in measured}
    config.hook.pytest_deselected(items=list(passed))
    items[:] = [one for one in items if one not in passed]


def _draws(item: pytest.Item) -> bool:
    function = getattr(item, "obj", None)
    return getattr(function, "is_hypothesis_test", False) or "examples" in getattr(function, "__globals__", ())


def weights_of(items: Iterable[pytest.Item]) -> dict[Path, float]:
    """File -> about how much processor time its tests take."""
    timings = read_timings()
    weights: dict[Path, float] = {}
    for item in items:
        weights[item.path] = weights.get(item.path, 0.0) + timings.get(name_of(item.nodeid), PER_TEST_S)
    return weights


class ProcessorTime:
    """Each report says how much processor time its phase took: of this process, and of children that have ended."""

    def __init__(self) -> None:
        self._before = 0.0

    def pytest_runtest_logstart(self) -> None:
        self._before = _used()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Iterator[None]:
        report: pytest.TestReport = yield  # type: ignore[misc]  # a wrapper is given the result
        used = _used()
        report.user_properties.append(("processor_s", used - self._before))
        self._before = used
        return report  # type: ignore[return-value]


def _used() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    forking = sys.modules.get("tests.support.forking")  # its processes are no children of this one
    return sum(one.ru_utime + one.ru_stime for one in both) + (forking.Forked.processor_s if forking else 0.0)


class Judged:
    """For the process that has the terminal: names tests that have outgrown their class, and writes the file."""

    def __init__(self, config: pytest.Config) -> None:
        self._written = config.getoption("--timings")
        self._fast = config.getoption("--fast")  # then the slow ones keep their time
        self._fewer = self._fast or config.getoption("--fewer-examples")
        self._known = read_timings()
        self._taken: dict[str, float] = {}
        self._passing: dict[str, float] = {}  # of each module, seconds by the clock
        self._drawn: set[str] = set()
        self._kept: set[str] = set()
        self._passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._passed.add(report.nodeid)
        elif report.failed:
            self._passed.discard(report.nodeid)
        name = name_of(report.nodeid)
        self._taken[name] = self._taken.get(name, 0.0) + sum(
            value for key, value in report.user_properties if key == "processor_s"
        )
        module = name.partition("::")[0]
        beside = BESIDE_S if report.when == "setup" else 0.0
        self._passing[module] = self._passing.get(module, 0.0) + report.duration + beside
        if "hypothesis" in report.keywords:
            self._drawn.add(name)
        if "promise" in report.keywords:
            self._kept.add(name)

    def outgrown(self) -> list[tuple[float, str]]:
        """Tests that are not known as slow and take far more than a test of the fast set may, the slowest first."""
        passed = self._kept if self._fewer else self._kept | self._drawn
        found = (
            (seconds, name)
            for name, seconds in self._taken.items()
            if seconds > OUTGROWN * SLOW_S and self._known.get(name, 0.0) <= SLOW_S and name not in passed
        )
        return sorted(found, reverse=True)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if kept := os.environ.get("LABRELAY_PASSED"):
            Path(kept).write_text("".join(f"{one}\n" for one in sorted(self._passed)), encoding="utf-8")
        if self._written:
            modules = {name: seconds for name, seconds in self._known.items() if "::" not in name}
            if self._fast:
                modules = {name: seconds for name, seconds in self._passing.items() if seconds >= LONG_S}
            taken = {
                name: seconds for name, seconds in self._known.items() if "::" in name and self._fast
            } | self._taken
            lines = sorted([*modules.items(), *((name, each) for name, each in taken.items() if each >= LISTED_S)])
            text = "".join(f"{seconds:.2g}\t{name}\n" for name, seconds in lines)
            Path(self._written).write_text(text, encoding="utf-8")
            return
        if found := self.outgrown():
            terminalreporter.section(f"tests of the fast set that took over {OUTGROWN * SLOW_S} s of processor time")
            for seconds, name in found[:NAMED_AT_MOST]:
                terminalreporter.line(f"{seconds:6.2f} s  {name}")
            terminalreporter.line(f"{len(found)} in all. None fails for it. `make timings` makes them slow.")


# -- parts of the files, one for each process ------------------------------------------------------------------------


def parts(count: int) -> list[list[str]]:
    """The files of tests in ``count`` parts that take about the same time."""
    known = read_timings()
    weights = {
        one: known.get(one.stem, LONG_S / 4) + PER_TEST_S * _tests_in(one) for one in sorted(TESTS.rglob("test_*.py"))
    }
    return [[str(one) for one in part] for part in _split(weights, count)]


def _tests_in(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("def test_") + 1


def _split(weights: Mapping[T, float], count: int) -> list[list[T]]:
    """Each thing, the heaviest first, goes to the part that is the lightest so far."""
    made: list[list[T]] = [[] for _ in range(count)]
    heap = [(0.0, at) for at in range(count)]
    for one in sorted(weights, key=lambda one: -weights[one]):
        whole, at = heap[0]
        made[at].append(one)
        heapreplace(heap, (whole + weights[one], at))
    return made


class OwnFiles:
    """In a process of a run in parts: a file of another process is not collected."""

    def __init__(self, files: list[str]) -> None:
        self._files = set(files)

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if collection_path.suffix == ".py" and str(collection_path) not in self._files else None
