"""How well the tests hold the mapping engine and the durable core: puts a sample of small faults into them, one at a
time, and says which ones no test notices. `docs/quality.md` has the method and what to do with a survivor.

    python tools/mutants.py                                      40 mutants of all of engine/mapping
    python tools/mutants.py --group core                         40 mutants of journal, outbox and links
    python tools/mutants.py --sample 300 --seed spring           another sample
    python tools/mutants.py engine/mapping/message/identity.py           of one module; --all for every mutant of it
    python tools/mutants.py engine/mapping/message/identity.py --only 17 that one mutant, as the list of survivors names
    it python tools/mutants.py --fast                               does the fast set of tests notice it?

First every test file runs once and tells which lines of the engine each of its tests reaches. A mutant then meets
only tests that reach its line, the likeliest first, until one fails. Each mutant has a process of its own, forked from
one that has imported pytest but nothing of LabRelay; the changed module is compiled from memory, so no file of the
checkout is ever touched. A mutant that uses far more processor time than its tests need is killed and counts as
noticed.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import _lru_cache_wrapper
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import coverage  # noqa: E402 - the checkout must be found first
import fhir.resources.R4B.bundle  # noqa: E402, F401 - imported once, for all mutants
import hypothesis.strategies  # noqa: E402, F401
import pytest  # noqa: E402

from tests.support import examples, fast_set  # noqa: E402
from tools import figures  # noqa: E402
from tools.core import CORE_MODULES, CORE_TESTS  # noqa: E402
from tools.mutations import Mutation, mutated, mutations  # noqa: E402

# Readers of the tables that tools/generate_*.py make from the standards' own, and what is as short as they are.
TABLES = ("r4.py", "hl7_codes.py", "field_tables.py", "uris.py")


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that are tried together.

    Attributes:
        modules: modules and folders.
        tests: test files and folders: those that are quick and speak of these modules. The rest of the suite is for
            survivors, by --tests.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]

    @property
    def sources(self) -> list[Path]:
        """The modules' files."""
        return _files(self.modules, "*.py")

    @property
    def test_files(self) -> list[Path]:
        return _files(self.tests, "test_*.py")


def _files(names: Iterable[str], pattern: str) -> list[Path]:
    return sorted({p for name in names for p in (Path(name).rglob(pattern) if Path(name).is_dir() else [Path(name)])})


GROUPS = {
    # Beside these, test_shipped_mappings.py loads whole mappings for each of its tests.
    "mapping": Group(
        ("engine/mapping",),
        ("tests/engine/mapping", "tests/results/test_identity.py", "tests/documents/test_message_mappings.py"),
    ),
    "core": Group(CORE_MODULES, CORE_TESTS),
}
_PYTEST = (
    *["-p", "no:cacheprovider", "-p", "no:terminal", "--hypothesis-seed=0", "-o", "addopts=", "-o", "timeout=60"],
    *["--import-mode=importlib", "--strict-markers", "-W", "ignore::pytest.PytestAssertRewriteWarning"],
)
_BASE_SECONDS = 20  # processor time that a mutant may use beside its tests', to import and collect
_TIMES = 5  # and how many times what its tests need
_FIRST_FILES = 3  # are collected first: most mutants fall there, and collecting all takes longer than most tests
_VALUES_KEPT = 16  # at least so many has a cache of values
_WALL = 900  # seconds; only tests that wait for ever reach it

# Which tests reach which line


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
        modules = [module for name, module in list(sys.modules.items()) if name.startswith("engine.")]
        caches = [
            value for module in modules for value in vars(module).values() if isinstance(value, _lru_cache_wrapper)
        ]
        self.kept = [cache for cache in caches if (cache.cache_parameters()["maxsize"] or 0) >= _VALUES_KEPT]

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
    status = pytest.main([*_PYTEST, f"--basetemp={answer}.tmp", test_file], plugins=[contexts])
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
        with _Forks(jobs, seconds=600) as forks:
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


class _Forks:
    """Processes that each do one thing and end with its exit status; at most ``jobs`` at once."""

    def __init__(self, jobs: int, seconds: float) -> None:
        self.jobs = jobs
        self.seconds = seconds
        self.running: dict[int, tuple[str, float]] = {}
        self.ended: list[tuple[str, int]] = []

    def __enter__(self) -> "_Forks":
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


