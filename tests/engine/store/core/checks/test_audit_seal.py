"""Who writes the file without the key cannot write another history; who cuts it off is told on by the log."""

import asyncio
import io
import json
import logging
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from engine.commands.shared.output import ExitCode
from engine.model.process.clock import ManualClock
from engine.model.site.actor import Actor
from engine.monitoring.counters import Counters
from engine.monitoring.logs import setup_logging
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.chain import GENESIS, ROW_COLUMNS, JournalRow, chain_hash
from engine.store.core.checks import trail_check
from engine.store.core.checks.trail_check import check, compare, heads_in
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity.verify import run
from engine.store.operations import audit
from engine.store.queries.reader import Reader
from tests.support.command_line import labrelay
from tests.support.filled_journal import DELIVERED, fill_journal
from tests.support.journals import opened, running, store
from tests.support.running import hl7_channel, running_site
from tests.support.sites import make_site

ANN = Actor("ann", role="operator", account="root", **{"from": "10.0.0.5 (ssh)"})


async def filled(data: Path) -> None:
    async with running(data) as journal:
        await store(journal, b"one", b"two")
        await journal.run(audit.note, ANN, "unmask", {"message": 1})
        await store(journal, b"three")
        await journal.run(audit.note, "bob", "reload", {"from": "a", "to": "b"})


def rewrite(data: Path, without: int) -> None:
    """What somebody can do who writes the file and knows how it is made: take a row out, hide that, chain anew."""
    with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection:
        connection.execute("DELETE FROM journal WHERE id = ?", (without,))
        connection.execute("INSERT INTO gap (first_id, last_id, act) VALUES (?, ?, 5)", (without, without))
        connection.execute("DELETE FROM message_state WHERE id = ?", (without,))
        chain = GENESIS
        for row in connection.execute(f"SELECT {ROW_COLUMNS} FROM journal ORDER BY id").fetchall():
            chain = chain_hash(chain, JournalRow._make(row).computed)
            connection.execute("UPDATE journal SET chain = ? WHERE id = ?", (chain, row[0]))
        connection.execute("UPDATE channel SET stored = stored - 1")
        connection.commit()
    (data / ANCHOR_NAME).unlink()


def checked(data: Path) -> trail_check.Checked:
    journal = Reader.beside(data)
    with journal.snapshot() as execute:
        found = check(execute, journal.vault)
    journal.close()
    return found


async def test_each_act_proves_what_was_before_it(tmp_path: Path) -> None:
    await filled(tmp_path)
    found = checked(tmp_path)
    assert (found.rows, found.sealed, found.since, found.findings) == (2, 2, 3, [])


@pytest.mark.parametrize("without", [2, 3, 4])
async def test_a_rewritten_history_is_noticed_by_its_seals(tmp_path: Path, without: int) -> None:
    await filled(tmp_path)
    rewrite(tmp_path, without)
    assert [found for found in run(tmp_path) if found.kind in ("chain", "changed")] == []  # the chain alone is fooled
    found = checked(tmp_path)
    assert found.findings
    assert all("not those that were there when it was written" in text for text in found.findings)


async def test_an_act_cannot_be_made_or_moved_without_the_key(tmp_path: Path) -> None:
    await filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as connection:
        connection.execute("UPDATE journal SET body = (SELECT body FROM journal WHERE id = 3) WHERE id = 5")
        connection.commit()
    assert any("row 5" in text for text in checked(tmp_path).findings)


async def test_what_retention_and_accepted_loss_leave_out_is_no_forgery(tmp_path: Path) -> None:
    await filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as connection:
        (chain,) = connection.execute("SELECT chain FROM journal WHERE id = 2").fetchone()
        connection.execute("DELETE FROM journal WHERE id <= 2")
        connection.execute(
            "INSERT INTO pruned (what, first, last, chain, record) VALUES ('journal', 1, 2, ?, 9)", (chain,)
        )
        connection.commit()
    assert checked(tmp_path).findings == []
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as connection:
        connection.execute("UPDATE pruned SET chain = x'00'")
        connection.commit()
    assert len(checked(tmp_path).findings) == 1


async def test_heads_from_elsewhere_are_compared(tmp_path: Path) -> None:
    await filled(tmp_path)
    journal = Reader.beside(tmp_path)
    with journal.snapshot() as execute:
        heads = [(row_id, chain.hex()) for row_id, chain in execute("SELECT id, chain FROM journal").fetchall()]
        assert compare(execute, [*heads, (0, GENESIS.hex())], 0) == (6, 0, [])
        agree, silent, wrong = compare(execute, [(2, heads[3][1]), (9, heads[3][1])], 0)
        assert (agree, silent, len(wrong)) == (0, 0, 2)
        assert compare(execute, [(2, heads[3][1])], 3)[:2] == (0, 1)
    journal.close()


