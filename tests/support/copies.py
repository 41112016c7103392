"""A site with a journal and a folder for its copies: to copy, to destroy, and to restore."""

from pathlib import Path
from typing import Any

from engine.model.process.clock import SystemClock
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.journal import Journal
from engine.store.recovery.backups import checking, copying, increments, restoring, state_snapshot
from engine.store.recovery.backups.catalog import Copy, Shelf, read_copy
from engine.store.recovery.backups.restoring import RestoreResult


class Place:
    """A site with its journal, and a folder for copies."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        self.data = self.site / "var"
        self.copies = folder / "copies"
        self.copies.mkdir(parents=True)
        for name, content in (("config/labrelay.yaml", "site: {name: X}\n"), ("channels/chem.yaml", "channel: chem\n")):
            (self.site / name).parent.mkdir(parents=True, exist_ok=True)
            (self.site / name).write_text(content)
        (self.site / "config" / "server.key").write_text("-----BEGIN PRIVATE KEY-----\nMIIE\n")

    def shelf(self, journal: Journal) -> Shelf:
        shelf = Shelf(self.copies, journal.journal_id)
        shelf.open()
        return shelf

    async def copy(self, journal: Journal, *, check: bool = True, with_key: bool = False) -> Copy:
        shelf = self.shelf(journal)
        making = shelf.begin()
        await journal.lend(copying.job(making / JOURNAL_NAME))
        copy = complete(shelf, making, journal, self.site, with_key=with_key)
        if check:
            checking.run(copy)
        found = read_copy(copy.path)
        assert found is not None
        return found

    def newest(self, journal: Journal) -> Copy:
        found = self.shelf(journal).newest()
        assert found is not None
        return found

    def standing(self, copy: Copy) -> bool:
        """A round as the daemon makes it: rows, and how messages stand; whether there was anything new."""
        return state_snapshot.write(copy, self.data / JOURNAL_NAME) is not None

    def rows(self, copy: Copy) -> None:
        """Rows alone, as a crash leaves a round."""
        while increments.write(copy, self.data / JOURNAL_NAME) is not None:
            pass

    def restore(self, copy: Copy, target: Path, **more: Any) -> RestoreResult:
        return restoring.run(
            copy, target, clock=SystemClock(), actor="anna", reason="disk lost", **{"keys": self.data, **more}
        )


def complete(shelf: Shelf, making: Path, journal: Journal, site: Path, *, with_key: bool = False) -> Copy:
    """What the daemon does once the pages are there."""
    return copying.complete(
        shelf,
        making,
        data=site / "var",
        site=site,
        name="X",
        journal_id=journal.journal_id,
        seal=journal.vault.anchor_seal,
        with_key=with_key,
    )
