"""A day's upload in a single message: hundreds of orders, patients or results, and a correction of the last of them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.results.test_judged_by_place import CSV, NOON, desk

FHIR = {"mapping": "hl7-results", "to": "out1"}
MANY = 600  # more than SQLite takes of anything in a single statement that it counts


def upload(orders: int, results: int, patients: int, value: str, status: str, hour: int) -> bytes:
    """Each order has a placer and a filler number; the last result has the value and the status, the others 5.0 F."""
    lines = [f"MSH|^~\\&|AN|LAB|LIS|H|20260301{hour}0000||ORU^R01|{hour}|P|2.5.1"]
    for order in range(orders):
        if order < patients:
            lines.append(f"PID|1||47{order:04}||Iyer^Meena||19550101|F")
        lines.append(f"OBR|1|P{order}|S{order}|CHEM^Panel^L|||20260301080000|||||||||||||||20260301{hour}0000||LAB|F")
        for place in range(1, results + 1):
            is_last = order == orders - 1 and place == results
            seen, state = (value, status) if is_last else ("5.0", "F")
            lines.append(f"OBX|{place}|NM|T{place}||{seen}|mmol/L|||||{state}|||20260301100000")
    return "\r".join([*lines, ""]).encode()


@pytest.mark.parametrize("route", [FHIR, CSV], ids=["FHIR", "CSV"])
@pytest.mark.parametrize(
    ("orders", "results", "patients"), [(MANY, 1, 1), (MANY, 1, MANY), (1, MANY, 1), (251, 1, 1)],
    ids=["orders", "patients", "results of an order", "one more than half"],
)  # fmt: skip
def test_a_correction_after_a_day_upload(
    tmp_path: Path, route: dict[str, Any], orders: int, results: int, patients: int
) -> None:
    with desk(tmp_path, route) as it:
        for count, (value, status) in enumerate([("5.0", "F"), ("6.0", "C")]):
            content = upload(orders, results, patients, value, status, 10 + count)
            it.last = it.say("hl7", content, NOON + timedelta(minutes=count))
            assert set(it.ended()) == {"delivered"}
        assert "6.0" in "".join(it.documents())
