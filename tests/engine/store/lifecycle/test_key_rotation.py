"""A new key in the place of an old one: at every moment the site opens, whatever is killed."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from engine.model.errors import ConfigError, IntegrityError, StoreError
from engine.model.process.clock import ManualClock
from engine.store.core import key_encryption_key
from engine.store.core.vault import KEY_NAME, check_value, read_kek, write_kek
from engine.store.integrity import verify
from engine.store.journal import Journal, keys
from engine.store.lifecycle import key_rotation
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader, stored_payload
from tests.support.journals import opened, running, store

STEPS = ("written", "committed", "proven", "moved", "named")

KILLED_AT = """
import asyncio, os, signal, sys
from pathlib import Path
from engine.store.journal import keys
from tests.support.journals import running

def step(name):
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with running(Path(sys.argv[1])) as journal:
        await keys.rotate(journal, Path(sys.argv[1]), actor="ann", step=step)

asyncio.run(main())
"""


async def filled(data: Path) -> None:
    async with running(data) as journal:
        await store(journal, b"result one", b"result two")


def facts_of(journal: Journal) -> key_rotation.KeyFacts:
    with journal.snapshot() as execute:
        return key_rotation.facts(execute)


def checked(data: Path) -> str:
    """The id of the key in use, of a site in which everything opens."""
    with_payload = opened(data)
    assert [stored_payload(with_payload, n) for n in (1, 2)] == [b"result one", b"result two"]
    found = facts_of(with_payload)
    with_payload.close()
    assert verify.run(data, deep=True) == []
    return found.id


@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_at_any_step_leaves_a_site_that_opens(tmp_path: Path, step: str) -> None:
    await filled(tmp_path)
    before = checked(tmp_path)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED_AT, str(tmp_path), step)
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGKILL
    after = checked(tmp_path)
    assert (after == before) == (step == "written")
    assert (
        key_encryption_key.key_id(check_value(read_kek(tmp_path / KEY_NAME))) == after
    )  # what was half done is finished
    async with running(tmp_path) as journal:
        again = await keys.rotate(journal, tmp_path, actor="ann")
    assert again.before == after
    assert checked(tmp_path) == again.after
    assert not (tmp_path / key_encryption_key.NEW_NAME).exists()


async def test_the_old_key_is_kept_for_old_backups_or_thrown_away(tmp_path: Path) -> None:
    await filled(tmp_path)
    old = read_kek(tmp_path / KEY_NAME)
    async with running(tmp_path) as journal:
        first = await keys.rotate(journal, tmp_path, actor="ann")
        assert first.kept == str(tmp_path / f"{key_encryption_key.OLD_NAME}{first.before}")
        assert read_kek(Path(first.kept)) == old
        second = await keys.rotate(journal, tmp_path, actor="ann", discard_old=True)
        assert second.kept == ""
        acts = [(act.actor, act.verb, act.what) for act in acts_page(journal)]
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith(KEY_NAME)) == [
        KEY_NAME,
        f"{key_encryption_key.OLD_NAME}{first.before}",
    ]
    assert ("ann", "key-rotate", {"before": second.before, "after": second.after, "keys": 5}) in acts
    assert (tmp_path / KEY_NAME).stat().st_mode & 0o777 == 0o600
    assert (
        key_encryption_key.unlock(tmp_path, check_value(old)).source is key_encryption_key.Source.OLD_FILE
    )  # as for a backup from before
    checked(tmp_path)


async def test_keys_of_a_month_that_begins_after_a_rotation_are_wrapped_by_the_new_one(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        await store(journal, b"march")
        await keys.rotate(journal, tmp_path, actor="ann")
        clock.advance(31 * 86_400)
        (april,) = await store(journal, b"april")
    again = opened(tmp_path)
    assert [stored_payload(again, 1), stored_payload(again, april.id)] == [b"march", b"april"]
    again.close()


async def test_a_new_key_of_a_credential_waits_to_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials, data = tmp_path / "credentials", tmp_path / "data"
    credentials.mkdir()
    (credentials / "labrelay-kek").write_bytes(os.urandom(32))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    await filled(data)
    async with running(data) as journal:
        done = await keys.rotate(journal, data, actor="ann")
    assert (done.to_move, done.place, done.kept) == (True, str(data / key_encryption_key.NEW_NAME), "")
    assert checked(data) == done.after  # found where it lies
    async with running(data) as journal:
        with pytest.raises(StoreError, match="bring it to where the old one is"):
            await keys.rotate(journal, data, actor="ann")
    new = read_kek(data / key_encryption_key.NEW_NAME)
    (credentials / "labrelay-kek").write_text(new.hex())
    (data / key_encryption_key.NEW_NAME).unlink()
    assert checked(data) == done.after
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    monkeypatch.setenv(key_encryption_key.VARIABLE, new.hex())
    assert checked(data) == done.after


async def test_a_new_key_that_is_not_what_was_written_is_never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(tmp_path)
    before = checked(tmp_path)
    monkeypatch.setattr(key_rotation, "read_kek", lambda path: bytes(32))
    async with running(tmp_path) as journal:
        with pytest.raises(StoreError, match="does not hold what was written"):
            await keys.rotate(journal, tmp_path, actor="ann")
    monkeypatch.undo()
    assert checked(tmp_path) == before


async def test_a_wrong_key_names_the_right_one(tmp_path: Path) -> None:
    await filled(tmp_path)
    needed = checked(tmp_path)
    (tmp_path / KEY_NAME).unlink()
    write_kek(tmp_path / KEY_NAME, bytes(32))
    with pytest.raises(IntegrityError, match=f"{needed} is needed"):
        opened(tmp_path)


async def test_a_confirmed_sheet_is_that_of_one_key(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with running(tmp_path) as journal:
        assert facts_of(journal).sheet_us == 0
        await journal.run(key_rotation.confirm_sheet, actor="ann")
        assert facts_of(journal).sheet_us > 0
        await keys.rotate(journal, tmp_path, actor="ann")
        assert facts_of(journal).sheet_us == 0


def test_a_key_that_this_user_may_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path).close()

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(key_encryption_key, "read_kek", refused)
    with pytest.raises(ConfigError, match="run this as the service's user"):
        opened(tmp_path)
    reader = Reader.beside(tmp_path)
    assert "sealed columns stay closed" in reader.notes[0]
    reader.close()


async def test_two_people_who_rotate_at_once_leave_a_site_that_opens(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with running(tmp_path) as journal:
        said = await asyncio.gather(
            *(keys.rotate(journal, tmp_path, actor=actor) for actor in ("ann", "ben")), return_exceptions=True
        )
    done = [one for one in said if isinstance(one, key_rotation.RotationResult)]
    refused = [one for one in said if isinstance(one, BaseException)]
    assert len(done) == len(refused) == 1
    assert isinstance(refused[0], StoreError)
    assert "being changed already" in str(refused[0])
    assert checked(tmp_path) == done[0].after
