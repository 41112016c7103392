"""``expected_downtime:`` of a destination: what it may say, and what is told where it says something else."""

from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.model.errors import ConfigError
from engine.model.site.downtime_windows import Window
from tests.support.sites import make_site

SITE = """\
site: {{name: Test Lab, timezone: Asia/Kolkata}}
destinations:
  archive:
    kind: file
    folder: var/archive
    expected_downtime:
      - {window}
"""


def windows(folder: Path, window: str) -> list[Window]:
    site = load_site(make_site(folder, site=SITE.format(window=window)))
    return [given.window for given in site.config.destinations["archive"].expected_downtime]


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("{days: [sun], start: 02:00, end: 04:00}", Window(frozenset({6}), 120, 240)),
        ('{days: sat, start: "2:05", end: "24:00"}', Window(frozenset({5}), 125, 1440)),
        ("{start: 23:30, end: 00:30}", Window(frozenset(range(7)), 1410, 30)),
        ("{days: [mon, wed], start: 00:00, end: 24:00}", Window(frozenset({0, 2}), 0, 1440)),
    ],
)
def test_windows_are_read(tmp_path: Path, text: str, window: Window) -> None:
    assert windows(tmp_path, text) == [window]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{start: 2, end: 04:00}", "7:17: destinations.archive.expected_downtime.0.start: '2': expected a time of day"),
        ("{start: 02:60, end: 04:00}", "expected a time of day from 00:00 to 24:00, as 02:00"),
        ("{start: 02:00, end: 24:01}", "expected a time of day"),
        ("{start: 02:00}", "end"),
        ("{days: [sunday], start: 02:00, end: 04:00}", "sunday"),
        ("{days: [], start: 02:00, end: 04:00}", "is empty"),
        ("{start: 02:00, end: 02:00}", "start and end are the same; a whole day is 00:00 to 24:00"),
        ("{start: 24:00, end: 02:00}", "write 00:00 and the next day"),
        ("{start: 00:00, end: 24:00}", "as long as a week"),
        ("{from: 02:00, end: 04:00}", "unknown key"),
        ("02:00-04:00", "expected"),
    ],
)
def test_what_is_no_window_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        windows(tmp_path, text)
    assert all(problem.startswith("config/labrelay.yaml:") for problem in caught.value.problems)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems
