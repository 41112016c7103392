"""The functions of the mapping language, a module per idea. Importing this package registers all of them."""

from importlib import import_module
from pkgutil import iter_modules

from engine.mapping.functions.registry import FUNCTIONS, Function, Parameter

__all__ = ["FUNCTIONS", "Function", "Parameter"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
