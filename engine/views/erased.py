"""What `labrelay erase` says of a patient's data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHOWN = 20  # message numbers of one kind in a sentence


@dataclass(frozen=True, slots=True)
class Kept:
    """What a feature has of the patient.

    Attributes:
        goes: what goes, for a question; empty: nothing.
        lines: for people, once the messages are known.
        document: names of the document of `-o json`; those with something in them are in the audit row, too.
    """

    goes: str
    lines: Sequence[str]
    document: Mapping[str, Sequence[Any]]


def numbered(ids: Sequence[int]) -> str:
    """Numbers of messages in a sentence: the first ones, and how many more there are."""
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(map(str, ids[:SHOWN])) + more
