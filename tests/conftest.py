"""For every test: nothing from the developer's environment, failures named at once, and in CI only known skips."""

import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from engine.succession.judge import clock
from tests.support import fast_set
from tests.support.corpus import skip_what_is_absent
from tests.support.failures import FailuresAtOnce
from tests.support.few_reports import FewReports
from tests.support.outside import OpensNothingOutside
from tests.support.ports import quiet_ports
from tests.support.skips import SkipGuard

if TYPE_CHECKING:
    from workbench.sandbox import Sandbox

ANY_DAY = Path(__file__).parent / "support" / "any_day"
HALF_A_YEAR = clock.OLD
os.umask(UMASK := os.umask(0o077))

# Modules are compiled once and kept, as an installation has them, also where the environment of a container says
# otherwise: a daemon has a thousand modules, and the tests start daemons and commands by the thousand.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser) -> None:
    fast_set.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    fast_set.configure(config)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's job in the background; its children inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Not where coverage is measured: with a hook that is written in Python, CPython 3.11 refuses one of two threads
    # that begin to be traced at the same time.
    if not config.pluginmanager.hasplugin("tools.core_coverage"):
        outside = OpensNothingOutside()
        outside.install()
        config.pluginmanager.register(outside, "opens-nothing-outside")
    if os.environ.get("CI"):
        config.pluginmanager.register(SkipGuard(), "skip-guard")
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(FewReports(), "few-reports")
    else:
        config.pluginmanager.register(FailuresAtOnce(config), "failures-at-once")


def pytest_xdist_auto_num_workers() -> int:
    """More processes than processors: a test waits for disks, sockets and daemons half of its time."""
    return 2 + len(os.sched_getaffinity(0))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Of pytest-xdist, for each process: where every process runs all that it collects, each has files of its own."""
    if node.config.option.dist == "each":
        config = node.config
        if not hasattr(config, "parts_of_files"):
            config.parts_of_files = fast_set.parts(len(config.option.tx))
        node.workerinput["files"] = config.parts_of_files.pop(0)


def collects_all(config: pytest.Config) -> bool:
    """Whether this is one of several processes that share the files of a run; all of them must have the same tests."""
    return "files" not in getattr(config, "workerinput", {"files": ()})


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Each process that collects all files begins with others: in a new checkout pytest compiles a file that no process
    has compiled before, which takes longer than the rest of the collection."""
    report = yield
    if collects_all(collector.config) and isinstance(collector, pytest.Directory):
        place = vars(collector.config)["workerinput"]
        at = len(report.result) * int(place["workerid"].removeprefix("gw")) // place["workercount"]
        report.result = report.result[at:] + report.result[:at]
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Of pytest-xdist: a process in the place of one that fell goes on with its files."""
    if error and "files" in node.workerinput:
        node.config.parts_of_files.insert(0, node.workerinput["files"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The fast set leaves tests out. Where several processes share the files of a run, those that take longest come
    first, so that none of them is left at the end to one process alone."""
    skip_what_is_absent(items)
    if config.getoption("--fast"):
        fast_set.select(config, items)
    elif config.getoption("--passed"):
        from tools.core import CORE_TESTS

        fast_set.leave_out_passed(config, items, CORE_TESTS)
    if collects_all(config):
        files = fast_set.weights_of(items)
        items.sort(key=lambda item: (-files[item.path], str(item.path)))  # the same in each process


def pytest_collection_finish() -> None:
    """The collector leaves alone what lives as long as the run: twenty thousand tests, of which each process has all.

    A daemon in the tests' process would thaw them at each reload, and look at them all: that took more time than the
    reload. In a process of its own it settles as ever, and `tests/engine/runtime/test_gc_tuning.py` has the function.
    """
    from engine.model.process import allocator

    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)  # as the daemon has it
    allocator.settle = lambda *, first=False: None


def of_any_day(item: pytest.Item) -> bool:
    """Whether its results are of a day of 2024 or 2026, and not measured half a year before their receipt."""
    return not {"succession", "histories"} & {*item.path.parts}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before its fixtures, also those of its module, and for the programs that it starts."""
    any_day, here = of_any_day(item), str(ANY_DAY)
    clock.OLD = timedelta(days=36_500) if any_day else HALF_A_YEAR
    others = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one not in ("", here)]
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *others] if any_day else others)


@pytest.fixture
def unused_tcp_port() -> int:
    """In the place of pytest-asyncio's, whose port may be an outgoing connection's a moment later."""
    return quiet_ports(1)[0]


@pytest.fixture(autouse=True)
def no_site_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The site and credentials of whoever runs the tests are not the tests'."""
    for name in ("LABRELAY_SITE", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def zone_and_umask_of_no_command() -> Iterator[None]:
    """The command line of an earlier test has left its site's time zone behind, and `run` the umask of a service."""
    from engine.views.view import ZONE

    before = ZONE.set(ZONE.get())
    yield
    ZONE.reset(before)
    os.umask(UMASK)


@pytest.fixture(scope="session", autouse=True)
def quick_hashes() -> Iterator[None]:
    """Passwords are hashed in no time; `tests/engine/features/access/service/test_accounts.py` has the parameters that
    users get."""
    from engine.features.access.service import passwords

    with mock.patch.multiple(passwords, MEMORY_KIB=8, ROUNDS=1):
        yield


@pytest.fixture(autouse=True)
def shipped_mappings_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiled by the first test that loads one, and by each with the marker `compiles`."""
    from tests.support import loaded_once

    with nullcontext() if request.node.get_closest_marker("compiles") else loaded_once.shipped_mappings_once():
        yield


@pytest.fixture
async def sandbox() -> "AsyncIterator[Sandbox]":
    """A FHIR server of our own."""
    from workbench.sandbox import Sandbox  # only the tests that want one pay for it

    made = Sandbox()
    await made.start()
    yield made
    await made.stop()
