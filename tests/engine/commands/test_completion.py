"""The shell completes verbs, names of the site and reason codes; without a site it offers none, and says nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sites import make_site

CASES = {
    "verbs": ("re", ["reagents", "reload", "replay", "report", "reprocess", "restart", "restore", "resume"]),
    "channel": ("dlq list --channel h", ["haematology"]),
    "destination": ("replay --to ", ["archive"]),
    "code": ("dlq list --code unmapped_c", ["UNMAPPED_CODE"]),
    "held code": ("held list --code OVER", ["OVERTAKEN"]),
    "argument": ("tap hae", ["haematology"]),
    "channel to pause": ("pause channel ", ["haematology"]),
    "destination to pause": ("pause destination arch", ["archive"]),
    "lane to pause": ("pause lane haematology/", ["haematology/archive"]),
}


def completed(typed: str, folder: Path, *given: str) -> list[str]:
    words = ["labrelay", *given, *typed.split(" ")]
    ran = subprocess.run(
        [sys.executable, "-m", "engine"],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if name != "LABRELAY_SITE"},
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "_LABRELAY_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr == ""
    return [line.partition(",")[2] for line in ran.stdout.splitlines() if line]


@pytest.mark.parametrize("case", CASES)
def test_what_is_completed(case: str, tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    (site / "channels" / "broken.yaml").write_text("channel: [", encoding="utf-8")
    typed, expected = CASES[case]
    assert completed(typed, tmp_path, "--site", str(site)) == expected


@pytest.mark.parametrize("typed", ["dlq list --channel ", "replay --to "])
def test_without_a_site_nothing_is_offered(typed: str, tmp_path: Path) -> None:
    assert completed(typed, tmp_path, "--site", str(tmp_path)) == []


def test_behind_a_verb_that_does_not_exist_nothing_is_said(tmp_path: Path) -> None:
    assert "status" in completed("nosuchverb ", tmp_path)
