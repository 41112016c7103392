"""Make a new, plausible message out of a sample: other patient, other numbers, now, slightly other values.

The shape stays the sample's own (delimiters, segments, flags, comments), so that what is played is what an analyzer of
that kind sends. Every patient is invented.
"""

import random
from dataclasses import dataclass
from datetime import datetime

FAMILY = ("Rao", "Iyer", "Sharma", "Khan", "Das", "Nair", "Singh", "Bose", "Joshi", "Menon", "Patil", "Reddy")
GIVEN = ("Meera", "Arjun", "Kavya", "Imran", "Leela", "Vikram", "Sunita", "Ravi", "Fatima", "Mohan", "Divya", "Kiran")


@dataclass(frozen=True, slots=True)
class Person:
    """An invented patient; ``number`` is the medical record number."""

    number: str
    family: str
    given: str
    born: str
    sex: str

    @classmethod
    def invent(cls, index: int) -> "Person":
        rng = random.Random(index)
        return cls(
            number=f"MR-{2000 + index}",
            family=FAMILY[index % len(FAMILY)],
            given=GIVEN[(index * 5 + index // len(FAMILY)) % len(GIVEN)],
            born=f"{rng.randrange(1935, 2020)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}",
            sex=rng.choice("MF"),
        )


def vary(sample: str, *, person: Person, number: int, run: str, at: datetime, rng: random.Random) -> str:
    """A message like ``sample`` (records end in CR), for ``person``, numbered ``number`` within ``run``.

    Args:
        run: a short text unique to this run of the demo: part of control, order and specimen numbers, so that a
            second run on the same day is new work and not a repeat.
        at: local time of the measurement.
    """
    lines = sample.replace("\r\n", "\r").replace("\n", "\r").strip("\r").split("\r")
    change = _hl7 if lines[0].startswith("MSH") else _astm
    return "\r".join(change(lines, person, f"{run}{number:04d}", f"{at:%Y%m%d%H%M%S}", rng)) + "\r"


def _hl7(lines: list[str], person: Person, number: str, stamp: str, rng: random.Random) -> list[str]:
    out = []
    separator, component = lines[0][3], lines[0][4]
    for line in lines:
        fields = line.split(separator)
        name = fields[0]
        if name == "MSH":
            _put(fields, 6, stamp)  # split index: MSH-n stands at n-1
            _put(fields, 9, f"D{number}")
        elif name == "PID":
            _put(fields, 3, component.join([person.number, "", "", "CITYLAB", "MR"]))
            _put(fields, 5, person.family + component + person.given)
            _put(fields, 7, person.born)
            _put(fields, 8, person.sex)
        elif name == "ORC":
            _renumber(fields, (2, 3), component, number)
        elif name == "OBR":
            _renumber(fields, (2, 3), component, number)
            _restamp(fields, (6, 7, 14, 22), stamp)
        elif name == "SPM":
            _renumber(fields, (2,), component, number)
            _restamp(fields, (17, 18), stamp)
        elif name == "OBX":
            if len(fields) > 5 and fields[2] == "NM":
                fields[5] = _near(fields[5], rng)
            _restamp(fields, (14,), stamp)
        out.append(separator.join(fields))
    return out


def _astm(lines: list[str], person: Person, number: str, stamp: str, rng: random.Random) -> list[str]:
    out = []
    separator, component = lines[0][1], lines[0][3]  # H, then field, repetition, component and escape
    for line in lines:
        fields = line.split(separator)
        name = fields[0]
        if name == "H":
            _put(fields, 2, f"D{number}")
            _restamp(fields, (13,), stamp)
        elif name == "P":
            place = next((at for at in (2, 3, 4) if len(fields) > at and fields[at]), 2)
            _put(fields, place, person.number)
            _put(fields, 5, person.family + component + person.given)
            _put(fields, 7, person.born)
            _put(fields, 8, person.sex)
        elif name == "O":
            _renumber(fields, (2, 3), component, number)
            _restamp(fields, (6, 7, 14, 22), stamp)
        elif name == "R":
            if len(fields) > 3:
                fields[3] = _near(fields[3], rng)
            _restamp(fields, (11, 12), stamp)
        out.append(separator.join(fields))
    return out


def _put(fields: list[str], at: int, text: str) -> None:
    fields.extend([""] * (at + 1 - len(fields)))
    fields[at] = text


def _renumber(fields: list[str], places: tuple[int, ...], component: str, number: str) -> None:
    """Give the number in each of ``places`` that has one a new tail; keep its other components."""
    for at in places:
        parts = fields[at].split(component) if len(fields) > at else []
        index = next((i for i, part in enumerate(parts) if part.strip()), None)
        if index is not None:
            parts[index] = f"{parts[index].strip()[:6]}-{number}"
            fields[at] = component.join(parts)


def _restamp(fields: list[str], places: tuple[int, ...], stamp: str) -> None:
    """Move times that the sample has to now, in the precision and with the zone that it has."""
    for at in places:
        if len(fields) > at and fields[at][:8].isdigit():
            digits = len(fields[at]) - len(fields[at].lstrip("0123456789"))
            fields[at] = stamp[:digits] + fields[at][digits:]


def _near(value: str, rng: random.Random) -> str:
    """A number within 8 % with as many decimals; anything else as it is."""
    text = value.strip()
    whole, _, decimals = text.partition(".")
    if not (text.isascii() and whole.isdigit() and (not decimals or decimals.isdigit())):
        return value
    return f"{float(text) * rng.uniform(0.92, 1.08):.{len(decimals)}f}"
