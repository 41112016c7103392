"""The functions of the mapping language, a module per idea; those of a feature are its module ``functions``. Importing
this package registers all of them.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from engine.mapping.functions.registry import FUNCTIONS, Function, Parameter

__all__ = ["FUNCTIONS", "Function", "Parameter"]

_OF_FEATURES = (path.parent.name for path in Path(__file__).parents[2].glob("features/*/functions.py"))
_MODULES = {one.name: f"{__name__}.{one.name}" for one in iter_modules(__path__)}
_MODULES |= {name: f"engine.features.{name}.functions" for name in _OF_FEATURES}
for _, _module in sorted(_MODULES.items()):
    import_module(_module)
