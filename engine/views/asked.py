"""What features say of their own where a command of the core asks them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHOWN = 20  # numbers of one kind in a sentence


@dataclass(frozen=True, slots=True)
class Kept:
    """What a feature has of a patient who is erased.

    Attributes:
        goes: what goes, for a question; empty: nothing.
        lines: for people, once the messages are known.
        document: names of the document of `-o json`; those with something in them are in the audit row, too.
    """

    goes: str
    lines: Sequence[str]
    document: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class PackWords:
    """What a feature knows of an analyzer's pack.

    Attributes:
        document: names of the document of `-o json`.
        lines: on codes that have no LOINC code, for people.
    """

    document: Mapping[str, Any]
    lines: Sequence[str]


def numbered(ids: Sequence[int]) -> str:
    """Numbers of messages in a sentence: the first ones, and how many more there are."""
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(map(str, ids[:SHOWN])) + more
