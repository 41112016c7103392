"""New messages out of samples: the shape stays, patient and numbers change."""

import random
from datetime import datetime
from pathlib import Path

import pytest

from engine.demo.variation import Person, vary

SAMPLES = Path(__file__).parents[3] / "samples"
AT = datetime(2026, 3, 1, 10, 15, 30)
PERSON = Person(number="MR-1", family="Rao", given="Meera", born="19800102", sex="F")
HL7 = (
    "MSH|^~\\&|XN|LAB|||20250101||ORU^R01|17|P|2.5\rPID|1||old^^^X^MR||Old^Name||1970|M\r"
    "OBR|1|P100|F200^XN|CBC|||20250101083000+0530\rOBX|1|NM|WBC||5.20|10*3/uL\rOBX|2|ST|FLAG||5.20|\r"
)
ASTM = (
    "H|\\^&|17||XN\rP|1||old||Old^Name||19700101|M\rO|1|SID9^A^1||^^^ALL|R|20250101083000\r"
    "R|1|^^^WBC|5.20|10*3/uL||N||F||||20250101083000\rL|1|N\r"
)


def varied(sample: str, number: int = 7) -> list[list[str]]:
    text = vary(sample, person=PERSON, number=number, run="55", at=AT, rng=random.Random(1))
    assert text.endswith("\r")
    return [line.split("|") for line in text.rstrip("\r").split("\r")]


def test_an_hl7_message_gets_a_patient_numbers_and_times() -> None:
    msh, pid, obr, number, flag = varied(HL7)
    assert (msh[6], msh[9]) == ("20260301101530", "D550007")
    assert (pid[3], pid[5], pid[7], pid[8]) == ("MR-1^^^CITYLAB^MR", "Rao^Meera", "19800102", "F")
    assert (obr[2], obr[3], obr[7]) == ("P100-550007", "F200-550007^XN", "20260301101530+0530")
    assert number[5] != "5.20"
    assert 4.7 < float(number[5]) < 5.7
    assert flag[5] == "5.20"  # not a number by its type


def test_an_astm_message_keeps_its_components() -> None:
    """The component delimiter is the fourth character of H, after field and repetition."""
    h, p, o, r, _ = varied(ASTM)
    assert (h[1], h[2]) == ("\\^&", "D550007")
    assert (p[3], p[5], p[7]) == ("MR-1", "Rao^Meera", "19800102")
    assert o[2] == "SID9-550007^A^1"
    assert o[6] == "20260301101530"
    assert (len(r[3].split(".")[1]), r[12]) == (2, "20260301101530")


@pytest.mark.parametrize("value", ["", "<0.1", "-1", "1e5", "positive", "5.", "\u00b2", "\u0665"])
def test_what_is_no_plain_number_stays_as_it_is(value: str) -> None:
    assert varied(ASTM.replace("5.20", value))[3][3] in {value, "5", "6"}


@pytest.mark.parametrize("place", ["", "^^", " ^ "])
def test_a_number_that_is_not_there_is_not_made_up(place: str) -> None:
    assert varied(ASTM.replace("SID9^A^1", place))[2][2] == place


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*/*.hl7")) + sorted(SAMPLES.glob("*/*.astm")), ids=str)
def test_every_sample_can_be_varied(sample: Path) -> None:
    text = sample.read_text(encoding="utf-8")
    first = vary(text, person=PERSON, number=1, run="1", at=AT, rng=random.Random(1))
    second = vary(text, person=PERSON, number=2, run="1", at=AT, rng=random.Random(2))
    names = [line[:3] for line in text.replace("\n", "\r").replace("\r\r", "\r").strip("\r").split("\r")]
    assert [line[:3] for line in first.strip("\r").split("\r")] == names
    assert first != second
