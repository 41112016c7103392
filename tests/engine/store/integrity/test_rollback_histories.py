"""Things that happen to a data folder, one after the other and in any order: loss that something outside can know of is
noticed at the next start, with a range that has all of it; and what is no loss is never called one.

The model keeps what was acknowledged by its content, and what each place outside has seen of it. It knows nothing of
anchors, chains or gaps.
"""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.config.sitewide import SiteConfig
from engine.model.errors import LossError, RefusedError
from engine.model.journal.records import DELIVERIES
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.runtime.upkeep import other_history
from engine.store import journal as journal_ops
from engine.store.core.anchor import ANCHOR_NAME, Anchor
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity import verify
from engine.store.integrity.rollback import undecided
from engine.store.journal import Journal, keys
from engine.store.journal.starting import recover
from engine.store.lifecycle import retention
from engine.store.lifecycle.retention import Policy
from engine.store.operations import append, incarnation, pauses, record_outcome
from engine.store.queries.lanes import list_pauses
from tests.support.copies import Place
from tests.support.journals import opened, received, unexpected

DAY_S = 86_400.0
STEPS = 25
DAY_US = round(DAY_S * 1e6)
SHORT = Policy(delivered_us=DAY_US, filtered_us=DAY_US, dismissed_us=DAY_US, audit_us=DAY_US, least_us=DAY_US)


@dataclass
class Folder:
    """What a data folder holds: numbers and contents that were acknowledged in it."""

    rows: dict[int, bytes] = field(default_factory=dict)
    let_go: set[bytes] = field(default_factory=set)
    told: set[bytes] = field(default_factory=set)  # lost, and an act in it says so

    def copied(self) -> "Folder":
        return Folder(dict(self.rows), set(self.let_go), set(self.told))


