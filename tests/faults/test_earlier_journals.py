"""Journals that earlier programs wrote, ended amid open work by SIGKILL: this one takes them over, and goes on where
they stopped.

`tests/earlier` holds one for each schema that a program has had, made by `tools/earlier_journal.py` with that program:
deliveries that waited and such as were under way, a message acknowledged and not yet processed, dead letters, a repeat,
and an ASTM session broken off after three frames. A file is never made anew: it is what a laboratory would bring.
"""

import sqlite3
import tarfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.devtools.sandbox import Sandbox
from engine.store.core import migrate
from engine.store.integrity import before_upgrade
from tests.support.command_line import labrelay
from tests.support.running import ASTM, MLLP, QUICK, Json, RunningSite, channel, make_running_site, running_app

EARLIER = Path(__file__).parents[1] / "earlier"
TO = ["lab-fhir", "archive"]
CHANNELS = {
    "chem": channel(MLLP, {"when": "=MSH-9.1 == 'ORU'", "mapping": "hl7-results", "to": TO}),
    "gas": channel(ASTM, {"mapping": "astm-results", "to": TO}),
}
Row = tuple[object, ...]
NEVER_RAN = {2, 9, 10, 16, 17, 18, 19, 20}  # between two commits; see the README there


def number(file: Path) -> int:
    return int(file.name.removeprefix("schema-").removesuffix(".tar.xz"))


FILES = {number(file): file for file in sorted(EARLIER.glob("schema-*.tar.xz"))}


def ask(journal: Path, sql: str) -> list[Row]:
    with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def test_there_is_a_journal_of_every_earlier_schema() -> None:
    """Who adds a step keeps a journal of the schema before it first."""
    earlier = {each for each, _ in migrate.steps()[:-1]}
    assert earlier - NEVER_RAN <= set(FILES)


@pytest.mark.parametrize("schema", FILES)
async def test_an_earlier_journal_goes_on_where_it_stopped(schema: int, tmp_path: Path) -> None:
    data = tmp_path / "var"
    with tarfile.open(FILES[schema]) as tar:
        tar.extractall(data, filter="data")
    data.chmod(0o700)
    journal = data / "journal.db"
    assert ask(journal, "PRAGMA user_version") == [(schema,)]
    chain = ask(journal, "SELECT id, kind, channel, seq, hash, chain FROM journal ORDER BY id")
    keys = ask(journal, "SELECT id, lane, seq, message_id, key FROM delivery ORDER BY id")
    dead = ask(journal, "SELECT id, reason FROM message_state WHERE state = 'dead' ORDER BY id")
    under_way = {row[0] for row in ask(journal, "SELECT id FROM delivery WHERE state = 'sending'")}
    before = Counter(row[0] for row in ask(journal, "SELECT state FROM delivery"))
    (unprocessed,) = ask(
        journal, "SELECT count(*) FROM journal WHERE kind = 1 AND id NOT IN (SELECT id FROM message_state)"
    )
    # What this is about is there.
    assert all((before["sending"], before["waiting"], before["delivered"], dead, unprocessed[0]))

    sandbox = Sandbox()
    await sandbox.start()
    try:
        destinations: dict[str, Json] = {
            "lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK},
            "archive": {"kind": "file", "folder": "var/archive"},
        }
        make_running_site(tmp_path, CHANNELS, destinations)
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, sandbox)
            assert any(f"goes from {schema} to" in note for note in app.journal.notes) or not app.journal.notes
            await site.settled()
            results = [view for view in site.messages() if view.state == "mapped"]
            assert {site.end_of(view.id) for view in results} == {"delivered"}
            assert [view.state for view in site.messages("gas")] == ["mapped", "incomplete"]
    finally:
        await sandbox.stop()

    # Nothing that was there has changed, and every delivery kept its place and its key.
    after = ask(journal, "SELECT id, kind, channel, seq, hash, chain FROM journal ORDER BY id")
    assert after[: len(chain)] == chain
    assert ask(journal, "SELECT id, lane, seq, message_id, key FROM delivery ORDER BY id")[: len(keys)] == keys
    assert ask(journal, "SELECT id, reason FROM message_state WHERE state = 'dead' ORDER BY id") == dead
    assert {row[0] for row in ask(journal, "SELECT state FROM delivery")} == {"delivered"}
    maybe = {row[0] for row in ask(journal, "SELECT id FROM delivery WHERE flags & 1")}
    assert under_way <= maybe
    in_order = ask(journal, "SELECT lane, message_id FROM delivery ORDER BY lane, seq")
    assert in_order == sorted(in_order)
    assert labrelay("verify", "--deep", site=tmp_path).code == ExitCode.OK
    if schema < migrate.steps()[-1][0]:
        copy = data / before_upgrade.FOLDER / f"journal-{schema:04}.db"
        assert ask(copy, "PRAGMA user_version") == [(schema,)]
        assert ask(copy, "SELECT id, kind, channel, seq, hash, chain FROM journal ORDER BY id") == chain
