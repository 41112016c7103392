"""`labrelay key`: what is shown of a key and what is not, a sheet that brings it back, a new key beside a daemon."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.runtime.large import process
from engine.store.core import key_encryption_key
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import KEY_NAME, check_value, read_kek, write_kek
from engine.store.lifecycle import key_rotation
from tests.support.command_line import Ran, labrelay
from tests.support.filled_journal import DELIVERED, fill_journal
from tests.support.running import hl7_channel, running_site
from tests.support.sites import make_site
from tests.support.waiting import until


def key_of(site: Path) -> bytes:
    return read_kek(site / "var" / KEY_NAME)


def shows(ran: Ran, key: bytes) -> bool:
    plain = (ran.out + ran.err).replace(" ", "").replace("-", "")
    lines = [line.replace("-", "") for line in key_encryption_key.write(key)]
    return key.hex() in plain or any(line in plain for line in lines)


def acts_of(site: Path) -> list[str]:
    return [act["act"] for act in labrelay("audit", "list", "-o", "json", site=site).json["acts"]]


def test_status_says_everything_but_the_key(site: Path) -> None:
    ran = labrelay("key", "status", "-o", "json", site=site)
    key = key_of(site)
    assert ran.code == ExitCode.OK
    assert ran.json["key"] == key_encryption_key.key_id(check_value(key))
    assert (ran.json["source"], ran.json["place"]) == ("file", str(site / "var" / KEY_NAME))
    assert {one["class"] for one in ran.json["data_keys"]} == {"identity", "token", "message", "document", "note"}
    assert ran.json["sheet_confirmed"] is None
    table = labrelay("key", "status", site=site)
    assert "recovery sheet: not confirmed" in table.out
    assert not shows(ran, key)
    assert not shows(table, key)


def test_a_site_without_a_journal_gets_its_key_once(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    assert (
        labrelay("key", "status", site=site).out
        == "there is no key yet; the first start makes one; there is no journal yet\n"
    )
    made = labrelay("key", "init", site=site)
    assert made.code == ExitCode.OK
    assert not shows(made, key_of(site))
    assert labrelay("key", "init", site=site).code == ExitCode.REFUSED
    assert shows(labrelay("key", "recovery-sheet", "--yes", site=site), key_of(site))
    fill_journal(site / "var")
    assert labrelay("key", "init", site=site).code == ExitCode.REFUSED


def test_the_sheet_is_shown_when_asked_for_only_and_noted(site: Path, tmp_path: Path) -> None:
    refused = labrelay("key", "recovery-sheet", site=site)
    assert refused.code == ExitCode.REFUSED
    assert not shows(refused, key_of(site))
    assert "key-shown" not in acts_of(site)
    shown = labrelay("key", "recovery-sheet", "--yes", site=site)
    assert [shows(shown, key_of(site)), acts_of(site).count("key-shown")] == [True, 1]
    page = tmp_path / "sheet.html"
    assert labrelay("key", "recovery-sheet", "--html", "--to", str(page), "--yes", site=site).code == ExitCode.OK
    text = page.read_text("utf-8")
    assert all(line in text for line in key_encryption_key.write(key_of(site)))
    assert "Test Lab" in text
    assert "script" not in text
    assert page.stat().st_mode & 0o777 == 0o600
    assert labrelay("key", "recovery-sheet", "--to", str(page), "--yes", site=site).code == ExitCode.FAILED


def test_a_sheet_is_confirmed_by_typing_from_it(site: Path) -> None:
    lines = key_encryption_key.write(key_of(site))
    before = labrelay("doctor", "-o", "json", site=site)
    assert any("recovery sheet" in line["text"] for line in before.json["lines"])
    wrong = labrelay(
        "key", "recovery-sheet", "--confirm", site=site, given="\n".join(key_encryption_key.write(bytes(32)))
    )
    assert wrong.code == ExitCode.INTEGRITY
    slip = [lines[0][:-1] + ("A" if lines[0][-1] != "A" else "B"), *lines[1:]]
    mistyped = labrelay("key", "recovery-sheet", "--confirm", site=site, given="\n".join(slip))
    assert (mistyped.code, "line 1" in mistyped.err) == (ExitCode.USAGE, True)
    right = labrelay("key", "recovery-sheet", "--confirm", site=site, given="\n".join(lines))
    assert right.code == ExitCode.OK
    assert labrelay("key", "status", "-o", "json", site=site).json["sheet_confirmed"]
    after = labrelay("doctor", "-o", "json", site=site)
    assert not any("recovery sheet" in line["text"] for line in after.json["lines"])


def test_a_key_that_is_gone_is_told_with_its_place(site: Path) -> None:
    """And not as one that only another user may read, which sends people looking in the wrong place."""
    path = site / "var" / "labrelay.key"
    needed = labrelay("key", "status", "-o", "json", site=site).json["key"]
    other = make_site(site / "other")
    fill_journal(other / "var")
    path.unlink()
    for command in (
        ("messages", "show", "1", "--unmask", "--purpose", "a test"),
        ("explain", "1"),
        ("key", "recovery-sheet", "--yes"),
        ("key", "status"),
    ):
        ran = labrelay(*command, site=site)
        assert str(path) in ran.err + ran.out
        assert f"the key of this journal is missing ({needed})" in ran.err or (
            f"the key of this journal ({needed}) is not there" in ran.err + ran.out
        )
        assert "key init --from-sheet" in ran.err + ran.out
        assert "not readable" not in ran.err + ran.out
    shutil.copy(other / "var" / "labrelay.key", path)
    ran = labrelay("key", "recovery-sheet", "--yes", site=site)
    assert (ran.code, "the key is not the one that this journal was made with" in ran.err) == (ExitCode.INTEGRITY, True)
    assert "is not there" not in labrelay("key", "status", site=site).out


@pytest.mark.parametrize("left", ["nothing", "garbage", "another key"])
def test_a_lost_key_comes_back_from_its_sheet(site: Path, left: str) -> None:
    path, key = site / "var" / KEY_NAME, key_of(site)
    path.unlink()
    if left == "garbage":
        path.write_text("garbage")
        path.chmod(0o600)
    elif left == "another key":
        write_kek(path, bytes(32))
    gone = labrelay("messages", "show", str(DELIVERED), "--unmask", "--purpose", "a test", site=site)
    assert gone.code == (ExitCode.INTEGRITY if left == "another key" else ExitCode.CONFIG)
    status = labrelay("key", "status", site=site)
    assert status.code in (ExitCode.INTEGRITY, ExitCode.CONFIG)
    strange = labrelay(
        "key", "init", "--from-sheet", site=site, given="\n".join(key_encryption_key.write(bytes(31) + b"x"))
    )
    assert strange.code == ExitCode.INTEGRITY
    back = labrelay("key", "init", "--from-sheet", site=site, given="\n".join(key_encryption_key.write(key)))
    assert back.code == ExitCode.OK, back.err
    assert key_of(site) == key
    assert (
        labrelay("messages", "show", str(DELIVERED), "--unmask", "--purpose", "a test", site=site).code == ExitCode.OK
    )
    assert "key-restored" in acts_of(site)


def test_a_rotation_without_a_daemon(site: Path) -> None:
    old = key_of(site)
    assert labrelay("key", "rotate", site=site).code == ExitCode.REFUSED
    done = labrelay("key", "rotate", "--yes", "--discard-old", "-o", "json", site=site)
    assert (done.code, done.json["kept"], done.json["to_move"]) == (ExitCode.OK, "", False)
    assert key_of(site) != old
    assert not shows(done, key_of(site))
    assert (
        labrelay("messages", "show", str(DELIVERED), "--unmask", "--purpose", "a test", site=site).code == ExitCode.OK
    )


async def test_a_rotation_beside_a_daemon(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"chem": hl7_channel()}) as running:
        before = key_of(tmp_path)
        done = await running.labrelay("key", "rotate", "--yes")
        assert done.code == ExitCode.OK, done.err
        assert "key recovery-sheet" in done.out
        assert key_of(tmp_path) != before
        shown = await running.labrelay("key", "recovery-sheet", "--yes")
        assert shows(shown, key_of(tmp_path))
    assert acts_of(tmp_path)[:2] == ["key-shown", "key-rotate"]


async def test_a_day_later_the_page_reminds_of_the_sheet_until_it_is_confirmed(tmp_path: Path) -> None:
    channels = {"chem": hl7_channel()}
    async with running_site(tmp_path, channels, practice=False) as running:
        assert not any("recovery sheet" in note for note in running.app.observer.snapshot().notes)
    with closing(sqlite3.connect(tmp_path / "var" / JOURNAL_NAME)) as connection:
        connection.execute("UPDATE meta SET value = value - 86401000000 WHERE name = 'created_us'")
        connection.commit()
    async with running_site(tmp_path, channels, practice=True) as running:  # patients that are invented need no sheet
        assert not any("recovery sheet" in note for note in running.app.observer.snapshot().notes)
    async with running_site(tmp_path, channels, practice=False) as running:
        assert any("recovery sheet" in note for note in running.app.observer.snapshot().notes)
        await running.app.journal.run(key_rotation.confirm_sheet, actor="ann")
        await until(lambda: not any("recovery sheet" in note for note in running.app.observer.snapshot().notes))


def test_the_worker_does_not_inherit_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(key_encryption_key.VARIABLE, "00" * 32)
    monkeypatch.setenv("OTHER", "x")
    inherited = process.environment()
    assert key_encryption_key.VARIABLE not in inherited
    assert inherited["OTHER"] == "x"
