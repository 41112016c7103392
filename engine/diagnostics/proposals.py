"""Proposals of a meaning for a code that no table of a channel has: LOINC terms by code, unit and name.

From the tables of all packs, their suggestions, and the table of terms (`tables/loinc.csv`). None is in force by
itself: a person chooses. A number alone, as ``717``, means something else at each maker, so that only the analyzer's
own pack says anything of it. What does not fit the unit is left out, and so is a row with a factor: none is proposed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config.site import mapping_path
from engine.diagnostics.packs import Pack, codes_of, packs, suggestions_of
from engine.mapping.code_tables.plausible import Kinds
from engine.mapping.loading import kinds_of

MOST = 12  # proposals of one code, and terms that a search finds
OF_PACK, OF_PACKS, OF_SOURCE, OF_TERMS = "pack", "packs", "source", "terms"
_ORDER = (OF_PACK, OF_PACKS, OF_SOURCE, OF_TERMS)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One term.

    Attributes:
        cells: for a row of a code table, without its key.
        by: ``pack``: the analyzer's own has the code; ``packs``: those of others have; ``source``: a published source
            suggests it; ``terms``: the name of the term.
        names: of these packs.
    """

    cells: Mapping[str, str]
    by: str
    names: Sequence[str] = ()

    @property
    def loinc(self) -> str:
        return self.cells["loinc"]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of codes: read once for many of them.

    Attributes:
        rows: code -> (pack, unit, cells), in the order of packs; suggested: the same of suggestions.
    """

    kinds: Kinds
    rows: Mapping[str, Sequence[tuple[str, str, Mapping[str, str]]]]
    suggested: Mapping[str, Sequence[tuple[str, str, Mapping[str, str]]]]


def known_of(site: Path | None) -> Known:
    """
    Raises:
        ConfigError: a pack is wrong.
    """
    rows: dict[str, list[tuple[str, str, Mapping[str, str]]]] = {}
    suggested: dict[str, list[tuple[str, str, Mapping[str, str]]]] = {}
    for pack in packs(site):
        _add(pack, rows, suggested)
    return Known(kinds_of(mapping_path(site)) or Kinds(), rows, suggested)


def _add(
    pack: Pack,
    rows: dict[str, list[tuple[str, str, Mapping[str, str]]]],
    suggested: dict[str, list[tuple[str, str, Mapping[str, str]]]],
) -> None:
    for row in codes_of(pack):
        kept = {name: row.cells[name] for name in ("loinc", "display", "type", "scale", "ucum") if row.cells.get(name)}
        if row.code and "loinc" in kept and not {"factor", "offset"} & row.cells.keys():
            rows.setdefault(_key(row.cells["code"]), []).append((pack.name, row.cells.get("unit_in", ""), kept))
    for one in suggestions_of(pack):
        if cells := {name: cell for name, cell in one.draft().items() if name != "note"}:
            suggested.setdefault(_key(one.code), []).append((pack.name, one.unit_in, cells))


def proposals(known: Known, code: str, unit: str, name: str, analyzer: str | None) -> list[Proposal]:
    """The terms that may be meant, the likeliest first.

    Args:
        name: that the analyzer gives the test, if any. analyzer: the pack of the channel.
    """
    found: dict[str, Proposal] = {}
    own, others = _of(known.rows, code, unit, analyzer)
    sources = [one for listed in _of(known.suggested, code, unit, analyzer) for one in listed]
    for by, listed in ((OF_PACK, own), (OF_PACKS, others), (OF_SOURCE, sources)):
        for pack, cells in listed:
            _take(found, Proposal(cells, by, (pack,)))
    for loinc in sorted({term for text in (code, name) for term in known.kinds.terms_named(text)}):
        _take(found, Proposal({"loinc": loinc}, OF_TERMS))
    fitting = [_named(known, one) for one in found.values() if fits(known, one.cells, code, unit)]
    return sorted(fitting, key=lambda one: (_ORDER.index(one.by), -len(one.names), one.loinc))[:MOST]


def sure_one(listed: Sequence[Proposal], unit: str) -> Proposal | None:
    """The one that a person may take with others at once: the analyzer's own pack has it, or two others and no other
    term does; and a unit speaks for it.
    """
    if not unit or not listed or listed[0].by not in (OF_PACK, OF_PACKS):
        return None
    first, rest = listed[0], {one.by for one in listed[1:]}
    enough = first.by == OF_PACK or len(first.names) >= 2
    return first if enough and first.by not in rest and OF_PACK not in rest else None


def searched(known: Known, words: str) -> list[Proposal]:
    """Terms whose name, or code, has all these words."""
    wanted = words.casefold().split()
    found = [
        Proposal({"loinc": loinc, "display": name}, OF_TERMS)
        for loinc, name in known.kinds.names.items()
        if wanted and all(word in f"{loinc} {name}".casefold() for word in wanted)
    ]
    return sorted(found, key=lambda one: (len(one.cells["display"]), one.loinc))[:MOST]


def fits(known: Known, cells: Mapping[str, str], code: str, unit: str) -> bool:
    """Whether nothing speaks against it: the unit is of the kind that the term measures."""
    return known.kinds.doubt({"code": code, "unit_in": unit, **cells}) is None


def _of(
    listed: Mapping[str, Sequence[tuple[str, str, Mapping[str, str]]]], code: str, unit: str, analyzer: str | None
) -> tuple[list[tuple[str, Mapping[str, str]]], list[tuple[str, Mapping[str, str]]]]:
    """Those of the analyzer's pack, and of the others, for a code with this unit."""
    says = sum(sign.isalpha() for sign in code) >= 2
    fitting = [
        (pack, cells) for pack, of_unit, cells in listed.get(_key(code), ()) if of_unit.casefold() == unit.casefold()
    ]
    own = [one for one in fitting if one[0] == analyzer]
    return own, [one for one in fitting if one[0] != analyzer] if says else []


def _take(found: dict[str, Proposal], one: Proposal) -> None:
    before = found.get(one.loinc)
    if before is None:
        found[one.loinc] = one
    elif before.by == one.by:
        found[one.loinc] = Proposal(before.cells, before.by, tuple(dict.fromkeys((*before.names, *one.names))))


def _named(known: Known, one: Proposal) -> Proposal:
    name = known.kinds.names.get(one.loinc, "")
    return Proposal({"display": name, **one.cells} if name else one.cells, one.by, one.names)


def _key(code: str) -> str:
    return code.casefold()
