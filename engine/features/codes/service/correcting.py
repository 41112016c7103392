"""A person corrects a code table of the running site.

Everything is compiled before the row is stored, and comes into force between two messages: each message is mapped with
one version of the tables. A crash in between loses nothing, for a start reads the stored rows.

Files that were changed and not reloaded would come into force with a correction, or be taken for it by the process
for large messages: so it is refused until they are. They are compared once more when all is compiled, for a file may be
saved meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from engine.config.load import Site, changed_files
from engine.features.codes import rows as corrections
from engine.features.codes.rows import list_corrections
from engine.features.codes.service.corrections import Examined, Preview, examined, preview, with_change
from engine.model.errors import OccupiedError, RefusedError
from engine.model.process import allocator
from engine.model.process.clock import SystemClock
from engine.model.routes import ChannelRoutes
from engine.model.site.corrections import Correction, RowChange
from engine.model.texts.phrases import R_
from engine.runtime.build import build_channel, build_site
from engine.runtime.programs import Programs
from engine.store.journal import Journal

if TYPE_CHECKING:
    from engine.runtime.app import App

MOST_NAMED = 5  # files
MOST_WAITING = (
    3  # previews; each takes `engine.features.codes.service.corrections.PREVIEW_S` at most, and the time to compile
)
OCCUPIED = R_("other corrections are looked at just now; try again in a few seconds")
T = TypeVar("T")
Change = Callable[[Sequence[Correction]], RowChange]


class Previews:
    """Makes one preview at a time: each maps hundreds of messages, beside those that arrive."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work()``, called in a thread after the ones before.

        Raises:
            OccupiedError: too many wait.
        """
        if self._waiting >= MOST_WAITING:
            raise OccupiedError(OCCUPIED)
        self._waiting += 1
        try:
            await self._one.acquire()
        finally:
            self._waiting -= 1
        made = asyncio.ensure_future(asyncio.to_thread(work))
        made.add_done_callback(lambda _: self._one.release())  # also where the caller has left: the thread goes on
        return await asyncio.shield(made)


class Correcting:
    """Examines corrections, and makes them.

    Attributes:
        running: the daemon; None: a command has taken its place.
    """

    def __init__(
        self, journal: Journal, loaded: Callable[[], Site], running: "App | None", previews: Previews | None = None
    ) -> None:
        self._journal = journal
        self._loaded = loaded
        self.running = running
        self._previews = previews or Previews()

    async def look(self, change: Change, *, keep_values: bool = False) -> tuple[int, Examined, Preview | None]:
        """The version of the corrections, what this change means, and what it does to stored messages; None: it is
        wrong.

        Raises:
            LabRelayError: there is no such channel, table or correction; or files are wrong; or too many look.
        """
        return await self._previews.run(partial(self._look, change, keep_values))

    def _look(self, change: Change, keep_values: bool) -> tuple[int, Examined, Preview | None]:
        loaded, made = self._loaded(), list_corrections(self._journal)
        found = examined(loaded, made, change(made))
        version = made[-1].version if made else 0
        if found.problems:
            return version, found, None
        channel = found.change.channel
        now, then = (self._routes(site, channel) for site in (loaded, with_change(loaded, made, found.change)))
        return version, found, preview(self._journal, now, then, keep_values=keep_values)

    def _routes(self, site: Site, channel: str) -> ChannelRoutes:
        if self.running is not None and site is self.running.parts.built.site:
            return self.running.parts.built.channels[channel].routes
        vault, others = self._journal.vault, self._journal.others
        config, programs = site.channels[channel], Programs(site.mapping_path())
        made = build_channel(
            site, config, programs, identity_key=vault.identity_key, clock=SystemClock(), others=others
        )
        return made.routes

    async def make(self, change: Change, actor: str, *, version: int) -> Correction:
        """Store a correction and put it in force.

        Args:
            version: of the corrections that the person has seen.

        Raises:
            RefusedError: it is wrong, has no reason, or others came in between; or files were changed and not reloaded.
            ConfigError: the configuration cannot be compiled with it.
        """
        # The person may leave while it is put in force.
        return await asyncio.shield(asyncio.ensure_future(self._make(change, actor, version)))

    async def _make(self, change: Change, actor: str, version: int) -> Correction:
        app = self.running
        async with app.parts.reloading if app is not None else nullcontext():
            loaded = self._loaded()
            if app is not None:
                await asyncio.to_thread(_raise_if_files_changed, loaded)
            made = await asyncio.to_thread(list_corrections, self._journal)
            corrections.raise_if_changed(made[-1].version if made else 0, version)
            found = await asyncio.to_thread(examined, loaded, made, change(made))
            if found.problems:
                raise RefusedError("; ".join(f"{one.column}: {one.text}" for one in found.problems))
            if not found.change.reason.strip():
                raise RefusedError("a correction of a code table needs a reason")
            after = with_change(loaded, made, found.change)
            if app is None:
                key, others = self._journal.vault.identity_key, self._journal.others
                build_site(after, identity_key=key, clock=SystemClock(), others=others)
                _raise_if_files_changed(loaded)
                await self._journal.run(corrections.add, found.change, actor, version=version)
            else:
                built = await asyncio.to_thread(app.build, after)
                await app.compile(built)
                await asyncio.to_thread(_raise_if_files_changed, loaded)
                await self._journal.run(corrections.add, found.change, actor, version=version)
                await app.parts.replace(set(), built)
                allocator.settle()
            return (await asyncio.to_thread(list_corrections, self._journal))[-1]


def _raise_if_files_changed(loaded: Site) -> None:
    """Raises RefusedError where the files are not those that run."""
    try:
        changed = changed_files(loaded)
    except OSError as error:
        raise RefusedError(f"files of the configuration cannot be read: {error.strerror}") from error
    if changed:
        raise RefusedError(
            "files of the configuration were changed and not reloaded: `labrelay reload` first, and look again; "
            f"changed: {', '.join(changed[:MOST_NAMED])}"
        )


def look_to_json(version: int, found: Examined, seen: Preview | None) -> dict[str, Any]:
    """A change that was looked at, for programs: nothing of a patient."""
    change = found.change
    return {
        "version": version,
        "channel": change.channel,
        "table": change.table,
        "key": dict(change.key),
        "cells": dict(change.cells),
        "before": dict(found.before),
        "beside": {key: dict(cells) for key, cells in change.beside.items()},
        "problems": [one._asdict() for one in found.problems],
        "preview": seen.to_json() if seen is not None else None,
    }