class Life:
    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.place = Place(folder)
        (self.place.site / "channels" / "chem.yaml").unlink()
        (self.place.site / "config" / "labrelay.yaml").write_text(
            "site: {name: X}\nanchor: ../other-disk\nbackup: {folder: ../copies}\n"
        )
        (folder / "other-disk").mkdir()
        self.folder, self.data = folder, self.place.data
        self.config: SiteConfig = load_site(self.place.site).config
        self.chance, self.clock = chance, ManualClock()
        self.now = Folder()
        self.kept: list[tuple[Path, Folder]] = []
        self.seen: dict[str, set[bytes]] = {}  # place outside -> contents that it has seen
        self.ids: dict[bytes, int] = {}
        self.number = 0
        self.put_back_since = False
        self.noticed = 0

    # -- opening, and what must then be true ---------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Journal]:
        missing, top = self._missing(), self._newest()
        asked = other_history.OtherPlaces(self.config)
        found = verify.run(self.data, elsewhere=asked.witnesses) if (self.data / JOURNAL_NAME).exists() else []
        told = [one for one in found if one.kind == verify.ROLLBACK]
        journal = Journal.open(self.data, clock=self.clock, on_fatal=unexpected, elsewhere=asked.witnesses)
        recover(journal)
        journal.start(asyncio.get_running_loop())
        try:
            with journal.snapshot() as execute:
                back = undecided(execute)
            if missing:
                assert back is not None, f"{len(missing)} rows are missing, and nothing says so"
                # Below its newest number the folder has rows of its own, of an earlier return perhaps.
                beyond = [number for number in missing.values() if number > top]
                if back.last:
                    assert back.first == top + 1
                assert all(back.first <= number <= back.last for number in beyond)
                assert [(one.first, one.last) for one in told] == [(back.first, back.last)]
                assert journal.last_id > max(missing.values())
                self.noticed += 1
            if not self.put_back_since:
                assert (back, told) == (None, [])
            if back is not None:
                assert DELIVERIES in {pause.target for pause in list_pauses(journal)}
                await self._let_it_deliver(journal)
                self.now.told |= missing.keys()
            self.put_back_since = False
            yield journal
        finally:
            await journal.stop()

    async def _let_it_deliver(self, journal: Journal) -> None:
        """A person says so, and first, where the copies name a later incarnation, that the journal goes on here."""
        try:
            await journal.run(pauses.resume, DELIVERIES, actor="anna", reason="sent again")
        except RefusedError:
            others = self.place.shelf(journal).written_by()
            await journal.run(incarnation.go_on, "anna", "the copies are of a trial", others)
            await journal.run(pauses.resume, DELIVERIES, actor="anna", reason="sent again")

    def _newest(self) -> int:
        """The highest number that the folder has given or given up, as its tables say."""
        if not (self.data / JOURNAL_NAME).exists():
            return 0
        with closing(sqlite3.connect(self.data / JOURNAL_NAME)) as connection:
            queries = ("SELECT coalesce(max(id), 0) FROM journal", "SELECT coalesce(max(last_id), 0) FROM gap")
            return max(connection.execute(query).fetchone()[0] for query in queries)

    def _missing(self) -> dict[bytes, int]:
        """What a place outside has seen, and the folder neither has nor accounts for; with its number."""
        here = {*self.now.rows.values(), *self.now.let_go, *self.now.told}
        gone = {self.ids[content] for content in self.now.let_go}  # under these numbers nothing is left to compare
        seen = {content for contents in self.seen.values() for content in contents}
        return {content: self.ids[content] for content in seen - here if self.ids[content] not in gone}

    # -- steps ---------------------------------------------------------------------------------------------------

    async def step(self) -> None:
        steps = [self.work, self.work, self.keep, self.kill, self.rotate, self.copy, self.prune]
        if self.kept:
            steps += [self.put_back, self.put_back]
        if any(self.place.copies.glob("*/full-*")):
            steps.append(self.restore)
        steps.append(self.accept)
        await self.chance.choice(steps)()

    async def work(self, *, renew: bool | None = None) -> None:
        async with self.running() as journal:
            for _ in range(self.chance.randint(1, 6)):
                self.number += 1
                content = b"MSH|%d" % self.number
                stored = await journal.run(
                    append.store_message,
                    received(content, control_id=str(self.number), at_us=self.clock.now_us()),
                    repeat_window_s=DAY_S,
                )
                await journal.run(record_outcome.record, stored.id, Outcome("filtered"), [])
                self.now.rows[stored.id] = content
                self.ids[content] = stored.id
            if renew if renew is not None else self.chance.random() < 0.7:
                last_id, chain = await journal.run(journal_ops.head)
                path = other_history.anchor_path(self.config, journal.journal_id)
                Anchor(path, journal.journal_id, last_id, bytes.fromhex(chain), journal.vault.anchor_seal).close()
                self.seen["anchor"] = set(self.now.rows.values())
                self.clock.advance(60)

    async def kill(self) -> None:
        """Between the commit and the anchor: it is behind by what was committed last."""
        path = self.data / ANCHOR_NAME
        before = path.read_bytes() if path.exists() else None
        await self.work()
        if before is not None:
            path.write_bytes(before)

    async def keep(self) -> None:
        if not self.data.exists():
            return
        target = self.folder / f"kept{len(self.kept)}"
        shutil.copytree(self.data, target)
        self.kept.append((target, self.now.copied()))

    async def put_back(self) -> None:
        path, then = self.chance.choice(self.kept)
        shutil.rmtree(self.data)
        shutil.copytree(path, self.data)
        self.now = then.copied()
        self.put_back_since = True

    async def rotate(self) -> None:
        async with self.running() as journal:
            await keys.rotate(journal, self.data, actor="anna")

    async def copy(self) -> None:
        async with self.running() as journal:
            copy = await self.place.copy(journal, with_key=True)  # a rotated key may be put back, too
            self.clock.advance(1)
            self.seen[copy.name] = set(self.now.rows.values())

    async def prune(self) -> None:
        self.clock.advance(40 * DAY_S)
        async with self.running():
            pass
        journal = opened(self.data, clock=self.clock)
        journal.run_alone(lambda batch: batch.execute("DELETE FROM meta WHERE name = 'retention_clock'"))
        run = journal.run_alone(partial(retention.start, policy=SHORT))
        while not run.finished:
            run = journal.run_alone(partial(retention.step, policy=SHORT, run=run, limit=retention.STEP_ROWS))
        with journal.snapshot() as execute:
            left = {row[0] for row in execute("SELECT id FROM journal")}
        journal.close()
        self.now.let_go |= {content for number, content in self.now.rows.items() if number not in left}
        self.now.rows = {number: content for number, content in self.now.rows.items() if number in left}

    async def restore(self) -> None:
        """Of the newest copy, with the anchor that is there or without: what came after it is known to be gone."""
        async with self.running() as journal:
            copies = self.place.shelf(journal).copies()
        if not copies:
            return
        target = self.folder / f"restored{self.number}-{self.chance.random()}"
        anchor = self.data / ANCHOR_NAME if self.chance.random() < 0.5 else None
        restored = self.place.restore(copies[0], target, old_anchor=anchor)
        assert restored.findings == []
        if restored.lost or not restored.complete:
            assert restored.stands_still
        kept = {number: content for number, content in self.now.rows.items() if number <= restored.last_id}
        lost = {content for content in self.ids if content not in kept.values() and content not in self.now.let_go}
        shutil.rmtree(self.data)
        shutil.copytree(target / "var", self.data)
        self.now = Folder(kept, set(self.now.let_go), self.now.told | lost)
        self.put_back_since = True  # an anchor elsewhere may know of more than the million numbers that are left out
        if restored.stands_still:
            with closing(sqlite3.connect(self.data / JOURNAL_NAME)) as connection:
                assert ("", "") in connection.execute("SELECT channel, destination FROM pause").fetchall()
            async with self.running() as journal:
                await journal.run(pauses.resume, DELIVERIES, actor="anna", reason="sent again")

    async def accept(self) -> None:
        """The anchor beside the journal is lost; a person goes on."""
        async with self.running():
            pass
        (self.data / ANCHOR_NAME).unlink()
        with pytest.raises(LossError):
            opened(self.data, clock=self.clock)
        opened(self.data, clock=self.clock, accept_loss=True).close()


@pytest.mark.parametrize("seed", range(8))
async def test_what_is_missing_is_noticed_and_what_is_not_missing_is_not(tmp_path: Path, seed: int) -> None:
    life = Life(tmp_path, random.Random(seed))
    await life.work(renew=True)
    await life.keep()
    for _ in range(STEPS):
        await life.step()
    await life.work(renew=True)  # and in any case once more at the end
    await life.put_back()
    await life.work()
    assert life.noticed
