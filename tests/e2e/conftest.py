"""For the tests of this folder: the order in which several processes take them."""

from pathlib import Path

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each process begins with one of those that take longest: files are asked for in that order, and each process gets
    an equal part of the list to begin with. Afterwards they take tests from each other."""
    if not hasattr(config, "workerinput"):
        return
    asked = [Path(one.partition("::")[0]).name for one in config.args]
    items.sort(key=lambda item: asked.index(item.path.name) if item.path.name in asked else len(asked))
    processes: int = config.workerinput["workercount"]
    items[:] = [item for first in reversed(range(processes)) for item in items[first::processes]]
