"""How much the log of a site writes, and whether the disk has room for it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import load_site
from engine.diagnostics.examine import DAYS, budget
from engine.model.process.log_limits import LINE_BYTES, bad_day_lines, most_lines_a_day
from engine.model.site.health import Health
from tests.support.sites import make_site


@pytest.mark.parametrize(
    ("channels", "destinations", "processes", "lines"),
    [(0, 1, 1, 2880), (3, 2, 1, 14_400), (30, 20, 1, 144_000), (500, 3, 1, 259_200), (500, 3, 2, 518_400)],
)
def test_a_bad_day_grows_with_the_site_up_to_the_bound(
    channels: int, destinations: int, processes: int, lines: int
) -> None:
    assert bad_day_lines(channels, destinations, processes) == lines
    assert lines <= most_lines_a_day(processes)


def test_the_line_says_what_a_bad_day_writes_and_warns_of_a_small_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = load_site(make_site(tmp_path))
    said = budget(site, tmp_path)
    lines = bad_day_lines(len(site.channels), len(site.config.destinations), 1)
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
