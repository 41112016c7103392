"""The options of a link, taken from a channel's ``source:``. Pure."""

from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol, TypeVar


class Options(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


T = TypeVar("T", bound=Options)


def options_of(kind: type[T], source: object) -> T:
    """The ``kind`` of options that ``source`` gives: by the same names; where it has none, the default holds."""
    names = [one.name for one in fields(kind) if hasattr(source, one.name)]
    return kind(**{name: getattr(source, name) for name in names})
