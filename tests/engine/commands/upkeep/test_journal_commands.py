"""Verbs that read the journal or act on it, without a daemon: output, exit codes, masks and the audit trail."""

import asyncio
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.process.clock import SystemClock
from engine.model.site.actor import user_name
from engine.store.core.files.lock import SiteLock
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.operations import append
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from engine.views.help import library
from engine.views.help.markdown import narrowed
from tests.support.command_line import labrelay
from tests.support.filled_journal import CANARY, DELIVERED, REFUSED, UNMAPPED, WAITING
from tests.support.journals import received
from tests.support.sites import SITE_YAML, make_site


def acts(site: Path) -> list[str]:
    journal = Reader.beside(site / "var")
    try:
        return [act.verb for act in acts_page(journal) if act.verb]
    finally:
        journal.close()


# -- messages ----------------------------------------------------------------------------------------------------


def test_messages_are_listed_newest_first_and_filtered(site: Path) -> None:
    ran = labrelay("messages", "list", "-o", "json", site=site)

    assert ran.code == ExitCode.OK
    listed = ran.json
    assert listed["schema_version"] == 1
    assert [row["id"] for row in listed["messages"]] == [5, 4, 3, 2, 1]
    assert listed["messages"][2]["code"] == "UNMAPPED_CODE"
    assert listed["messages"][0]["received"].endswith("+00:00")

    def ids(*options: str) -> list[int]:
        return [row["id"] for row in labrelay("messages", "list", "-o", "ndjson", *options, site=site).lines]

    assert ids("--state", "dead") == [UNMAPPED]
    assert ids("--code", "unmapped_code") == [UNMAPPED]
    assert (ids("--state", "waiting"), ids("--state", "delivered")) == ([WAITING], [DELIVERED])
    assert {row["id"]: row["delivery"] for row in listed["messages"] if row["delivery"]} == {
        DELIVERED: "delivered",
        REFUSED: "dead",
        WAITING: "waiting",
    }
    assert ids("--channel", "nobody") == []
    assert ids("--since", "1h") == [5, 4, 3, 2, 1]
    assert ids("--until", "2026-01-01") == []
    assert ids("--limit", "2") == [5, 4]
    assert ids("--limit", "2", "--before", "4") == [3, 2]
    assert ids("--id", "2", "--id", "4", "--id", "99") == [4, 2]
    assert ids("--channel", "haematology", "--control-id", "C3") == [3]
    assert ids("--control-id", "C4") == [4]
    assert (
        ids("--control-id", "C5") == ids("--control-id", "C5", "--before", "6") == [5]
    )  # it has no numbers: of any channel
    assert ids("--control-id", "C5", "--before", "5") == ids("--control-id", "C5", "--id", "4") == []
    assert ids("--patient", "no such") == []
    assert "labrelay dlq list" in labrelay("messages", "list", "--specimen", "1234", site=site).err
    assert labrelay("messages", "list", "--channel", "haematology", site=site).err == ""


def test_a_search_for_a_patient_is_noted_as_the_page_notes_it(site: Path) -> None:
    """Two for one number agree, and no other search has a row."""

    def searches() -> list[dict[str, str]]:
        return [
            one["what"] for one in labrelay("audit", "list", "--act", "search", "-o", "json", site=site).json["acts"]
        ]

    for options in (("--specimen", "S1"), ("--control-id", "C4"), ("--since", "1h")):
        labrelay("messages", "list", *options, site=site)
    assert searches() == []
    for number in ("P77", "p77 ", "P78"):
        assert labrelay("messages", "list", "--patient", number, site=site).code == ExitCode.OK
    other, again, first = [one["patient_token"] for one in searches()]
    assert (first == again, first == other) == (True, False)
    assert "P77" not in first


def test_a_page_says_how_to_go_on(site: Path) -> None:
    ran = labrelay("messages", "list", "--limit", "2", site=site)

    headings = ["ID", "RECEIVED", "CHANNEL", "TYPE", "STATE", "CODE", "DELIVERY", "BYTES"]
    assert ran.out.splitlines()[0].split() == headings
    assert "--before 4" in ran.err
    assert "no messages" in labrelay("messages", "list", "--type", "x", site=site).err


