r"""Reagent lots in a message, where its analyzer names them: for "which results were measured with lot X?". Pure.

Only places that a standard or a capture shows are read; other places are not guessed.

    HL7 v2       INV (2.5, chapter 13)       INV-16 lot, INV-12 expiry, INV-9 or -8 what is left, of the test of its OBR
                 SID (2.5, chapter 13)       SID-2 lot, SID-1 the method
    GeneXpert    OBX-18 / R-14               expiry~lot~cartridge~... / ...^cartridge^lot^expiry
    Clinitek     OBR-20, OBR-21              strip lot, expiry; OBR-4 the strip
    Stago STA    M|1|SAPTT|||STA-CEPHASCREEN 4^254173|||CACL2 0.025 M^254005
    Horiba       M|4|REAGENT|CLEANER\DILUENT|221114I1*^20230317000000^20230617\220729H1^...     lot ^ opened ^ expiry
    DCA Vantage  O-4                         sequence number ^ cartridge lot

Captures: roche-cobas-pro (INV), cepheid-genexpert-hbv and -oru-r32, siemens-clinitek-qc, stago-satellite-max,
horiba-yumizen-h500, siemens-dca-vantage. SID is read by the standard alone.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from engine.model.message import Parsed, Reagent, Segment

MOST = 200  # reagents of one message; a batch of everything on board has some dozens
LOT = re.compile(r"(?=.*[0-9])[0-9A-Za-z][0-9A-Za-z*/._ -]{0,39}", re.ASCII)
_WORDS = 60
_NAMING = frozenset({"INV", "SID"})
_DAY = re.compile(r"[12][0-9]{3}-?(?:0[1-9]|1[0-2])(?:-?(?:0[1-9]|[12][0-9]|3[01]))?")


def reagents_in(parsed: Parsed) -> tuple[Reagent, ...]:
    """The lots that a message names, each once, with the tests that it says were measured with them."""
    found: dict[tuple[str, str, str], Reagent] = {}
    for reagent in _READERS[parsed.format](parsed) if parsed.format in _READERS else ():
        lot, name = reagent.lot.strip(), reagent.name.strip()[:_WORDS]
        if not LOT.fullmatch(lot):
            continue
        key = (name, lot_key(lot), reagent.expires)
        known = found.get(key)
        if known is not None:
            tests = tuple(dict.fromkeys((*known.tests, *reagent.tests)))
            found[key] = replace(known, tests=tests, left=reagent.left or known.left)
        elif len(found) < MOST:
            found[key] = replace(reagent, lot=lot, name=name)
    return tuple(found.values())


def lot_key(lot: str) -> str:
    """The lot in a form common to all its spellings: letters and digits, in upper case."""
    return "".join(char for char in lot.upper() if char.isascii() and char.isalnum())


# -- HL7 v2 ----------------------------------------------------------------------------------------------------------


def _hl7(parsed: Parsed) -> Iterator[Reagent]:
    sender = parsed.segments[0].get(3) if parsed.segments else ""
    by_cartridge, by_strip = "GeneXpert" in sender, sender.startswith("Clinitek")
    if not (by_cartridge or by_strip) and _NAMING.isdisjoint(parsed.names):
        return
    cut = parsed.delimiters
    test = ""
    for segment in parsed.segments:
        name = segment.name
        if name == "OBR":
            test = _part(segment.get(4), cut.component, 1)
            if by_strip:
                yield _reagent(segment.get(20), test, segment.get(21))
        elif name == "INV":
            kind, substance = _part(segment.get(3), cut.component, 1), _part(segment.get(1), cut.component, 1)
            left = segment.get(9) or segment.get(8)
            unit = _part(segment.get(11), cut.component, 1)
            yield _reagent(
                segment.get(16), f"{substance} {kind}", segment.get(12), test, f"{left} {unit}" if left else ""
            )
        elif name == "SID":
            yield _reagent(segment.get(2), _part(segment.get(1), cut.component, 1), "", test)
        elif name == "OBX" and by_cartridge:
            parts = split(segment.get(18), cut.repetition)
            if len(parts) >= 6:  # the last six: the dialect puts the instrument before them
                code = split(_part(segment.get(3), cut.component, 1), cut.subcomponent)[0]
                yield _reagent(parts[-5], "cartridge", parts[-6], code)


# -- ASTM ------------------------------------------------------------------------------------------------------------


def _astm(parsed: Parsed) -> Iterator[Reagent]:
    sender = parsed.segments[0].get(5) if parsed.segments else ""
    if sender.startswith("STA"):
        yield from _stago(parsed)
    elif "GeneXpert" in sender:
        yield from _genexpert(parsed)
    elif sender.startswith("DCA VANTAGE"):
        yield from _dca(parsed)
    else:
        yield from _horiba(parsed)


def _stago(parsed: Parsed) -> Iterator[Reagent]:
    """M-3 the test; each further field with two components is a reagent and its lot."""
    component = parsed.delimiters.component
    for record in _records(parsed, "M"):
        for field in record.fields[4:]:
            if component and component in field:
                name, _, lot = field.partition(component)
                yield _reagent(lot, name, "", record.get(3))


def _horiba(parsed: Parsed) -> Iterator[Reagent]:
    """M-3 REAGENT, M-4 their names and M-5 their lots in the same order. They are those of the whole run."""
    cut = parsed.delimiters
    for record in _records(parsed, "M"):
        if record.get(3) != "REAGENT":
            continue
        names, lots = split(record.get(4), cut.repetition), split(record.get(5), cut.repetition)
        for name, lot in zip(names, lots, strict=False):
            yield _reagent(_part(lot, cut.component, 1), name, _part(lot, cut.component, 3))


def _genexpert(parsed: Parsed) -> Iterator[Reagent]:
    cut = parsed.delimiters
    for record in _records(parsed, "R"):
        parts = split(record.get(14), cut.component)
        if len(parts) >= 6:
            yield _reagent(parts[4], "cartridge", parts[5], _part(record.get(3), cut.component, 4))


def _dca(parsed: Parsed) -> Iterator[Reagent]:
    cut, lot = parsed.delimiters, ""
    for record in parsed.segments:
        if record.name == "O":
            lot = _part(record.get(4), cut.component, 2)
        elif record.name == "R" and lot:
            yield _reagent(lot, "cartridge", "", _part(record.get(3), cut.component, 4))


_READERS: dict[str, Callable[[Parsed], Iterable[Reagent]]] = {"hl7v2": _hl7, "astm": _astm}


# -- fields ----------------------------------------------------------------------------------------------------------


def _records(parsed: Parsed, name: str) -> Iterator[Segment]:
    return (record for record in parsed.segments if record.name == name)


def split(field: str, separator: str) -> list[str]:
    """``separator`` may be empty: a sender that declares fewer delimiters does without it."""
    return field.split(separator) if separator else [field]


def _part(field: str, separator: str, number: int) -> str:
    """Component ``number`` of the first repetition's worth of a field, from 1."""
    parts = split(field, separator)
    return parts[number - 1].strip() if number <= len(parts) else ""


def _reagent(lot: str, name: str, expires: str, test: str = "", left: str = "") -> Reagent:
    return Reagent(
        lot=lot,
        name=name,
        expires=_day(expires),
        tests=(test[:_WORDS],) if test and test != '""' else (),
        left=left[:_WORDS].strip(),
    )


def _day(text: str) -> str:
    """``2018-10-30``, or ``2019-07`` where no day is given; empty where it is no date."""
    found = _DAY.match(text.strip())
    if found is None:
        return ""
    digits = found[0].replace("-", "")
    return "-".join(part for part in (digits[:4], digits[4:6], digits[6:8]) if part)
