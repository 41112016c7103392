"""What a command says of a number that has no message: lost is not the same as never received."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.process.clock import SystemClock
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import audit
from tests.support.command_line import labrelay
from tests.support.filled_journal import CANARY, DELIVERED, UNMAPPED, WAITING, fill_journal
from tests.support.sites import make_site

LOST = UNMAPPED


def lose(site: Path, number: int = LOST) -> None:
    """As a damaged page does: the row is not found any more."""
    with closing(sqlite3.connect(site / "var" / JOURNAL_NAME)) as connection, connection:
        connection.execute("DELETE FROM journal WHERE id = ?", (number,))


def noted(site: Path, verb: str, what: dict[str, Any]) -> int:
    """Note a loss as the act of that name does; gives the act's number."""

    def note(batch: Batch) -> int:
        act = audit.note(batch, "ann", verb, what)
        batch.execute("INSERT INTO gap (first_id, last_id, act) VALUES (?, ?, ?)", (LOST, LOST, act))
        return act

    journal = Journal.open(site / "var", clock=SystemClock())
    try:
        return journal.run_alone(note)
    finally:
        journal.close()


@pytest.mark.parametrize(
    "command",
    [
        ("messages", "show", str(LOST)),
        ("messages", "show", str(LOST), "--unmask", "--purpose", "a test"),
        ("explain", str(LOST)),
        ("dlq", "show", str(LOST)),
        ("dlq", "retry", str(LOST), "--yes"),
        ("dlq", "dismiss", str(LOST), "--reason", "x", "--yes"),
        ("dlq", "edit", str(LOST), "--reason", "x", "--yes"),
        ("held", "show", str(LOST)),
        ("held", "release", str(LOST), "--reason", "x", "--yes"),
        ("held", "answer", str(LOST), "same", "--reason", "x", "--yes"),
        ("held", "answer", str(LOST), "both", "--reason", "x", "--yes"),
        ("replay", str(LOST), "--reason", "x", "--yes"),
        ("erase", "--patient", "1", "--message", str(LOST), "--dry-run", "--reason", "x"),
    ],
    ids=" ".join,
)
def test_every_command_says_that_a_lost_message_is_missing(site: Path, command: tuple[str, ...]) -> None:
    lose(site)
    ran = labrelay(*command, site=site)
    assert f"message {LOST} is missing" in ran.err
    assert "labrelay verify" in ran.err
    assert "there is no message" not in ran.err
    assert ran.code == ExitCode.INTEGRITY


def test_a_number_that_was_never_given_is_told_apart(site: Path) -> None:
    lose(site)
    for command in (("messages", "show", "99"), ("dlq", "show", "99"), ("dlq", "retry", "99", "--yes")):
        ran = labrelay(*command, site=site)
        assert (ran.code, "there is no message 99" in ran.err) == (ExitCode.FAILED, True)
    ran = labrelay("dlq", "retry", "98", "99", str(WAITING), "--yes", site=site)
    assert "there is no message 98" in ran.err
    assert "there is no message 99" in ran.err
    assert f"message {WAITING}" not in ran.err
    ran = labrelay("messages", "list", "--id", str(LOST), "--id", str(DELIVERED), "--id", "99", site=site)
    assert ran.code == ExitCode.OK
    assert f"message {LOST} is missing" in ran.err
    assert "there is no message 99" in ran.err
    assert f"message {DELIVERED} " not in ran.err
    assert labrelay("messages", "list", "--id", str(DELIVERED), "--channel", "nobody", site=site).code != ExitCode.OK
    assert labrelay("messages", "list", "--id", str(DELIVERED), "--type", "x", site=site).err == "no messages\n"


def test_a_number_of_something_else_is_named(site: Path) -> None:
    act = noted(site, "salvage", {})
    ran = labrelay("messages", "show", str(act), site=site)
    assert ran.code == ExitCode.FAILED
    assert "this is the number of an entry of the audit trail" in ran.err


def test_the_newest_rows_are_missed_too_for_the_anchor_knows_them(site: Path) -> None:
    lose(site, WAITING)
    assert f"message {WAITING} is missing" in labrelay("messages", "show", str(WAITING), site=site).err
    other = make_site(site / "other")
    fill_journal(other / "var")
    shutil.copyfile(other / "var" / "journal.anchor", site / "var" / "journal.anchor")
    assert f"there is no message {WAITING}" in labrelay("messages", "show", str(WAITING), site=site).err
    (site / "var" / "journal.anchor").unlink()
    (site / "var" / "journal.anchor").mkdir()  # cannot be read
    assert f"there is no message {WAITING}" in labrelay("messages", "show", str(WAITING), site=site).err


def test_after_a_salvage_it_is_said_how_it_was_lost(site: Path, tmp_path: Path) -> None:
    lose(site)
    target = tmp_path / "saved"
    labrelay("journal", "salvage", "--to", str(target), "--reason", "bad sectors", site=site)
    shutil.rmtree(site / "var")
    target.rename(site / "var")
    ran = labrelay("messages", "show", str(LOST), site=site)
    assert ran.code == ExitCode.FAILED
    assert f"message {LOST} is not here: the row with the number {LOST} was lost with damaged pages" in ran.err
    assert "labrelay audit list --act salvage" in ran.err
    (act,) = labrelay("audit", "list", "--act", "salvage", "-o", "json", site=site).json["acts"]
    assert f"entry {act['id']} of the audit trail" in ran.err
    assert CANARY not in ran.err


def test_an_accepted_loss_is_said(site: Path) -> None:
    lose(site, WAITING)
    assert labrelay("journal", "accept-loss", "--reason", "disk", "--yes", site=site).code == ExitCode.OK
    ran = labrelay("messages", "show", str(WAITING), site=site)
    assert "was lost, and a person has accepted that" in ran.err
    assert "labrelay audit list --act accept-loss" in ran.err


@pytest.mark.parametrize(
    ("known", "words"), [(True, "was lost: it is not in the backup"), (False, "if it came at all")]
)
def test_what_a_restored_backup_did_not_have_is_said(site: Path, known: bool, words: str) -> None:
    lose(site)
    noted(site, "restore", {"known": known})
    ran = labrelay("messages", "show", str(LOST), site=site)
    assert words in ran.err
    assert "labrelay audit list --act restore" in ran.err


def drop_the_key(site: Path, act: int) -> None:
    (site / "var" / KEY_NAME).unlink()


def spoil_the_act(site: Path, act: int) -> None:
    with closing(sqlite3.connect(site / "var" / JOURNAL_NAME)) as connection, connection:
        connection.execute("UPDATE journal SET body = zeroblob(length(body)) WHERE id = ?", (act,))


def lose_the_act(site: Path, act: int) -> None:
    lose(site, act)


@pytest.mark.parametrize("harm", [drop_the_key, spoil_the_act, lose_the_act])
def test_where_the_act_cannot_be_read_it_was_lost_all_the_same(site: Path, harm: Callable[[Path, int], None]) -> None:
    lose(site)
    harm(site, noted(site, "salvage", {}))
    ran = labrelay("messages", "show", str(LOST), site=site)
    assert f"the row with the number {LOST} was lost; entry" in ran.err
    assert "(labrelay audit list)" in ran.err
