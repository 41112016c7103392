"""How much the log of a site writes, and whether the disk has room for it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import load_site
from engine.diagnostics.examine import DAYS, budget
from engine.model.process.log_limits import LINE_BYTES, MOST_LINES_A_DAY, bad_day_lines
from engine.model.site.health import Health
from tests.support.sites import make_site


@pytest.mark.parametrize(
    ("channels", "destinations", "lines"),
    [(0, 1, 2880), (3, 2, 14_400), (30, 20, 144_000), (500, 3, 259_200)],
)
def test_a_bad_day_grows_with_the_site_up_to_the_bound(channels: int, destinations: int, lines: int) -> None:
    assert bad_day_lines(channels, destinations) == lines
    assert lines <= MOST_LINES_A_DAY


def test_the_line_says_what_a_bad_day_writes_and_warns_of_a_small_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = load_site(make_site(tmp_path))
    said = budget(site, tmp_path)
    lines = bad_day_lines(len(site.channels), len(site.config.destinations))
    assert said.health is Health.OK
    assert f"{lines:,} on a bad one" in said.text
    assert "never more than 259,200" in said.text
    real: Any = shutil.disk_usage

    def small(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=free))

    small(DAYS * lines * LINE_BYTES)
    assert budget(site, tmp_path).health is Health.OK
    small(DAYS * lines * LINE_BYTES - 1)
    warned = budget(site, tmp_path)
    assert warned.health is Health.WARN
    assert str(tmp_path) in warned.text
    assert "SystemMaxUse" in warned.advice
