"""Correcting a dead message: by an editor or from a file, beside the daemon and without one."""

import os
import signal
import stat
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.rework.commands import dlq as editing
from engine.store.core.files.lock import SiteLock
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader, stored_payload
from tests.support.command_line import Ran, labrelay
from tests.support.filled_journal import (
    CANARY,
    CHANNEL,
    DELIVERED,
    INCOMPLETE,
    REFUSED,
    UNMAPPED,
    fill_journal,
    payload,
)
from tests.support.running import hl7_channel, running_site
from tests.support.senders import send_blocks
from tests.support.sites import make_site

RAW_CHANNEL = """\
channel: haematology
source: {kind: mllp, listen: "127.0.0.1:0"}
routes:
  - when: =MSH-9.1 == 'ORU'
    to: archive
"""
REASON = ("--reason", "wrong tube")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = make_site(tmp_path, channels={"a.yaml": RAW_CHANNEL})
    fill_journal(folder / "var")
    return folder


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the private folders are made, and nothing may stay."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setattr(editing, "IN_MEMORY", (str(shelf),))
    return shelf


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give it the lines of a Python script that has ``path`` and ``text``, and writes ``text``."""
    script = tmp_path / "editor.py"
    monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
    return script


def script(editor: Path, *lines: str) -> None:
    head = "import os, pathlib, sys\npath = pathlib.Path(sys.argv[1])\ntext = path.read_bytes().decode()\n"
    editor.write_text(head + "\n".join(lines) + "\npath.write_bytes(text.encode())\n", encoding="utf-8")


def show(site: Path, message: int) -> Ran:
    return labrelay("messages", "show", str(message), "-o", "json", site=site)


def stored(site: Path, message: int) -> bytes:
    journal = Reader.beside(site / "var")
    try:
        return stored_payload(journal, message)
    finally:
        journal.close()


def last_act(site: Path) -> tuple[str, dict[str, object]]:
    journal = Reader.beside(site / "var")
    try:
        act = acts_page(journal, limit=1)[0]
        return act.verb, act.what
    finally:
        journal.close()


def test_an_edited_message_is_a_new_one_and_the_original_stays(site: Path, editor: Path, shelf: Path) -> None:
    script(editor, "text = text.replace('HGB^Hb^L', '718-7^Hb^LN')")
    ran = labrelay("dlq", "edit", str(UNMAPPED), *REASON, "--yes", "-o", "json", site=site)

    assert ran.code == ExitCode.OK, ran.err
    new = ran.json["message"]
    assert ran.json["to"] == ["archive"]
    assert stored(site, UNMAPPED) == payload(UNMAPPED)
    assert stored(site, new) == payload(UNMAPPED).replace(b"HGB^Hb^L", b"718-7^Hb^LN")
    old, made = show(site, UNMAPPED).json, show(site, new).json
    assert (old["message"]["state"], old["edited_as"]) == ("dismissed", new)
    assert (made["message"]["channel"], made["edited_from"]) == (CHANNEL, UNMAPPED)
    assert made["message"]["flags"] == [], "the same control id is in the nature of it"
    assert "wrong tube" in old["detail"]
    assert last_act(site) == (
        "edit",
        {
            "message": UNMAPPED,
            "edited": new,
            "reason": "wrong tube",
            "before": sha256(payload(UNMAPPED)).hexdigest(),
            "after": sha256(stored(site, new)).hexdigest(),
        },
    )
    assert f"it is message {new} now" in labrelay("messages", "show", str(UNMAPPED), site=site).out
    assert list(shelf.iterdir()) == []
    assert CANARY not in ran.out + ran.err


def test_what_the_editor_sees_is_private_and_can_be_kept(site: Path, editor: Path, shelf: Path) -> None:
    script(
        editor,
        "assert text.startswith('# labrelay: '), text",
        "assert chr(13) not in text, 'a segment is a line'",
        f"pathlib.Path({str(shelf.parent / 'seen')!r}).write_text(f'{{path.stat().st_mode:o}}'"
        " f' {path.parent.stat().st_mode:o} {os.environ[\"TMPDIR\"] == str(path.parent)}')",
        "text = text.replace('PID|1', 'PID|2')",
    )
    assert labrelay("dlq", "edit", str(REFUSED), *REASON, "--yes", site=site).code == ExitCode.OK

    assert (shelf.parent / "seen").read_text() == "100600 40700 True"
    assert stored(site, 6 + 1) == payload(REFUSED).replace(b"PID|1", b"PID|2"), "6 is the audit row of the reading"


def test_a_dead_delivery_is_closed_with_its_message_edited(site: Path, editor: Path, shelf: Path) -> None:
    script(editor, "text = text.replace('PID|1', 'PID|2')")
    ran = labrelay("dlq", "edit", str(REFUSED), *REASON, "--yes", "-o", "json", site=site)

    old = show(site, REFUSED).json
    assert old["edited_as"] == ran.json["message"]
    assert [delivery["state"] for delivery in old["deliveries"]] == ["dismissed"]
    listed = labrelay("dlq", "list", "-o", "ndjson", site=site).lines
    assert REFUSED not in [row["message"] for row in listed]


def test_nothing_changed_is_nothing_done(site: Path, editor: Path, shelf: Path) -> None:
    script(editor, "text = text.replace(chr(10), chr(13) + chr(10))  # as some editors write lines")
    ran = labrelay("dlq", "edit", str(UNMAPPED), *REASON, "--yes", site=site)

    assert ran.code == ExitCode.FAILED
    assert f"nothing was changed; message {UNMAPPED} is as it was" in ran.err
    assert show(site, UNMAPPED).json["message"]["state"] == "dead"
    assert last_act(site)[0] == "unmask", "it was read, and that is on record"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("text = ''", "is empty"),
        ("text = 'XYZ' + text[text.index('MSH') :]", "dead letter again"),
        ("text = text.replace('ORU^R01', 'ADT^A01')", "would be a dead letter again: NO_ROUTE"),
        ("text = text[text.index('MSH'):] * 2", "holds 2 messages"),
        ("sys.exit(3)", "the editor ended with 3"),
        ("path.write_bytes(b'MSH|\\xff'); sys.exit(0)", "is not UTF-8"),
    ],
)
def test_what_is_no_message_is_not_taken(site: Path, editor: Path, shelf: Path, line: str, said: str) -> None:
    script(editor, line)
    ran = labrelay("dlq", "edit", str(UNMAPPED), *REASON, "--yes", site=site)

    assert ran.code in {ExitCode.FAILED, ExitCode.REFUSED}
    assert said in ran.err
    assert show(site, UNMAPPED).json["message"]["state"] == "dead"
    assert list(shelf.iterdir()) == []


@pytest.mark.parametrize(
    ("message", "said"),
    [(DELIVERED, "is no dead letter"), (INCOMPLETE, "never a result"), (99, "there is no message 99")],
)
def test_only_dead_letters_are_edited(site: Path, message: int, said: str) -> None:
    ran = labrelay("dlq", "edit", str(message), *REASON, "--yes", site=site)
    assert (ran.code, said in ran.err) == (ExitCode.FAILED, True)


def test_two_people_at_once_and_the_second_is_told(site: Path, editor: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.hl7"
    other.write_bytes(payload(UNMAPPED).replace(b"PID|1", b"PID|3"))
    first = f"{sys.executable} -m engine --site {site} dlq edit {UNMAPPED} --reason mine --yes --from {other}"
    script(
        editor,
        f"import subprocess; subprocess.run({first.split()!r}, check=True)",
        "text = text.replace('PID|1', 'PID|2')",
    )
    ran = labrelay("dlq", "edit", str(UNMAPPED), *REASON, "--yes", site=site)

    assert ran.code == ExitCode.FAILED
    new = show(site, UNMAPPED).json["edited_as"]
    assert f"edited already: it is message {new} now" in ran.err
    assert stored(site, new) == other.read_bytes()


def test_a_file_takes_the_place_of_the_editor(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "corrected.hl7"
    file.write_bytes(payload(UNMAPPED).replace(b"PID|1", b"PID|2").replace(b"\r", b"\n"))
    arguments = ("dlq", "edit", str(UNMAPPED), *REASON, "--from", str(file))
    assert labrelay(*arguments, site=site).code == ExitCode.REFUSED, "it asks"
    dry = labrelay(*arguments, "--dry-run", site=site)
    assert (dry.code, dry.out) == (ExitCode.OK, "it would be mapped, and sent to archive\n")
    ran = labrelay(*arguments, "--yes", "-o", "json", site=site)
    assert (ran.code, "written as CR" in ran.err) == (ExitCode.OK, True)
    assert stored(site, ran.json["message"]) == payload(UNMAPPED).replace(b"PID|1", b"PID|2")


def test_a_message_that_was_taken_before_is_not_taken_again(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "same.hl7"
    file.write_bytes(payload(DELIVERED))
    ran = labrelay("dlq", "edit", str(UNMAPPED), *REASON, "--from", str(file), "--yes", site=site)

    assert ran.code == ExitCode.FAILED
    assert f"message {DELIVERED} has these very bytes" in ran.err
    assert show(site, UNMAPPED).json["message"]["state"] == "dead"


def test_an_edit_needs_a_reason_an_editor_and_the_lock(
    site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "--reason" in labrelay("dlq", "edit", str(UNMAPPED), site=site).err
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    ran = labrelay("dlq", "edit", str(UNMAPPED), *REASON, site=site)
    assert (ran.code, "--from FILE" in ran.err) == (ExitCode.USAGE, True)
    file = tmp_path / "corrected.hl7"
    file.write_bytes(payload(UNMAPPED).replace(b"PID|1", b"PID|2"))
    held = SiteLock.acquire(site / "var")
    try:
        ran = labrelay("dlq", "edit", str(UNMAPPED), *REASON, "--from", str(file), "--yes", site=site)
    finally:
        held.release()
    assert ran.code == ExitCode.UNREACHABLE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_of_an_edit_that_was_ended(site: Path, editor: Path, tmp_path: Path, number: int) -> None:
    """In a process of its own, with an editor that waits; Ctrl-C goes to both, as from a terminal."""
    shelf, seen = tmp_path / "shelf", tmp_path / "seen"
    shelf.mkdir()
    script(editor, f"pathlib.Path({str(seen)!r}).write_text(str(path))", "import time; time.sleep(90)")
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(shelf)}
    running = subprocess.Popen(
        [sys.executable, "-m", "engine", "--site", str(site), "dlq", "edit", str(UNMAPPED), *REASON, "--yes"],
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 60
        while not (seen.exists() and seen.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert Path(seen.read_text()).exists()
        if number == signal.SIGINT:
            os.killpg(running.pid, number)
        else:
            running.send_signal(number)
    finally:
        _, said = running.communicate(timeout=120)
    assert running.returncode == ExitCode.INTERRUPTED, said
    assert list(shelf.iterdir()) == []


def test_what_a_killed_edit_left_is_removed_by_the_next(site: Path, editor: Path, shelf: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f"labrelay-edit-{ended.pid}-x", f"labrelay-edit-{os.getpid()}-mine"):
        (shelf / name).mkdir()
        (shelf / name / "message.txt").write_text(CANARY)
    script(editor, "pass")
    labrelay("dlq", "edit", str(UNMAPPED), *REASON, "--yes", site=site)

    assert [path.name for path in shelf.iterdir()] == [f"labrelay-edit-{os.getpid()}-mine"]
    assert stat.S_ISDIR(shelf.stat().st_mode)


async def test_the_running_daemon_maps_and_delivers_it(tmp_path: Path) -> None:
    message = payload(1)
    async with running_site(tmp_path, {"chem": hl7_channel()}) as site:
        await send_blocks(site.port("chem"), [message.replace(b"ORU^R01", b"ZZZ^Z01")])
        await site.settled()
        assert site.ends() == ["NO_ROUTE"]
        file = tmp_path / "corrected.hl7"
        file.write_bytes(message)
        ran = await site.labrelay("dlq", "edit", "1", *REASON, "--from", str(file), "--yes", "-o", "json")
        assert ran.code == ExitCode.OK, ran.err
        await site.settled()
        assert site.end_of(ran.json["message"]) == "delivered"
        assert site.sandbox.count("Observation") == 1
        again = await site.labrelay("dlq", "edit", "1", *REASON, "--from", str(file), "--yes")
        assert (again.code, "edited already" in again.err) == (ExitCode.FAILED, True)