def test_wrong_times_and_missing_options_are_wrong_use(site: Path) -> None:
    assert labrelay("messages", "list", "--since", "yesterday", site=site).code == ExitCode.USAGE
    assert labrelay("dlq", "retry", site=site).code == ExitCode.USAGE
    assert labrelay("replay", site=site).code == ExitCode.USAGE
    assert labrelay("dlq", "dismiss", "--all", site=site).code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("verb", "option", "wrong", "hint"),
    [
        ("messages", "--state", "maped", "did you mean mapped?"),
        ("messages", "--state", "open", "There are: stored,"),
        ("dlq", "--state", "held", "There are: dead, incomplete"),
        ("dlq", "--state", "ded", "did you mean dead?"),
        ("dlq", "--code", "UNMAPED_CODE", "did you mean UNMAPPED_CODE?"),
        ("dlq", "--code", "zzz", "labrelay help reasons"),
    ],
)
def test_a_filter_that_can_never_hold_is_wrong_use(site: Path, verb: str, option: str, wrong: str, hint: str) -> None:
    ran = labrelay(verb, "list", option, wrong, site=site)

    assert ran.code == ExitCode.USAGE
    assert hint in " ".join(ran.err.split())


def test_a_trace_tells_everything_but_the_content(site: Path) -> None:
    people = labrelay("messages", "show", str(REFUSED), site=site)
    scripts = labrelay("messages", "show", str(REFUSED), "-o", "json", site=site)

    for ran in (people, scripts):
        assert ran.code == ExitCode.OK
        assert "REFUSED" in ran.out
        assert "HTTP 422" in ran.out
        assert CANARY not in ran.out + ran.err
    assert scripts.json["deliveries"][0]["state"] == "dead"
    assert scripts.json["mapping"] == "results@0123456789ab"
    issue = labrelay("messages", "show", str(UNMAPPED), site=site)
    assert "UNMAPPED_CODE no row at OBX[1]-3 (rule lab.yaml:31)" in issue.out
    assert labrelay("messages", "show", "99", site=site).code == ExitCode.FAILED


def test_a_delivery_that_the_daemon_has_in_hand_waits(site: Path) -> None:
    with closing(sqlite3.connect(site / "var" / "journal.db")) as connection:
        connection.execute("UPDATE delivery SET state = 'sending', lease = 1 WHERE message_id = ?", (WAITING,))
        connection.commit()
    assert "archive (3): waiting (claimed)" in labrelay("messages", "show", str(WAITING), site=site).out
    (delivery,) = labrelay("messages", "show", str(WAITING), "-o", "json", site=site).json["deliveries"]
    assert (delivery["state"], delivery["claimed"]) == ("waiting", True)


def test_content_is_shown_to_who_asks_for_it_and_that_is_noted_first(site: Path) -> None:
    ran = labrelay("messages", "show", str(REFUSED), "--unmask", "--purpose", "a test", "-o", "json", site=site)

    assert CANARY in ran.json["payload"]
    assert CANARY in next(iter(ran.json["bodies"].values()))
    assert ran.json["deliveries"][0]["attempts"][0]["answer"] == f"{CANARY} unknown"
    assert acts(site)[0] == "unmask"
    assert (
        f"{CANARY}^ANITA"
        in labrelay("messages", "show", str(REFUSED), "--unmask", "--purpose", "a test", site=site).out
    )


def test_what_cannot_be_noted_is_not_shown(site: Path) -> None:
    held = SiteLock.acquire(site / "var")
    try:
        ran = labrelay("messages", "show", str(REFUSED), "--unmask", "--purpose", "a test", site=site)
    finally:
        held.release()

    assert ran.code == ExitCode.UNREACHABLE
    assert CANARY not in ran.out


# -- dead letters ------------------------------------------------------------------------------------------------