@pytest.mark.parametrize("style", ["json", "human"])
def test_a_head_is_found_in_the_log_that_the_daemon_writes(style: str) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:]
    handler = setup_logging(Counters(), style=style, stream=stream)
    try:
        logging.getLogger("labrelay.x").info(trail_check.HEAD_WORDS, extra={"journal_id": 4711, "head": "9f" * 32})
        logging.getLogger("labrelay.x").info("ready", extra={"journal_id": 4712})
    finally:
        root.removeHandler(handler)
        root.handlers[:] = before
    assert list(heads_in(stream.getvalue().splitlines())) == [(4711, "9f" * 32)]
    assert list(heads_in([f"12:{'a' * 64}", "12:xyz", ""])) == [(12, "a" * 64)]


async def test_the_daemon_writes_its_head_down_and_the_command_compares(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labrelay")
    async with running_site(tmp_path, {"chem": hl7_channel()}) as site:
        await site.labrelay("reload")
        acts = (await site.labrelay("audit", "list", "-o", "json")).json["acts"]
    heads = [record for record in caplog.records if record.message == trail_check.HEAD_WORDS]
    assert len(heads) >= 2  # at the start, and at the stop
    last: Any = heads[-1]
    line = f"{last.journal_id}:{last.head}"
    good = await asyncio.to_thread(labrelay, "audit", "verify", "--head", line, "-o", "json", site=tmp_path)
    assert (good.code, good.json["heads"], good.json["sealed"]) == (ExitCode.OK, 1, good.json["rows"])
    log = f'{{"msg": "audit head", "journal_id": {last.journal_id}, "head": "{"0" * 64}"}}\n'
    bad = await asyncio.to_thread(labrelay, "audit", "verify", "--head", "-", site=tmp_path, given=log)
    assert (bad.code, "whose head was written down" in bad.out) == (ExitCode.INTEGRITY, True)
    nothing = await asyncio.to_thread(labrelay, "audit", "verify", "--head", "-", site=tmp_path, given="no head")
    assert nothing.code == ExitCode.USAGE
    reload = next(act for act in acts if act["act"] == "reload")
    assert reload["role"] == ("root" if os.geteuid() == 0 else "service user")
    assert len(reload["config"]) == 12


def test_who_asked_is_told_in_every_form(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    fill_journal(site / "var")
    assert (
        labrelay("messages", "show", str(DELIVERED), "--unmask", "--purpose", "a test", site=site).code == ExitCode.OK
    )

    async def note() -> None:
        async with running(site / "var", clock=ManualClock()) as journal:
            journal.upkeep.config_hash = "0123456789ab"
            await journal.run(audit.note, ANN, "unmask", {"message": 1})

    asyncio.run(note())
    (act, *_) = labrelay("audit", "list", "-o", "json", site=site).json["acts"]
    assert (act["actor"], act["role"], act["account"], act["from"], act["config"]) == (
        "ann", "operator", "root", "10.0.0.5 (ssh)", "0123456789ab",
    )  # fmt: skip
    for ending in ("csv", "json"):
        file = tmp_path / f"trail.{ending}"
        assert labrelay("audit", "export", "--to", str(file), site=site).code == ExitCode.OK
        assert "10.0.0.5 (ssh)" in file.read_text("utf-8")
    bundle = json.loads((tmp_path / "trail.json").read_text("utf-8"))
    events = [AuditEvent.model_validate(entry["resource"]) for entry in bundle["entry"]]
    assert events[0].agent[0].role[0].text == "operator"
    assert events[0].agent[0].altId == "root"


async def test_an_address_that_the_caller_claims_is_marked_as_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command of its own process, that says it came from elsewhere; what the trail then has."""
    make_site(tmp_path)
    opened(tmp_path / "var").close()
    environment = {**os.environ, "SSH_CONNECTION": "203.0.113.66 1 10.0.0.1 22", "SUDO_USER": "games"}
    order = ("pause", "channel", "haematology", "--reason", "x", "--yes")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "engine",
        "--site",
        str(tmp_path),
        *order,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    (act,) = labrelay("audit", "list", "-o", "json", site=tmp_path).json["acts"]
    assert "203.0.113.66" not in act["from"]
    assert "203.0.113.66 (SSH_CONNECTION)" in act["given"]
    assert "games (SUDO_USER)" in act["given"]
