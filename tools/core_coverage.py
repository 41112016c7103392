"""Measures the durable core in each process that runs tests of it (`tools/core.py` names this plugin to pytest).

It measures the import of the core, then the tests that `core.yaml` lists and nothing else. So the rest of the suite may
run in the same processes: what is reached is the same with it and without it.
"""

import importlib
import os
import sys
from collections.abc import Generator
from functools import _lru_cache_wrapper
from typing import Any

import coverage
import pytest

from tools.core import CORE_MODULES, CORE_TESTS

DATA = "LABRELAY_CORE_COVERAGE"  # of the environment: the file beside which each process writes its own

_measured = coverage.Coverage(
    data_file=os.environ[DATA], data_suffix=True, branch=True, include=list(CORE_MODULES), config_file=False
)
_measured.set_option("run:disable_warnings", ["no-data-collected"])  # the process that only hands out the tests


def _import() -> list["_lru_cache_wrapper[Any]"]:
    """The core, so that the lines of a module's body count, too; its caches, which a test before may have filled."""
    _measured.start()
    names = [path.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in CORE_MODULES]
    known = [name for name in names if name in sys.modules]
    assert not known, f"imported before they were measured: {known}"
    modules = [importlib.import_module(name) for name in names]
    _measured.stop()
    return [value for module in modules for value in vars(module).values() if isinstance(value, _lru_cache_wrapper)]


_caches = _import()


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("numprocesses", None):  # it runs tests: a pytest that one of them starts is not measured
        del os.environ["PYTEST_PLUGINS"], os.environ[DATA]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    # Without examples that are drawn: what is reached does not depend on chance.
    if item.location[0] not in CORE_TESTS or item.get_closest_marker("hypothesis"):
        return (yield)
    for cache in _caches:
        cache.cache_clear()
    _measured.start()
    try:
        return (yield)
    finally:
        _measured.stop()


def pytest_unconfigure() -> None:
    _measured.save()
