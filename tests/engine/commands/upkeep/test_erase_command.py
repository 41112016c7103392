"""`labrelay erase`: what is stored of a patient goes, its proof stays, and nobody else loses anything."""

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.orders.rows import reading as worklist
from engine.model.content.search_keys import MOST, Number, numbers_in
from engine.model.journal.records import KIND_FRAME
from engine.model.message import Parsed
from engine.processing import process
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity import verify
from engine.store.queries.acts import acts_page
from engine.store.queries.lanes import list_lanes
from engine.store.queries.messages import messages_page
from tests.support.command_line import Ran, labrelay
from tests.support.running import (
    MLLP,
    RunningSite,
    astm_channel,
    channel,
    hl7_channel,
    make_running_site,
    running_app,
    running_site,
)
from tests.support.senders import send_blocks
from tests.support.waiting import until

NAME, NUMBER, PHONE = "ZWEIFEL", "PX-7701", "9845012345"
HOST = "127.0.0.1"
CHANNELS = {"chem": hl7_channel(), "astm": astm_channel()}


def hl7(control: str, *records: str, patient: str = NUMBER, name: str = NAME) -> bytes:
    pid = f"PID|1||{patient}^^^HOSP^MR||{name}^ANNA||19800101|F|||||{PHONE}"
    body = records or (f"OBR|1|O{control}|F{control}|GLU^Glucose", "OBX|1|NM|GLU^Glucose||5.1|mmol/L|||||F")
    return "\r".join([f"MSH|^~\\&|A|L|H|L|20260301101530||ORU^R01|{control}|P|2.5.1", pid, *body, ""]).encode()


async def send_astm(port: int, text: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    frames = [b"1" + text[:60] + b"\x17", b"2" + text[60:] + b"\x03"]
    writer.write(b"\x05")
    assert await reader.readexactly(1) == b"\x06"
    for frame in frames:
        writer.write(b"\x02" + frame + b"%02X\r\n" % (sum(frame) % 256))
        assert await reader.readexactly(1) == b"\x06"
    writer.write(b"\x04")
    await writer.drain()
    writer.close()


ASTM = (
    f"H|\\^&|||A^1|||||||P|1|20260301101530\rP|1||{NUMBER}||{NAME}^ANNA||19800101|F\rO|1|S9||^^^GLU|R\r"
    "R|1|^^^GLU|5.4|mmol/L||N||F||||20260301101000\rL|1|N\r"
).encode()


async def test_the_orders_that_no_message_brought_are_found_and_erased(tmp_path: Path) -> None:
    """A person has entered them, while the LIS was down."""
    channels = {"chem": astm_channel(orders={"codes": {"GLU": "1"}})}
    async with running_site(tmp_path, channels) as site:
        ours = await site.labrelay("orders", "add", "S-1", "GLU", "--patient", NUMBER, "--family", NAME)
        theirs = await site.labrelay("orders", "add", "S-2", "GLU", "--patient", "PX-7702")
        assert (ours.code, theirs.code) == (ExitCode.OK, ExitCode.OK)
        first = await site.labrelay("erase", "--patient", NUMBER, "--reason", "asked", "--yes")
        assert "1 order would never be measured: W1" in first.err
        done = await site.labrelay("erase", "--patient", NUMBER, "--reason", "asked", "--yes", "--force", "-o", "json")
        assert done.code == ExitCode.OK, done.err
        assert (done.json["count"], done.json["orders"]) == (0, ["W1"])
        shown = await site.labrelay("orders", "show", "W1", "--unmask", "--purpose", "a test", "-o", "json")
        assert (shown.json["state"], shown.json["specimen"], shown.json["patient"]["family"]) == ("cancelled", "", "")
        assert [one.state for one in worklist.items(site.journal, worklist.ItemFilter(patient="PX-7702"))] == [
            "waiting"
        ]
        again = await site.labrelay("erase", "--patient", NUMBER, "--reason", "asked", "--yes")
        assert again.code == ExitCode.FAILED
    assert NAME.encode() not in b"".join(path.read_bytes() for path in (tmp_path / "var").glob("journal*"))


async def test_a_log_that_cannot_forget_one_record_is_named_with_the_day_on_which_it_does(tmp_path: Path) -> None:
    log = {"kind": "kafka", "connect": "127.0.0.1:9", "topic": "lab.results", "gateway": "g", "keeps": "9d"}
    async with running_site(tmp_path, CHANNELS, {"log": log}) as site:
        await send_blocks(site.port("chem"), [hl7("1")])
        await site.settled()
        done = await site.labrelay("erase", "--patient", NUMBER, "--reason", "asked", "--yes", "--force", "-o", "json")
        assert done.code == ExitCode.OK, done.err
        [told] = done.json["logs"]
        day = datetime.fromisoformat(told["until"])
        assert told["place"] == "127.0.0.1:9/lab.results"
        assert timedelta(days=8, hours=23) < day - datetime.now(UTC) < timedelta(days=9)


def filled(folder: Path, more: Callable[[RunningSite], Awaitable[None]] | None = None) -> dict[str, int]:
    """A site that has received, and is stopped; name -> message number."""
    return asyncio.run(_filled(folder, more))


async def _filled(folder: Path, more: Callable[[RunningSite], Awaitable[None]] | None) -> dict[str, int]:
    names = ["ours", "theirs", "ours again", "repeat", "unreadable", "beside"]
    async with running_site(folder, CHANNELS) as site:
        blocks = [
            hl7("1"),
            hl7("2", patient="PX-7702", name="ANDERS"),
            hl7("3"),
            hl7("1"),
            hl7("5").replace(b"ORU^R01", b"ZZZ^Z99"),
            hl7("6", "OBR|1|O6|F6|GLU^Glucose", f"OBX|1|ST|TXT^Text||see {NUMBER} of last week||||||F",
                patient="PX-7703", name="OTHER"),
        ]  # fmt: skip
        await send_blocks(site.port("chem"), blocks)
        await site.settled()
        await send_astm(site.port("astm"), ASTM)
        await until(lambda: len(site.messages()) == len(blocks) + 1)
        await site.settled()
        if more is not None:
            await more(site)
        ids = sorted(view.id for view in site.messages("chem"))
        astm = min(view.id for view in site.messages("astm"))
    return {**dict(zip(names, ids, strict=False)), "astm": astm}


def erase(folder: Path, *arguments: str, patient: str = NUMBER) -> Ran:
    return labrelay("erase", "--patient", patient, "--reason", "asked by the patient", *arguments, site=folder)


def sealed(folder: Path, message: int) -> list[bytes]:
    """Pieces of what is stored of a message, as it stands in the file."""
    with closing(sqlite3.connect(folder / "var" / JOURNAL_NAME)) as connection:
        rows = connection.execute("SELECT body FROM journal WHERE id = ?", (message,)).fetchall()
        rows += connection.execute("SELECT body FROM document WHERE message_id = ?", (message,)).fetchall()
    return [body[20:60] for (body,) in rows]


def stored_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in (folder / "var").glob("journal.*") if path.is_file())


def test_everything_of_a_patient_goes_and_the_proof_stays(tmp_path: Path) -> None:
    ids = filled(tmp_path)
    ours = [ids[name] for name in ("ours", "ours again", "repeat", "unreadable", "astm")]
    pieces = [piece for message in ours for piece in sealed(tmp_path, message)]
    theirs = sealed(tmp_path, ids["theirs"])
    assert all(piece in stored_bytes(tmp_path) for piece in pieces)

    looked = erase(tmp_path, "--dry-run", "-o", "json")
    assert [row["id"] for row in looked.json["messages"]] == sorted(ours)
    assert looked.json["unsure"] == []  # the one beside was mapped and read: it is another patient's
    assert NAME not in looked.out
    refused = erase(tmp_path, "--yes")
    assert refused.code == ExitCode.REFUSED
    assert "must be kept for" in refused.err
    assert f"not done with, and would never be delivered: {ids['unreadable']}" in refused.err

    done = erase(tmp_path, "--yes", "--force", "--authority", "DPB 12/2026", "-o", "json")
    assert (done.code, done.json["count"], done.json["closed"]) == (ExitCode.OK, 5, 1)
    assert (done.json["frames"], done.json["compacted"]) == (2, True)
    assert "backups hold" in erase(tmp_path, "--yes").err + labrelay("erase", "--help").out
    left = stored_bytes(tmp_path)
    assert not any(piece in left for piece in pieces)
    assert all(piece in left for piece in theirs)

    assert verify.run(tmp_path / "var", deep=True) == []
    assert labrelay("verify", "--deep", site=tmp_path).code == ExitCode.OK
    assert labrelay("audit", "verify", site=tmp_path).code == ExitCode.OK
    (act,) = labrelay("audit", "list", "--act", "erase", "-o", "json", site=tmp_path).json["acts"]
    assert act["what"]["authority"] == "DPB 12/2026"
    assert act["what"]["messages"] == sorted(ours)
    assert len(act["what"]["forced"]) == 2
    assert NUMBER not in str(act)
    assert erase(tmp_path, "--dry-run", "-o", "json").json["count"] == 0


