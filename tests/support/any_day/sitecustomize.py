"""Programs that tests start take results of any day: `tests/conftest.py` puts this folder into their path.

Python imports a module of this name at its start. The rule about old times (`engine.succession.judge.clock`) is lifted
once that module is loaded, and nothing is loaded for it.
"""

import sys
from datetime import timedelta
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

LIFTED = "engine.succession.judge.clock"


class Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != LIFTED:
            return None
        sys.meta_path.remove(Finder)
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            module.OLD = timedelta(days=36_500)  # type: ignore[attr-defined]

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder)
