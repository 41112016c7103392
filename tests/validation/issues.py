"""What a validator says of a place in a Bundle, in one form for all of them, and which of it is known and explained."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

SECTION = "## What validators say"
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
    """A row of the table in docs/conformance.md: issues of this validator, code and place are known, and why.

    Code and place may hold ``*``, which stands for anything.
    """

    validator: str
    code: str
    place: str
    why: str

    def covers(self, code: str, where: str) -> bool:
        return fnmatchcase(code, self.code) and fnmatchcase(where, self.place)


def explained(document: Path) -> list[Explained]:
    """The rows of the table below `What validators say`; the page is the only list there is."""
    _, found, section = document.read_text(encoding="utf-8").partition(SECTION)
    rows = [line.strip("| ").split(" | ") for line in section.split("\n## ")[0].splitlines() if line.startswith("| ")]
    if not found or not rows:
        raise ValueError(f"{document.name}: no table below '{SECTION}'")
    return [Explained(*(cell.strip("` ") for cell in row[:4])) for row in rows[1:]]