def test_every_verb_says_that_it_was_erased(tmp_path: Path) -> None:
    ids = filled(tmp_path)
    assert erase(tmp_path, "--yes", "--force", "--no-compact").code == ExitCode.OK
    ours = str(ids["ours"])
    listed = labrelay("messages", "list", "-o", "json", site=tmp_path).json["messages"]
    assert {row["id"] for row in listed if row["notes"] == ["erased"]} == {
        ids[name] for name in ("ours", "ours again", "repeat", "unreadable", "astm")
    }
    assert labrelay("messages", "show", ours, site=tmp_path).code == ExitCode.OK
    for verb in (("messages", "show", ours, "--unmask", "--purpose", "a test"), ("explain", ours)):
        ran = labrelay(*verb, site=tmp_path)
        assert (ran.code, "was erased" in ran.err) == (ExitCode.FAILED, True), verb
    replayed = labrelay("replay", ours, str(ids["theirs"]), "--yes", "-o", "json", site=tmp_path)
    assert replayed.json["done"] == {"erased": 1, "requeued": 1}
    with closing(sqlite3.connect(tmp_path / "var" / JOURNAL_NAME)) as connection:
        waiting = connection.execute("SELECT message_id FROM delivery WHERE state = 'waiting'").fetchall()
    assert waiting == [(ids["theirs"],)]
    again = labrelay("reprocess", "--channel", "chem", "--since", "1d", "-o", "json", site=tmp_path)
    assert again.code in (ExitCode.OK, ExitCode.PARTLY), again.err
    assert NAME not in again.out
    assert "damaged" not in again.out
    assert "or it was erased" in labrelay("reprocess", "--channel", "chem", "--since", "1d", site=tmp_path).out
    gaps = labrelay("gaps", "--since", "1d", site=tmp_path)
    assert (gaps.code, "cannot be opened" in gaps.err) == (ExitCode.OK, False)
    file = tmp_path / "all.ndjson"
    exported = labrelay("messages", "export", "--to", str(file), "--unmask", "--purpose", "a test", site=tmp_path)
    assert exported.code == ExitCode.OK, exported.err
    text = file.read_text("utf-8")
    assert NAME not in text
    assert "ANDERS" in text
    persons = tmp_path / "persons.csv"
    assert (
        labrelay("audit", "export", "--breach", "--purpose", "a test", "--to", str(persons), site=tmp_path).code
        == ExitCode.OK
    )
    assert NAME not in persons.read_text("utf-8")


def test_a_salvaged_journal_knows_what_was_erased(tmp_path: Path) -> None:
    ids = filled(tmp_path)
    assert erase(tmp_path, "--yes", "--force", "--no-compact").code == ExitCode.OK
    ran = labrelay(
        "journal", "salvage", "--to", str(tmp_path / "saved"), "--reason", "try", "-o", "json", site=tmp_path
    )
    assert {name: ran.json[name] for name in ("lost", "again", "findings", "damaged")} == {
        "lost": 0, "again": [], "findings": [], "damaged": [],
    }  # fmt: skip
    assert ran.code == ExitCode.OK
    (tmp_path / "var").rename(tmp_path / "old")
    (tmp_path / "saved").rename(tmp_path / "var")
    assert verify.run(tmp_path / "var", deep=True) == []
    assert (
        "was erased"
        in labrelay("messages", "show", str(ids["ours"]), "--unmask", "--purpose", "a test", site=tmp_path).err
    )


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE journal SET body = (SELECT body FROM journal WHERE id = :other) WHERE id = :ours",
        "UPDATE journal SET received_us = received_us + 1 WHERE id = :ours",
        "UPDATE journal SET token = x'' WHERE kind = 5",
        "DELETE FROM erased",
        "UPDATE document SET media_type = 'text/plain' WHERE message_id = :ours",
    ],
)
def test_an_emptied_row_is_as_well_guarded_as_any_other(tmp_path: Path, tamper: str) -> None:
    ids = filled(tmp_path)
    assert erase(tmp_path, "--yes", "--force", "--no-compact").code == ExitCode.OK
    with closing(sqlite3.connect(tmp_path / "var" / JOURNAL_NAME)) as connection:
        values = {"ours": ids["ours"], "other": ids["theirs"]}
        used = {name: value for name, value in values.items() if f":{name}" in tamper}
        connection.execute(tamper, used)
        connection.commit()
    assert any(finding.kind == "changed" for finding in verify.run(tmp_path / "var"))


