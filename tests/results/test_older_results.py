"""What becomes of a message that was refused, and is sent again when newer ones were delivered: in every output.

An older result never takes the place of a newer one, and none that nothing newer has is lost.
"""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.features.results.rows import superseding
from engine.features.results.rows.superseding import newer_of, overtaken, overtaken_by
from tests.results.test_judged_by_place import HL7, NOON, OWN, Desk, desk, message
from tests.support.running import MLLP, channel, make_running_site

MAPPED = OWN.format(to="hl7v2/ORU_R01", results="", steps=HL7)
OUTPUTS: dict[str, dict[str, Any]] = {
    "fhir": {"mapping": "hl7-results"},
    "whole reports": {"mapping": "hl7-results"},
    "csv": {"mapping": "hl7-to-csv"},
    "json": {"mapping": "hl7-to-json"},
    "hl7": {"mapping": "own"},
    "copy": {},
}
WITH_STATUS = ("whole reports", "hl7", "copy")  # an order stands there as the last message says; others join them


def said(*results: str, **more: Any) -> dict[str, Any]:
    return {"results": results, **more}


GLU = said("F GLU 5.5")
BOTH = said("F GLU 5.5", "F NA 140")
CASES = {
    # the older, the newer ones, what becomes of the older, the tests that both have
    "corrected": (GLU, [said("C GLU 6.5")], "whole", ["GLU"]),
    "withdrawn": (GLU, [said("D GLU 5.5")], "whole", ["GLU"]),
    "run again": (GLU, [said("F GLU 6.5", at="1130")], "whole", ["GLU"]),
    "one of two corrected": (BOTH, [said("C GLU 6.5")], "part", ["GLU"]),
    "one of two run again": (BOTH, [said("F NA 141", at="1130")], "part", ["NA"]),
    "one corrected, one said again": (BOTH, [said("C GLU 6.5", "F NA 140")], "said again", ["GLU"]),
    "both, in two messages": (BOTH, [said("C GLU 6.5"), said("C NA 141")], "whole", ["GLU", "NA"]),
    "finished": (said("P GLU 5.5"), [said("F GLU 6.5")], "whole", ["GLU"]),
    "other tests": (GLU, [said("F K 4.4", at="1130")], "", []),
    "other tests, and its own": (GLU, [said("F K 4.4", "C GLU 6.5")], "whole", ["GLU"]),
    "other tests of a finished order": (said("P GLU 5.5", of="P"), [said("F K 4.4")], "further", []),
    "other tests of an open order": (said("P GLU 5.5", of="P"), [said("P K 4.4", of="P")], "", []),
    "other tests of a withdrawn order": (GLU, [said("F K 4.4", of="X")], "further", []),
    "another order": (GLU, [said("C GLU 6.5", order="S2")], "", []),
    "nothing": (GLU, [], "", []),
}


def sent(results: tuple[str, ...], number: int, *, order: str = "S1", of: str = "F", at: str = "1000") -> bytes:
    """``of``: the status of the order."""
    made = message(*results, number=number, at=at)
    return made.replace(b"OBR|1||S1", f"OBR|1||{order}".encode()).replace(b"||LAB|F", f"||LAB|{of}".encode())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_an_older_message_is_sent_closed_or_shown_to_a_person(tmp_path: Path, output: str, case: str) -> None:
    older, newer, expected, in_common = CASES[case]
    route = {**OUTPUTS[output], "to": "out1"}
    more = {"report_list": "replace"} if output == "whole reports" else {}
    with desk(tmp_path, route, own=MAPPED if output == "hl7" else "", **more) as it:
        first = it.say("hl7", sent(number=1, **older), NOON, refused=True)
        for number, one in enumerate(newer, 2):
            it.last = it.say("hl7", sent(number=number, **one), NOON + timedelta(hours=number))
            it.decide("release", it.last)
            assert it.ask("SELECT DISTINCT state FROM delivery WHERE message_id = ?", it.last) == [("delivered",)]
        ((delivery,),) = it.ask("SELECT id FROM delivery WHERE message_id = ?", first)
        if expected == "said again":  # what a receiver has refused goes out once more
            assert b"140" in it.documents()[0].encode()
            expected, in_common = "whole", ["GLU", "NA"]
        further = "part" if output in WITH_STATUS else ""
        assert it.journal.run_alone(superseding.overtaken_before_sent, delivery) == expected.replace("further", further)
        assert it.journal.run_alone(overtaken, delivery) == expected.replace("further", ""), (
            "a person has seen the order"
        )
        found = it.journal.run_alone(overtaken_by, delivery)
        assert sorted({one.split("^")[0] for each in found for one in each.in_common or ()}) == in_common
        along = it.journal.run_alone(newer_of, first)
        assert along == (set() if case == "another order" else {*range(2, 2 + len(newer))})


@pytest.mark.parametrize(("newer", "expected"), [("C GLU 6.5", "whole"), ("D GLU 5.5", "whole"), ("F NA 140", "")])
@pytest.mark.parametrize("output", ["fhir", "csv"])
def test_a_result_of_the_site_is_closed_by_a_newer_one_of_another_channel(
    tmp_path: Path, output: str, newer: str, expected: str
) -> None:
    """Each channel has a lane of its own to the receiver, and one may be faster."""
    settings = {"patient_system": "urn:x:mrn"}
    one = channel(MLLP, {**OUTPUTS[output], "to": "out1"}, results_of="site", settings=settings)
    make_running_site(tmp_path, {"hl7": one, "other": one}, {"out1": {"kind": "file", "folder": str(tmp_path / "out")}})
    it = Desk(tmp_path / "var", tmp_path)
    try:
        first = it.say("hl7", sent(number=1, **GLU), NOON, refused=True)
        it.say("other", sent((newer,), number=2), NOON + timedelta(hours=1))
        ((delivery, is_looked_at),) = it.ask("SELECT id, flags & 2 FROM delivery WHERE message_id = ?", first)
        assert is_looked_at
        assert it.journal.run_alone(superseding.overtaken_before_sent, delivery) == expected
    finally:
        asyncio.run(it.journal.stop())


def test_values_of_one_day_without_an_order_number_stay_beside_each_other(tmp_path: Path) -> None:
    """A meter at the bed sends a patient's number alone: none of its values is a later word of another one."""
    with desk(tmp_path, {"mapping": "hl7-results", "to": "out1"}) as it:
        ids = []
        for number, (value, at) in enumerate([("5.5", "0800"), ("9.5", "1000"), ("5.5", "0800"), ("9.5", "1000")]):
            it.last = it.say("hl7", sent((f"F GLU {value}",), number, order="", at=at), NOON)
            (document,) = it.documents()
            ids.append(next(one["fullUrl"] for one in json.loads(document)["entry"]
                            if one["resource"]["resourceType"] == "Observation"))  # fmt: skip
        assert ids[:2] == ids[2:]
        assert ids[0] != ids[1]


@pytest.mark.parametrize("output", ["fhir", "csv"])
def test_a_person_decides_about_an_older_result_without_an_order_number(tmp_path: Path, output: str) -> None:
    with desk(tmp_path, {**OUTPUTS[output], "to": "out1"}) as it:
        first = it.say("hl7", sent(("F GLU 5.5",), 1, order=""), NOON, refused=True)
        it.say("hl7", sent(("F GLU 9.5",), 2, order=""), NOON)
        ((delivery,),) = it.ask("SELECT id FROM delivery WHERE message_id = ?", first)
        assert it.journal.run_alone(superseding.overtaken_before_sent, delivery) == "part"
