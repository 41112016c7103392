"""Worklists for paper: which order is on the sheet of which analyzer, by which code, as a table."""

import pytest

from engine.features.orders.rules.sheets import sheets
from engine.model.orders import ItemReason, ItemState, OrderedPatient, OrderLine, WorkItem

ASHA, RAVI = OrderedPatient(number="P1", family="SHARMA"), OrderedPatient(number="P2", family="KHAN")
RUNNERS = {
    "chem": ({"GLU": "10", "TSH": "55"}, frozenset({"core"})),
    "immuno": ({"TSH": "TSH3", "HIV": "h"}, frozenset({"core", "night"})),
}
GLU_ON_CHEM = {"chem": [("S1", "10", ())]}
TSH_ON_BOTH = {"chem": [("S1", "55", ("immuno",))], "immuno": [("S1", "TSH3", ("chem",))]}
ON_IMMUNO = {"immuno": [("S1", "TSH3", ())]}


def item(number: int, test: str, specimen: str = "S1", *targets: str, priority: str = "routine",
         patient: OrderedPatient = ASHA, reason: ItemReason = ItemReason.NONE) -> WorkItem:  # fmt: skip
    line = OrderLine(specimen=specimen, test=test, patient=patient, priority=priority)  # type: ignore[arg-type]
    return WorkItem(number=number, line=line, state=ItemState.WAITING, reason=reason, targets=targets)


@pytest.mark.parametrize(
    ("test", "targets", "expected"),
    [
        ("GLU", (), GLU_ON_CHEM),
        ("GLU", ("chem",), GLU_ON_CHEM),
        ("GLU", ("immuno",), {"": [("S1", "", ())]}),  # for an analyzer that has no code for it
        ("TSH", (), TSH_ON_BOTH),
        ("TSH", ("immuno",), ON_IMMUNO),
        ("TSH", ("night",), ON_IMMUNO),
        ("TSH", ("core",), TSH_ON_BOTH),
        ("TSH", ("night", "chem"), TSH_ON_BOTH),
        ("NA", (), {"": [("S1", "", ())]}),
    ],
)
def test_an_order_is_on_the_sheet_of_each_analyzer_that_would_get_it(
    test: str, targets: tuple[str, ...], expected: dict[str, list[tuple[str, str, tuple[str, ...]]]]
) -> None:
    made = sheets([item(1, test, "S1", *targets)], RUNNERS)
    assert {
        one.channel: [(tube.specimen, test.code, test.also) for tube in one.tubes for test in tube.tests]
        for one in made
    } == expected


def test_tubes_are_urgent_ones_first_and_never_of_two_patients() -> None:
    found = [
        item(6, "NA", "S9"),
        item(5, "TSH", "0042", priority="stat"),
        item(4, "GLU", "S2", patient=RAVI),
        item(3, "GLU", "S2", reason=ItemReason.MAYBE_KNOWN),
        item(2, "GLU", "0042"),
        item(1, "GLU", ""),  # erased
    ]
    chem, immuno, rest = sheets(found, RUNNERS)
    assert [(one.channel, len(one.tubes)) for one in (chem, immuno, rest)] == [("chem", 3), ("immuno", 1), ("", 1)]
    assert [
        (tube.specimen, tube.is_urgent, tube.patient.number, [test.item.number for test in tube.tests])
        for tube in chem.tubes
    ] == [("0042", True, "P1", [2, 5]), ("S2", False, "P1", [3]), ("S2", False, "P2", [4])]
    assert chem.tubes[1].tests[0].item.reason is ItemReason.MAYBE_KNOWN