def test_a_row_that_somebody_empties_without_a_record_is_named(tmp_path: Path) -> None:
    ids = filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "var" / JOURNAL_NAME)) as connection:
        connection.execute("UPDATE journal SET body = x'' WHERE id = ?", (ids["ours"],))
        connection.execute("INSERT INTO erased VALUES ('journal', ?, ?, 0)", (ids["ours"], ids["theirs"]))
        connection.commit()
    assert any(finding.first == ids["ours"] for finding in verify.run(tmp_path / "var"))


def test_what_names_other_patients_too_is_not_erased_by_the_way(tmp_path: Path) -> None:
    async def two(site: RunningSite) -> None:
        both = hl7("8") + hl7("8", patient="PX-7709", name="BEATE").split(b"\r", 1)[1]
        await send_blocks(site.port("chem"), [both, f"GARBAGE {NUMBER} {NAME}\r".encode()])
        await site.settled()

    filled(tmp_path, two)
    looked = erase(tmp_path, "--dry-run", "-o", "json")
    assert [row["id"] for row in looked.json["messages"] if row["others"]] == [
        row["id"] for row in looked.json["messages"][-1:]
    ]
    assert any("other patients" in obstacle for obstacle in looked.json["obstacles"])
    (garbage,) = looked.json["unsure"]
    named = erase(tmp_path, "--dry-run", "--message", str(garbage), "-o", "json")
    assert garbage in [row["id"] for row in named.json["messages"]]


def test_a_message_whose_numbers_are_not_all_known_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patients = [
        f"P|{n}||PZ-{n}||ANDERS^N{n}\rO|1|S{n}||^^^GLU|R\rR|1|^^^GLU|5.4|mmol/L||N||F\r" for n in range(1, MOST)
    ]
    day = ASTM.decode().replace("P|1|", "".join(patients) + f"P|{MOST}|", 1)

    def fails(parsed: Parsed) -> tuple[Number, ...]:
        if any("UNLUCKY" in field for segment in parsed.segments for field in segment.fields):
            raise RuntimeError("a fault of ours")
        return numbers_in(parsed)

    monkeypatch.setattr(process, "numbers_in", fails)

    async def more(site: RunningSite) -> None:
        blocks = [hl7("7", name="UNLUCKY"), hl7("8", patient="PX-7704", name="UNLUCKY")]
        await send_blocks(site.port("chem"), blocks)
        await site.settled()
        await send_astm(site.port("astm"), day.encode())
        await until(lambda: len(site.messages()) == 10)
        await site.settled()

    filled(tmp_path, more)
    listed = labrelay("messages", "list", "-o", "json", site=tmp_path).json["messages"]
    ours, theirs, whole_day = sorted(row["id"] for row in listed)[-3:]
    assert {row["state"] for row in listed if row["id"] in (ours, theirs, whole_day)} == {"mapped"}
    looked = labrelay("messages", "list", "--patient", NUMBER, "-o", "json", site=tmp_path)
    assert not {ours, whole_day} & {row["id"] for row in looked.json["messages"]}
    assert "3 messages bear more numbers than were noted" in looked.err
    found = {row["id"]: row["others"] for row in erase(tmp_path, "--dry-run", "-o", "json").json["messages"]}
    assert (found[ours], found[whole_day], theirs in found) == (False, True, False)


def test_nothing_is_erased_without_a_reason(tmp_path: Path) -> None:
    filled(tmp_path)
    for arguments in (("--patient", NUMBER, "--yes"), ("--reason", "x")):
        wrong = labrelay("erase", *arguments, site=tmp_path)
        assert wrong.code == ExitCode.USAGE
    assert erase(tmp_path, patient="absent").code == ExitCode.FAILED


# -- beside a running daemon ---------------------------------------------------------------------------------------


async def erase_beside(site: RunningSite, *arguments: str) -> Ran:
    return await site.labrelay("erase", "--patient", NUMBER, "--reason", "asked by the patient", *arguments)


