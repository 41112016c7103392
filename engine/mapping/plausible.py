"""Whether a row of a code table can be true: what its LOINC term measures, against what its unit measures.

A term for a count (``[#/volume]``) with the unit ``%`` reports a percentage as a number of cells: such a row is
refused, in `labrelay check` and when a mapping is loaded. What the tables of terms and units (``loinc.csv``,
``ucum.csv``) do not know is told by the term's name and by the unit's own atoms; what neither tells is compared with
nothing.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from engine.mapping.units import dimension

NUMBERS = frozenset({"", "NM", "SN"})  # values of `type` for which a unit says what was measured
# The kind of quantity in the name of a LOINC term -> the kinds of unit that fit it, as in loinc.csv.
_NAMED = {
    "#/volume": "count/volume",
    "mass/volume": "mass/volume",
    "entitic mass/volume": "mass/volume",
    "moles/volume": "molar equivalent",
    "units/volume": "arbitrary",
    "enzymatic activity/volume": "catalytic",
    "volume fraction": "fraction",
    "entitic volume": "volume",
    "entitic mean volume": "volume",
    "entitic mass": "mass",
    "pure number fraction": "fraction",
    "#/area": "count/area",
}
_BRACKET = re.compile(r"\[([^\]]+)\]")
_PER_HUNDRED = re.compile(r"/100 (?:leukocytes|cells|erythrocytes|lymphocytes|platelets)", re.IGNORECASE)
# No factor is the same for every sample: a percentage of cells becomes a count only by the count of all of them.
_NEVER = ({"fraction", "count/volume"}, {"fraction", "mass/volume"}, {"fraction", "molar"}, {"volume", "count/volume"})


@dataclass(frozen=True, slots=True)
class Kinds:
    """What terms and units measure.

    Attributes:
        terms: LOINC code -> kinds of unit that fit it.
        units: a unit as senders write it, or its code in UCUM -> kind.
    """

    terms: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def doubt(self, cells: dict[str, str]) -> tuple[str, str] | None:
        """(column, words) where a row cannot be true."""
        if cells.get("type", "") not in NUMBERS or cells.get("scale") == "Ord":
            return None
        sent, made = self.sent(cells), self.made(cells)
        if sent and made and sent != made and {sent, made} in _NEVER:
            words = f"no factor makes {cells.get('unit_in')} ({sent}) {cells.get('unit') or cells.get('ucum')} ({made})"
            return "unit_in", f"{words}; take the unit that is sent"
        code = cells.get("loinc", "")
        wanted = self.terms.get(code) or _named(cells.get("display", ""))
        if not wanted or made is None or made in wanted.split():
            return None
        unit = cells.get("ucum") or cells.get("unit") or cells.get("unit_in")
        words = f"LOINC {code} is a term for {' or '.join(wanted.split())}, and {unit} is one of {made}"
        return "loinc", f"{words}; take the term for this unit, or correct the unit"

    def sent(self, cells: dict[str, str]) -> str | None:
        """What the unit measures that comes in."""
        return self._of(cells.get("unit_in"))

    def made(self, cells: dict[str, str]) -> str | None:
        """What the unit measures that goes out."""
        if "ucum" in cells:
            return self.units.get(cells["ucum"]) or dimension(cells["ucum"])
        return self._of(cells.get("unit") or cells.get("unit_in"))

    def _of(self, unit: str | None) -> str | None:
        return self.units.get(unit) if unit else None


@lru_cache(maxsize=4)
def read_kinds(terms: str, units: str) -> Kinds:
    """From the text of ``loinc.csv`` and of ``ucum.csv``."""
    measured: dict[str, str] = {}
    for row in _rows(units):
        if row.get("dimension"):
            measured.setdefault(row.get("ucum") or "", row["dimension"])
            measured[row.get("unit_in") or ""] = row["dimension"]
    measured.pop("", None)
    return Kinds({row["code"]: row["dimension"] for row in _rows(terms) if row.get("dimension")}, measured)


def _rows(text: str) -> Iterable[dict[str, str]]:
    return csv.DictReader(line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _named(display: str) -> str:
    """The kinds of unit that fit a term by its name; empty where the name does not tell."""
    if _PER_HUNDRED.search(display):
        return "fraction number-ratio"
    found = _BRACKET.search(display)
    return _NAMED.get(found[1].lower(), "") if found is not None else ""
