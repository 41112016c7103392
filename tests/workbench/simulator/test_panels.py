"""New messages out of samples: the shape stays; patient, numbers, times, values and flags change, and fit."""

import random
import re
from datetime import datetime
from pathlib import Path

import pytest

from engine.mapping.trying.inputs import messages_in
from workbench.simulator.panels import measured_again, new_result
from workbench.simulator.people import Reception

SAMPLES = Path(__file__).parents[3] / "samples"
FILES = sorted(path for path in SAMPLES.glob("*/*") if path.suffix in (".hl7", ".astm"))
AT = datetime(2026, 3, 1, 10, 15, 30)
HL7 = (
    "MSH|^~\\&|XN|LAB|||20250101||ORU^R01|17|P|2.5\rPID|1||old^^^X^MR||Old^Name||19700101|M\r"
    "OBR|1|P100|F200^XN|CBC|||20250101083000+0530|||||||||||||||||F\r"
    "OBX|1|NM|WBC||5.20|10*3/uL|||||F\rOBX|2|ST|FLAG||5.20|\rOBX|3|NM|PLT||250|10*3/uL|150-400|N|||F\r"
    "SPM|1|F200&Y\r"
)
ASTM = (
    "H|\\^&|17||XN|||||||P||20250101\rP|1||old||Old^Name||19700101|M\rO|1|SID9^A^1||^^^ALL|R|20250101083000\r"
    "R|1|^^^WBC|5.20|10*3/uL|4.0 to 10.0|N||F||||20250101083000\rR|2|^^^HBA|NEG^5,20|%|\rL|1|N\r"
)


def varied(sample: str, seed: int = 1) -> list[list[str]]:
    text, _ = new_result(
        sample, reception=Reception("55", random.Random(seed)), control="C7", at=AT, rng=random.Random(seed)
    )
    assert text.endswith("\r")
    return [line.split("|") for line in text.rstrip("\r").split("\r")]


def test_an_hl7_message_gets_a_patient_numbers_and_times() -> None:
    msh, pid, obr, wbc, flag, _, spm = varied(HL7)
    assert (msh[6], msh[9]) == ("20260301", "C7")
    assert re.fullmatch(r"SIM-\d{5}\^\^\^X\^MR", pid[3])
    assert pid[5] != "Old^Name"
    assert (obr[2], obr[3], obr[7]) == ("P5500001", "F5500002^XN", "20260301092530+0530")
    assert spm[2] == "F5500002&Y"  # the same number becomes the same
    assert wbc[5] != "5.20"
    assert 4.7 < float(wbc[5]) < 5.7
    assert flag[5] == "5.20"  # not a number by its type


def test_an_astm_message_keeps_its_components() -> None:
    """The component delimiter is the fourth character of H, after field and repetition."""
    h, p, o, r, hba, _ = varied(ASTM)
    assert (h[1], h[2], h[13]) == ("\\^&", "C7", "20260301")
    assert p[3].startswith("SIM-")
    assert o[2] == "SID5500001^A^1"
    assert o[6] == "20260301092530"
    assert (len(r[3].split(".")[1]), r[12]) == (2, "20260301101530")
    assert re.fullmatch(r"NEG\^\d,\d\d", hba[3])


def test_a_value_is_drawn_within_reach_of_its_range_and_flagged_to_fit() -> None:
    seen = set()
    for seed in range(300):
        wbc = varied(ASTM, seed)[3]
        value = float(wbc[3])
        assert 2.0 <= value <= 20.0
        assert wbc[6] == ("L" if value < 4.0 else "H" if value > 10.0 else "N")
        seen.add(wbc[6])
    assert seen == {"L", "N", "H"}


@pytest.mark.parametrize("flag", ["A", "W", ">", "~"])
def test_a_flag_that_says_more_than_low_or_high_stays(flag: str) -> None:
    sample = ASTM.replace("4.0 to 10.0|N|", f"4.0 to 10.0|{flag}|")
    assert varied(sample)[3][6] == flag


@pytest.mark.parametrize("value", ["", "<0.1", "-1", "1e5", "positive", "5.", "\u00b2", "\u0665", "-----"])
def test_what_is_no_plain_number_stays_as_it_is(value: str) -> None:
    assert varied(ASTM.replace("5.20", value))[3][3] == value


def test_padding_stays_as_wide_as_it_was() -> None:
    sample = ASTM.replace("|5.20|", "|   5.20|").replace("SID9^A^1", "^^                  9^M")
    rows = varied(sample)
    assert len(rows[3][3]) == 7
    assert rows[3][3].startswith("  ")
    assert rows[2][2] == "^^            5500001^M"


@pytest.mark.parametrize("place", ["", "^^", " ^ "])
def test_a_number_that_is_not_there_is_not_made_up(place: str) -> None:
    assert varied(ASTM.replace("SID9^A^1", place))[2][2] == place


def test_what_a_sample_does_not_know_of_a_patient_is_not_made_up() -> None:
    bare = ASTM.replace("P|1||old||Old^Name||19700101|M", "P|1|||||||")
    assert varied(bare)[1] == ["P", "1", "", "", "", "", "", "", ""]


def test_a_specimen_measured_again_is_the_same_specimen() -> None:
    first, _ = new_result(ASTM, reception=Reception("55", random.Random(1)), control="1", at=AT, rng=random.Random(1))
    later = datetime(2026, 3, 1, 12, 0, 0)
    again = measured_again(first, control="2", at=later, rng=random.Random(2), status="C")
    before, after = ([line.split("|") for line in text.split("\r")] for text in (first, again))
    assert [row[:6] for row in before[1:3]] == [row[:6] for row in after[1:3]]
    assert after[3][8] == "C"
    assert after[3][12] == "20260301120000"
    assert abs(float(after[3][3]) / float(before[3][3]) - 1) <= 0.025


@pytest.mark.parametrize("file", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_sample_keeps_its_shape(file: Path) -> None:
    for found in messages_in(file.read_bytes()):
        text = found.payload.decode("utf-8", "replace")
        made = [
            new_result(text, reception=Reception(run, random.Random(run)), control=run, at=AT, rng=random.Random(run))
            for run in ("1", "2")
        ]
        names = [re.split(r"\W", line)[0] for line in re.split(r"[\r\n]+", text.strip())]
        for varied_text, _ in made:
            assert [re.split(r"\W", line)[0] for line in varied_text.strip("\r").split("\r")] == names
        assert made[0] != made[1]