# One mutant


class _Changed(MetaPathFinder, SourceFileLoader):
    """Imports one module of the engine from a changed tree, whatever lies on the disk."""

    def __init__(self, path: str, code: CodeType) -> None:
        name = ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__")
        SourceFileLoader.__init__(self, name, str(ROOT / path))
        self.code = code

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return (
            importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None
        )

    def get_code(self, fullname: str) -> CodeType:
        return self.code


class _Selected:
    """Keeps the tests that reach the mutant, in their order, and remembers which one failed."""

    def __init__(self, tests: list[str]) -> None:
        self.place = {test: place for place, test in enumerate(tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.place), key=lambda item: self.place[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid} (cannot be collected)"


def _try(mutation: Mutation, tests: list[str], answer: Path, *, selected: bool) -> int:
    """In a process of its own: 0 when no test fails, 1 when one does, 70 when this tool does."""
    tree, _ = mutated(Path(mutation.path).read_text(), mutation.number)
    with warnings.catch_warnings(action="ignore"):
        code = compile(tree, mutation.path, "exec")
    sys.meta_path.insert(0, _Changed(mutation.path, code))
    found = _Selected(tests)
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests)) if selected else tests
    plugins = [found] if selected else []
    status = 0
    for some in filter(None, (files[:_FIRST_FILES], files[_FIRST_FILES:])):
        status = int(pytest.main([*_PYTEST, "-x", f"--basetemp={answer}.tmp", *some], plugins=plugins))
        if status:
            break
    shutil.rmtree(f"{answer}.tmp", ignore_errors=True)
    answer.write_text(found.failed)
    # 0 passed, 1 failed, 2 collection failed, 3 pytest itself did, which only the mutant can have caused
    return 0 if status == 0 else 70 if status in (4, 5) else 1


@dataclass(frozen=True, slots=True)
class Outcome:
    mutation: Mutation
    kind: str  # killed, timeout, survived, unreached
    tests: int
    by: str


