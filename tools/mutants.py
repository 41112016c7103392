"""How well the tests hold the mapping engine and the durable core: puts a sample of small faults into them, one at a
time, and says which ones no test notices. `docs/quality.md` has the method and what to do with a survivor.

    python tools/mutants.py                                      40 mutants of all of engine/mapping
    python tools/mutants.py --group core                         40 mutants of journal, outbox and links
    python tools/mutants.py --group judge --all                  every mutant of the judge of results
    python tools/mutants.py --sample 300 --seed spring           another sample
    python tools/mutants.py engine/mapping/message/identity.py           of one module; --all for every mutant of it
    python tools/mutants.py engine/mapping/message/identity.py --only 17 that one mutant, as the list of survivors names
    it python tools/mutants.py --fast                               does the fast set of tests notice it?

First every test file runs once and tells which lines of the engine each of its tests reaches. A mutant then meets
only tests that reach its line, the likeliest first, until one fails. Each mutant has a process of its own, forked from
one that has imported pytest but nothing of LabRelay; the changed module is compiled from memory, so no file of the
checkout is ever touched. A mutant that uses far more processor time than its tests need is killed and counts as
noticed. Of a group that is pure the tests are collected and run once; a mutant of a function is a fork of that process,
in which the function has other code: it costs milliseconds.
"""

import argparse
import gc
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import fhir.resources.R4B.bundle  # noqa: F401 - the checkout must be found first; imported once, for all mutants
import hypothesis.strategies  # noqa: F401
import pytest
from _pytest.runner import runtestprotocol

from tests.support import examples, fast_set
from tools import figures
from tools.core import CORE_MODULES, CORE_TESTS
from tools.mutants_reach import PYTEST, ROOT, Forks, Group, Reach, caches_of_values, files_of, reach
from tools.mutations import Mutation, mutated, mutations

# Readers of the tables that tools/generate_*.py make from the standards' own, and what is as short as they are.
TABLES = ("r4.py", "hl7_codes.py", "field_tables.py", "uris.py")

GROUPS = {
    # Beside these, test_shipped_mappings.py loads whole mappings for each of its tests.
    "mapping": Group(
        ("engine/mapping",),
        ("tests/engine/mapping", "tests/results/test_identity.py", "tests/documents/test_message_mappings.py"),
    ),
    "core": Group(CORE_MODULES, CORE_TESTS),
    "judge": Group(("engine/succession",), ("tests/engine/succession",), pure=True),
}
_BASE_SECONDS = 20  # processor time that a mutant may use beside its tests', to import and collect
_TIMES = 5  # and how many times what its tests need
_FIRST_FILES = 3  # are collected first: most mutants fall there, and collecting all takes longer than most tests
_WALL = 900  # seconds; only tests that wait for ever reach it

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


def _code_of(mutation: Mutation) -> CodeType:
    tree, _ = mutated(Path(mutation.path).read_text(), mutation.number)
    with warnings.catch_warnings(action="ignore"):
        return compile(tree, str(ROOT / mutation.path), "exec")


def _try(mutation: Mutation, tests: list[str], answer: Path, *, selected: bool) -> int:
    """In a process of its own: 0 when no test fails, 1 when one does, 70 when this tool does."""
    sys.meta_path.insert(0, _Changed(mutation.path, _code_of(mutation)))
    found = _Selected(tests)
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests)) if selected else tests
    plugins = [found] if selected else []
    status = 0
    for some in filter(None, (files[:_FIRST_FILES], files[_FIRST_FILES:])):
        status = int(pytest.main([*PYTEST, "-x", f"--basetemp={answer}.tmp", *some], plugins=plugins))
        if status:
            break
    shutil.rmtree(f"{answer}.tmp", ignore_errors=True)
    answer.write_text(found.failed)
    # 0 passed, 1 failed, 2 collection failed, 3 pytest itself did, which only the mutant can have caused
    return 0 if status == 0 else 70 if status in (4, 5) else 1


class _Collected:
    """Pure tests, collected and run once, and the functions that they meet."""

    def __init__(self, then: Callable[["_Collected"], None]) -> None:
        self.then = then
        self.functions: dict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
        self.items: dict[str, pytest.Item] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        if failing := next(filter(_fails, session.items), None):
            raise SystemExit(f"{failing.nodeid} fails beside others without any mutant; mend it first")
        for cache in caches_of_values():
            cache.cache_clear()
        gc.unfreeze()  # what modules are frozen with is not found
        for one in gc.get_objects():
            if isinstance(one, FunctionType):
                self.functions[_place_of(one.__code__)].append(one)
        gc.freeze()
        self.then(self)
        return True

    def attempt(self, mutation: Mutation, tests: list[str], answer: Path) -> int:
        """In a fork: as `_try`, of a mutant inside a function."""
        codes = [_code_of(mutation)]
        for code in codes:
            codes += [one for one in code.co_consts if isinstance(one, CodeType)]
            for function in self.functions.get(_place_of(code), ()):
                function.__code__ = code
        failing = next((test for test in tests if _fails(self.items[test])), "")
        answer.write_text(failing)
        return 1 if failing else 0


def _fails(item: pytest.Item) -> bool:
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def _place_of(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


@dataclass(frozen=True, slots=True)
class Outcome:
    mutation: Mutation
    kind: str  # killed, timeout, survived, unreached
    tests: int
    by: str


def try_all(
    chosen: list[Mutation], found: Reach, jobs: int, until: float, tests: list[str], most: float,
    collected: _Collected | None = None,
) -> list[Outcome]:  # fmt: skip
    """Tries mutants, in their order, until ``until`` (monotonic seconds); prints each.

    Args:
        collected: where each is a mutant of one of its functions.
    """
    outcomes: list[Outcome] = []
    attempt = partial(_try, selected=not tests) if collected is None else collected.attempt
    with tempfile.TemporaryDirectory(prefix="labrelay-mutants-") as folder, Forks(jobs, seconds=_WALL) as forks:
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
                partial(attempt, mutation, mine, Path(folder, str(place))),
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
    return [m for p in files_of(names, "*.py") if p.name not in TABLES for m in mutations(str(p), p.read_text())]


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
    trying = partial(
        try_all, found=found, jobs=arguments.jobs, until=begun + arguments.seconds, tests=arguments.tests,
        most=arguments.most,
    )  # fmt: skip
    quick = group.pure and not arguments.tests
    outcomes = trying([one for one in chosen if not (quick and one.inside)])
    if quick:
        inside = [one for one in chosen if one.inside]
        collected = _Collected(lambda collected: outcomes.extend(trying(inside, collected=collected)))
        if pytest.main([*PYTEST, "--capture=no", *map(str, group.test_files)], plugins=[collected]):
            return 1
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
