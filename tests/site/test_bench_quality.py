"""`labrelay bench --scenario quality`: what quality control takes of a message without controls, and of a control."""

from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.quality_control.on_outcome import QualityControl
from engine.model.content import quality_controls
from tests.support.command_line import labrelay
from workbench.bench import quality_case


def test_hooks_and_judging_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("WARM_UP", 1), ("HISTORY", 30), ("JUDGED", 5)):
        monkeypatch.setattr(quality_case, name, small)
    hooks = QualityControl.decide, QualityControl.stored, quality_controls.may_have_controls
    ran = labrelay(
        "bench", "--scenario", "quality", "--seconds", "0.05", "--rounds", "2", "--data", str(tmp_path), "-o", "json"
    )

    assert ran.code == ExitCode.OK, ran.err
    message, control = ran.json["cases"]
    assert message["target_us"] == pytest.approx(0.02 * message["whole_us"]["median"], abs=0.1)
    assert message["cpu_us"]["median"] < message["whole_us"]["median"]
    assert (control["case"], control["target_us"]) == ("a control behind 30: stored and judged", 1000)
    assert control["cpu_us"] == control["judged_us"]
    assert control["judged_us"]["min"] > 0
    assert (QualityControl.decide, QualityControl.stored, quality_controls.may_have_controls) == hooks
    assert list(tmp_path.iterdir()) == []