def try_all(
    chosen: list[Mutation], found: Reach, jobs: int, until: float, tests: list[str], most: float
) -> list[Outcome]:
    """Tries mutants, in their order, until ``until`` (monotonic seconds); prints each."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="labrelay-mutants-") as folder, _Forks(jobs, seconds=_WALL) as forks:
        names: dict[str, tuple[Mutation, int]] = {}

        def told() -> None:
            while forks.ended:
                name, status = forks.ended.pop(0)
                mutation, number = names[name]
                if status == 70:
                    raise SystemExit(f"the tool itself failed at {mutation}")
                answer = Path(folder, name)
                kind = "survived" if status == 0 else "killed" if status == 1 else "timeout"
                outcomes.append(Outcome(mutation, kind, number, answer.read_text() if answer.exists() else ""))
                _tell(outcomes[-1])

        for place, mutation in enumerate(chosen):
            if time.monotonic() > until:
                break
            mine = tests or found.of(mutation, most)
            if not mine:
                outcomes.append(Outcome(mutation, "unreached", 0, ""))
                _tell(outcomes[-1])
                continue
            names[str(place)] = (mutation, len(mine))
            seconds = sum(found.seconds.get(test, 5.0) for test in mine)
            forks.start(
                str(place),
                lambda mutation=mutation, mine=mine, place=place: _try(  # type: ignore[misc]
                    mutation, mine, Path(folder, str(place)), selected=not tests
                ),
                cpu_seconds=int(_BASE_SECONDS + _TIMES * seconds),
            )
            told()
        forks.ended = list(forks.finish())
        told()
    return outcomes


def _tell(outcome: Outcome) -> None:
    m = outcome.mutation
    _, what = mutated(Path(m.path).read_text(), m.number)
    by = f"  [{outcome.by}]" if outcome.by else f"  [{outcome.tests} tests]"
    print(f"{outcome.kind:9} {m.path}:{m.line} --only {m.number} {m.inside or 'module'}: {what}{by}", flush=True)


# Which mutants


def every_mutation(names: Iterable[str]) -> list[Mutation]:
    """Of the named modules and folders, without the generated tables."""
    return [m for p in _files(names, "*.py") if p.name not in TABLES for m in mutations(str(p), p.read_text())]


def in_order(found: list[Mutation], seed: str) -> list[Mutation]:
    """All mutants so that any number from the beginning is a sample: by chance within a module, and of each module in
    proportion to its size."""
    modules: dict[str, list[tuple[str, Mutation]]] = defaultdict(list)
    for mutation in found:
        chance = hashlib.sha256(f"{seed} {mutation.path} {mutation.number}".encode()).hexdigest()
        modules[mutation.path].append((chance, mutation))
    ranked = [
        ((place + int(chance[:8], 16) / 2**32) / len(members), chance, mutation)
        for members in modules.values()
        for place, (chance, mutation) in enumerate(sorted(members, key=lambda member: member[0]))
    ]
    return [mutation for _, _, mutation in sorted(ranked, key=lambda rank: rank[:2])]


def main() -> int:
    summary, _, _ = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("modules", nargs="*", help="modules or folders of the group")
    parser.add_argument(
        "--group", choices=GROUPS, default="mapping", help="the modules to try, with their tests (mapping)"
    )
    parser.add_argument("--sample", type=int, default=40, help="how many mutants (40)")
    parser.add_argument("--all", action="store_true", help="every mutant")
    parser.add_argument("--only", type=int, nargs="+", help="these mutants of one module, by number")
    parser.add_argument(
        "--seed", default=f"{datetime.now(UTC):%G-W%V}", help="chooses the sample; this week by default"
    )
    parser.add_argument("--tests", nargs="+", default=[], help="meet these tests, and no others")
    parser.add_argument("--fast", action="store_true", help="meet the tests of `make test` alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--most", type=float, default=20, help="a mutant meets tests of so many seconds at most (20)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no mutant later than this")
    parser.add_argument("--floor", type=int, default=0, help="fail when less than this percentage is noticed")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/figures-tests.md")
    arguments = parser.parse_args()
    begun, begun_on = time.monotonic(), figures.measured()
    os.chdir(ROOT)
    if arguments.fast:
        examples.fewer()  # also in the processes that are forked from this one
    group = GROUPS[arguments.group]
    chosen = in_order(every_mutation(arguments.modules or group.modules), arguments.seed)
    total = len(chosen)
    if arguments.only:
        chosen = [m for m in chosen if m.number in arguments.only]
    elif not arguments.all:
        chosen = chosen[: arguments.sample]
    found = Reach() if arguments.tests else reach(group, arguments.jobs)
    if arguments.fast:
        slow = {name for name, seconds in fast_set.read_timings().items() if seconds > fast_set.SLOW_S}
        found = found.without({test for test in found.seconds if fast_set.name_of(test) in slow})
    if not arguments.tests:
        print(
            f"{len(found.seconds)} tests, {sum(found.seconds.values()):.0f} s of processor time with coverage",
            flush=True,
        )
    outcomes = try_all(chosen, found, arguments.jobs, begun + arguments.seconds, arguments.tests, arguments.most)
    counts = {kind: sum(o.kind == kind for o in outcomes) for kind in ("killed", "timeout", "survived", "unreached")}
    noticed = 100 * (counts["killed"] + counts["timeout"]) / max(1, len(outcomes))
    print(
        f"{len(outcomes)} of {total} mutants, seed {arguments.seed}: "
        + ", ".join(f"{number} {kind}" for kind, number in counts.items())
        + f"; {noticed:.1f} % noticed, {time.monotonic() - begun:.0f} s"
    )
    if arguments.write:
        tried = " ".join(arguments.modules) or arguments.group
        row = (tried, arguments.seed, f"{len(outcomes)} of {total}", *counts.values(), f"{noticed:.0f} %", begun_on)
        figures.write("tests", "Mutants", ("modules", "seed", "tried", *counts, "noticed"), [row])
    if arguments.floor and len(outcomes) < len(chosen) / 2:
        print(f"only {len(outcomes)} of {len(chosen)} mutants were tried: too few to judge")
        return 1
    if noticed < arguments.floor:
        print(f"less than {arguments.floor} % noticed: see docs/quality.md")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