def test_dead_letters_are_listed_and_explained(site: Path) -> None:
    listed = labrelay("dlq", "list", "-o", "json", site=site).json["dead_letters"]
    assert [(row["message"], row["state"], row["code"]) for row in listed] == [
        (4, "incomplete", "INCOMPLETE"),
        (3, "dead", "UNMAPPED_CODE"),
        (2, "dead", "REFUSED"),
    ]
    assert [
        row["message"] for row in labrelay("dlq", "list", "--code", "REFUSED", "-o", "ndjson", site=site).lines
    ] == [2]

    groups = labrelay("dlq", "list", "-o", "json", site=site).json["groups"]
    assert [(one["code"], one["cause"], one["count"], one["example"]) for one in groups] == [
        ("INCOMPLETE", "", 1, 4),
        ("REFUSED", "HTTP 422", 1, 2),
        ("UNMAPPED_CODE", "lab.yaml:31 OBX-3", 1, 3),
    ]
    people = labrelay("dlq", "list", site=site)
    assert "labrelay gaps prints the missing rows" in people.out
    assert "--channel haematology" in people.out
    assert [line.split()[0] for line in labrelay("dlq", "list", "--each", site=site).out.splitlines()] == [
        "MESSAGE", "4", "3", "2",
    ]  # fmt: skip

    cut = labrelay("dlq", "list", "-o", "json", "--limit", "1", site=site)
    assert ([row["message"] for row in cut.json["dead_letters"]], cut.json["more"]) == ([4], 2)
    assert "2 more follow: --before 4" in cut.err
    on = labrelay("dlq", "list", "-o", "json", "--limit", "1", "--before", "4", site=site)
    assert ([row["message"] for row in on.json["dead_letters"]], on.json["more"]) == ([3], 1)
    assert len(labrelay("dlq", "list", "-o", "ndjson", "--limit", "1", "--all", site=site).lines) == 3

    shown = labrelay("dlq", "show", str(REFUSED), site=site)
    assert "REFUSED: HTTP 422" in shown.out
    assert "The destination refused this document" in shown.out
    assert CANARY not in shown.out
    assert labrelay("dlq", "show", str(DELIVERED), site=site).code == ExitCode.FAILED


def test_nothing_is_sent_or_closed_without_consent(site: Path) -> None:
    for verb in (["dlq", "retry"], ["dlq", "dismiss", "--reason", "x"]):
        ran = labrelay(*verb, "--all", site=site)
        assert ran.code == ExitCode.REFUSED
        assert "3 dead letters" in ran.err
        assert "--yes" in ran.err
        dry = labrelay(*verb, "--all", "--dry-run", site=site)
        assert (dry.code, dry.out) == (ExitCode.OK, "3 selected\n")
    assert labrelay("replay", "--all", site=site).code == ExitCode.REFUSED
    assert len(labrelay("dlq", "list", "-o", "ndjson", site=site).lines) == 3


def test_a_delivery_is_retried_without_a_daemon(site: Path) -> None:
    ran = labrelay("dlq", "retry", str(REFUSED), "--yes", "-o", "json", site=site)

    assert ran.code == ExitCode.OK
    assert (ran.json["count"], ran.json["done"]["requeued"]) == (1, 1)
    trace = labrelay("messages", "show", str(REFUSED), "-o", "json", site=site).json
    assert (trace["deliveries"][0]["state"], trace["deliveries"][0]["manual"]) == ("waiting", True)


def test_what_could_not_be_done_is_partly_done(site: Path) -> None:
    ran = labrelay("dlq", "retry", "--all", "--code", "INCOMPLETE", "--yes", site=site)

    assert ran.code == ExitCode.PARTLY
    assert "1 incomplete" in ran.out


def test_a_dismissal_is_kept_with_its_reason(site: Path) -> None:
    ran = labrelay("dlq", "dismiss", "--code", "REFUSED", "--reason", "wrong patient", "--yes", site=site)

    assert (ran.code, ran.out) == (ExitCode.OK, "1 selected: 1 dismissed\n")
    assert acts(site)[0] == "dismiss"
    assert labrelay("dlq", "dismiss", "--all", "--reason", "x", "--yes", site=site).code == ExitCode.OK
    assert labrelay("dlq", "list", site=site).err == "no dead letters\n"


def test_a_number_that_is_no_dead_letter_is_a_failure(site: Path) -> None:
    assert labrelay("dlq", "retry", str(DELIVERED), "--yes", site=site).code == ExitCode.FAILED


