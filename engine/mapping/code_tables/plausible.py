"""Check whether a row of a code table is plausible: its LOINC term and quantity, against its unit, type and name.

A term for a count (``[#/volume]``) with the unit ``%`` reports a percentage as a number of cells: such a row is
refused, in `labrelay check` and when a mapping is loaded. For terms and units that the tables (``loinc.csv``,
``ucum.csv``) do not have, the term's name and the unit's own atoms decide; without these nothing is compared.

A row that calls glucose ``C reactive protein`` is doubted: an error of `labrelay check`, and a warning of the daemon,
which goes on. Its name must be that of another term or analyte in ``loinc.csv``: a name that is not known there, in the
laboratory's own language, say, contradicts nothing. ``yes`` under ``meant`` confirms that such a row is right.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from engine.mapping.code_tables.units import dimension
from engine.model.tables import table_lines

NUMBERS = frozenset({"", "NM", "SN"})  # values of `type` for which a unit says what was measured
# The kind of quantity in the name of a LOINC term -> the kinds of unit that fit it, as in loinc.csv.
_NAMED = dict(line.split("|")[::-1] for line in table_lines(__file__, "../data/loinc_quantities.txt"))
_BRACKET = re.compile(r"\[([^\]]+)\]")
_WORDS = re.compile(r"[^\W_]+")
_BEHIND_THE_ANALYTE = re.compile(r" \[| in | by |/100 ")
_PER_HUNDRED = re.compile(r"/100 (?:leukocytes|cells|erythrocytes|lymphocytes|platelets)", re.IGNORECASE)
# No factor is the same for every sample: a percentage of cells becomes a count only by the count of all of them.
_NEVER = ({"fraction", "count/volume"}, {"fraction", "mass/volume"}, {"fraction", "molar"}, {"volume", "count/volume"})


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds of quantity that terms and units measure.

    Attributes:
        terms: LOINC code -> kinds of unit that fit it.
        units: a unit as senders write it, or its code in UCUM -> kind.
        names: LOINC code -> name of the term; ``scales``: -> Qn (a number), Ord, Nom or Nar (words).
        analytes: name of an analyte, or its usual short form (``CRP``) -> LOINC codes of its terms.
    """

    terms: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, str] = field(default_factory=dict)
    analytes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def terms_named(self, name: str) -> frozenset[str]:
        """The terms of an analyte, by its name or usual short form."""
        return self.analytes.get(_key(name), frozenset())

    def doubt(self, cells: dict[str, str]) -> tuple[str, str, str] | None:
        """(column, words, severity) where a row cannot be true: ``error``, or ``doubt`` where people may mean it."""
        if (wrong := self._wrong_unit(cells)) is not None:
            return *wrong, "error"
        if cells.get("meant", "").lower() in ("yes", "so"):
            return None
        found = self._wrong_term(cells) or self._wrong_scale(cells)
        return None if found is None else (*found, "doubt")

    def _wrong_term(self, cells: dict[str, str]) -> tuple[str, str] | None:
        """Where the row's name is that of another term, or of another analyte."""
        code, display = cells.get("loinc", ""), cells.get("display", "")
        name = self.names.get(code)
        if name is None or not display or display == name or _key(display) == _key(name):
            return None
        other = next(
            (one for one in self.analytes.get(_key(display), ()) if _key(self.names[one]) == _key(display)), ""
        )
        if not other:
            if _words(_analyte(display)) <= _words(name) or _words(_analyte(name)) <= _words(display):
                return None
            meant = self.analytes.get(_key(display)) or self.analytes.get(_key(_analyte(display))) or frozenset()
            if not meant or code in meant or any(_analyte(self.names[one]) == _analyte(name) for one in meant):
                return None
            other = min(meant)
        told = f"which is the name of {other} ({self.names[other]})"
        words = f"LOINC {code} is {name}, and the row calls it {display}, {told}"
        return "loinc", f"{words}; correct the code or the name, or write yes into a column meant"

    def _wrong_scale(self, cells: dict[str, str]) -> tuple[str, str] | None:
        """Whether a row has a term for words beside a number."""
        code, scale = cells.get("loinc", ""), self.scales.get(cells.get("loinc", ""))
        if scale not in ("Ord", "Nom", "Nar") or cells.get("scale") == "Ord" or cells.get("type") not in ("NM", "SN"):
            return None
        words = f"LOINC {code} ({self.names[code]}) is a term for words ({scale}), and type is {cells['type']}"
        return "loinc", f"{words}; take the term for numbers, or write yes into a column meant"

    def _wrong_unit(self, cells: dict[str, str]) -> tuple[str, str] | None:
        """Where the term measures something else than the unit, or no factor makes the one unit of the other."""
        if cells.get("type", "") not in NUMBERS or cells.get("scale") == "Ord":
            return None
        sent, made = self.sent(cells), self.made(cells)
        if sent and made and sent != made and {sent, made} in _NEVER:
            words = f"no factor makes {cells.get('unit_in')} ({sent}) {cells.get('unit') or cells.get('ucum')} ({made})"
            return "unit_in", f"{words}; take the unit that is sent"
        code = cells.get("loinc", "")
        wanted = self.terms.get(code) or _named(cells.get("display", ""))
        if not wanted or made is None or made in wanted.split() or cells.get("meant", "").lower() in ("yes", "so"):
            return None
        unit = cells.get("ucum") or cells.get("unit") or cells.get("unit_in")
        words = f"LOINC {code} is a term for {' or '.join(wanted.split())}, and {unit} is one of {made}"
        return "loinc", f"{words}; take the term for this unit, or correct the unit"

    def sent(self, cells: dict[str, str]) -> str | None:
        """The kind of quantity of the incoming unit."""
        return self._of(cells.get("unit_in"))

    def made(self, cells: dict[str, str]) -> str | None:
        """The kind of quantity of the outgoing unit."""
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
    known = [row for row in _rows(terms) if row.get("code")]
    analytes: dict[str, set[str]] = {}
    for row in known:
        display = row.get("display") or ""
        for name in (display, _analyte(display), row.get("short") or ""):
            if name:
                analytes.setdefault(_key(name), set()).add(row["code"])
    return Kinds(
        {row["code"]: row["dimension"] for row in known if row.get("dimension")},
        measured,
        {row["code"]: row["display"] for row in known if row.get("display")},
        {row["code"]: row["scale"] for row in known if row.get("scale")},
        {name: frozenset(codes) for name, codes in analytes.items()},
    )


def _analyte(name: str) -> str:
    """The analyte in the name of a term: `Glucose [Mass/volume] in Urine` is about `Glucose`."""
    return _BEHIND_THE_ANALYTE.split(name, maxsplit=1)[0].strip()


def _words(name: str) -> frozenset[str]:
    return frozenset(_WORDS.findall(name.casefold()))


def _key(name: str) -> str:
    return " ".join(_WORDS.findall(name.casefold()))


def _rows(text: str) -> Iterable[dict[str, str]]:
    return csv.DictReader(line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _named(display: str) -> str:
    """The kinds of unit that fit a term by its name; empty where the name does not show them."""
    if _PER_HUNDRED.search(display):
        return "fraction number-ratio"
    found = _BRACKET.search(display)
    return _NAMED.get(found[1].lower(), "") if found is not None else ""
