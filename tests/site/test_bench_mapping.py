"""`labrelay bench --scenario mapping`: messages that all differ, mapped whole, and what they cost in a report."""

import json
import random
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.config import registry
from engine.config.site import mapping_path
from engine.mapping import load
from engine.model.message import FormatOptions
from tests.support.command_line import labrelay
from tests.support.fhir_check import check_bundle, resources
from workbench.bench import mapping_case
from workbench.bench.mapping_case import CONTEXT, FEEDS
from workbench.bench.messages import oru


def test_messages_sizes_and_compiling_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("WARM_UP", 1), ("BATCH", 4), ("SIZES", (20, 40)), ("RESULTS", 40)):
        monkeypatch.setattr(mapping_case, name, small)
    monkeypatch.setattr(mapping_case, "shipped_mappings", lambda _: ["hl7-documents", "hl7-patients"])
    report_file = tmp_path / "report.json"
    ran = labrelay("bench", "--scenario", "mapping", "--seconds", "0.01", "--rounds", "1", "--data", str(tmp_path),
                   "--json", str(report_file), "-o", "json")  # fmt: skip

    assert ran.code == ExitCode.OK, ran.err
    assert json.loads(report_file.read_text()) == ran.json
    cases = ran.json["cases"]
    messages = [case for case in cases if case["kind"] == "message"]
    assert [case["case"].partition(":")[0] for case in messages] == [feed.name for feed in FEEDS]
    for case in messages:
        assert 0 < case["parse_us"]["median"] < case["cpu_us"]["median"] < case["traced_us"]["median"]
        assert case["bytes_of_json"] > 20_000
    assert [case["results"] for case in cases if case["kind"] == "size"] == [20, 40]
    one, other, both = (case for case in cases if case["kind"] == "compile")
    assert both["case"] == "compile all 2 shipped mappings"
    assert all(0 < each["cpu_ms"]["min"] < each["with_code_ms"]["min"] for each in (one, other, both))
    assert list(tmp_path.iterdir()) == [report_file]


def test_all_mappings_that_ship_are_compiled_and_libraries_are_none() -> None:
    names = mapping_case.shipped_mappings(mapping_path(None))
    assert {"hl7-results", "astm-results", "hl7-orders", "abdm-report"} <= set(names)
    assert not {"lab", "hl7-lab"} & set(names)


def test_the_table_tells_what_is_wanted_beside_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    spread = {"median": 260.0, "min": 250.0, "max": 270.0}
    cases = [
        {"scenario": "mapping", "kind": "message", "case": "ORU", "parse_us": spread, "cpu_us": spread,
         "target_us": 250.0, "traced_times": 4.2, "noisy": True},
        {"scenario": "mapping", "kind": "compile", "case": "compile all", "cpu_ms": spread, "target_ms": 150.0,
         "with_code_ms": spread, "noisy": False},
    ]  # fmt: skip
    box = {"cpus": 1, "python": "3.11", "fsync_p50_ms": 1, "fsync_p99_ms": 1, "load": [0.0], "load_after": [0.0]}
    monkeypatch.setattr(mapping_case, "run", lambda *_, **__: {"version": 1, "box": box, "cases": cases})
    ran = labrelay("bench", "--scenario", "mapping")

    assert ran.code == ExitCode.OK
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["ORU", "(noisy)", "260.0", "us", "250.0", "-", "270.0", "250", "us", "x", "4.2", "260.0", "us"] in lines
    assert ["compile", "all", "260.0", "ms", "250.0", "-", "270.0", "150", "ms", "260.0", "ms"] in lines


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
def test_messages_of_a_feed_all_differ_and_all_their_results_are_mapped(feed: mapping_case.Feed) -> None:
    program = load(feed.mapping, mapping_path(None))
    codec = registry.load(registry.FORMATS, feed.format)
    rng = random.Random(1)
    payloads = [feed.make(number, rng) for number in range(40)]
    assert len(set(payloads)) == 40
    ranges = set()
    for payload in payloads:
        mapped = program.apply(codec.parse(payload, FormatOptions()), CONTEXT)
        observations = resources(check_bundle(mapped.documents[0].body), "Observation")
        assert len(observations) == mapped.counts["results_in"] == 20
        assert all("valueQuantity" in one for one in observations)
        ranges |= {json.dumps(one["referenceRange"], default=str, sort_keys=True) for one in observations}
    changing = "changing" in feed.name
    assert len(ranges) > 750 if changing else len(ranges) <= 20


def test_a_long_message_has_an_order_for_each_panel() -> None:
    payload = oru(0, 1, random.Random(1), results=1_010)
    program = load("hl7-results", mapping_path(None))
    mapped = program.apply(registry.load(registry.FORMATS, "hl7v2").parse(payload, FormatOptions()), CONTEXT)
    bundle = json.loads(mapped.documents[0].body)
    assert mapped.counts == {"results_in": 1_010, "observations": 1_010}
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert kinds.count("DiagnosticReport") == 51
    assert len({entry["fullUrl"] for entry in bundle["entry"]}) == len(kinds)
