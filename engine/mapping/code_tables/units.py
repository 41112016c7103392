"""Codes of UCUM and LOINC by their form: whether a unit exists, the kind of quantity it measures, check digits.

    main = [/] term            term = component { (. | /) component }
    component = annotatable {annotation} | annotation
    annotatable = symbol [exponent] | number | ( main )           symbol = [prefix] metric | other

Without a terminology server. All atoms of UCUM are here; a unit that `ucum_problem` rejects is wrong. The test-suite
compares it with another implementation, which also takes two annotations in a row and a number raised to a power; the
standard's grammar does not.

Sources: the Unified Code for Units of Measure 2.2, case sensitive form; LOINC Users' Guide, appendix C.
"""

import re
from collections import Counter
from functools import lru_cache

from engine.model.tables import table_lines

LOINC_SHAPE = re.compile(r"[1-9]\d{0,6}-\d", re.ASCII)
# Terms that exist and whose check digit is wrong, as the guide itself lists them.
_OFFICIAL = frozenset(table_lines(__file__, "../data/loinc_without_check_digit.txt"))
_ATOMS: dict[str, list[str]] = {}
for _kind_of, *_of_kind in map(str.split, table_lines(__file__, "../data/ucum_atoms.txt")):
    _ATOMS.setdefault(_kind_of, []).extend(_of_kind)
_PREFIXES, _METRIC, _OTHER = _ATOMS.pop("prefix"), frozenset(_ATOMS.pop("metric")), frozenset(_ATOMS.pop("other"))
_SYMBOL = re.compile(r"(?:\[[^\[\]\s]*\]|[^./(){}\[\]\s])+", re.ASCII)
_ANNOTATION = re.compile(r"\{[!-z|~]*\}", re.ASCII)
_RAISED = re.compile(r"(.*?[^0-9+-])([+-]?[1-9][0-9]*)", re.ASCII)
_MAX_DEPTH = 20  # brackets in brackets
_NUMBER = re.compile(r"[1-9][0-9]*", re.ASCII)

_NUMBER_BY_A_POINT = re.compile(r"\.[0-9]+(?![^./()])|/[0-9][0-9*^+-]*\.", re.ASCII)
_IN_BRACKETS = re.compile(r"\{[^}]*\}|\[[^]]*\]")
_MEGA_AND_ABOVE = re.compile(r"[YZEPTGM](?!a\b)", re.ASCII)  # and no pascal
_KINDS = {atom: kind for kind, atoms in _ATOMS.items() for atom in atoms}
_COUNTED = re.compile(r"\{(?:cells?|copies|count|particles|#|.*bc)\}")
_ARBITRARY = re.compile(r"\[(?:iU|IU|.*'U|AU|BAU|EU|ELU)\]")
# Numerator / denominator -> the words of the tables.
_DIMENSIONS = {
    tuple(over.split("/")): words for over, words in map(str.split, table_lines(__file__, "../data/dimensions.txt"))
}


@lru_cache(maxsize=4096)
def loinc_check_digit_holds(code: str) -> bool:
    """Whether the digit behind the dash is the mod 10 check digit of those before it (Luhn), or the term is one of
    the fourteen that were published without. A filter for slips: a code that passes may still not exist."""
    digits, _, check = code.partition("-")
    total = 0
    for at, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if at % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return (10 - total % 10) % 10 == int(check) or code in _OFFICIAL


@lru_cache(maxsize=4096)
def ucum_problem(unit: str) -> str:
    """The problem of a unit, empty if it is a code of UCUM."""
    return _read(unit)[1]


@lru_cache(maxsize=4096)
def dimension(unit: str) -> str | None:
    """The kind of quantity that a code of UCUM measures, in the words of the tables; None if not known."""
    reader, problem = _read(unit)
    if problem or not reader.known:
        return None
    over, under = reader.sides()
    if len(over) > 1 or len(under) > 1:
        return None
    return _DIMENSIONS.get((over[0] if over else "", under[0] if under else ""))


@lru_cache(maxsize=4096)
def is_of_laboratories(unit: str) -> bool:
    """Whether a laboratory can mean what a text says as a code of UCUM.

    Not where a spelling of theirs is by accident one of physics (`K/uL` kelvin, `G/L` gauss, `pH` picohenry), has a
    prefix from mega on (`Mg/dL`, `EU/mL`), counts metres in a volume (`m/uL`: millions), or siemens but over a length
    (`S`: seconds); nor where a number is behind a point, or before one under a fraction. UCUM has no decimals:
    `mL/min/1.73.m2` is 73 times mL/min.m2; `mg/24.h` is mg.h/24.
    """
    reader, problem = _read(unit)
    if problem or reader.is_physical or _NUMBER_BY_A_POINT.search(_IN_BRACKETS.sub("", unit)):
        return False
    over, under = reader.sides()
    return not (over == ("length",) and "volume" in under) and ("conductance" not in over or under == ("length",))