def test_a_replay_without_a_daemon_waits_for_it(site: Path) -> None:
    ran = labrelay("replay", str(DELIVERED), "--to", "archive", "--yes", "-o", "json", site=site)

    assert ran.json["done"] == {"requeued": 1}
    states = [d["state"] for d in labrelay("messages", "show", "1", "-o", "json", site=site).json["deliveries"]]
    assert states == ["delivered", "waiting"]
    assert labrelay("replay", "--channel", "haematology", "--dry-run", site=site).out == "1 selected\n"


def test_acts_need_the_daemon_or_the_lock(site: Path) -> None:
    held = SiteLock.acquire(site / "var")
    try:
        ran = labrelay("dlq", "retry", "--all", "--yes", site=site)
    finally:
        held.release()

    assert ran.code == ExitCode.UNREACHABLE


# -- status, reload, verify --------------------------------------------------------------------------------------


def test_status_without_a_daemon_says_what_the_journal_holds(site: Path) -> None:
    ran = labrelay("status", "-o", "json", site=site)

    assert ran.code == ExitCode.UNREACHABLE
    assert "no daemon runs" in ran.err
    assert (ran.json["daemon"], ran.json["channels"][0]["dead"], ran.json["lanes"][0]["waiting"]) == (False, 1, 1)
    people = labrelay("status", "--offline", site=site)
    assert people.code == ExitCode.OK
    assert "haematology" in people.out


def test_status_says_by_its_exit_code_why_it_has_no_answer(tmp_path: Path) -> None:
    empty = make_site(tmp_path / "empty")
    for options, site, code in (
        ((), empty, ExitCode.FAILED),
        (("--offline",), empty, ExitCode.FAILED),
        ((), tmp_path / "none", ExitCode.CONFIG),
    ):
        assert labrelay("status", *options, site=site).code == code


def test_reload_needs_a_daemon(site: Path) -> None:
    ran = labrelay("reload", site=site)

    assert ran.code == ExitCode.UNREACHABLE
    assert "labrelay run" in ran.err


def test_status_works_while_the_configuration_is_broken(site: Path) -> None:
    (site / "config" / "labrelay.yaml").write_text(SITE_YAML + "colour: red\n", encoding="utf-8")

    assert labrelay("status", "--offline", site=site).code == ExitCode.OK


def test_a_sound_journal_verifies(site: Path) -> None:
    for options in ((), ("--deep",)):
        ran = labrelay("verify", *options, "-o", "json", site=site)
        assert (ran.code, ran.json["ok"], ran.json["findings"]) == (ExitCode.OK, True, [])


def test_a_changed_row_is_named(site: Path) -> None:
    with closing(sqlite3.connect(site / "var" / "journal.db")) as connection:
        connection.execute("UPDATE journal SET body = x'00' WHERE id = 3")
        connection.commit()
    ran = labrelay("verify", site=site)

    assert ran.code == ExitCode.INTEGRITY
    assert "row 3" in ran.out
    assert "labrelay journal salvage" in ran.err
    assert "often rows that are missing here, and has the exact list" in ran.err


def test_a_journal_that_cannot_be_read_says_where_to_go_on(site: Path) -> None:
    """Beyond the first pages, so that it opens: what a person meets is a list that breaks off."""
    path = site / "var" / "journal.db"
    content = bytearray(path.read_bytes())
    content[PAGE_BYTES:] = b"\xff" * (len(content) - PAGE_BYTES)
    path.write_bytes(content)
    ran = labrelay("messages", "list", site=site)
    assert ran.code != ExitCode.OK
    assert "labrelay verify shows what is damaged" in ran.err