async def test_what_is_found_beside_a_daemon_is_what_is_found_without_one(tmp_path: Path) -> None:
    looked: list[Ran] = []

    async def look(site: RunningSite) -> None:
        looked.append(await erase_beside(site, "--dry-run", "-o", "json"))
        assert acts_page(site.journal) == []

    ids = await _filled(tmp_path, look)
    alone = (await asyncio.to_thread(erase, tmp_path, "--dry-run", "-o", "json")).json
    ours = [ids[name] for name in ("ours", "ours again", "repeat", "unreadable", "astm")]
    assert [row["id"] for row in looked[0].json["messages"]] == sorted(ours)
    assert looked[0].json == alone


async def test_a_patient_is_erased_while_messages_come_and_go(tmp_path: Path) -> None:
    """Of what waits, the patient's is never sent; the others' goes out, in its order."""
    async with running_site(tmp_path, CHANNELS) as site:
        await send_blocks(site.port("chem"), [hl7("1"), hl7("2", patient="PX-7702", name="ANDERS")])
        await site.settled()
        await site.sandbox.pause()
        waiting = [hl7("3"), *(hl7(str(n), patient=f"PX-8{n}", name="OTHER") for n in range(4, 8)), hl7("8")]
        await send_blocks(site.port("chem"), waiting)
        await until(lambda: len(site.deliveries(8)) == 1)
        pieces = [piece for message in (1, 3, 8) for piece in sealed(tmp_path, message)]
        theirs = [piece for message in (2, 4, 7) for piece in sealed(tmp_path, message)]

        refused = await erase_beside(site, "--yes")
        assert (refused.code, "3, 8" in refused.err) == (ExitCode.REFUSED, True), "two were not delivered yet"
        ran = await erase_beside(site, "--yes", "--force", "-o", "json")
        assert ran.code == ExitCode.OK, ran.err
        assert (ran.json["count"], ran.json["documents"], ran.json["closed"]) == (3, 3, 2)
        assert (ran.json["compacted"], "labrelay journal compact" in ran.err) == (None, True)
        await send_blocks(site.port("chem"), [hl7("9", patient="PX-89", name="OTHER")])
        await site.sandbox.start()
        await site.settled()

        last = site.messages()[-1].id
        assert [site.end_of(number) for number in (*range(2, 9), last)] == [
            "delivered", "dismissed", "delivered", "delivered", "delivered", "delivered", "dismissed", "delivered",
        ]  # fmt: skip
        keys = [site.deliveries(number)[0].key for number in (4, 5, 6, 7, last)]
        assert [key for key in site.sandbox.accepted if key in keys] == keys
        patients = [one["identifier"][0]["value"] for one in site.sandbox.resources("Patient")]
        assert patients.count(NUMBER) == 1, "what was delivered before is the server's"
        (act,) = [act for act in acts_page(site.journal) if act.verb == "erase"]
        assert (act.what["messages"], act.what["reason"]) == ([1, 3, 8], "asked by the patient")
        assert NUMBER not in str(act.what)
        site.app.observer.expire()
        assert any("unused parts of the file" in note for note in site.app.observer.snapshot().notes)
        again = await erase_beside(site, "--yes", "--force")
        assert (again.code, "no message with this number" in again.out) == (ExitCode.FAILED, True)
        found = await site.labrelay("messages", "list", "--patient", NUMBER, "-o", "ndjson")
        assert found.out == ""
        assert (await site.labrelay("verify", "--deep")).code == ExitCode.OK
    ran = await asyncio.to_thread(labrelay, "journal", "compact", "--yes", site=tmp_path)
    assert ran.code == ExitCode.OK, ran.err
    left = stored_bytes(tmp_path)
    assert not any(piece in left for piece in pieces)
    assert all(piece in left for piece in theirs)
    async with running_site(tmp_path, CHANNELS) as site:
        assert not any("journal compact" in note for note in site.app.observer.snapshot().notes)


async def test_an_attempt_that_is_under_way_ends_before_its_message_is_erased(tmp_path: Path) -> None:
    async with running_site(tmp_path, CHANNELS) as site:
        site.sandbox.faults.latency = 1.0
        await send_blocks(site.port("chem"), [hl7("1")])
        await until(lambda: site.app.parts.delivery_workers["lab-fhir"].attempts_of(1) == 1)
        ran = await erase_beside(site, "--yes", "--force", "-o", "json")
        assert (ran.code, ran.json["count"], ran.json["closed"]) == (ExitCode.OK, 1, 0)
        await site.settled()
        assert site.end_of(1) == "delivered", "how it ended is known"
        assert site.sandbox.count("Observation") == 1


