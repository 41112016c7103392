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

LOINC_SHAPE = re.compile(r"[1-9]\d{0,6}-\d", re.ASCII)
# Terms that exist and whose check digit is wrong, as the guide itself lists them.
_OFFICIAL = frozenset(
    "5895-7 5896-5 5897-3 5928-1 6028-3 6415-5 6580-7 6645-7 6646-5 6647-3 6648-1 6649-9 11491-6 11501-6".split()  # noqa: SIM905
)

_PREFIXES = "da Ki Mi Gi Ti Y Z E P T G M k h d c m u n p f a z y".split()  # noqa: SIM905 - as the others
_METRIC = frozenset(
    """
    A B B[10.nV] B[SPL] B[V] B[W] B[kW] B[mV] B[uV] Bd Bi Bq By C Cel Ci F G Gal Gb Gy H Hz J K Ky L Lmb Mx N Np Oe Ohm
    P Pa R RAD REM S St Sv T U V W Wb [G] [IU] [c] [e] [eps_0] [g] [h] [iU] [k] [ly] [m_e] [m_p] [mu_0] ar bar bit cal
    cal_IT cal_[15] cal_[20] cal_m cal_th cd dyn eV eq erg g g% gf kat l lm lx m m[H2O] m[Hg] mho mol osm pc ph rad s sb
    sr st t tex u
    """.split()  # noqa: SIM905 - a list of three hundred quoted words would hide what is in it
)
_OTHER = frozenset(
    """
    % %[slope] ' '' 10* 10^ AU Ao [APL'U] [AU] [Amb'a'1'U] [BAU] [Btu] [Btu_39] [Btu_59] [Btu_60] [Btu_IT] [Btu_m]
    [Btu_th] [CCID_50] [CFU] [Cal] [Ch] [D'ag'U] [EID_50] [ELU] [EU] [FEU] [FFU] [FNU] [GPL'U] [HPF] [HP] [IR] [LPF]
    [Lf] [MET] [MPL'U] [NTU] [PFU] [PNU] [PRU] [S] [TCID_50] [USP'U] [acr_br] [acr_us] [anti'Xa'U] [arb'U] [bbl_us]
    [bdsk'U] [beth'U] [bf_i] [bu_br] [bu_us] [car_Au] [car_m] [cft_i] [ch_br] [ch_us] [cicero] [cin_i] [cml_i] [cr_i]
    [crd_us] [cup_m] [cup_us] [cyd_i] [degF] [degR] [degRe] [den] [didot] [diop] [dpt_us] [dqt_us] [dr_ap] [dr_av] [drp]
    [dye'U] [fdr_br] [fdr_us] [foz_br] [foz_m] [foz_us] [ft_br] [ft_i] [ft_us] [fth_br] [fth_i] [fth_us] [fur_us]
    [gal_br] [gal_us] [gal_wi] [gil_br] [gil_us] [gr] [hd_i] [hnsf'U] [hp'_C] [hp'_M] [hp'_Q] [hp'_X] [hp_C] [hp_M]
    [hp_Q] [hp_X] [in_br] [in_i'H2O] [in_i'Hg] [in_i] [in_us] [ka'U] [kn_br] [kn_i] [knk'U] [kp_C] [kp_M] [kp_Q] [kp_X]
    [lb_ap] [lb_av] [lb_tr] [lbf_av] [lcwt_av] [ligne] [lk_br] [lk_us] [lne] [lton_av] [m/s2/Hz^(1/2)] [mclg'U] [mesh_i]
    [mi_br] [mi_i] [mi_us] [mil_i] [mil_us] [min_br] [min_us] [nmi_br] [nmi_i] [oz_ap] [oz_av] [oz_m] [oz_tr] [p'diop]
    [pH] [pc_br] [pca] [pca_pr] [pi] [pied] [pk_br] [pk_us] [pnt] [pnt_pr] [pouce] [ppb] [ppm] [ppth] [pptr] [psi]
    [pt_br] [pt_us] [pwt_tr] [qt_br] [qt_us] [rch_us] [rd_br] [rd_us] [rlk_us] [sc_ap] [sct] [scwt_av] [sft_i] [sin_i]
    [smgy'U] [smi_us] [smoot] [srd_us] [ston_av] [stone_av] [syd_i] [tb'U] [tbs_m] [tbs_us] [todd'U] [tsp_m] [tsp_us]
    [twp] [wood'U] [yd_br] [yd_i] [yd_us] a a_g a_j a_t atm att b bit_s circ d deg gon h min mo mo_g mo_j mo_s sph wk
    """.split()  # noqa: SIM905
)
_SYMBOL = re.compile(r"(?:\[[^\[\]\s]*\]|[^./(){}\[\]\s])+", re.ASCII)
_ANNOTATION = re.compile(r"\{[!-z|~]*\}", re.ASCII)
_RAISED = re.compile(r"(.*?[^0-9+-])([+-]?[1-9][0-9]*)", re.ASCII)
_MAX_DEPTH = 20  # brackets in brackets
_NUMBER = re.compile(r"[1-9][0-9]*", re.ASCII)

