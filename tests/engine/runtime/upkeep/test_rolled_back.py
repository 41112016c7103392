"""A data folder that was put back whole, as by a snapshot of the machine or a copy with its anchor.

Journal and anchor agree, every hash is right, and acknowledged results are gone. A laboratory may expect: what
lies outside of the folder notices it at the start; analyzers go on being answered; nothing is delivered, for a
correction may be among what is gone; and a person says when it goes on.
"""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.config.load import load_site
from engine.model.journal.records import DELIVERIES
from engine.runtime.upkeep import other_history
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.queries.acts import acts_page
from engine.store.queries.lanes import list_lanes
from engine.store.queries.messages import messages_page
from engine.store.recovery.backups import state_snapshot
from engine.store.recovery.backups.catalog import Shelf
from tests.support.command_line import labrelay
from tests.support.running import hl7_channel, make_running_site, running_app
from tests.support.senders import lines, send_blocks
from tests.support.waiting import until

TO_FILE = {"lab-fhir": {"kind": "file", "folder": "out"}}
WITHIN_S = 240.0
PLACES = ("beside", "configured", "copy", "pieces", "log")


def oru(number: int) -> bytes:
    at = f"2026030106{number:02}00"
    return "\r".join(
        [
            rf"MSH|^~\&|AN|LAB|LIS|H|{at}||ORU^R01|C{number}|P|2.5.1",
            "PID|1||4711^^^LAB^MR||SHARMA^ANITA||19600203|F",
            f"OBR|1||F{number}|GLU^Glucose^L|||{at}|||||||{at}||||||||{at}||LAB|F",
            f"OBX|1|NM|GLU^Glucose^L||5.{number}|mmol/L|||||F|||{at}\r",
        ]
    ).encode()


def site(folder: Path) -> Path:
    return make_running_site(folder / "site", {"chem": hl7_channel()}, TO_FILE)


def delivered(folder: Path) -> int:
    return len([path for path in (folder / "out").rglob("*") if path.is_file()])


def newest(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "var" / JOURNAL_NAME)) as connection:
        return int(connection.execute("SELECT max(id) FROM journal").fetchone()[0])


async def run_and_send(folder: Path, *numbers: int, backup: str = "") -> None:
    """Start, send, wait until all is delivered, make a copy (``now``) or rows, stop in order.

    In a loop of its own: that ends once its threads have, as a process does, and a backup works in one.
    """
    await asyncio.to_thread(asyncio.run, _run_and_send(folder, *numbers, backup=backup))


async def _run_and_send(folder: Path, *numbers: int, backup: str) -> None:
    before = delivered(folder)
    async with running_app(folder) as app:
        port = app.parts.sources["chem"].port
        assert port is not None
        answers = await send_blocks(port, [oru(number) for number in numbers])
        assert [lines(answer)["MSA"][1] for answer in answers] == ["AA"] * len(numbers)
        await until(lambda: delivered(folder) == before + len(numbers), WITHIN_S)
        if backup == "now":
            ran = await asyncio.to_thread(labrelay, "backup", "now", site=folder)
            assert ran.code == ExitCode.OK, ran.err
        if backup == "rows":
            copy = Shelf(folder.parent / "copies", app.journal.journal_id).newest(whole=True)
            assert copy is not None
            await asyncio.to_thread(state_snapshot.write, copy, folder / "var" / JOURNAL_NAME)


def put_back(folder: Path, kept: Path) -> None:
    shutil.rmtree(folder / "var")
    shutil.copytree(kept, folder / "var")


def configure(folder: Path, key: str, value: str) -> None:
    path = folder / "config" / "labrelay.yaml"
    path.write_text(path.read_text() + f"{key}: {value}\n")


