"""What is beside a judged control in its message, and is no control of its own. Pure.

An analyzer may send a result several times over: as words beside a number, in another unit, or as a word with the index
behind it. All else that is no judged number is a control that failed.
"""

import re
from decimal import Decimal

from engine.features.quality_control.rules.lots import ucum_of
from engine.features.quality_control.rules.westgard import number_in

_WORDS = re.compile(r"[^\d<>]*[^\W\d_][^\d<>]*")
_POWERS = {"": 0, "k": 3, "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15}  # of ten, by prefix of UCUM
_IN_VOLUME = re.compile(r"([kdcmunpf]?)(g|mol|eq|U|kat|\[IU\]|\[iU\])/([dcmunpf]?)[lL]")


def says_the_same(sent: str, unit: str, judged: str, judged_unit: str) -> bool:
    """Whether a result says no more than a judged one beside it: words beside a number, the same number in another
    unit of mass, amount or activity in a volume, or the number behind a word."""
    if number_in(judged) is None:
        return number_in(sent.strip().lstrip("<>")) is not None
    in_litre = _in_litre(sent, unit)
    return _WORDS.fullmatch(sent) is not None or (in_litre is not None and in_litre == _in_litre(judged, judged_unit))


def _in_litre(sent: str, unit: str) -> tuple[Decimal, str] | None:
    """A number with the unit of which it is so many in a litre; None: it is none, or not known."""
    number, parts = number_in(sent), _IN_VOLUME.fullmatch(ucum_of(unit))
    if number is None or parts is None:
        return None
    return number.scaleb(_POWERS[parts[1]] - _POWERS[parts[3]]), parts[2]
