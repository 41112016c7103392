"""What was accepted of an order long before, and what of it was lost: the judge's memory, seen from a desk."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from engine.model.outcome import NOTHING_READ
from engine.processing.process import read_again
from tests.results.test_judged_by_place import CSV, NOON, Desk, desk

CULTURES = {"settings": {"patient_system": "urn:x:mrn", "head_codes": ["ORG"]}}


def result(
    status: str, test: str, value: str, day: str = "20260301", *, order: str = "S1", patient: str = "4711"
) -> str:
    kind = "NM" if value.replace(".", "").isdigit() else "ST"
    return "\r".join(
        [
            f"PID|1||{patient}||Iyer^Meena||19550101|F",
            f"OBR|1||{order}|CULT^C^L||||||||||||||||||LAB|F",
            f"OBX|1|{kind}|{test}||{value}||||||{status}|||{day}093000",
            "",
        ]
    )


def ends(it: Desk, said: str, when: datetime = NOON) -> str:
    """How a message of one result ended."""
    it.told += 1
    head = f"MSH|^~\\&|AN|LAB|LIS|H|20260301120000||ORU^R01|R{it.told}|P|2.5.1\r"
    it.last = it.say("hl7", (head + said).encode(), when + timedelta(minutes=it.told))
    return " ".join(dict.fromkeys(it._ends()))


@pytest.mark.parametrize("readable", [True, False], ids=["read again", "cannot be read"])
def test_numbers_whose_facts_are_lost_are_read_again(tmp_path: Path, readable: bool) -> None:
    """A salvage found the row of its number alone: it counts, else what follows waits."""
    with desk(tmp_path, CSV) as it:
        assert ends(it, result("F", "GLU", "5.5")) == "delivered"
        it.ask_to("DELETE FROM fact WHERE message_id = ?", it.last)
        it.journal.run_alone(lambda batch: batch.tail.standing.forget())
        if readable:
            it.journal.upkeep.read_again = lambda one: read_again(one, it.routes["hl7"]) or NOTHING_READ
        assert ends(it, result("C", "GLUC", "6.5")) == ("CORRECTS_UNKNOWN" if readable else "NOT_COMPARED")
