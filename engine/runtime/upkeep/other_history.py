"""Evidence about a journal outside of its data folder: a second anchor, the copies of the backup, the log.

The second anchor is in the site's ``anchor:`` folder, best on another disk; by default in a folder beside the data
folder (``/var/lib/labrelay-anchor``), if the service may write there. It is one file for each journal, of the same form
as the first, renewed once a second (`engine.runtime.upkeep.second_anchor`).

The unit copies the last logged head into a folder beside its runtime folder, since the service itself may not read the
system's log. That folder is root's: root writes nothing where the service could put a link.
"""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from engine.config.sitewide import SiteConfig
from engine.model.errors import StoreError
from engine.store.core import anchor
from engine.store.core.anchor import Mark
from engine.store.core.checks.trail_check import heads_in
from engine.store.integrity.rollback import Witness
from engine.store.operations.incarnation import Incarnation
from engine.store.recovery.backups.catalog import Shelf

HEADS_NAME = "audit-head"  # in `HEADS_FOLDER` beside the service's runtime folder, see systemd/labrelay.service
HEADS_FOLDER = "labrelay-log"
RUNTIME_VARIABLE = "RUNTIME_DIRECTORY"
ANSWER_WITHIN_S = 10.0  # of a network folder: a start waits no longer
LONGEST_LOG = 64 * 1024

T = TypeVar("T")


def folder(config: SiteConfig) -> Path:
    """The folder of the second anchor."""
    if config.anchor is not None:
        return config.anchor
    data = config.data.resolve()  # often a link to another disk
    return data.with_name(data.name + "-anchor")


def anchor_path(config: SiteConfig, journal_id: bytes) -> Path:
    """The second anchor's file."""
    return folder(config) / f"labrelay-{journal_id.hex()[:8]}.anchor"


class OtherPlaces:
    """Asks the places of one site.

    Attributes:
        silent: descriptions of the places that did not answer.
    """

    def __init__(self, config: SiteConfig) -> None:
        self._config = config
        self.silent: list[str] = []

    def witnesses(self, journal_id: bytes) -> list[Witness]:
        """All witnesses; never fails, whatever is or is not there."""
        asked: tuple[Callable[[bytes], list[Witness]], ...] = (self._anchor, self._copies, self._heads)
        return [witness for ask in asked for witness in self._answer(ask, journal_id)]

    def _answer(self, ask: Callable[[bytes], list[Witness]], journal_id: bytes) -> list[Witness]:
        """In a thread of its own, which is abandoned where a disk hangs."""
        found: list[Witness] = []

        def run() -> None:
            try:
                found.extend(ask(journal_id))
            except (OSError, StoreError) as error:
                self.silent.append(str(error))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(ANSWER_WITHIN_S)
        if thread.is_alive():
            self.silent.append(f"{ask.__doc__} no answer within {ANSWER_WITHIN_S:.0f} s")
            return []
        return found

    def _anchor(self, journal_id: bytes) -> list[Witness]:
        """The second anchor:"""
        path = anchor_path(self._config, journal_id)
        reading = anchor.read(path)
        if reading.exists and reading.mark is None:
            self.silent.append(f"{path}: the second anchor cannot be read: both of its slots are damaged")
        return [Witness(f"the anchor in {path.parent}", reading.mark, sealed=True)] if reading.mark else []

    def _copies(self, journal_id: bytes) -> list[Witness]:
        """The folder of copies:"""
        root = self._config.backup.folder
        if root is None:
            return []
        shelf, found = Shelf(root, journal_id), list[Witness]()
        try:  # first the claim: a copy that is deleted meanwhile, or cannot be listed, must not hide it
            if (claimed := shelf.claimed_by()) is not None:
                found.append(_that_wrote(claimed, shelf, journal_id))
        except StoreError as error:
            self.silent.append(str(error))
        try:
            found.extend(_of_copies(shelf, journal_id))
        except OSError as error:
            self.silent.append(str(error))
        return found

    def _heads(self, journal_id: bytes) -> list[Witness]:
        """The head in the log:"""
        given = os.environ.get(RUNTIME_VARIABLE, "").split(":")[0]
        path = Path(given).with_name(HEADS_FOLDER) / HEADS_NAME if given else Path()
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(LONGEST_LOG)
        own = [line for line in text.splitlines() if journal_id.hex()[:8] in line]
        return [Witness("the log", Mark(journal_id, row, bytes.fromhex(head))) for row, head in heads_in(own)]


def those_that_wrote(shelf: Shelf, journal_id: bytes) -> list[Witness]:
    """The incarnations that have written in the folder of copies.

    Raises:
        StoreError: they are not known.
    """
    return [_that_wrote(one, shelf, journal_id) for one in shelf.written_by()]


def _that_wrote(one: Incarnation, shelf: Shelf, journal_id: bytes) -> Witness:
    return Witness(str(shelf.path), Mark(journal_id, 0, b""), incarnation=one)


def _of_copies(shelf: Shelf, journal_id: bytes) -> Iterator[Witness]:
    for copy in shelf.copies():
        if copy.manifest.journal_id != journal_id.hex():
            continue
        marks = [Mark(journal_id, copy.manifest.last_id, bytes.fromhex(copy.manifest.chain))]
        marks += [Mark(journal_id, piece.last, b"") for piece in copy.pieces()[-1:]]
        yield from (Witness(f"the copy {copy.path}", mark, incarnation=copy.incarnation) for mark in marks)