def _read(unit: str) -> tuple["_Reader", str]:
    """A unit that was read as far as it is one, and its problem."""
    reader = _Reader(unit)
    try:
        reader.unit()
    except _NotUcumError as error:
        return reader, str(error)
    return reader, ""


class _NotUcumError(Exception):
    pass


class _Reader:
    """Reads a unit, and notes the kinds of quantity of its atoms.

    Attributes:
        known: the kinds of all its atoms are in `_KINDS`.
        is_physical: an atom without brackets is none of laboratories.
    """

    def __init__(self, unit: str) -> None:
        self._rest = unit
        self._powers: list[tuple[str, int]] = []
        self._depth = 0
        self.known = True
        self.is_physical = False

    def unit(self) -> None:
        if not self._rest:
            raise _NotUcumError("it is empty")
        if not self._rest.isascii():
            raise _NotUcumError("only ASCII characters; micro is u")
        if any(sign.isspace() for sign in self._rest):
            raise _NotUcumError("no blanks, in annotations neither")
        self._main(1)
        if self._rest:
            closes = self._rest[0] == ")"
            raise _NotUcumError(
                "a bracket closes that was not opened"
                if closes
                else f"an operator . or / is missing before '{self._rest}'"
            )

    def sides(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The kinds in the numerator and in the denominator, numbers left out, cubed lengths as volumes."""
        over: Counter[str] = Counter()
        under: Counter[str] = Counter()
        for kind, power in self._powers:
            if kind == "length" and abs(power) == 3:
                kind, power = "volume", power // 3
            (over if power > 0 else under)[kind] += abs(power)
        del over["number"], under["number"]
        return tuple(sorted(over.elements())), tuple(sorted(under.elements()))

    def _main(self, power: int) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _NotUcumError("it is nested too deeply")
        if self._took("/"):
            self._component(-power)
        else:
            self._component(power)
        while self._rest[:1] and self._rest[0] in "./":
            operator, self._rest = self._rest[0], self._rest[1:]
            self._component(power if operator == "." else -power)
        self._depth -= 1

    def _component(self, power: int) -> None:
        if annotation := self._annotation():
            # An annotation alone is the number one: with {cells} it is a count.
            self.known = self.known and _COUNTED.fullmatch(annotation) is not None
            return
        if self._took("("):
            self._main(power)
            if not self._took(")"):
                raise _NotUcumError("a bracket is open")
        else:
            symbol = _SYMBOL.match(self._rest)
            if symbol is None:
                raise _NotUcumError(
                    f"a unit is missing before '{self._rest}'" if self._rest else "a unit is missing at the end"
                )
            self._rest = self._rest[symbol.end() :]
            self._symbol(symbol[0], power)
        self._annotation()

    def _annotation(self) -> str:
        """The text in braces here, in lower case; empty without any."""
        found = _ANNOTATION.match(self._rest)
        if found is None:
            return ""
        self._rest = self._rest[found.end() :]
        return found[0].lower()

    def _symbol(self, symbol: str, power: int) -> None:
        if _NUMBER.fullmatch(symbol):
            return
        kind = _kind(symbol)
        if kind is None and (raised := _RAISED.fullmatch(symbol)):
            kind, power = _kind(raised[1]), power * int(raised[2])
        if kind is None:
            raise _NotUcumError(f"it has no unit '{symbol}'")
        if not kind:
            self.known = False
        if "[" not in symbol and (not kind or _MEGA_AND_ABOVE.match(symbol)):
            self.is_physical = True
        self._powers.append((kind, power))

    def _took(self, sign: str) -> bool:
        if self._rest.startswith(sign):
            self._rest = self._rest[1:]
            return True
        return False


@lru_cache(maxsize=1024)
def _kind(symbol: str) -> str | None:
    """The quantity that an atom with its prefix measures; empty if not known, None where there is no such unit."""
    if symbol in _KINDS or symbol in _OTHER or symbol in _METRIC:
        return _measures(symbol)
    for prefix in _PREFIXES:
        if symbol.startswith(prefix) and symbol[len(prefix) :] in _METRIC:
            return _measures(symbol[len(prefix) :])
    return None


def _measures(atom: str) -> str:
    return _KINDS.get(atom, "arbitrary" if _ARBITRARY.fullmatch(atom) else "")
