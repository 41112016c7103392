"""Which lines of a group of modules each test reaches, for `tools/mutants.py`: by one run of each test file, in a
process of its own that was forked from this one.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import _lru_cache_wrapper
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import coverage  # noqa: E402 - the checkout must be found first
import pytest  # noqa: E402

from tools.mutations import Mutation  # noqa: E402

PYTEST = (
    *["-p", "no:cacheprovider", "-p", "no:terminal", "--hypothesis-seed=0", "-o", "addopts=", "-o", "timeout=60"],
    *["--import-mode=importlib", "--strict-markers", "-W", "ignore::pytest.PytestAssertRewriteWarning"],
)
_VALUES_KEPT = 16  # at least so many has a cache of values


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that are tried together.

    Attributes:
        modules: modules and folders.
        tests: test files and folders: those that are quick and speak of these modules. The rest of the suite is for
            survivors, by --tests.
        pure: nothing that a test leaves behind in its process is seen by another one.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    pure: bool = False

    @property
    def sources(self) -> list[Path]:
        """The modules' files."""
        return files_of(self.modules, "*.py")

    @property
    def test_files(self) -> list[Path]:
        return files_of(self.tests, "test_*.py")


def files_of(names: Iterable[str], pattern: str) -> list[Path]:
    return sorted({p for name in names for p in (Path(name).rglob(pattern) if Path(name).is_dir() else [Path(name)])})


@dataclass(slots=True)
class Reach:
    """What the tests reach, by one run of each.

    Attributes:
        seconds: test -> processor time.
        lines: path of a module -> line -> tests. Lines that run while a test file is collected, or in a fixture that
            several tests share, belong to all tests of the file; those that run when a module is imported to none.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))

    def of(self, mutation: Mutation, most: float) -> list[str]:
        """The tests of a mutant that take ``most`` seconds, the likeliest to notice it first: those named after its
        module, then the fastest of each file, then the next of each file."""
        lines = self.lines[mutation.path]
        at = next((line for line in (mutation.line, mutation.statement) if line in lines), None)
        if at is None and mutation.inside:
            return []
        tests = lines[at] if at is not None and mutation.inside else set()
        if not tests:  # what runs when the module is imported may be seen by all that use it
            tests = set().union(*lines.values()) or set(self.seconds)
        words = [word.rstrip("s") for word in Path(mutation.path).stem.split("_") if len(word) > 3]
        turns: dict[str, int] = defaultdict(int)
        order: list[tuple[bool, int, float, str]] = []
        for test in sorted(tests, key=lambda test: (self.seconds[test], test)):
            file = Path(test.partition("::")[0]).stem
            turns[file] += 1
            order.append((not any(word in file for word in words), turns[file], self.seconds[test], test))
        chosen: list[str] = []
        for _, _, seconds, test in sorted(order):
            if chosen and most < seconds:
                continue
            most -= seconds
            chosen.append(test)
        return chosen

    def without(self, left_out: set[str]) -> "Reach":
        """The same of fewer tests."""
        lines = {path: {line: of - left_out for line, of in own.items()} for path, own in self.lines.items()}
        found = Reach({test: seconds for test, seconds in self.seconds.items() if test not in left_out})
        for path, own in lines.items():
            found.lines[path].update(own)
        return found


def caches_of_values() -> list[Any]:
    """Of the engine."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("engine.")]
    caches = [value for module in modules for value in vars(module).values() if isinstance(value, _lru_cache_wrapper)]
    return [cache for cache in caches if (cache.cache_parameters()["maxsize"] or 0) >= _VALUES_KEPT]


