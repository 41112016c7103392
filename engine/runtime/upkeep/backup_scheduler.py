"""Scheduled copies: a full one a day, new rows every few minutes, a restore test a month; and messages about them.

Two tasks: one makes full copies and restore tests, one writes rows, so that the possible loss stays small while a large
copy is under way. Copying a journal is the writer's work (`engine.store.recovery.backups.copying`); a low-priority
process reads a copy back and restores it as a test. A failure costs only the copy: it is reported, and tried again.
"""

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from engine.config.load import Site
from engine.config.sitewide import BackupConfig
from engine.model.errors import (
    IntegrityError,
    LabRelayError,
    OtherHistoryError,
    OvertakenError,
    RefusedError,
    StoreError,
)
from engine.model.process.clock import Clock, from_us
from engine.model.texts.phrases import Said
from engine.monitoring.snapshot.site import BackupSnapshot
from engine.runtime.upkeep.low_priority import run_gently
from engine.runtime.upkeep.other_history import those_that_wrote
from engine.runtime.upkeep.spare_watch import SpareWatch
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity import looks, rollback
from engine.store.journal import Journal
from engine.store.operations import audit, incarnation
from engine.store.operations.incarnation import Incarnation
from engine.store.queries.acts import acts_page
from engine.store.recovery.backups import copying, increments, recovery_point, state_snapshot
from engine.store.recovery.backups.catalog import Copy, Shelf, read_copy
from engine.store.recovery.backups.recovery_point import OVERDUE

logger = logging.getLogger("labrelay.backup")

POLL_S = 1.0
AGAIN_S = 300.0  # after a failure, or the time between copies where that is shorter
FIRST_S = 30.0  # after a start: results of the night come first
CLAIM_S = 30.0  # another task's look at a folder is waited for
LONGEST_ERROR = 400
# Actions after which a journal need not continue earlier copies.
MADE_ANEW = {
    "salvage": "the journal was salvaged; a new full copy is begun",
    "restore": "the journal was restored; a new full copy is begun",
    "go-on": "the journal goes on here; a new full copy is begun",
    "rollback": "the data folder was put back to an earlier state; a new full copy is begun",
}


