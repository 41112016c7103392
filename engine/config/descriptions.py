"""The description of a key is the docstring below the field of its model. It is read from the source, and only where it
is asked for: by the documentation, the schemas for editors, and an error about a key that is missing.
"""

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


def description(model: type[BaseModel], name: str) -> str:
    """What a field is for, in one line; empty where its model does not say it."""
    owners = (each for each in model.__mro__ if name in vars(each).get("__annotations__", ()))
    owner = next(owners, model)
    return _docstrings(owner.__module__).get((owner.__name__, name), "")


@cache
def _docstrings(module: str) -> dict[tuple[str, str], str]:
    """Class and field -> the docstring below it."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {
        (owner.name, field.target.id): " ".join(str(below.value.value).split())
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
        for field, below in pairwise(owner.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }
