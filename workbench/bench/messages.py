"""Made-up messages for the load: every one differs, patients repeat, and all analyzers share one laboratory.

Values, flags, numbers and times vary with the seed; the shape is a haematology panel of 20 results with units and
reference ranges, as analyzers send it. Control ids are ``B<line>-<number>``, so that the sink can find connection and
order from the document alone; order and specimen numbers have both numbers, too. Where each connection has a channel of
its own, its line is the number of the channel.

Reference ranges are those of the panel, as of an analyzer with fixed ranges, or differ in every result, as of an
analyzer that computes them by age.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

DAY = datetime.now(UTC) - timedelta(days=2)  # a time half a year ago would be one of a wrong clock, and held

PATIENTS = 2_000
PANEL = (  # code, name, unit, low, high, decimals
    ("6690-2", "WBC", "10*3/uL", 4.0, 10.0, 2), ("789-8", "RBC", "10*6/uL", 3.8, 5.8, 2),
    ("718-7", "HGB", "g/dL", 12.0, 17.5, 1), ("4544-3", "HCT", "%", 36.0, 52.0, 1),
    ("787-2", "MCV", "fL", 80.0, 100.0, 1), ("785-6", "MCH", "pg", 27.0, 33.0, 1),
    ("786-4", "MCHC", "g/dL", 32.0, 36.0, 1), ("788-0", "RDW", "%", 11.5, 14.5, 1),
    ("777-3", "PLT", "10*3/uL", 150.0, 400.0, 0), ("32623-1", "MPV", "fL", 7.0, 11.0, 1),
    ("770-8", "NEUT%", "%", 40.0, 75.0, 1), ("736-9", "LYMPH%", "%", 20.0, 45.0, 1),
    ("5905-5", "MONO%", "%", 2.0, 10.0, 1), ("713-8", "EO%", "%", 1.0, 6.0, 1),
    ("706-2", "BASO%", "%", 0.0, 2.0, 1), ("751-8", "NEUT#", "10*3/uL", 2.0, 7.5, 2),
    ("731-0", "LYMPH#", "10*3/uL", 1.0, 4.0, 2), ("742-7", "MONO#", "10*3/uL", 0.2, 1.0, 2),
    ("711-2", "EO#", "10*3/uL", 0.0, 0.5, 2), ("704-7", "BASO#", "10*3/uL", 0.0, 0.2, 2),
)  # fmt: skip
FAMILY = ("Sharma", "Patel", "Reddy", "Iyer", "Khan", "Das", "Nair", "Singh", "Gupta", "Bose", "Joshi", "Menon")
GIVEN = ("Asha", "Ravi", "Meena", "Arjun", "Fatima", "Kiran", "Leela", "Vikram", "Sunita", "Imran", "Divya", "Mohan")


def control_id(line: int, number: int) -> str:
    return f"B{line:03d}-{number:08d}"


def _value(rng: random.Random, low: float, high: float, decimals: int) -> tuple[str, str]:
    span = high - low
    value = max(0.0, rng.gauss((low + high) / 2, span / 3))
    flag = "L" if value < low else "H" if value > high else "N"
    return f"{value:.{decimals}f}", flag


def _results(rng: random.Random, changing: bool, count: int = len(PANEL)) -> Iterator[tuple[str, ...]]:
    """Code, name, value, unit, limits and flag of so many results of the panel.

    Args:
        changing: each has a range of its own, about as wide as the panel's, and with more decimals.
    """
    for code, name, unit, low, high, decimals in PANEL[:count]:
        digits = decimals
        if changing:
            low, high = max(0.0, low * rng.uniform(0.5, 1.4)), high * rng.uniform(1.4, 2.2)
            digits = decimals + 3
        value, flag = _value(rng, low, high, decimals)
        yield code, name, value, unit, f"{low:.{digits}f}", f"{high:.{digits}f}", flag


def _at(number: int, rng: random.Random) -> str:
    minute = number % 1440
    return f"{DAY:%Y%m%d}{minute // 60:02d}{minute % 60:02d}{rng.randrange(60):02d}"


def _person(patient: int) -> str:
    """Name, date of birth and sex, as HL7 v2 and ASTM write them alike."""
    name = f"{FAMILY[patient % 12]}^{GIVEN[patient // 12 % 12]}"
    born = f"{1940 + patient % 70}{1 + patient % 12:02d}{1 + patient % 28:02d}"
    return f"{name}||{born}|{'MF'[patient % 2]}"


def oru(line: int, number: int, rng: random.Random, *, results: int = 20, changing: bool = False) -> bytes:
    """One ORU^R01, with 20 OBX about 2.8 kB.

    Args:
        results: more than the panel has make an order for each panel.
        changing: every result has a reference range of its own.
    """
    patient = rng.randrange(PATIENTS)
    at = _at(number, rng)
    lines = [
        f"MSH|^~\\&|XN-1000|CITYLAB|LABRELAY|CITYLAB|{at}+0530||ORU^R01^ORU_R01|{control_id(line, number)}|P|2.5",
        f"PID|1||MR{patient:06d}^^^CITYLAB^MR||{_person(patient)}",
    ]
    for panel, first in enumerate(range(0, results, len(PANEL))):
        order = f"{line:03d}{number:08d}" + (f"{panel:05d}" if panel else "")
        doctor = f"D{patient % 40:03d}^Rao^Sita"
        lines += [
            f"ORC|RE|P{order}|F{order}|||||||||{doctor}",
            f"OBR|{panel + 1}|P{order}|F{order}|58410-2^CBC panel^LN|||{at}+0530|||||||||{doctor}||||||{at}+0530||HM|F",
            f"SPM|1|S{order}||119297000^Blood^SCT|||||||||||||{at}+0530",
        ]
        for index, (code, name, value, unit, low, high, flag) in enumerate(_results(rng, changing, results - first), 1):
            lines.append(
                f"OBX|{index}|NM|{code}^{name}^LN||{value}|{unit}|{low}-{high}|{flag}|||F|||{at}+0530||||XN-1000^20134"
            )
    return ("\r".join(lines) + "\r").encode()


def astm(line: int, number: int, rng: random.Random, *, changing: bool = False) -> list[bytes]:
    """One E1394 message with 20 R, one record per element; ``changing`` as in `oru`."""
    patient = rng.randrange(PATIENTS)
    at = _at(number, rng)
    records = [
        f"H|\\^&|{control_id(line, number)}||XN-550^00-16^20134|||||||P|E1394-97|{at}",
        f"P|1||MR{patient:06d}||{_person(patient)}",
        f"O|1|{line:03d}{number:08d}||^^^CBC|R||{at}||||N||||||||||||||F",
    ]
    for index, (_, name, value, unit, low, high, flag) in enumerate(_results(rng, changing), 1):
        records.append(f"R|{index}|^^^^{name}^1|{value}|{unit}|{low} to {high}|{flag}||F||||{at}")
    records.append("L|1|N")
    return [record.encode() + b"\r" for record in records]