class BackupScheduler:
    """Keeps the copies of one running site."""

    def __init__(
        self, journal: Journal, site: Callable[[], Site], clock: Clock, stopped: Callable[[], Awaitable[None]]
    ) -> None:
        """
        Args:
            site: returns the configuration in force; a reload changes it.
            stopped: called after all deliveries were paused, for the journal goes on elsewhere.
        """
        self._journal = journal
        self._site = site
        self._clock = clock
        self._stopped = stopped
        self.spare = SpareWatch(journal, clock, lambda: self._shelf(self._config) if self._config.folder else None)
        self._claiming = threading.Lock()  # the tasks and a person's request are threads of their own
        self._standing_still = asyncio.Lock()
        self._stood: Incarnation | None = None  # for this one deliveries were paused
        self._going_on = False
        self._wanted = ""  # a person's request: "now" or "drill"
        self._running = ""
        self._fault = ""
        self._rows_fault = ""
        self._left = ""  # the copy that rows could not be added to
        self._rows_complete_at = 0.0  # monotonic, when all rows were last known to be in the folder
        self._folder: Path | None = None  # the folder of the following attributes
        self._copy: Copy | None = None  # the newest whole one
        self._rows_at: datetime | None = None
        self._drill_at: datetime | None = None
        self._drill_s: float | None = None
        self._drill_fault = ""
        self._started = clock.monotonic()
        self._not_before = self._started + FIRST_S
        self._rows_not_before = self._started
        self._is_read = False
        self._same_disk = False

    # -- display -----------------------------------------------------------------------------------------------------

    def snapshot(self) -> BackupSnapshot:
        config = self._config
        if config.folder is None:
            return BackupSnapshot(missing=config.without is None and not self._site().config.site.practice)
        return BackupSnapshot(
            folder=str(config.folder),
            verified_at=self._copy.made_at if self._copy is not None else None,
            rows_at=self._rows_at,
            drill_at=self._drill_at,
            drill_s=self._drill_s,
            running=self._running,
            fault=self._fault or self._rows_fault or self._drill_fault,
            same_disk=self._same_disk,
            spare=self.spare.machine,
            spare_behind_s=self.spare.behind_s if self.spare.machine else None,
        )

    def alarms(self) -> list[str]:
        """Problems that ask for action now."""
        config = self._config
        if config.folder is None:
            return []
        found: list[str] = []
        if self._fault:
            found.append(Said("The last backup failed: {why}", why=self._fault))
        if self._rows_fault:
            found.append(Said("New rows do not reach the backup: {why}", why=self._rows_fault))
        if self._drill_fault:
            found.append(Said("The last backup drill failed: {why}", why=self._drill_fault))
        if self._is_read and not found:
            found += self._overdue(config)
        return found + self.spare.alarms(config.rows)

    def notes(self) -> list[str]:
        """Facts worth knowing that are no alarm."""
        if self._config.folder is None or not self._same_disk:
            return []
        return [Said(recovery_point.SAME_DISK_SAID)]

    def _overdue(self, config: BackupConfig) -> list[str]:
        up_s = self._clock.monotonic() - self._started
        if self._copy is None:
            return [Said("There is no verified backup yet")] if up_s > OVERDUE * config.every else []
        age_s = (self._clock.now() - self._copy.made_at).total_seconds()
        if age_s > OVERDUE * config.every and up_s > AGAIN_S:
            return [Said("The last verified backup is of {time} UTC", time=f"{self._copy.made_at:%Y-%m-%d %H:%M}")]
        late = recovery_point.rows_overdue_s(config)
        if self._clock.monotonic() - max(self._rows_complete_at, self._started) > late:
            return [Said("New rows have not reached the backup for {n} minutes", n=round(late / 60))]
        return []

    # -- requests ----------------------------------------------------------------------------------------------------

    def ask(self, what: str) -> None:
        """Begin a copy (``now``) or a ``drill`` as soon as possible.

        Raises:
            LabRelayError: no folder is configured, or one is under way.
        """
        if self._config.folder is None:
            raise LabRelayError("no folder for backups is configured: backup.folder in config/labrelay.yaml")
        if self._running or self._wanted:
            raise LabRelayError(f"one is under way: {self._running or self._wanted}")
        self._fault = self._drill_fault = ""
        self._wanted = what

    async def go_on(self, actor: str, reason: str) -> None:
        """A person says that the journal goes on here, and not where other machines have written into the folder.

        Raises:
            LabRelayError: a reason is missing, one is under way, or as `Shelf.before` and `Shelf.claim`.
        """
        if not reason.strip():
            raise RefusedError("to go on needs a reason")
        if self._going_on:  # where the folder hangs, each would keep a thread
            raise LabRelayError("one is under way: go-on")
        self._going_on = True
        try:
            shelf = self._shelf(self._config) if self._config.folder is not None else None
            others: list[Incarnation] = []
            if shelf is not None:
                others = await asyncio.to_thread(shelf.before, practice=self._site().config.site.practice)
            self.spare.own = await self._journal.run(incarnation.go_on, actor, reason, others)
            self._copy, self._is_read, self._fault, self._rows_fault, self._wanted = None, False, "", "", "now"
            self.spare.later = None
            if shelf is not None:
                await asyncio.to_thread(self._claim, shelf)
        finally:
            self._going_on = False

    def _claim(self, shelf: Shelf) -> None:
        if not self._claiming.acquire(timeout=CLAIM_S):  # by the other task, at a folder that hangs
            raise StoreError("the folder of copies does not answer")
        try:
            shelf.claim(self.spare.own, practice=self._site().config.site.practice)
        finally:
            self._claiming.release()

    async def _stand_still(self, error: Exception, config: BackupConfig) -> None:
        """Where the journal goes on elsewhere, deliver nothing: as a start does that finds this."""
        if not isinstance(error, OvertakenError):
            return
        with suppress(LabRelayError, OSError):
            async with self._standing_still:  # one of the two tasks notes it
                found = await asyncio.to_thread(those_that_wrote, self._shelf(config), self._journal.journal_id)
                with self._journal.snapshot() as execute:
                    back = rollback.find(execute, found, self._journal.journal_id, None)
                if back is not None:
                    await self._journal.run(rollback.note, back)
                    await self._stopped()

    @property
    def is_busy(self) -> bool:
        return bool(self._running or self._wanted)

    # -- the tasks -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make full copies and restore tests, without end."""
        while True:
            await asyncio.sleep(POLL_S)
            config = self._config
            if config.folder is None:
                self._wanted = ""
                continue
            asked = self._wanted
            try:
                await asyncio.to_thread(self._read_folder, config)
                if self._copy_due(config):
                    await self._full(config)
                elif self._drill_due(config):
                    await self._drill(config)
            except (LabRelayError, OSError) as error:
                if self._wanted == asked:  # a request that came meanwhile has not been tried
                    self._wanted = ""
                self._failed(str(error), config)
                await self._stand_still(error, config)
            finally:
                self._running = ""

    async def run_rows(self) -> None:
        """Write new rows, without end; and look each second who has the folder."""
        while True:
            await asyncio.sleep(POLL_S)
            config = self._config
            if config.folder is None:
                continue
            await self.spare.look()
            if (later := self.spare.later) is not None and later != self._stood:
                self._stood = later
                await self._stand_still(OvertakenError(str(later)), config)
            try:
                if self._copy is not None and self._clock.monotonic() >= self._rows_not_before:
                    self._rows_not_before = self._clock.monotonic() + config.rows
                    anew = await asyncio.to_thread(self._write_rows, self._copy)
                    self._rows_fault = ""
                    if anew:
                        self._begin_anew(self._copy, anew)
            except (LabRelayError, OSError) as error:
                if not self._rows_fault:
                    logger.error("new rows do not reach the backup", extra={"detail": str(error)[:LONGEST_ERROR]})
                self._rows_fault = str(error)[:LONGEST_ERROR]
                await self._stand_still(error, config)
                # After a restore of an older copy, for example, no row continues the newest one: a full copy helps.
                copy = self._copy
                if isinstance(error, IntegrityError) and copy and self._left != copy.name and not self._wanted:
                    self._left, self._wanted = copy.name, "now"  # once, since it does not help a damaged journal

    def _write_rows(self, copy: Copy) -> str:
        """The legitimate reason why the journal does not continue the copy; else empty.

        Raises:
            StoreError, IntegrityError, OSError: as `state_snapshot.write`.
        """
        began = self._clock.now()
        path = self._site().config.data / JOURNAL_NAME
        self._claim(self._shelf(self._config))
        try:
            state_snapshot.write(copy, path)
        except OtherHistoryError:
            if anew := self._made_anew(copy):
                return anew
            raise
        self._rows_at, self._rows_complete_at = began, self._clock.monotonic()
        return ""

    def _made_anew(self, copy: Copy) -> str:
        """A message about an action that made the journal anew and is not in the copy or its pieces yet; else empty."""
        last, at = increments.end(copy)[0], copy.rows_at()
        before: int | None = None
        while page := acts_page(self._journal, before_id=before):
            for act in page:
                if act.id <= last and from_us(act.at_us) <= at:
                    return ""
                if act.verb in MADE_ANEW:
                    return MADE_ANEW[act.verb]
            before = page[-1].id
        return ""

    def _begin_anew(self, copy: Copy, anew: str) -> None:
        """Make a full copy at once; after a failure, again after a while."""
        first, self._left = self._left != copy.name, copy.name
        if first:
            logger.warning(anew)
        if not self.is_busy and (first or self._clock.monotonic() >= self._not_before):
            self._wanted = "now"

    # -- full copies ---------------------------------------------------------------------------------------------

    @property
    def _config(self) -> BackupConfig:
        return self._site().config.backup

    def _shelf(self, config: BackupConfig) -> Shelf:
        assert config.folder is not None
        return Shelf(config.folder, self._journal.journal_id)

    def _read_folder(self, config: BackupConfig) -> None:
        """Read the contents of the folder; the disk is read seldom."""
        same = self._is_read and self._folder == config.folder
        if same and not self._wanted and self._clock.monotonic() < self._not_before:
            return
        shelf = self._shelf(config)
        shelf.open()
        self._claim(shelf)
        self._same_disk = recovery_point.is_on_one_disk(shelf.root, self._site().config.data)
        if self._folder != config.folder:  # a reload has changed it
            self._folder, self._rows_at, self._drill_at, self._drill_s = config.folder, None, None, None
        self._copy = shelf.newest(whole=True, of=self.spare.own)
        if self._copy is None and (earlier := shelf.newest(whole=True)) is not None:
            self._begin_anew(earlier, MADE_ANEW["go-on"])
        if self._copy is not None:
            self._rows_at = max(self._copy.rows_at(), self._rows_at or self._copy.rows_at())
        drill = shelf.drill()
        if drill:
            self._drill_at = datetime.fromisoformat(drill["at"])
            self._drill_s = drill.get("seconds")
        self._is_read = True

    def _copy_due(self, config: BackupConfig) -> bool:
        if self._wanted == "now":
            return True
        if self._wanted or self._clock.monotonic() < self._not_before:
            return False
        return self._copy is None or not -AGAIN_S <= self._age_s(self._copy.made_at) < config.every

    def _drill_due(self, config: BackupConfig) -> bool:
        if self._wanted == "drill":
            return True
        if config.drill is None or self._copy is None or self._clock.monotonic() < self._not_before:
            return False
        last = self._drill_at or self._copy.made_at  # the first one once a copy is that old
        return not -AGAIN_S <= self._age_s(last) < config.drill

    def _age_s(self, at: datetime) -> float:
        """Seconds; negative where the clock was ahead then, and was set right since."""
        return (self._clock.now() - at).total_seconds()

    async def _full(self, config: BackupConfig) -> None:
        self._running, self._wanted = "copying", ""
        began = time.monotonic()
        site, shelf = self._site(), self._shelf(config)
        data = site.config.data

        def begin() -> Path:
            shelf.open()
            self._claim(shelf)
            copying.room(shelf, data / JOURNAL_NAME)
            return shelf.begin()

        making = await asyncio.to_thread(begin)
        await self._journal.lend(copying.job(making / JOURNAL_NAME, self._said))
        finish = partial(
            copying.complete,
            shelf,
            making,
            data=data,
            site=site.folder,
            name=site.config.site.name,
            journal_id=self._journal.journal_id,
            seal=self._journal.vault.anchor_seal,
            with_key=config.key,
        )
        try:
            copy = await asyncio.to_thread(finish)
        except StoreError:
            await asyncio.to_thread(shutil.rmtree, making, ignore_errors=True)
            raise
        self._running = "reading the copy back"
        try:
            await self._command("backup", "verify", str(copy.path))
        except StoreError as error:
            raise await asyncio.to_thread(_not_whole, copy.path) or error from error
        made = await asyncio.to_thread(read_copy, copy.path)
        if made is None or not made.is_whole:
            raise await asyncio.to_thread(_not_whole, copy.path) or StoreError(f"{copy.path}: was not read back")
        self._copy, self._fault = made, ""
        self._rows_not_before = 0.0
        self._not_before = self._clock.monotonic() + min(AGAIN_S, config.every)
        await asyncio.to_thread(self._claim, shelf)
        await asyncio.to_thread(shelf.tidy, config.keep)
        logger.info("backup made and verified", extra={"count": made.manifest.last_id})
        await self._journal.run(looks.note_verified, made.manifest.last_id)
        await self._journal.run(
            audit.note,
            "labrelay",
            "backup",
            {"copy": made.name, "last": made.manifest.last_id, "seconds": round(time.monotonic() - began, 1)},
        )

    def _said(self, done: int, total: int) -> None:
        if self.spare.later is not None:
            raise OvertakenError(str(self.spare.later))
        self._running = f"copying, {100 * done // max(total, 1)} %"

    async def _drill(self, config: BackupConfig) -> None:
        self._running, self._wanted = "drill: restoring a copy for practice", ""
        self._not_before = self._clock.monotonic() + min(AGAIN_S, config.every)
        try:
            await asyncio.to_thread(self._claim, self._shelf(config))
            await self._command("backup", "drill")
            self._drill_fault = ""
        except StoreError as error:
            self._drill_fault = str(error)
            logger.error("the backup drill failed", extra={"detail": str(error)})
            self._drill_at = self._clock.now()  # it was tried; the next one is due in its time, and the alarm stays
            return
        self._is_read = False
        said = await asyncio.to_thread(self._shelf(config).drill)
        await self._journal.run(
            audit.note, "labrelay", "drill", {name: said.get(name) for name in ("copy", "rows", "seconds")}
        )

    async def _command(self, *arguments: str) -> None:
        """Run a labrelay command beside this process.

        Raises:
            StoreError: it failed; with its last output line.
        """
        ended = await run_gently(self._site().folder, *arguments)
        if ended.code:
            raise StoreError(ended.words)

    def _failed(self, text: str, config: BackupConfig) -> None:
        self._not_before = self._clock.monotonic() + min(AGAIN_S, config.every)
        if text != self._fault:
            logger.error("the backup failed, tried again later", extra={"detail": text[:LONGEST_ERROR]})
        self._fault = text[:LONGEST_ERROR]


def _not_whole(path: Path) -> StoreError | None:
    """The error in a copy that was read back; None without one."""
    made = read_copy(path)
    found = made.verified.findings if made is not None and made.verified is not None else []
    if not found:
        return None
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return StoreError(
        f"the copy is not whole ({found[0]}{more}): is the journal itself damaged? labrelay verify says so"
    )
