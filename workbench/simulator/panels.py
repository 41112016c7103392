"""A new, plausible message out of a sample: another patient and specimen, now, with other values and flags to fit.

The shape stays the sample's own (delimiters, records, comments, padding, what is left out), so that what is played is
what an analyzer of that kind sends. A number is drawn around the middle of its reference range where the sample states
one, else near the sample's; other values (``-----``, ``<5``, a word, a picture) stay. A place that is empty
in the sample stays empty: an analyzer that knows no patient does not begin to.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile

from workbench.simulator.people import Person, Reception

COLLECTED_BEFORE = timedelta(minutes=50)
NEAR = 0.08  # how far a value without a range moves, as a share of it
AGAIN = 0.02  # how far it moves when the same specimen, or a control, is measured again
OUTSIDE = 3.2  # standard deviations across a reference range: about one value in nine lies outside
PLAIN_FLAGS = frozenset({"", "N", "L", "H", "LL", "HH"})
STANDARD_TIMES = "%Y%m%d%H%M%S"

_NUMBER = re.compile(r"(\s*)(\d+)(?:([.,])(\d+))?(\s*)\Z", re.ASCII)
_RANGE = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*(?:-|to|\.\.)\s*(\d+(?:[.,]\d+)?)(?!\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Writing:
    """How an analyzer departs from its standard, as its dialect declares it (`adapters.dialects`).

    Attributes:
        numbers: (record, field, component), each from 1, of the places with numbers of a specimen; a record without
            one has them where its standard says.
        times: the format of times for ``strftime``.
    """

    numbers: tuple[tuple[str, int, int], ...] = ()
    times: str = STANDARD_TIMES

    def places(self, record: str) -> list[tuple[int, int]]:
        return [(number, part) for name, number, part in self.numbers if name == record]


STANDARD = Writing()


@dataclass(slots=True)
class _Change:
    """The changes to one message.

    Attributes:
        writing: of the analyzer.
        reception: assigns patients and numbers; None: both stay, as when a specimen or a control is measured again.
        spread: how far a value may move, where its reference range does not say.
        status: C for a correction; None: as it is.
        numbers: the sample's numbers -> the new ones.
    """

    writing: Writing
    reception: Reception | None
    control: str
    at: datetime
    rng: random.Random
    spread: float
    status: str | None
    flags_used: bool = False
    numbers: dict[str, str] = field(default_factory=dict)

    def number(self, old: str) -> str:
        """The new number in place of ``old``, as wide; the same for the same."""
        core = old.strip()
        if self.reception is None or not core:
            return old
        new = self.numbers.get(core)
        if new is None:
            new = self.numbers[core] = _letters(core) + self.reception.number()
        if old.startswith(" ") or old.endswith(" "):
            return new.rjust(len(old)) if old.startswith(" ") else new.ljust(len(old))
        return new

    def time(self, old: str, *, collected: bool = False) -> str:
        """A time that the sample has, moved to now, in the precision and with the zone that it has."""
        return _rewritten(old, self.at - COLLECTED_BEFORE if collected else self.at, self.writing.times)

    def born(self, old: str, born: str) -> str:
        """A date of birth in place of ``old``; a time behind it stays."""
        return _rewritten(old, datetime.strptime(born, "%Y%m%d"), self.writing.times.partition("%H")[0])

    def value(self, old: str, limits: str) -> tuple[str, str | None]:
        """A number in place of ``old``, and the flag that fits it; anything else, and no flag, as it is."""
        match = _NUMBER.match(old)
        if match is None:
            return old, None
        before, whole, point, decimals, after = match.groups()
        number = float(f"{whole}.{decimals or 0}")
        found = _RANGE.match(limits)
        low, high = (float(part.replace(",", ".")) for part in found.groups()) if found else (0.0, 0.0)
        if self.spread > AGAIN and high > low:
            drawn = min(max(self.rng.gauss((low + high) / 2, (high - low) / OUTSIDE), low / 2), high * 2)
        else:
            drawn = number * self.rng.uniform(1 - self.spread, 1 + self.spread)
        digits = len(decimals or "")
        text = f"{drawn:.{digits}f}"
        drawn = float(text)
        if point:
            text = text.replace(".", point)
        width = len(old)
        text = (text.rjust(width - len(after)) if before else text) + after
        flag = None if high <= low else "L" if drawn < low else "H" if drawn > high else "N"
        return text, flag

    def flag(self, old: str, fitting: str | None) -> str:
        return fitting if self.flags_used and fitting is not None and old in PLAIN_FLAGS else old


def new_result(
    sample: str,
    *,
    reception: Reception,
    control: str,
    at: datetime,
    rng: random.Random,
    writing: Writing = STANDARD,
) -> tuple[str, list[str]]:
    """A message like ``sample`` for other specimens and patients; with it the specimens' numbers, in order.

    Args:
        control: its message control id, where the sample has one.
        at: local time of the measurement.
    """
    change = _Change(writing, reception, control, at, rng, NEAR, None)
    text = _changed(sample, change)
    return text, list(change.numbers.values())


def measured_again(
    message: str,
    *,
    control: str,
    at: datetime,
    rng: random.Random,
    status: str | None = None,
    writing: Writing = STANDARD,
) -> str:
    """The same specimens, or the same control material, once more: numbers and patients stay, values are near.

    ``status``: C where it corrects what was sent before.
    """
    return _changed(message, _Change(writing, None, control, at, rng, AGAIN, status))


def _changed(text: str, change: _Change) -> str:
    lines = text.replace("\r\n", "\r").replace("\n", "\r").strip("\r").split("\r")
    changed = _hl7(lines, change) if lines[0].startswith("MSH") else _astm(lines, change)
    return "\r".join(changed) + "\r"


# -- HL7 v2: MSH-n is at n-1, any other at n -------------------------------------------------------------------------


def _hl7(lines: list[str], change: _Change) -> list[str]:
    separator, component, repeat = lines[0][3], lines[0][4], lines[0][5]
    rows = [line.split(separator) for line in lines]
    change.flags_used = _uses_flags(rows, "OBX", 8)
    person = change.reception.patient() if change.reception else None
    for fields in rows:
        _own_numbers(fields, 0, component, change)
        match fields[0]:
            case "MSH":
                _put(fields, 6, change.time)
                _put(fields, 9, lambda _: change.control)
            case "PID":
                if person is not None:
                    _person(fields, (3, 2, 4), 5, 7, 8, component, person, change)
            case "ORC":
                _numbers(fields, (2, 3), component, change, "&")
            case "OBR":
                _numbers(fields, (2, 3), component, change, "&")
                _times(fields, (6, 7), change, collected=True)
                _times(fields, (14, 22), change)
                if change.status and _at(fields, 25):
                    fields[25] = change.status
            case "SPM":
                _numbers(fields, (2,), component, change, "&")
                _times(fields, (17, 18), change, collected=True)
            case "OBX":
                if _at(fields, 2) == "NM" and repeat not in _at(fields, 5):
                    fields[5], flag = change.value(_at(fields, 5), _at(fields, 7))
                    _put(fields, 8, partial(change.flag, fitting=flag))
                _times(fields, (14, 19), change)
                if change.status and _at(fields, 11):
                    fields[11] = change.status
    return [separator.join(fields) for fields in rows]


# -- ASTM E1394: record type first, so that field n is at n-1 --------------------------------------------------------


def _astm(lines: list[str], change: _Change) -> list[str]:
    separator = lines[0][1]
    component = lines[0][4] if lines[0][3] == lines[0][2] else lines[0][3]  # some write the repeat delimiter twice
    rows = [line.split(separator) for line in lines]
    change.flags_used = _uses_flags(rows, "R", 6)
    for fields in rows:
        _own_numbers(fields, 1, component, change)
        match fields[0].strip():
            case "H":
                _put(fields, 2, lambda old: change.control if old else old)
                _times(fields, (13,), change)
            case "P":
                if change.reception is not None:
                    _person(fields, (2, 3, 4), 5, 7, 8, component, change.reception.patient(), change)
            case "O":
                held = 2 if _first(_at(fields, 2), component) is not None else 3
                _numbers(fields, (held,), component, change)
                _times(fields, (6, 7, 14), change, collected=True)
                _times(fields, (22,), change)
                if change.status and _at(fields, 25) in ("F", "P"):
                    fields[25] = change.status
            case "R":
                fields[3:4], flag = _astm_value(_at(fields, 3), _at(fields, 5), component, change)
                _put(fields, 6, partial(change.flag, fitting=flag))
                _times(fields, (11, 12), change)
                if change.status and _at(fields, 8) in ("F", "P"):
                    fields[8] = change.status
    return [separator.join(fields) for fields in rows]


def _astm_value(old: str, limits: str, component: str, change: _Change) -> tuple[list[str], str | None]:
    """R.4; some analyzers use the last component: a call, then the number."""
    *before, last = old.split(component)
    value, flag = change.value(last, limits)
    return [component.join([*before, value])], flag


# -- both ------------------------------------------------------------------------------------------------------------


def _at(fields: list[str], at: int) -> str:
    return fields[at] if len(fields) > at else ""


def _put(fields: list[str], at: int, make: Callable[[str], str]) -> None:
    """Replace a field that is there."""
    if len(fields) > at:
        fields[at] = make(fields[at])


def _times(fields: list[str], places: tuple[int, ...], change: _Change, *, collected: bool = False) -> None:
    for at in places:
        _put(fields, at, lambda old: change.time(old, collected=collected))


def _letters(number: str) -> str:
    """The part before the digits: ``ORD-`` of an order's number."""
    return number[: len(number) - len(number.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-"))]


def _first(field_text: str, component: str) -> int | None:
    """The first component that holds something."""
    return next((at for at, part in enumerate(field_text.split(component)) if part.strip()), None)


def _numbers(
    fields: list[str], places: tuple[int, ...], component: str, change: _Change, subcomponent: str = ""
) -> None:
    """New numbers in place of old ones: in the first component that has one, before its subcomponents. A record whose
    places the dialect declares has no others."""
    for at in places if not change.writing.places(fields[0].strip()) else ():
        first = _first(_at(fields, at), component)
        if first is not None:
            parts = fields[at].split(component)
            number, mark, rest = parts[first].partition(subcomponent) if subcomponent else (parts[first], "", "")
            parts[first] = change.number(number) + mark + rest
            fields[at] = component.join(parts)


def _own_numbers(fields: list[str], offset: int, component: str, change: _Change) -> None:
    """New numbers at the places that the dialect declares. ``offset``: of field 1 before the place 1 of ``fields``."""
    for number, part in change.writing.places(fields[0].strip()):
        parts = _at(fields, number - offset).split(component)
        if len(parts) >= part:
            parts[part - 1] = change.number(parts[part - 1])
            fields[number - offset] = component.join(parts)


def _rewritten(old: str, moment: datetime, form: str) -> str:
    """``old`` with ``moment`` in its place, as far as ``old`` is written in the form; without a date in it, ``old``."""
    new = f"{moment:{form}}"
    alike = (was == now or (was.isdecimal() and now.isdecimal()) for was, now in zip(old, new, strict=False))
    same = sum(1 for _ in takewhile(bool, alike))
    date = f"{moment:{form.partition('%H')[0]}}".rstrip()
    return new[:same] + old[same:] if same >= len(date) else old


def _person(
    fields: list[str],
    numbers: tuple[int, ...],
    name: int,
    born: int,
    sex: int,
    component: str,
    person: Person,
    change: _Change,
) -> None:
    """Put a person where the sample has one: number, name, date of birth and sex, each only if it is there."""
    place = next((at for at in numbers if _first(_at(fields, at), component) is not None), None)
    if place is not None:
        parts = fields[place].split(component)
        parts[_first(fields[place], component) or 0] = person.number
        fields[place] = component.join(parts)
    if _at(fields, name).strip(component + " "):
        fields[name] = _name(fields[name], component, person)
    _put(fields, born, partial(change.born, born=person.born))
    if _at(fields, sex) in ("M", "F"):
        fields[sex] = person.sex


def _name(old: str, component: str, person: Person) -> str:
    """As many parts as the sample's name has, in the script that it is written in."""
    plain = old.isascii()
    family, given = (person.family, person.given) if plain else (person.family_hindi, person.given_hindi)
    parts = old.split(component)
    words = iter((family, given) if parts[0].strip() else (given, family))
    return component.join(next(words, "") if part.strip() else part for part in parts)


def _uses_flags(rows: list[list[str]], name: str, at: int) -> bool:
    """Whether results of this sample are flagged as low, normal or high."""
    return any(fields[0] == name and _at(fields, at) in PLAIN_FLAGS - {""} for fields in rows)
