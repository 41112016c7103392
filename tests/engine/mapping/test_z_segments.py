"""Segments of the sender's own (Z..), which no grammar places: where rules find them, and whose they can never be."""

from pathlib import Path

import pytest

from tests.support.mapping_texts import Workshop, apply

# As a coagulation analyzer sends lots of reagents: behind all results of the order, by the name of the test.
LOTS = """\
MSH|^~\\&|C900|LAB|||20260310143502||ORU^R01|1|P|2.4
PID|1||77812^^^HOSP^MR||Doe^Jane
OBR|1|S1|F1|COAG
OBX|1|NM|^PT||13.4|s|||||F
OBX|2|NM|^FIB||2.85|g/L|||||F
ZLT|1|PT|LOT 1
ZLT|2|FIB|LOT 2
ZLT|3|PT|LOT 3
"""
OTHER_ORDER = "OBR|2|S2|F2|COAG\nOBX|1|NM|^PT||14|s|||||F\n"

STEPS = """
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          create: Observation
          key: =[OBR-3.1, OBX-3.2]
          body:
            status: final
            code: =cwe(OBX-3)
        - each: ZLT
          let:
            test: =ZLT-2
            lot: =ZLT-3
          do:
            - each: OBSERVATION
              where: =OBX-3.2 == test
              add_to: Observation
              which: =first(observations_of(OBX[*]))
              body: {note: =annotation(lot)}
"""


def notes(workshop: Workshop, message: str, steps: str = STEPS) -> dict[str, list[str]]:
    made = apply(workshop.steps(steps), message.replace("\n", "\r"))
    found = made.all("Observation")
    return {one["code"]["text"]: [note["text"] for note in one.get("note", [])] for one in found}


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_lots_behind_all_results_of_an_order_find_theirs(workshop: Workshop) -> None:
    assert notes(workshop, LOTS) == {"PT": ["LOT 1", "LOT 3"], "FIB": ["LOT 2"]}


def test_before_the_results_they_are_found_as_well(workshop: Workshop) -> None:
    lines = LOTS.splitlines(keepends=True)
    assert notes(workshop, "".join([*lines[:3], *lines[5:], *lines[3:5]])) == {
        "PT": ["LOT 1", "LOT 3"],
        "FIB": ["LOT 2"],
    }


@pytest.mark.parametrize("message", [LOTS + OTHER_ORDER, LOTS.replace("OBR|1", OTHER_ORDER + "OBR|1")])
def test_those_of_one_order_are_never_another_orders(workshop: Workshop, message: str) -> None:
    steps = STEPS.replace("code: =cwe(OBX-3)", "code: {text: '=concat(OBR-3.1, OBX-3.2)'}")
    assert notes(workshop, message, steps) == {"F1PT": ["LOT 1", "LOT 3"], "F1FIB": ["LOT 2"], "F2PT": []}


def test_all_of_them_are_a_list_wherever_they_stand(workshop: Workshop) -> None:
    listed = STEPS[: STEPS.index("        - each: ZLT")].replace(
        "code: =cwe(OBX-3)", "code: =cwe(OBX-3)\n            note: =annotation(join(lots, ' '))"
    )
    listed = listed.replace("  do:\n        - each: OBS", "  let: {lots: '=ZLT[*]-3'}\n      do:\n        - each: OBS")
    assert notes(workshop, LOTS, listed) == {"PT": ["LOT 1 LOT 2 LOT 3"], "FIB": ["LOT 1 LOT 2 LOT 3"]}


def test_from_the_message_s_own_they_are_seen_in_every_result(workshop: Workshop) -> None:
    of_all = LOTS[: LOTS.index("ZLT")].replace("PID|", "ZSN|4711\nPID|")
    steps = STEPS[: STEPS.index("        - each: ZLT")].replace(
        "code: =cwe(OBX-3)", "code: =cwe(OBX-3)\n            note: =annotation(ZSN-1)"
    )
    assert notes(workshop, of_all, steps) == {"PT": ["4711"], "FIB": ["4711"]}
    looped = STEPS.replace("ZLT-2", "'PT'").replace("ZLT-3", "ZSN-1").replace("each: ZLT", "each: ZSN")
    assert notes(workshop, of_all, looped) == {"PT": ["4711"], "FIB": []}
