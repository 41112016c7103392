"""`labrelay bench --scenario abdm`: each record arrives, the strict simulator sees nothing wrong, and a target
that is missed is said to be missed.
"""

from pathlib import Path

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay
from workbench.bench.commands.bench import ABDM


def test_records_of_some_patients_at_once(tmp_path: Path) -> None:
    ran = labrelay(
        "bench", "--scenario", "abdm", "--consents", "5", "--rounds", "2", "--data", str(tmp_path), "-o", "json"
    )
    assert ran.code == ExitCode.OK, ran.err
    [case] = ran.json["cases"]
    assert (case["pages"], case["lost"], case["wrong"], case["violations"]) == (10, 0, 0, [])
    assert 0 < case["first_page_s"]["p50"] <= case["first_page_s"]["p95"] <= case["first_page_s"]["max"]
    assert case["seal_cpu_ms"]["p50"] > 0
    assert case["document_kb"] > 64
    assert case["results_beside"] >= 2
    assert list(tmp_path.iterdir()) == []


def test_a_missed_target_is_said_to_be_missed() -> None:
    case = {"target_first_page_s": 2.0, "target_seal_ms": 5.0, "met": {"first_page": False, "seal": True}}
    wanted = {field.title: field.of for field in ABDM.fields if field.title.startswith("wanted")}
    assert [of(case) for of in wanted.values() if of is not None] == ["2 s, missed", "5 ms, met"]