def test_where_nothing_can_be_read_no_command_recommends_one_that_cannot_help(site: Path, tmp_path: Path) -> None:
    path = site / "var" / "journal.db"
    content = bytearray(path.read_bytes())
    content[:100] = b"\xa5" * 100
    path.write_bytes(content)

    listed = labrelay("messages", "list", site=site)
    verified = labrelay("verify", site=site)
    as_json = labrelay("verify", "-o", "json", site=site)
    salvaged = labrelay("journal", "salvage", "--to", str(tmp_path / "new"), "--reason", "bad sectors", site=site)

    assert [ran.code for ran in (listed, verified, as_json, salvaged)] == [ExitCode.INTEGRITY] * 4
    for ran in (listed, verified, salvaged):
        assert "labrelay restore" in ran.err
        for circle in ("labrelay verify tells", "salvage saves"):
            assert circle not in ran.err + ran.out
    assert "cannot be read: file is not a database" in verified.out
    assert as_json.json["ok"] is False
    assert "file is not a database" in as_json.json["findings"][0]["text"]


def test_where_the_tables_cannot_be_read_verify_does_not_name_itself(site: Path) -> None:
    path = site / "var" / "journal.db"
    content = bytearray(path.read_bytes())
    content[100:PAGE_BYTES] = b"\xa5" * (PAGE_BYTES - 100)
    path.write_bytes(content)
    ran = labrelay("verify", site=site)
    assert ran.code == ExitCode.INTEGRITY
    assert "labrelay verify" not in ran.out + ran.err
    assert "labrelay restore" in ran.err


def lose_everything(data: Path) -> None:
    for file in data.glob("journal.db*"):
        file.unlink()


def lose_the_anchor(data: Path) -> None:
    (data / "journal.anchor").unlink()


@pytest.mark.parametrize("lose", [lose_everything, lose_the_anchor])
def test_a_start_over_missing_rows_needs_a_person_who_says_why(site: Path, lose: Callable[[Path], None]) -> None:
    lose(site / "var")
    assert labrelay("verify", site=site).code == ExitCode.INTEGRITY
    asked = labrelay("journal", "accept-loss", "--reason", "disk replaced", site=site)
    assert asked.code == ExitCode.REFUSED
    assert "add --yes" in asked.err
    assert labrelay("verify", site=site).code == ExitCode.INTEGRITY, "a refusal changes nothing"
    assert labrelay("journal", "accept-loss", "--reason", " ", "--yes", site=site).code == ExitCode.USAGE

    assert labrelay("journal", "accept-loss", "--reason", "disk replaced", "--yes", site=site).code == ExitCode.OK

    assert labrelay("verify", "--deep", site=site).code == ExitCode.OK
    Journal.open(site / "var", clock=SystemClock()).close()
    journal = Reader.beside(site / "var")
    try:
        (act,) = [act for act in acts_page(journal) if act.verb == "accept-loss"]
    finally:
        journal.close()
    assert act.what["reason"] == "disk replaced"
    assert act.actor == user_name(os.geteuid())


def test_before_a_loss_is_accepted_it_is_said_what_can_still_be_read(site: Path, tmp_path: Path) -> None:
    """One flipped bit in the log hides all behind it; accepting the loss would throw that away."""
    data, torn = site / "var", tmp_path / "torn"

    async def fill() -> None:
        journal = Journal.open(data, clock=SystemClock())
        recover(journal)
        journal.start(asyncio.get_running_loop())
        for number in range(10):
            await journal.run(append.store_message, received(b"MSH|%d" % number * 1000), repeat_window_s=1.0)
        shutil.copytree(data, torn)
        await journal.stop()

    asyncio.run(fill())
    content = bytearray((torn / "journal.db-wal").read_bytes())
    content[32 + 3 * (PAGE_BYTES + 24) + 4000] ^= 1
    (torn / "journal.db-wal").write_bytes(content)
    shutil.rmtree(data)
    shutil.copytree(torn, data)
    asked = labrelay("journal", "accept-loss", "--reason", "disk replaced", site=site)
    assert asked.code == ExitCode.REFUSED
    assert "labrelay journal salvage can still read them" in asked.err
    assert (data / "journal.db-wal").read_bytes() == content
    ran = labrelay("journal", "salvage", "--to", str(tmp_path / "new"), "--reason", "a flipped bit", site=site)
    assert ran.code in {ExitCode.OK, ExitCode.PARTLY}
    assert "could be read that one damaged before them had hidden" in ran.out


