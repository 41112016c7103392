"""`labrelay journal prune`, and what people read about rows that retention let go. Without a daemon."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.process.clock import ManualClock
from engine.store.integrity import verify
from tests.support.command_line import labrelay
from tests.support.filled_journal import CANARY, DELIVERED, REFUSED, fill_journal
from tests.support.sites import make_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site whose messages are ten years old."""
    folder = make_site(tmp_path)
    fill_journal(folder / "var", ManualClock(datetime(2015, 3, 1, 6, 0, tzinfo=UTC)))
    return folder


def test_a_dry_run_says_what_would_go_and_what_stays(site: Path) -> None:
    ran = labrelay("journal", "prune", "--dry-run", "-o", "json", site=site)

    assert ran.json["messages"] == 1
    assert ran.json["kept"] == {"dead": 2, "incomplete": 1}  # the newest row is not looked at
    assert "1 message (" in labrelay("journal", "prune", "--dry-run", site=site).out
    assert labrelay("messages", "show", str(DELIVERED), site=site).code == ExitCode.OK


def test_nothing_goes_without_consent(site: Path) -> None:
    assert labrelay("journal", "prune", site=site).code == ExitCode.REFUSED
    assert labrelay("messages", "show", str(DELIVERED), site=site).code == ExitCode.OK


def test_what_went_is_told_apart_from_what_never_was(site: Path) -> None:
    ran = labrelay("journal", "prune", "--yes", site=site)
    assert ran.code == ExitCode.OK, ran.err

    shown = labrelay("messages", "show", str(DELIVERED), site=site)
    assert shown.code == ExitCode.FAILED
    assert "is not kept any longer: retention deleted it on" in shown.err
    assert "there is no message 99" in labrelay("messages", "show", "99", site=site).err
    assert "not kept any longer" in labrelay("explain", str(DELIVERED), site=site).err
    assert labrelay("messages", "show", str(REFUSED), site=site).code == ExitCode.OK
    listed = labrelay("messages", "list", "-o", "json", site=site).json["messages"]
    assert [row["id"] for row in listed] == [5, 4, 3, 2]
    assert "messages are kept since 2015-03-01" in labrelay("messages", "list", site=site).err
    assert labrelay("verify", "--deep", site=site).code == ExitCode.OK
    assert verify.run(site / "var", deep=True) == []
    stats = labrelay("journal", "stats", "-o", "json", site=site).json
    assert stats["rows_let_go"] == 1
    assert stats["kept_since"].startswith("2015-03-01")
    assert CANARY not in ran.out + ran.err
    acts = labrelay("audit", "list", "-o", "json", site=site).json["acts"]
    (run,) = [act for act in acts if act["act"] == "retention"]
    assert run["outcome"]["messages"] == 1


def test_where_nothing_is_old_enough_nothing_is_asked(tmp_path: Path) -> None:
    folder = make_site(tmp_path)
    fill_journal(folder / "var")
    ran = labrelay("journal", "prune", site=folder)
    assert ran.code == ExitCode.OK
    assert "0 messages" in ran.out
