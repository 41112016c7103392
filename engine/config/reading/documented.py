"""What a feature adds to `labrelay help keys`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Block:
    """The keys of a model, or of the parts of one, behind the first one's docstring.

    Attributes:
        skip: keys that are shown elsewhere.
        intro: with the docstring.
    """

    title: str
    models: Sequence[type[BaseModel]]
    skip: Collection[str] = ()
    intro: bool = True


@dataclass(frozen=True, slots=True)
class KeyHelp:
    """The keys of a feature.

    Attributes:
        blocks: by the key of the site's file that they are below, or by the part of the help that they are in.
        about: those keys of the site's file that are parts of their own, with a sentence or two.
    """

    blocks: Mapping[str, Sequence[Block]]
    about: Mapping[str, str] = field(default_factory=dict)
