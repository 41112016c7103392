"""Measures the durable core in each process that runs tests of it (`tools/core.py` names this plugin to pytest).

It starts before a test or a fixture is imported, so that the lines of a module's body count, too.
"""

import os

import coverage

from tools.core import CORE_MODULES

DATA = "LABRELAY_CORE_COVERAGE"  # of the environment: the file beside which each process writes its own

_measured = coverage.Coverage(
    data_file=os.environ[DATA], data_suffix=True, branch=True, include=list(CORE_MODULES), config_file=False
)
_measured.set_option("run:disable_warnings", ["no-data-collected"])  # the process that only hands out the tests
_measured.start()


def pytest_unconfigure() -> None:
    _measured.stop()
    _measured.save()
