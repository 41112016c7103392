"""The shape of UCUM units and LOINC codes: a small grammar that catches slips, without a terminology server.

    unit = term { (. | /) term }, may begin with /        term = atom [exponent] [{annotation}] | number | (unit)
    atom = [prefix] metric atom | other atom | [bracketed]

The atoms are those of laboratories; a unit that is right but not here is reported, and then belongs here.
Source: the Unified Code for Units of Measure, case sensitive form.
"""

import re

LOINC_SHAPE = re.compile(r"[1-9]\d{0,6}-\d", re.ASCII)

_PREFIXES = ("da", "Y", "Z", "E", "P", "T", "G", "M", "k", "h", "d", "c", "m", "u", "n", "p", "f", "a", "z", "y")
_METRIC = frozenset(
    """
    m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb Cel T H lm lx Bq Gy Sv l L ar t bar u eV pc kat U eq osm B Np
    m[Hg] m[H2O] [iU] [IU] cal cal_th st R RAD REM Ci G Mx P St
    """.split()  # noqa: SIM905 - a list of eighty quoted words would hide what is in it
)
_OTHER = frozenset(
    """
    10* 10^ % [ppth] [ppm] [ppb] [pptr] [pi] min h d wk mo a mo_j a_j deg ' '' gon circ [degF] [degR] [in_i] [ft_i]
    [lb_av] [oz_av] [pH] [arb'U] [USP'U] [GPL'U] [MPL'U] [APL'U] [beth'U] [anti'Xa'U] [todd'U] [dye'U] [smgy'U]
    [bdsk'U] [ka'U] [knk'U] [mclg'U] [tb'U] [CCID_50] [TCID_50] [EID_50] [PFU] [FFU] [CFU] [BAU] [AU] [Amb'a'1'U]
    [D'ag'U] [FEU] [ELU] [EU] [HPF] [LPF] [drp] [diop] [MET] [hnsf'U] [p'diop] [gal_us] [cup_us] [tsp_us] [tbs_us]
    [Ch] [IR] [Lf] [S] [car_m]
    """.split()  # noqa: SIM905
)
_BRACKET = re.compile(r"\[[^\[\]\s]+\]", re.ASCII)
_ANNOTATION = re.compile(r"\{[!-z|~ ]*\}", re.ASCII)
_EXPONENT = re.compile(r"[+-]?\d+", re.ASCII)
_DIGITS = re.compile(r"\d+", re.ASCII)


def loinc_check_digit_holds(code: str) -> bool:
    """Whether the digit behind the dash is the mod 10 check digit of those before it (Luhn)."""
    digits, _, check = code.partition("-")
    total = 0
    for at, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if at % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return (10 - total % 10) % 10 == int(check)


def ucum_problem(unit: str) -> str:
    """What is wrong with a unit, empty if its form is right."""
    if not unit.isascii() or any(sign.isspace() for sign in re.sub(_ANNOTATION, "", unit)):
        return "only ASCII characters without blanks; micro is u"
    rest = unit[1:] if unit.startswith("/") else unit
    depth = 0
    while True:
        while rest.startswith("("):
            depth += 1
            rest = rest[1:]
        problem, rest = _component(rest)
        if problem:
            return problem
        while rest.startswith(")"):
            depth -= 1
            rest = rest[1:]
            if depth < 0:
                return "a bracket closes that was not opened"
        if not rest:
            return "a bracket is open" if depth else ""
        if rest[0] not in "./":
            return f"an operator . or / is missing before '{rest}'"
        rest = rest[1:]


def _component(text: str) -> tuple[str, str]:
    """Read one term; return (problem, rest)."""
    if annotation := _ANNOTATION.match(text):
        return "", text[annotation.end() :]
    end = re.search(r"[./(){]", _hide_brackets(text))
    term, rest = (text[: end.start()], text[end.start() :]) if end else (text, "")
    if not term:
        return "a unit is missing between operators", rest
    if annotation := _ANNOTATION.match(rest):
        rest = rest[annotation.end() :]
    if _DIGITS.fullmatch(term):
        return "", rest
    if not _is_simple(term):
        if (match := re.fullmatch(r"(.*?[^\d+-])([+-]?\d+)", term)) and _is_simple(match[1]):
            return "", rest
        if term.startswith(("10*", "10^")) and _EXPONENT.fullmatch(term[3:]):
            return "", rest
        return f"'{term}' is no unit that it knows", rest
    return "", rest


def _hide_brackets(text: str) -> str:
    """Square brackets may hold characters that are operators outside; same length."""
    return _BRACKET.sub(lambda match: "x" * len(match[0]), text)


def _is_simple(atom: str) -> bool:
    if atom in _METRIC or atom in _OTHER:
        return True
    return any(atom.startswith(prefix) and atom[len(prefix) :] in _METRIC for prefix in _PREFIXES)
