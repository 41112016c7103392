"""What was accepted of an order long before, and what of it was lost: the judge's memory, seen from a desk."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from engine.features.results.rows import facts
from engine.model.outcome import NOTHING_READ
from engine.processing.process import read_again
from engine.store.core.notes import opened_note
from engine.succession.judge import clock
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
    return " ".join(dict.fromkeys(it.ended()))


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


@pytest.mark.parametrize(
    ("status", "value", "patient", "expected"),
    [
        ("C", "6.5", "4711", "CORRECTS_UNKNOWN"),
        ("D", "5.5", "4711", "CORRECTS_UNKNOWN"),
        ("F", "6.5", "4711", "delivered"),
        ("C", "6.5", "4712", "delivered"),
    ],
    ids=["corrected", "withdrawn", "a counter that came again", "another patient"],
)
def test_a_correction_of_another_day_is_asked_about(
    tmp_path: Path, status: str, value: str, patient: str, expected: str
) -> None:
    """The day was typed wrongly: the result that may be meant is named."""
    with desk(tmp_path, CSV) as it:
        assert ends(it, result("F", "GLU", "5.5")) == "delivered"
        assert ends(it, result(status, "GLU", value, "20260226", patient=patient)) == expected
        (own,) = it.journal.run_alone(lambda batch: [*facts.stored(batch, [it.last])])
        named = [one.may_mean for one in (own.decisions or {}).values() if one.may_mean]
        assert named == ([] if expected == "delivered" else [((1, 1),)])


@pytest.mark.parametrize(
    ("first", "then", "days", "expected"),
    [
        ("F No growth", "E. coli", 5, "RESULTS_GONE"),
        ("F E. coli", "No growth", 5, "RESULTS_GONE"),
        ("F No growth", "E. coli", 25, "delivered"),
        ("P No growth", "No growth at all", 5, "follows"),
    ],
)
def test_a_culture_grows_for_weeks(tmp_path: Path, first: str, then: str, days: int, expected: str) -> None:
    """Its reports name no time of collection: days lie between them."""
    with desk(tmp_path, CSV, **CULTURES) as it:
        status, words = first.split(" ", 1)
        assert ends(it, result(status, "ORG", words)) == "delivered"
        when = NOON + timedelta(days=days)
        found = ends(it, result("F", "ORG", then, f"{when:%Y%m%d}"), when)
        assert found == ("delivered" if expected == "follows" else expected)
        (own,) = it.journal.run_alone(lambda batch: [*facts.stored(batch, [it.last])])
        meant = [one.meant for one in (own.decisions or {}).values()]
        assert meant == ([(1, 1)] if expected == "follows" else [None] * len(meant))


def test_a_wrong_clock_is_asked_about_again_after_a_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that was seen in March does not silence one of April."""
    monkeypatch.setattr(clock, "OLD", timedelta(days=182))  # tests have a longer one
    with desk(tmp_path, CSV) as it:
        assert ends(it, result("F", "GLU", "5.5", "20250301")) == "CLOCK"
        it.decide("release", it.last)
        assert ends(it, result("F", "GLU", "5.7", "20250301", order="S2")) == "delivered"
        it.ask_to("UPDATE counter SET day = date(day, '-31 days') WHERE name GLOB 'clock_released *'")
        assert ends(it, result("F", "GLU", "5.9", "20250301", order="S3")) == "CLOCK"


def said_of(it: Desk) -> list[str]:
    """The codes of what is said of the last message."""
    ((detail,),) = it.ask("SELECT detail FROM message_state WHERE id = ?", it.last)
    note = it.journal.run_alone(lambda batch: opened_note(batch.vault, detail, "message_state", it.last, "hl7"))
    return [one["code"] for one in note.get("issues", ())]


def test_a_wrong_clock_is_said_of_each_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of those that go out, once a person has seen the first."""
    monkeypatch.setattr(clock, "OLD", timedelta(days=182))
    with desk(tmp_path, CSV) as it:
        assert ends(it, result("F", "GLU", "5.5", "20250301")) == "CLOCK"
        it.decide("release", it.last)
        assert ends(it, result("F", "GLU", "5.7", "20250301", order="S2")) == "delivered"
        assert said_of(it) == ["BAD_DATE", "CLOCK"]  # the time is left out


def test_a_correction_of_what_is_not_known_is_said(tmp_path: Path) -> None:
    with desk(tmp_path, CSV) as it:
        assert ends(it, result("F", "GLU", "5.5", order="S2")) == "delivered"
        assert said_of(it) == []
        assert ends(it, result("C", "GLU", "5.5")) == "delivered"
        assert said_of(it) == ["CORRECTS_UNKNOWN"]
