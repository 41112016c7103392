"""One code for several tests, which their names alone tell apart: glucose fasting and after two hours, under one number
and without a time of collection. None takes the place of another, unless its sender or a person says so.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.results.test_judged_by_place import CSV, NOON, desk, message

FHIR = {"mapping": "hl7-results", "to": "out1"}
ASKED, SENT = "SAMPLE_UNKNOWN", "delivered"
# name -> messages: the result, its name, and the time of collection of their order; how each ended
SCENES: dict[str, tuple[list[tuple[str, str, str]], list[str]]] = {
    "two hours later": ([("F GLU 5.5 0900", "Glucose 0h", ""), ("F GLU 9.9 1100", "Glucose 2h", "")], [SENT, ASKED]),
    "its sender corrects": ([("F GLU 5.5", "Glucose 0h", ""), ("C GLU 9.9", "Glucose", "")], [SENT, SENT]),
    "preliminary, then the other": ([("P GLU 5.5", "Glucose 0h", ""), ("F GLU 9.9", "Glucose 2h", "")], [SENT, ASKED]),
    "a rerun": ([("F GLU 5.5 0900", "Glucose", ""), ("F GLU 9.9 1100", "Glucose", "")], [SENT, SENT]),
    "in other letters": ([("F GLU 5.5 0900", "Glucose, 0 h", ""), ("F GLU 9.9 1100", "GLUCOSE 0H", "")], [SENT, SENT]),
    "numbers in place of names": ([("F GLU 5.5 0900", "1", ""), ("F GLU 9.9 1100", "2", "")], [SENT, SENT]),
    "one has no name": ([("F GLU 5.5 0900", "", ""), ("F GLU 9.9 1100", "Glucose", "")], [SENT, SENT]),
    "collected at two times": ([("F GLU 5.5 0900", "A", "0800"), ("F GLU 9.9 1100", "B", "1030")], [SENT, SENT]),
    "collected at one time": ([("F GLU 5.5 0900", "A", "0800"), ("F GLU 9.9 1100", "B", "0800")], [SENT, SENT]),
    "the same value in the same minute": ([("F GLU 5.5 0900", "A", ""), ("F GLU 5.5 0900", "B", "")], [SENT, ASKED]),
    "its sender corrects the other": ([("F GLU 5.5", "Glucose 0h", ""), ("C GLU 9.9", "Glucose 2h", "")], [SENT, SENT]),
    "runs under numbers of their own": ([("F GLU 5.5", "A#1", ""), ("F GLU 9.9", "B#2", "")], [SENT, SENT]),
    "one between has no name": (
        [("P GLU 5.5", "A", ""), ("F GLU 5.5", "", ""), ("F GLU 9.9 1100", "B", "")], [SENT, SENT, ASKED],
    ),
    "sent again": ([("F GLU 5.5 0900", "Glucose 0h", ""), ("F GLU 5.5 0900", "Glucose 0h", "")], [SENT, "ECHO"]),
}  # fmt: skip


def named(content: bytes, of_test: str) -> bytes:
    """The message with a name of the test, behind it OBX-4 (``Glucose#1``), without a time of collection ``XXXX``."""
    name, _, run = of_test.partition("#")
    return content.replace(b"|GLU||", f"|GLU^{name}^L|{run}|".encode()).replace(b"20260301XXXX00", b"")


@pytest.mark.parametrize("route", [FHIR, CSV], ids=["FHIR", "CSV"])
@pytest.mark.parametrize("name", SCENES)
def test_a_code_with_several_names(tmp_path: Path, name: str, route: dict[str, Any]) -> None:
    messages, ended = SCENES[name]
    with desk(tmp_path, route) as it:
        became = []
        for number, (result, of_test, collected) in enumerate(messages, 1):
            content = named(message(result, number=number, collected=collected or "XXXX"), of_test)
            it.last = it.say("hl7", content, NOON + timedelta(minutes=number))
            became.append(" ".join(dict.fromkeys(it.ended())))
        assert became == ended
