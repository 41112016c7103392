"""`labrelay audit`: who did what, in words, as data, and as FHIR."""

import asyncio
import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from engine.commands.shared.output import ExitCode
from engine.model.journal.records import Routed
from engine.model.message import Document
from engine.model.outcome import Outcome
from engine.model.process.clock import SystemClock
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, audit, record_outcome
from engine.views.trail import Entry, audit_event
from tests.support.command_line import labrelay
from tests.support.filled_journal import CANARY, DELIVERED, REFUSED, fill_journal
from tests.support.journals import received
from tests.support.sites import make_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = make_site(tmp_path)
    fill_journal(folder / "var")
    assert (
        labrelay("messages", "show", str(DELIVERED), "--unmask", "--purpose", "a test", site=folder).code == ExitCode.OK
    )
    assert labrelay("dlq", "dismiss", "--all", "--reason", "=not ours", "--yes", site=folder).code == ExitCode.OK
    return folder


def test_acts_are_listed_newest_first(site: Path) -> None:
    ran = labrelay("audit", "list", "-o", "json", site=site)
    acts = ran.json["acts"]
    assert [act["act"] for act in acts][:3] == ["dismiss", "dismiss", "unmask"], "the operation's step, and it itself"
    assert acts[1]["outcome"] == {"dismissed": 3}
    assert acts[2]["what"] == {"message": DELIVERED, "purpose": "a test"}
    assert {act["state"] for act in acts} == {"done"}
    assert all(act["actor"] for act in acts)
    assert CANARY not in ran.out
    table = labrelay("audit", "list", "--act", "dismiss", site=site).out
    assert "=not ours" in table
    assert "unmask" not in table


def test_acts_of_a_message_of_a_person_and_of_a_time(site: Path) -> None:
    def count(*options: str) -> int:
        return len(labrelay("audit", "list", "-o", "json", *options, site=site).json["acts"])

    assert count("--message", str(DELIVERED)) == 1
    assert count("--message", "999") == 0
    dismissed = labrelay("audit", "list", "--act", "dismiss", "-o", "json", site=site).json["acts"][0]["what"]
    assert REFUSED in dismissed["messages"]  # also where it was one of its deliveries
    for delivery in set(dismissed["deliveries"]) - set(dismissed["messages"]) - {DELIVERED}:
        assert count("--message", str(delivery)) == 0
    assert count("--actor", "nobody-of-that-name") == 0
    assert count("--since", "1h") == count()
    assert count("--until", "1h") == 0
    assert count("--limit", "1") == 1


def test_an_act_with_an_end_is_one_entry(site: Path) -> None:
    async def act() -> None:
        journal = Journal.open(site / "var", clock=SystemClock())
        recover(journal)
        journal.start(asyncio.get_running_loop())
        one = await journal.run(audit.begin, "ann", "retry", {"selection": {"ids": [1]}, "count": 1})
        await journal.run(audit.end, one, {"retried": 1})
        two = await journal.run(audit.begin, "ann", "replay", {})
        await journal.run(audit.end, two, {"interrupted": True})
        await journal.run(audit.begin, "ann", "replay", {"channel": "chem"})
        await journal.stop()

    asyncio.run(act())
    acts = labrelay("audit", "list", "--actor", "ann", "-o", "json", site=site).json["acts"]
    assert [(one["act"], one["state"]) for one in acts] == [
        ("replay", "open"),
        ("replay", "cut short"),
        ("retry", "done"),
    ]
    assert acts[2]["outcome"] == {"retried": 1}
    named = labrelay("audit", "list", "--actor", "ann", "--message", "1", "-o", "json", site=site).json["acts"]
    assert [one["act"] for one in named] == ["retry"]
    assert acts[2]["ended"] >= acts[2]["at"]


def test_the_trail_is_verified_and_a_changed_act_is_named(site: Path, tmp_path: Path) -> None:
    ran = labrelay("audit", "verify", "-o", "json", site=site)
    assert (ran.code, ran.json["ok"]) == (ExitCode.OK, True)
    with closing(sqlite3.connect(site / "var" / JOURNAL_NAME)) as connection, connection:
        (act,) = connection.execute("SELECT min(id) FROM journal WHERE kind = 3").fetchone()
        (body,) = connection.execute("SELECT body FROM journal WHERE id = ?", (act,)).fetchone()
        changed = bytes(body[:-1]) + bytes([body[-1] ^ 1])
        connection.execute("UPDATE journal SET body = ? WHERE id = ?", (changed, act))
    ran = labrelay("audit", "verify", "-o", "json", site=site)
    assert ran.code == ExitCode.INTEGRITY
    assert ran.json["findings"][0].startswith(f"row {act}: not what was stored")

    shown = labrelay("audit", "list", "-o", "json", site=site).json["acts"]
    assert {one["id"]: one["state"] for one in shown}[act] == "damaged"
    assert {one["state"] for one in shown if one["id"] != act} == {"done"}
    breach = ("audit", "export", "--breach", "--purpose", "asked", "--to", str(tmp_path / "persons.csv"), "--yes")
    ran = labrelay(*breach, site=site)
    assert ran.code == ExitCode.INTEGRITY, "a list that may lack a person is none"
    assert str(act) in ran.err


def test_exports_are_whole_private_and_harmless_in_a_spreadsheet(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "trail.csv"
    assert labrelay("audit", "export", "--to", str(path), site=site).code == ExitCode.OK
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["act"] for row in rows][:3] == ["dismiss", "dismiss", "unmask"]
    assert json.loads(rows[2]["what"]) == {"message": DELIVERED, "purpose": "a test"}
    lines = tmp_path / "trail.ndjson"
    assert labrelay("audit", "export", "--to", str(lines), site=site).code == ExitCode.OK
    assert len(lines.read_text().splitlines()) == len(rows)
    assert labrelay("audit", "export", "--to", str(tmp_path / "trail.doc"), site=site).code == ExitCode.USAGE
    assert labrelay("audit", "export", "--to", str(path), site=site).code == ExitCode.REFUSED  # it is there


