"""A process before it forks lives of a daemon or worker: all that each of them would make anew is made here, once.

That is what never changes: modules, the models of the configuration, the code of the shipped mappings of results.
"""

import contextlib
import gc
import importlib
import pkgutil
from pathlib import Path

import adapters
from engine.config.load import load_site
from engine.mapping.shipped import READERS
from engine.model.process import allocator
from engine.runtime import programs
from tests.support.shipped import MAPPINGS, compiled_once
from workbench.bench.mapping_case import shipped_mappings

_uncompiled = {*shipped_mappings([MAPPINGS])}


def _compile(name: str) -> None:
    for generated in compiled_once(name, (MAPPINGS,), tables={}).plain.values():
        generated.made  # noqa: B018 - it is compiled here
    _uncompiled.discard(name)


def compile_mappings_of(site: Path) -> None:
    """The shipped ones that its channels name: else each life of it compiles them anew."""
    texts = [path.read_text(encoding="utf-8") for path in (site / "channels").glob("*.yaml")]
    wanted = [name for name in _uncompiled if any(name in text for text in texts)]
    for name in wanted:
        _compile(name)
    if wanted:
        _keep()


def _keep() -> None:
    """What is there stays, and no life's collector looks at it."""
    gc.collect()
    gc.freeze()


def prepare(*modules: str) -> None:
    """Import ``modules`` and every adapter; no event loop, thread, file or connection is left open."""
    setattr(programs, "load_mapping", compiled_once)  # noqa: B010 - a name that programs imports
    for name in READERS.values():
        _compile(name)
    for name in modules:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(adapters.__path__, "adapters."):
        with contextlib.suppress(ImportError):  # of what a site may do without
            importlib.import_module(module.name)
    load_site(Path(__file__).parents[2], require_secrets=False)  # pydantic completes models at their first use
    _keep()
    # A life looks at what it makes itself; `tests/engine/runtime/test_gc_tuning.py` has the function.
    settle = allocator.settle
    setattr(allocator, "settle", lambda *, first=False: settle(first=True))  # noqa: B010 - it is called by its module
