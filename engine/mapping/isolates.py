"""Isolates of a specimen in ASTM E1394, each in an order or a message of its own: O-3 or O-4 names them.

    M7^1   M7^2   M7^B   M7^KLEPNE     the second, the second by its letter, and one by the name of its organism
    M7^0012^3                          a rack and the place in it

Results of isolates have S, I or R, or all of an order are concentrations as an antibiogram has them.
"""

import re

from engine.mapping.functions.astm import IS_COUNT
from engine.mapping.functions.relations import SUSCEPTIBILITY
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Segment

Isolate = tuple[str, int, list[str]]  # the number of a specimen, the field of O that has it, what is behind it there

_LONGEST_COUNT = 2  # digits of the number of an isolate
_IS_FIRST = re.compile("0*1|A", re.IGNORECASE).fullmatch
# A minimum inhibitory concentration (ISO 20776): a doubling dilution, of two drugs with a stroke.
_IS_DILUTION = re.compile(
    r"(?:[<>]=?)?(?:0\.0(?:16|31?|32|6|62|64)|0\.(?:125?|25|5)|[1248]|16|32|64|128|256|512|1024)(?:/[0-9.]+)?", re.ASCII
).fullmatch
_MIC_UNITS = frozenset({"ug/ml", "mg/l", "mcg/ml", "\N{MICRO SIGN}g/ml"})
_LEAST_DRUGS = 3  # of an order whose values all read like those of drugs


def isolate_of(run: MessageContext, order: Segment) -> Isolate | None:
    """What is behind the number of a specimen in O-3, else behind the same number in O-4: perhaps an isolate."""
    number = order.get(3).partition(run.C)[0].strip()
    for place in (3, 4):
        if run.C in (raw := order.get(place)):
            head, *behind = map(str.strip, raw.split(run.C))
            if head and any(behind) and number in ("", head):
                return head, place, behind
    return None


def is_tested(run: MessageContext, result: Segment) -> bool:
    """Whether a result has an interpretation of a susceptibility."""
    return not SUSCEPTIBILITY.isdisjoint(map(str.upper, (result.get(7), *result.get(4).split(run.C))))


def are_of_drugs(run: MessageContext, position: int) -> bool:
    """Whether all results of the order at a position are concentrations as an antibiogram has them."""
    results = list[Segment]()
    for segment in run.parsed.segments[position:]:
        if segment.name == "O":
            break
        if segment.name == "R":
            results.append(segment)
    return len(results) >= _LEAST_DRUGS and all(map(is_concentration, results))


def is_concentration(result: Segment) -> bool:
    return result.get(5).strip().lower() in _MIC_UNITS and _IS_DILUTION(result.get(4).replace(" ", "")) is not None


def is_later_isolate(behind: list[str]) -> bool:
    """Whether what is behind the number of a specimen is another isolate than the first; a long number with another
    one behind it is a rack with its place."""
    number = behind[0]
    if not number or _IS_FIRST(number):
        return False
    is_rack = len(number) > _LONGEST_COUNT and len(behind) > 1 and all(IS_COUNT(part) for part in behind[:2])
    return not is_rack
