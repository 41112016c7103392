"""What a validator says of a place in a Bundle, in one form for all of them, and which of it is known and explained."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

EXPLAINED = Path(__file__).with_name("explained.tsv")
_IN_ENTRY = re.compile(r"Bundle\.entry\[(\d+)\]\.resource(.*)")


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue.

    Attributes:
        severity: ``error`` or ``warning``; information is not kept.
        code: its kind, in the validator's own words.
        path: where, as in `Bundle.entry[3].resource.status`.
        text: what, in words.
    """

    severity: str
    code: str
    path: str
    text: str


def place(path: str, bundle: dict[str, Any]) -> str:
    """A path without numbers, from its resource on: `Observation.status`. Issues of one kind have one place."""
    if within := _IN_ENTRY.fullmatch(path):
        path = bundle["entry"][int(within[1])]["resource"].get("resourceType", "") + within[2]
    return re.sub(r"\[\d+\]", "", path)


@dataclass(frozen=True, slots=True)
class Explained:
    """A row of `explained.tsv`: issues of this validator, code and place are known, and why.

    Code and place may hold ``*``, which stands for anything.
    """

    validator: str
    code: str
    place: str
    why: str

    def covers(self, code: str, where: str) -> bool:
        return fnmatchcase(code, self.code) and fnmatchcase(where, self.place)


def explained(path: Path = EXPLAINED) -> list[Explained]:
    """The rows of the only list that there is, behind its headings."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    if len(rows) < 2 or any(len(row) != 4 for row in rows):
        raise ValueError(f"{path.name}: headings and rows of validator, kind, place, reason are wanted")
    return [Explained(*row) for row in rows[1:]]
