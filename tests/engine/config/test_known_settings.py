"""Settings with a form of their own are taken, or refused with file, line and what to write (`known_settings.tsv`)."""

import csv
from pathlib import Path

import pytest

from engine.config.load import load_site
from tests.engine.config.test_load_site import CHANNEL_YAML, make_site, problems

LINES = Path(__file__).with_name("known_settings.tsv").read_text("utf-8").splitlines()[1:]
ROWS = list(csv.DictReader(LINES, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["setting"])
def test_a_setting_is_taken_or_refused_where_it_is_written(tmp_path: Path, row: dict[str, str]) -> None:
    site = make_site(tmp_path, channels={"a.yaml": f"{CHANNEL_YAML}settings:\n  {row['setting']}\n"})
    if not row["refused"]:
        load_site(site)
        return
    (problem,) = problems(site)
    assert problem.startswith("channels/a.yaml:8:")
    assert f"settings.{row['setting'].partition(':')[0]}: " in problem
    assert row["refused"] in problem