# The quantity that an atom measures, of those that laboratories use. Amount of substance, equivalents, enzyme activity
# and arbitrary units are kinds of their own here, though UCUM counts them as numbers: LOINC terms distinguish them.
_KINDS = {
    **dict.fromkeys(("g", "t", "u"), "mass"),
    **dict.fromkeys(("l", "L"), "volume"),
    "m": "length",
    "mol": "amount",
    "eq": "equivalents",
    "osm": "osmoles",
    **dict.fromkeys(("U", "kat"), "activity"),
    **dict.fromkeys(("s", "min", "h", "d", "wk", "mo", "a"), "time"),
    **dict.fromkeys(("Pa", "bar", "atm", "m[Hg]", "m[H2O]"), "pressure"),
    **dict.fromkeys(("[HPF]", "[LPF]"), "area"),
    **dict.fromkeys(("%", "[ppth]", "[ppm]", "[ppb]", "[pptr]"), "part"),
    **dict.fromkeys(("10*", "10^"), "number"),
}
_COUNTED = re.compile(r"\{(?:cells?|copies|count|particles|#|.*bc)\}")
_ARBITRARY = re.compile(r"\[(?:iU|IU|.*'U|AU|BAU|EU|ELU)\]")
# Numerator / denominator -> the words of the tables (`dimension` in ucum.csv and loinc.csv).
_DIMENSIONS = {
    ("", "volume"): "count/volume",
    ("", "area"): "count/area",
    ("mass", "volume"): "mass/volume",
    ("amount", "volume"): "molar",
    ("equivalents", "volume"): "equivalent",
    ("activity", "volume"): "catalytic",
    ("activity", "mass"): "catalytic/mass",
    ("arbitrary", "volume"): "arbitrary",
    ("part", ""): "fraction",
    ("volume", "volume"): "fraction",
    ("mass", ""): "mass",
    ("volume", ""): "volume",
    ("mass", "mass"): "mass-ratio",
    ("amount", "amount"): "molar-ratio",
    ("mass", "time"): "mass/time",
    ("length", "time"): "velocity",
    ("osmoles", "mass"): "osmolality",
    ("pressure", ""): "pressure",
    ("time", ""): "time",
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
    try:
        _Reader(unit).unit()
    except _NotUcumError as error:
        return str(error)
    return ""


@lru_cache(maxsize=4096)
def dimension(unit: str) -> str | None:
    """The kind of quantity that a code of UCUM measures, in the words of the tables; None if not known."""
    reader = _Reader(unit)
    try:
        reader.unit()
    except _NotUcumError:
        return None
    if not reader.known:
        return None
    over, under = reader.sides()
    if len(over) > 1 or len(under) > 1:
        return None
    return _DIMENSIONS.get((over[0] if over else "", under[0] if under else ""))


class _NotUcumError(Exception):
    pass


class _Reader:
    """Reads a unit, and notes the kinds of quantity of its atoms.

    Attributes:
        known: the kinds of all its atoms are in `_KINDS`.
    """

    def __init__(self, unit: str) -> None:
        self._rest = unit
        self._powers: list[tuple[str, int]] = []
        self._depth = 0
        self.known = True

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
        self._powers.append((kind, power))

    def _took(self, sign: str) -> bool:
        if self._rest.startswith(sign):
            self._rest = self._rest[1:]
            return True
        return False


@lru_cache(maxsize=1024)
def _kind(symbol: str) -> str | None:
    """The quantity that an atom with its prefix measures; empty if not known, None where there is no such unit."""
    if symbol in _OTHER or symbol in _METRIC:
        return _measures(symbol)
    for prefix in _PREFIXES:
        if symbol.startswith(prefix) and symbol[len(prefix) :] in _METRIC:
            return _measures(symbol[len(prefix) :])
    return None


def _measures(atom: str) -> str:
    return _KINDS.get(atom, "arbitrary" if _ARBITRARY.fullmatch(atom) else "")
