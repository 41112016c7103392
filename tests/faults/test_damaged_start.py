"""A start on a journal whose file is damaged says so, and what helps: starting again does not."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.journal.upkeep import PAGE_BYTES
from tests.support.filled_journal import fill_journal
from tests.support.sites import make_site

SITE = """\
site: {name: Test Lab, timezone: Asia/Kolkata}
web: {enabled: false}
destinations:
  archive: {kind: file, folder: var/archive}
"""
WITHIN_S = 240.0


def first_page(content: bytearray) -> None:
    content[:100] = b"\xa5" * 100


def all_but_the_first(content: bytearray) -> None:
    content[PAGE_BYTES:] = b"\xa5" * (len(content) - PAGE_BYTES)


@pytest.mark.parametrize(
    ("spoil", "what", "advice", "never"),
    [
        pytest.param(
            all_but_the_first,
            "database disk image is malformed",
            "labrelay verify shows what is damaged, labrelay journal salvage saves the rest",
            "neither",
            id="pages",
        ),
        pytest.param(
            first_page, "file is not a database", "labrelay restore brings back a backup", "saves the rest", id="header"
        ),
    ],
)
def test_a_start_on_a_damaged_journal_names_what_helps(
    tmp_path: Path, spoil: Callable[[bytearray], None], what: str, advice: str, never: str
) -> None:
    site = make_site(tmp_path, site=SITE)
    fill_journal(site / "var")
    content = bytearray((site / "var" / JOURNAL_NAME).read_bytes())
    spoil(content)
    (site / "var" / JOURNAL_NAME).write_bytes(content)

    ran = subprocess.run(
        [sys.executable, "-m", "engine", "--site", str(site), "run", "--log", "json"],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )

    assert ran.returncode == ExitCode.INTEGRITY
    last = json.loads(ran.stderr.splitlines()[-1])
    assert (last["level"], what in last["detail"]) == ("critical", True)
    assert advice in last["msg"]
    assert "starting again does not mend it" in last["msg"]
    assert never not in last["msg"]
    assert "then start again" not in ran.stderr
    assert (site / "var" / JOURNAL_NAME).read_bytes() == content
