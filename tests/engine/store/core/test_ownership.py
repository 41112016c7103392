"""What root makes in the service's data folder is the service's: its next start has to open it."""

import os
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.lock import LOCK_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.journal import keys
from engine.store.recovery import compact
from tests.support.command_line import labrelay
from tests.support.filled_journal import fill_journal
from tests.support.journals import opened, running, store
from tests.support.sites import SITE_YAML, make_site

SERVICE = 12345

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that is another user's")


def hand_to_the_service(data: Path) -> None:
    for path in (data, *data.rglob("*")):
        os.chown(path, SERVICE, SERVICE)


def strangers(data: Path) -> list[str]:
    """What in a folder the service cannot open."""
    return [path.name for path in (data, *data.rglob("*")) if path.stat().st_uid != SERVICE]


async def test_a_journal_that_root_writes_anew_is_still_the_services(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await store(journal, b"one")
    (tmp_path / LOCK_NAME).unlink()
    hand_to_the_service(tmp_path)
    compact.run(tmp_path)
    assert strangers(tmp_path) == []


def test_a_journal_that_root_opens_first_is_the_services(tmp_path: Path) -> None:
    os.chown(tmp_path, SERVICE, SERVICE)
    opened(tmp_path).close()
    assert {KEY_NAME, LOCK_NAME, ANCHOR_NAME} < {path.name for path in tmp_path.iterdir()}
    assert strangers(tmp_path) == []


async def test_a_key_that_root_rotates_is_the_services(tmp_path: Path) -> None:
    os.chown(tmp_path, SERVICE, SERVICE)
    async with running(tmp_path) as journal:
        await keys.rotate(journal, tmp_path, actor="root")
    assert strangers(tmp_path) == []


def test_what_root_copies_restores_and_saves_is_the_services(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", site=SITE_YAML + "backup: {folder: ../copies}\n", channels={})
    fill_journal(site / "var")
    copies = tmp_path / "copies"
    copies.mkdir()
    for folder in (site / "var", copies):
        hand_to_the_service(folder)
    for act in (
        ("backup", "now"),
        ("restore", "--to", str(tmp_path / "restored"), "--reason", "a new disk"),
        ("journal", "salvage", "--to", str(tmp_path / "saved"), "--reason", "bad sectors"),
    ):
        ran = labrelay(*act, site=site)
        assert ran.code == ExitCode.OK, ran.err
    (copy,) = copies.glob("*/full-*")
    for act in (("backup", "verify", str(copy)), ("backup", "drill")):
        ran = labrelay(*act, site=site)
        assert ran.code == ExitCode.OK, ran.err
    for folder in (site / "var", copies, tmp_path / "restored", tmp_path / "saved"):
        assert strangers(folder) == []