async def rolled_back(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> tuple[Path, int, int]:
    """A site whose folder was put back, and of whose loss only ``place`` knows; with the rows that are missing."""
    folder = site(tmp_path)
    if place in ("copy", "pieces"):
        (tmp_path / "copies").mkdir()
        configure(folder, "backup", f"{{folder: {tmp_path / 'copies'}}}")
    if place == "configured":
        (tmp_path / "other-disk").mkdir()
        configure(folder, "anchor", str(tmp_path / "other-disk"))
    await run_and_send(folder, 1, 2, backup="now" if place == "pieces" else "")
    kept, first = tmp_path / "kept", newest(folder) + 1
    shutil.copytree(folder / "var", kept)
    caplog.set_level("INFO", "labrelay")
    await run_and_send(folder, 3, 4, 5, backup={"copy": "now", "pieces": "rows"}.get(place, ""))
    last = newest(folder)
    if place in ("copy", "pieces"):  # what they have, and not one row more, is known there
        shelf = next((tmp_path / "copies").glob("labrelay-*"))
        names = [int(path.stem.split("-")[1]) for path in shelf.glob("full-*/*.rows")]
        last = max([*names, *(int(path.name.split("-")[-1]) for path in shelf.glob("full-*"))])
    if place == "log":
        runtime = tmp_path / "run"
        heads = tmp_path / other_history.HEADS_FOLDER
        heads.mkdir()
        head = [record for record in caplog.records if record.message == "audit head"][-1]
        said = vars(head)
        said["text"] = '{"msg":"audit head","journal_id":%(journal_id)d,"head":"%(head)s","detail":"%(detail)s"}'
        (heads / other_history.HEADS_NAME).write_text(said["text"] % said)
        monkeypatch.setenv(other_history.RUNTIME_VARIABLE, str(runtime))
        last = said["journal_id"]
    put_back(folder, kept)
    if place not in ("beside", "configured"):
        shutil.rmtree(other_history.folder(load_site(folder).config))
    return folder, first, last


@pytest.mark.parametrize("place", PLACES)
async def test_a_folder_that_was_put_back_is_noticed_and_delivers_nothing_until_a_person_says_so(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, first, last = await rolled_back(tmp_path, place, monkeypatch, caplog)
    assert first < last
    rows = f"rows {first} to {last} were acknowledged and are not in the journal"
    before = delivered(folder)

    found = await asyncio.to_thread(labrelay, "verify", "-o", "json", site=folder)  # also before it is started
    assert found.code == ExitCode.INTEGRITY
    assert [(one["kind"], one["first"], one["last"]) for one in found.json["findings"]] == [("rollback", first, last)]

    async with running_app(folder) as app:
        assert app.parts.pauses[DELIVERIES].actor == "labrelay"
        assert any(rows in text for text in app.observer.snapshot().alarms)
        port = app.parts.sources["chem"].port
        assert port is not None
        (answer,) = await send_blocks(port, [oru(6)])
        assert lines(answer)["MSA"][1] == "AA"  # received and acknowledged ...
        await until(lambda: sum(view.open for view in list_lanes(app.journal)) == 1, WITHIN_S)  # ... and not delivered
        (message,) = messages_page(app.journal, limit=1)
        assert message.id > last  # no number is given twice

        status = await asyncio.to_thread(labrelay, "status", site=folder)
        assert "Nothing is delivered" in status.out
        doctor = await asyncio.to_thread(labrelay, "doctor", site=folder)
        assert rows in doctor.out
        told = await asyncio.to_thread(labrelay, "verify", site=folder)
        assert (told.code, rows in told.out, "labrelay resume deliveries" in told.err) == (
            ExitCode.INTEGRITY,
            True,
            True,
        )
        for arguments in (("resume", "destination", "lab-fhir"), ("restart", "destination", "lab-fhir")):
            ran = await asyncio.to_thread(labrelay, *arguments, "--reason", "try", "--yes", site=folder)
            assert not app.parts.delivery_workers["lab-fhir"].attempts.in_flight, ran.err
        assert delivered(folder) == before

    async with running_app(folder) as app:  # nor does a start let it go on
        assert sum(view.open for view in list_lanes(app.journal)) == 1
        assert app.parts.delivery_workers["lab-fhir"].paused
        refused = await asyncio.to_thread(labrelay, "resume", "deliveries", "--reason", " ", "--yes", site=folder)
        assert refused.code != ExitCode.OK  # not without a reason
        ran = await asyncio.to_thread(
            labrelay, "resume", "deliveries", "--reason", "sent again, ward told", "--yes", site=folder
        )
        assert ran.code == ExitCode.OK, ran.err
        await until(lambda: delivered(folder) == before + 1, WITHIN_S)
        assert not app.observer.snapshot().alarms or not any("Nothing" in one for one in app.observer.snapshot().alarms)
        acts = [(act.verb, act.what.get("reason")) for act in acts_page(app.journal)]
        assert ("resume", "sent again, ward told") in acts
        assert [(act.what["first"], act.what["last"]) for act in acts_page(app.journal) if act.verb == "rollback"] == [
            (first, last)
        ]
    good = await asyncio.to_thread(labrelay, "verify", "-o", "json", site=folder)
    assert (good.code, good.json["findings"]) == (ExitCode.OK, [])
    await run_and_send(folder, 7)


async def test_a_folder_that_was_not_put_back_is_left_in_peace(tmp_path: Path) -> None:
    """Also where the place elsewhere is behind: a kill amid all, a start without it, another journal's anchor."""
    folder = site(tmp_path)
    await run_and_send(folder, 1, 2)
    place = other_history.folder(load_site(folder).config)
    assert place == folder / "var-anchor"
    (file,) = place.glob("*.anchor")
    behind = file.read_bytes()
    await run_and_send(folder, 3)
    file.write_bytes(behind)
    (place / "labrelay-00000000.anchor").write_bytes(behind)
    await run_and_send(folder, 4)
    shutil.rmtree(place)
    await run_and_send(folder, 5)
    assert (await asyncio.to_thread(labrelay, "verify", site=folder)).code == ExitCode.OK


@pytest.mark.parametrize("further", ["anchor", "elsewhere"])
async def test_a_person_who_accepts_a_loss_accepts_all_that_any_anchor_knows_of(tmp_path: Path, further: str) -> None:
    """Neither anchor is always the newest: the second one is a second behind, the first may be put back with the rows.
    No number is given twice, whichever knows more."""
    folder = site(tmp_path)
    await run_and_send(folder, 1, 2)
    shutil.copytree(folder / "var", tmp_path / "kept")
    first = newest(folder) + 1
    known: list[tuple[bytes, bytes, int]] = []
    for number in (3, 4):
        await run_and_send(folder, number)
        (outside,) = (folder / "var-anchor").glob("*.anchor")
        known.append(((folder / "var" / ANCHOR_NAME).read_bytes(), outside.read_bytes(), newest(folder)))
    put_back(folder, tmp_path / "kept")
    inner, outer = (1, 0) if further == "anchor" else (0, 1)
    (folder / "var" / ANCHOR_NAME).write_bytes(known[inner][0])
    outside.write_bytes(known[outer][1])
    last = known[1][2]
    assert known[0][2] < last

    arguments = ("journal", "accept-loss", "--reason", "the disk is gone", "--yes")
    ran = await asyncio.to_thread(labrelay, *arguments, site=folder)
    assert ran.code == ExitCode.OK, ran.err
    assert newest(folder) == last + 2  # the act, and the numbers of orders that are not given again
    before = delivered(folder)
    async with running_app(folder) as app:
        (act,) = [one for one in acts_page(app.journal) if one.verb == "accept-loss"]
        assert (act.what["first"], act.what["last"]) == (first, last)
        assert DELIVERIES not in app.parts.pauses  # the person knows
        port = app.parts.sources["chem"].port
        assert port is not None
        await send_blocks(port, [oru(5)])
        await until(lambda: delivered(folder) == before + 1, WITHIN_S)
    assert (await asyncio.to_thread(labrelay, "verify", site=folder)).code == ExitCode.OK


async def test_where_the_tail_was_cut_off_without_the_key_it_is_seen(tmp_path: Path) -> None:
    """As root, who can write every file, and knows how an anchor is made, but has no key of the journal."""
    folder = site(tmp_path)
    await run_and_send(folder, 1, 2, 3)
    data = folder / "var"
    key = (data / "labrelay.key").rename(tmp_path / "key")
    with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection:
        last = connection.execute("SELECT max(id) - 1 FROM journal").fetchone()[0]
        for table in ("delivery", "message_state"):
            connection.execute(
                f"DELETE FROM {table} WHERE {'message_id' if table == 'delivery' else 'id'} > ?", (last,)
            )
        connection.execute("DELETE FROM journal WHERE id > ?", (last,))
        (chain,) = connection.execute("SELECT chain FROM journal WHERE id = ?", (last,)).fetchone()
        connection.commit()
    forge(data / ANCHOR_NAME, last, chain)
    shutil.rmtree(folder / "var-anchor")
    key.rename(data / "labrelay.key")
    ran = await asyncio.to_thread(labrelay, "verify", site=folder)
    assert (ran.code, "not written with this journal's key" in ran.out) == (ExitCode.INTEGRITY, True)
    with pytest.raises(Exception, match="not written with this journal's key"):
        async with running_app(folder):
            pass


def forge(path: Path, last: int, chain: bytes) -> None:
    """Make both slots say something else, with the right sum: by the layout that `engine.store.core.anchor`
    documents."""
    import struct
    import zlib

    content = bytearray(path.read_bytes())
    for at in (0, 4096):
        magic, version, journal_id = struct.unpack_from(">8sH16s", content, at)
        record = struct.pack(">8sH16sQ32s", magic, version, journal_id, last, chain) + bytes(16)
        content[at : at + len(record)] = record
        struct.pack_into(">I", content, at + len(record), zlib.crc32(record))
    path.write_bytes(content)


async def test_a_row_that_was_deleted_near_the_end_is_noticed_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many rows came since the last start: what was not verified yet is looked at."""
    folder = site(tmp_path)
    await run_and_send(folder, 1)
    await run_and_send(folder, *range(2, 30))
    monkeypatch.setattr("engine.store.integrity.verify.START_LEAST", 5, raising=False)
    monkeypatch.setattr("engine.store.journal.START_CHECK_ROWS", 5, raising=False)  # what a start looked at in any case
    gone = newest(folder) - 20
    with closing(sqlite3.connect(folder / "var" / JOURNAL_NAME)) as connection:
        connection.execute("DELETE FROM journal WHERE id = ?", (gone,))
        connection.commit()
    async with running_app(folder) as app:
        assert f"row {gone} is missing" in app.observer.snapshot().alarms
    assert any(getattr(record, "detail", "") == f"row {gone} is missing" for record in caplog.records)
