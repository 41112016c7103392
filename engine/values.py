"""Classes whose attributes never change, where a message makes many of them.

A frozen dataclass sets each attribute by ``object.__setattr__``, which takes four times as long as a plain one. A
message makes a dozen such objects with a hundred attributes. So these classes are frozen for mypy alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """As ``dataclass(frozen=True, slots=True)``: mypy refuses to set an attribute; at run time nothing does."""
    return dataclass(slots=True, unsafe_hash=True, kw_only=kw_only)
