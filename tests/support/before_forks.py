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
from engine.model.process import allocator
from engine.runtime import programs
from tests.support.shipped import MAPPINGS, compiled_once


def prepare(*modules: str) -> None:
    """Import ``modules`` and every adapter; no event loop, thread, file or connection is left open."""
    setattr(programs, "load_mapping", compiled_once)  # noqa: B010 - a name that programs imports
    for name in ("hl7-results", "astm-results"):
        for generated in compiled_once(name, (MAPPINGS,), tables={}).plain.values():
            generated.made  # noqa: B018 - it is compiled here
    for name in modules:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(adapters.__path__, "adapters."):
        with contextlib.suppress(ImportError):  # of what a site may do without
            importlib.import_module(module.name)
    load_site(Path(__file__).parents[2], require_secrets=False)  # pydantic completes models at their first use
    gc.collect()
    gc.freeze()
    # A life looks at what it makes itself; `tests/engine/runtime/test_gc_tuning.py` has the function.
    settle = allocator.settle
    setattr(allocator, "settle", lambda *, first=False: settle(first=True))  # noqa: B010 - it is called by its module