class _Contexts:
    """Tells coverage which test runs. Caches are emptied first: else only the first test would reach what they keep."""

    def __init__(self, cov: coverage.Coverage) -> None:
        self.cov = cov
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        self.kept: list[Any] = []
        self.context = "file"

    def switch(self, context: str) -> None:
        self.context = context
        self.cov.switch_context(context)

    def pytest_collection_finish(self) -> None:
        """Values are kept in large caches; tables that are read once, in small ones: that would take too long."""
        self.kept = caches_of_values()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        for cache in self.kept:
            cache.cache_clear()
        self.switch(item.nodeid)
        start = time.process_time()
        yield
        self.seconds[item.nodeid] = time.process_time() - start
        self.switch("file")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        before = self.context
        if fixturedef.scope != "function":
            self.switch("file")
        yield
        self.switch(before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def _reach_of_file(group: Group, test_file: str, answer: Path) -> int:
    """In a process of its own: runs one test file and writes what it reaches."""
    sources = group.sources
    cov = coverage.Coverage(data_file=None, include=[str(p) for p in sources], config_file=False, messages=False)
    cov.start()
    cov.switch_context("import")
    for path in sources:
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
    contexts = _Contexts(cov)
    contexts.switch("file")
    status = pytest.main([*PYTEST, f"--basetemp={answer}.tmp", test_file], plugins=[contexts])
    cov.stop()
    data = cov.get_data()
    lines: dict[str, dict[int, list[str]]] = {}
    for measured in data.measured_files():
        own = lines[str(Path(measured).relative_to(ROOT))] = {}
        for line, reached in data.contexts_by_lineno(measured).items():
            own[line] = sorted(contexts.seconds if "file" in reached else set(reached) & set(contexts.seconds))
    answer.write_text(json.dumps({"seconds": contexts.seconds, "lines": lines, "failed": contexts.failed}))
    return int(status)


def reach(group: Group, jobs: int) -> Reach:
    """Runs all test files once."""
    files = [str(path) for path in group.test_files]
    found = Reach()
    with tempfile.TemporaryDirectory(prefix="labrelay-reach-") as folder:
        answers = {file: Path(folder, f"{number}.json") for number, file in enumerate(files)}
        with Forks(jobs, seconds=600) as forks:
            for file in files:
                forks.start(file, lambda file=file: _reach_of_file(group, file, answers[file]))  # type: ignore[misc]
            for file, status in forks.finish():
                if status != 0 or not answers[file].exists():
                    told = json.loads(answers[file].read_text())["failed"] if answers[file].exists() else status
                    raise SystemExit(f"{file} fails without any mutant; mend it first: {told}")
        for answer in answers.values():
            one = json.loads(answer.read_text())
            found.seconds.update(one["seconds"])
            for path, lines in one["lines"].items():
                for line, tests in lines.items():
                    found.lines[path][int(line)].update(tests)
    return found


class Forks:
    """Processes that each do one thing and end with its exit status; at most ``jobs`` at once."""

    def __init__(self, jobs: int, seconds: float) -> None:
        self.jobs = jobs
        self.seconds = seconds
        self.running: dict[int, tuple[str, float]] = {}
        self.ended: list[tuple[str, int]] = []

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.running:
            _kill_group(pid)

    def start(self, name: str, work: Callable[[], int], cpu_seconds: int | None = None) -> None:
        """Waits for a free place first."""
        while len(self.running) >= self.jobs:
            self._wait()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                os.setsid()
                nowhere = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(nowhere, stream)
                if cpu_seconds is not None:
                    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 2))
                    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
                os.environ.pop("CI", None)  # a skip is the suite's own business
                status = work()
            finally:
                os._exit(status)
        self.running[pid] = (name, time.monotonic())

    def finish(self) -> Iterator[tuple[str, int]]:
        """What has ended, when all has."""
        while self.running:
            self._wait()
        yield from self.ended

    def _wait(self) -> None:
        while True:
            for pid, (name, start) in list(self.running.items()):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    del self.running[pid]
                    self.ended.append((name, os.waitstatus_to_exitcode(status)))
                    return
                if time.monotonic() - start > self.seconds:
                    _kill_group(pid)
            time.sleep(0.02)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