def test_the_other_version_of_an_edited_message_is_named(tmp_path: Path) -> None:
    ids = filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "var" / JOURNAL_NAME)) as connection, connection:
        connection.execute("INSERT INTO edited VALUES (?, ?, 0)", (ids["ours"], ids["theirs"]))
    looked = erase(tmp_path, "--dry-run", "-o", "json")
    assert ids["theirs"] not in [row["id"] for row in looked.json["messages"]]
    assert looked.json["edited"] == [ids["theirs"]]
    assert "other versions of these" in erase(tmp_path, "--dry-run").out


def test_an_erasure_that_was_cut_short_before_the_file_was_written_anew_is_finished_by_the_next(tmp_path: Path) -> None:
    ids = filled(tmp_path)
    pieces = sealed(tmp_path, ids["ours"])
    assert erase(tmp_path, "--yes", "--force", "--no-compact").code == ExitCode.OK

    (tmp_path / "var" / "before-upgrade").mkdir()
    again = erase(tmp_path, "--yes", "--force")

    assert again.code == ExitCode.FAILED  # there was nothing left to erase
    assert "the file was written anew" in again.err
    assert "before-upgrade: this copy has these data" in erase(tmp_path, "--yes", "--force", patient="PX-7702").err
    assert not any(piece in stored_bytes(tmp_path) for piece in pieces)
    assert verify.run(tmp_path / "var", deep=True) == []


def test_after_a_crash_also_what_it_cut_short_is_erased_without_a_start_in_between(tmp_path: Path) -> None:
    """Frames that were acknowledged, and belong to no message yet, have the patient in them."""
    site, crashed = tmp_path / "site", tmp_path / "crashed"

    async def cut(running: RunningSite) -> None:
        reader, writer = await asyncio.open_connection(HOST, running.port("astm"))
        writer.write(b"\x05")
        assert await reader.readexactly(1) == b"\x06"
        for number, text in ((1, ASTM[:60]), (2, ASTM[60:110])):
            frame = b"%d" % number + text + b"\x17"
            writer.write(b"\x02" + frame + b"%02X\r\n" % (sum(frame) % 256))
            assert await reader.readexactly(1) == b"\x06"
        # As a power cut leaves it: all that was acknowledged is there, and nobody has closed anything.
        shutil.copytree(site, crashed, ignore=shutil.ignore_patterns("*.sock"))
        writer.close()

    site.mkdir()
    filled(site, cut)
    with closing(sqlite3.connect(crashed / "var" / JOURNAL_NAME)) as connection:
        (last, kind, body) = connection.execute("SELECT id, kind, body FROM journal ORDER BY id DESC").fetchone()
    assert kind == KIND_FRAME

    ran = erase(crashed, "--yes", "--force")

    assert ran.code == ExitCode.OK, ran.err
    assert "1 message was put together of what the last stop cut short" in ran.err
    assert body[20:60] not in stored_bytes(crashed)
    with closing(sqlite3.connect(crashed / "var" / JOURNAL_NAME)) as connection:
        assert connection.execute("SELECT 1 FROM erased WHERE what = 'journal' AND number = ?", (last,)).fetchone()
    assert verify.run(crashed / "var", deep=True) == []


def test_folders_that_have_the_patients_files_are_named(tmp_path: Path) -> None:
    """LabRelay deletes nothing in them: who is not told thinks that nothing is left on the machine."""
    inbox, delivered = tmp_path / "inbox", tmp_path / "delivered"
    inbox.mkdir()
    source = {"kind": "folder", "folder": str(inbox), "format": "hl7v2", "settle": "0s", "every": "50ms"}
    channels = {
        "files": channel(source, {"mapping": "hl7-results", "to": "archive"}),
        "other": channel(MLLP, {"to": "archive"}),
    }

    async def live() -> None:
        make_running_site(tmp_path, channels, {"archive": {"kind": "file", "folder": str(delivered)}})
        async with running_app(tmp_path) as app:
            (inbox / "a.hl7").write_bytes(hl7("1"))
            await until(lambda: any(view.state == "mapped" for view in messages_page(app.journal)))
            await until(lambda: not any(lane.open for lane in list_lanes(app.journal)))

    asyncio.run(live())
    ran = erase(tmp_path, "--force", "--yes", "-o", "json")
    assert ran.json["elsewhere"] == [str(inbox), str(inbox / "finished"), str(inbox / "failed"), str(delivered)]
    assert [NUMBER.encode() in path.read_bytes() for path in (inbox / "finished").iterdir()] == [True]
    assert len(list(delivered.iterdir())) == 1