def test_there_is_no_loss_to_accept_in_a_sound_journal_or_without_one(site: Path, tmp_path: Path) -> None:
    assert labrelay("journal", "accept-loss", "--reason", "x", "--yes", site=site).code == ExitCode.OK
    assert "accept-loss" not in acts(site)
    empty = make_site(tmp_path / "empty")
    assert labrelay("journal", "accept-loss", "--reason", "x", "--yes", site=empty).code == ExitCode.FAILED
    assert not (empty / "var" / "journal.db").exists()


def test_without_a_journal_there_is_nothing_to_read(tmp_path: Path) -> None:
    folder = make_site(tmp_path)
    for verb in (["messages", "list"], ["verify"], ["dlq", "list"]):
        ran = labrelay(*verb, site=folder)
        assert ran.code == ExitCode.FAILED
        assert "there is no journal" in ran.err
    assert labrelay("replay", "--all", "--yes", site=folder).code == ExitCode.UNREACHABLE


def test_ndjson_carries_the_version_on_each_line(site: Path) -> None:
    for line in labrelay("messages", "list", "-o", "ndjson", site=site).out.splitlines():
        assert json.loads(line)["schema_version"] == 1


# -- what is documented ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "arguments", "rows"),
    [
        ("check", (), "remarks"),
        ("messages list", (), "messages"),
        ("messages show", (str(REFUSED),), None),
        ("dlq list", (), "dead_letters"),
        ("dlq show", (str(REFUSED),), None),
        ("dlq retry", ("--all", "--dry-run"), None),
        ("replay", ("--all", "--dry-run"), None),
        ("verify", (), None),
        ("doctor", (), "lines"),
        ("version", (), None),
    ],
)
def test_the_names_in_json_are_those_of_the_documentation(
    site: Path, verb: str, arguments: tuple[str, ...], rows: str | None
) -> None:
    part = narrowed(library.topic("commands"), [f"labrelay {verb}"])
    said = next(line for line in part.splitlines() if line.startswith("JSON: "))
    named = set(re.findall(r"`([a-z_]+)`", said))
    document = labrelay(*verb.split(), "-o", "json", *arguments, site=site).json

    assert set(document) - {"schema_version"} <= named
    if rows is not None:
        assert {name for entry in document[rows] for name in entry} <= named


# -- the journal's files -----------------------------------------------------------------------------------------------


def test_stats_say_how_large_it_is_and_what_is_open(site: Path) -> None:
    ran = labrelay("journal", "stats", "--tables", "-o", "json", site=site)
    found = ran.json
    assert (found["messages"], found["open"]) == (5, 1)
    assert found["file_bytes"] == (site / "var" / "journal.db").stat().st_size
    assert {table["name"]: table["rows"] for table in found["tables"]}["document"] == 3
    assert found["disk_days_left"] is None
    text = labrelay("journal", "stats", site=site).out
    assert "5 messages" in text
    assert "too little history" in text
    assert CANARY not in ran.out + text


def test_compact_asks_and_says_what_it_gave_back(site: Path) -> None:
    assert labrelay("journal", "compact", site=site).code == ExitCode.REFUSED
    ran = labrelay("journal", "compact", "--yes", site=site)
    assert (ran.code, "before" in ran.err) == (ExitCode.OK, True)
    assert labrelay("verify", "--deep", site=site).code == ExitCode.OK


def test_salvage_says_what_is_missing_and_where_to_send_it_from(site: Path, tmp_path: Path) -> None:
    target = tmp_path / "saved"
    with closing(sqlite3.connect(site / "var" / "journal.db")) as connection, connection:
        connection.execute("UPDATE journal SET body = x'00' WHERE id = ?", (REFUSED,))
    assert labrelay("journal", "salvage", "--to", str(target), "--reason", " ", site=site).code == ExitCode.USAGE
    ran = labrelay("journal", "salvage", "--to", str(target), "--reason", "bad sectors", site=site)
    assert ran.code == ExitCode.PARTLY
    assert f"row {REFUSED}: changed" in ran.out
    assert "message 2 of channel haematology" in ran.out
    assert CANARY not in ran.out + ran.err + (target / "salvage.json").read_text()
