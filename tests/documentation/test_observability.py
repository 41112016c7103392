"""Rules and dashboard in `config/observability`: each metric in them is one that LabRelay has, with these labels."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from engine.monitoring.counters import Kind
from engine.monitoring.metrics import all_metrics

FOLDER = Path(__file__).parents[2] / "config" / "observability"
OF_THE_PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
OF_PROMETHEUS = {"job", "instance", "le"}
METRIC = re.compile(r"\b(labrelay_\w+|process_\w+)(?:\{([^}]*)\})?")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def queries() -> list[str]:
    board = json.loads((FOLDER / "dashboard.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def names() -> dict[str, set[str]]:
    """Exported name -> labels."""
    found: dict[str, set[str]] = {}
    for spec in all_metrics():
        ends = {Kind.COUNTER: ["_total"], Kind.GAUGE: [""], Kind.HISTOGRAM: ["_bucket", "_sum", "_count"]}[spec.kind]
        found |= {spec.name + end: set(spec.labels) for end in ends}
    return found


def test_each_metric_in_a_rule_or_panel_exists_with_its_labels() -> None:
    known = names()
    expressions = [*(rule["expr"] for rule in rules()), *queries()]
    assert len(expressions) > 30
    for expression in expressions:
        for name, selected in METRIC.findall(expression):
            assert name in known or name in OF_THE_PROCESS, (name, expression)
            labels = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selected))
            assert labels <= known.get(name, set()) | OF_PROMETHEUS, (name, labels)


def test_each_alert_says_how_urgent_it_is_and_the_next_step() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]


def test_each_panel_has_a_place_of_its_own() -> None:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