def test_fhir_audit_events_are_valid(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "trail.json"
    assert labrelay("audit", "export", "--to", str(path), site=site).code == ExitCode.OK
    bundle = json.loads(path.read_text())
    events = [AuditEvent.model_validate(entry["resource"]) for entry in bundle["entry"]]
    assert len(events) == len(labrelay("audit", "list", "-o", "json", site=site).json["acts"])
    shown = bundle["entry"][2]["resource"]
    assert (shown["action"], shown["subtype"][0]["code"], shown["outcome"]) == ("R", "unmask", "0")
    assert {"system": "urn:labrelay:message", "value": str(DELIVERED)} in [
        one["what"]["identifier"] for one in shown["entity"]
    ]


def test_after_a_breach_the_persons_are_listed(site: Path, tmp_path: Path) -> None:
    """What was shown, to whom, about whom; the list itself is noted, for it holds their names."""
    patient = {
        "resourceType": "Patient",
        "identifier": [{"value": "7"}],
        "name": [{"family": CANARY, "given": ["ANITA"]}],
        "birthDate": "1980-01-01",
    }

    async def fill() -> int:
        journal = Journal.open(site / "var", clock=SystemClock())
        recover(journal)
        journal.start(asyncio.get_running_loop())
        body = json.dumps({"resourceType": "Bundle", "entry": [{"resource": patient}]}).encode()
        open_one = (await journal.run(append.store_message, received(b"MSH|new"), repeat_window_s=1.0)).id
        routed = Routed(document=Document(body=body), destinations=("archive",), claimed=(False,))
        await journal.run(record_outcome.record, open_one, Outcome("mapped", mapping="m@0"), [routed])
        await journal.stop()
        return open_one

    number = asyncio.run(fill())
    labrelay("messages", "show", str(number), "--unmask", "--purpose", "a test", site=site)
    path = tmp_path / "persons.csv"
    ran = labrelay("audit", "export", "--breach", "--purpose", "a test", "--since", "72h", "--to", str(path), site=site)
    assert ran.code == ExitCode.OK
    assert CANARY not in ran.out + ran.err
    with path.open(newline="") as file:
        rows = {int(row["message"]): row for row in csv.DictReader(file)}
    assert set(rows) == {DELIVERED, number}
    assert rows[number]["patient_name"] == f"ANITA {CANARY}"
    assert (rows[number]["patient_numbers"], rows[number]["birth_date"]) == ("7", "1980-01-01")
    assert rows[DELIVERED]["patient_name"] == ""  # its document names nobody
    newest = labrelay("audit", "list", "-o", "json", site=site).json["acts"][0]
    assert (newest["act"], newest["what"]["export"]["breach"]) == ("unmask", True)


def test_nobody_whose_data_was_shown_is_missed(site: Path, tmp_path: Path) -> None:
    """Messages whose state has changed since, what reprocessing compared, and what no message can be named for."""
    wrong: dict[str, object] = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}, 7]}

    async def fill() -> tuple[int, int]:
        journal = Journal.open(site / "var", clock=SystemClock())
        recover(journal)
        journal.start(asyncio.get_running_loop())
        numbers = []
        for body in (b"[1]", json.dumps(wrong).encode()):
            stored = await journal.run(
                append.store_message, received(b"MSH|" + body, channel="chem"), repeat_window_s=1.0
            )
            routed = Routed(document=Document(body=body), destinations=("archive",), claimed=(False,))
            await journal.run(record_outcome.record, stored.id, Outcome("mapped", mapping="m@0"), [routed])
            numbers.append(stored.id)
        for what in (
            {"state": "dead", "channel": "chem", "up_to": numbers[0]},
            {"reprocess": "chem", "channel": "chem", "after_us": 1, "mapping": ""},
            {"line": "astm-1", "last": 5},
            {"breach": True, "since": "", "until": ""},
        ):
            await journal.run(audit.note, "ann", "unmask", {"export": what})
        later = await journal.run(append.store_message, received(b"MSH|later", channel="chem"), repeat_window_s=1.0)
        await journal.stop()
        return numbers[0], later.id

    shown, later = asyncio.run(fill())
    path = tmp_path / "persons.csv"
    ran = labrelay("audit", "export", "--breach", "--purpose", "a test", "--to", str(path), site=site)
    assert ran.code == ExitCode.OK, ran.err
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["actor"] == "ann"]
    by_act: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_act.setdefault(row["act"], []).append(row)
    breach, line, reprocessed, exported = by_act.values()
    assert str(shown) in [row["message"] for row in exported]  # it was dead when it was exported
    assert {row["certain"] for row in exported} == {"no"}
    assert str(shown) in [row["message"] for row in reprocessed]
    assert str(later) not in [row["message"] for row in reprocessed]
    assert [(row["message"], row["certain"], row["note"]) for row in line] == [
        ("", "no", "the line astm-1: the patients on it are not known here")
    ]
    assert [row["note"] for row in breach] == ["a list of persons as this one, since the beginning until then"]


@pytest.mark.parametrize(
    ("verb", "action"), [("unmask", "R"), ("key-shown", "R"), ("edit", "U"), ("erase", "D"), ("replay", "E")]
)
def test_what_kind_of_act_it_was_is_told_as_fhir_says_it(verb: str, action: str) -> None:
    entry = Entry(id=1, at_us=1, actor="anita", verb=verb, what={}, state="done")
    assert AuditEvent.model_validate(audit_event(entry, "Lab")).action == action
