"""The basis of every verb: the selected site, its data folder, its daemon, and the person's consent.

Everything is looked up on first use, so that a verb pays only for what it uses.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.output import on_terminal, say
from engine.model.errors import ConfigError, IntegrityError, RefusedError, StoreError, UnreachableError

if TYPE_CHECKING:
    from engine.config.load import Site
    from engine.model.site.corrections import Correction
    from engine.store.integrity.rollback import Witness
    from engine.store.queries.reader import Reader

START_S, LOOK_S = 10.0, 0.1  # how long a daemon that is starting is waited for


@dataclass
class Session:
    """One command line.

    Attributes:
        site: the value of ``--site``.
        settings: the values of ``--set``, above the settings of a channel.
    """

    site: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def folder(self) -> Path:
        """The site's folder. Raises ConfigError where there is none."""
        from engine.config.site import find_site

        return find_site(self.site)

    @cached_property
    def folder_or_none(self) -> Path | None:
        """As `folder`, for verbs that also work on files alone."""
        try:
            return self.folder
        except ConfigError:
            if self.site is not None:
                raise
            return None

    @property
    def data(self) -> Path:
        """The data folder; found even where the rest of the configuration is broken. From here on root acts as its
        owner.

        Raises:
            RefusedError: root may not take the owner's account here.
            StoreError: a file in it is not the owner's own.
        """
        from engine.store.core.files.ownership import act_as_owner

        act_as_owner(self._data_folder)
        return self._own_data

    @cached_property
    def _data_folder(self) -> Path:
        from engine.config.site_file import data_folder

        return data_folder(self.folder)

    @cached_property
    def _own_data(self) -> Path:
        from engine.store.core.files.ownership import raise_if_foreign

        raise_if_foreign(self._data_folder)
        return self._data_folder

    def act_as_service(self) -> None:
        """Root becomes the owner of the data folder, for good."""
        from engine.store.core.files.ownership import act_as_owner

        act_as_owner(self._data_folder, for_good=True)

    @property
    def journal(self) -> Path:
        """The journal's file, which may not exist yet."""
        from engine.model.journal.records import JOURNAL_NAME

        return self.data / JOURNAL_NAME

    def load(self, *, require_secrets: bool = True) -> "Site":
        """The site's configuration. Raises ConfigError with every problem."""
        from engine.config.load import load_site

        return load_site(self.folder, require_secrets=require_secrets)

    def load_corrected(self) -> "Site":
        """As `load`, for verbs that map: with the corrections of code tables, which the journal has."""
        return self.corrected(self.load(require_secrets=False))

    def corrected(self, site: "Site") -> "Site":
        """A configuration of files with the corrections of code tables. Raises IntegrityError: one is damaged."""
        from engine.model.site.corrections import in_force

        return replace(site, corrections=in_force(self.corrections))

    @cached_property
    def corrections(self) -> "list[Correction]":
        """All corrections of code tables; where this account cannot read them, it says so, and there are none.

        Raises:
            IntegrityError: one of them is damaged.
        """
        from engine.store.core.files.ownership import for_a_while
        from engine.store.queries.acts import list_corrections

        try:
            with for_a_while():  # the files to map are those that the user names
                if not self.journal.exists():
                    return []
                with self.reader() as journal:
                    return list_corrections(journal)
        except (RefusedError, ConfigError, PermissionError, StoreError) as error:
            if isinstance(error, IntegrityError):
                raise
            say(f"without the corrections of code tables, which cannot be read here: {error}")
            return []

    @cached_property
    def zone(self) -> tzinfo:
        """The site's zone for times that people read and write; this machine's where the site's cannot be read."""
        from engine.config.site_file import site_zone

        return site_zone(self.folder) or datetime.now().astimezone().tzinfo or UTC

    @property
    def zone_or_here(self) -> tzinfo:
        """As `zone`, for verbs that need no site: without one, this machine's."""
        return self.zone if self.folder_or_none is not None else datetime.now().astimezone().tzinfo or UTC

    @property
    def is_closed(self) -> bool:
        """Whether the journal's files are closed to this account, which may still ask the daemon."""
        try:
            self.journal.stat()
        except PermissionError:
            return True
        except OSError:
            return False  # there is none, or worse: its reader says so
        return not os.access(self.journal, os.R_OK)

    def raise_if_closed(self) -> None:
        """Raises RefusedError where `is_closed`."""
        if self.is_closed:
            raise RefusedError(
                "the journal's files are open to root and the service's user only; this account works through the "
                "running daemon: labrelay status, todo, tap, and acts (retry, release, pause ...); else use sudo"
            )

    @contextmanager
    def reader(self) -> "Iterator[Reader]":
        """The journal, to read only; beside a running daemon or without one.

        Raises:
            StoreError: there is none yet, or it cannot be read.
            RefusedError: its files are closed to this account.
        """
        from engine.store.queries.reader import Reader

        self.raise_if_closed()
        reader = Reader.beside(self.data)
        try:
            for note in reader.notes:
                say(note)
            yield reader
        finally:
            reader.close()

    def elsewhere(self, journal_id: bytes) -> "list[Witness]":
        """Witnesses of the journal outside of its data folder; none where the configuration cannot be read."""
        from engine.runtime.upkeep.other_history import OtherPlaces

        try:
            asked = OtherPlaces(self.load(require_secrets=False).config)
        except ConfigError:
            return []
        found = asked.witnesses(journal_id)
        for text in asked.silent:
            say(text)
        return found

    def call(
        self, verb: str, args: dict[str, Any] | None = None, *, timeout: float = 10.0, content: bytes = b""
    ) -> dict[str, Any]:
        """Ask the site's daemon; see `engine.actions.control`."""
        from engine.actions.control import SOCKET_NAME, call

        return call(self.data / SOCKET_NAME, verb, args, timeout=timeout, content=content)

    def call_also_at_start(
        self, verb: str, args: dict[str, Any] | None = None, *, timeout: float = 10.0, content: bytes = b""
    ) -> dict[str, Any]:
        """`call`; a daemon that is starting has the data folder and takes no request yet: it is waited for."""
        from engine.diagnostics.examine import is_locked
        from engine.store.core.files.lock import LOCK_NAME

        until = time.monotonic() + START_S
        while True:
            try:
                return self.call(verb, args, timeout=timeout, content=content)
            except UnreachableError as error:
                unsent = isinstance(error.__cause__, (FileNotFoundError, ConnectionRefusedError))
                if not unsent or time.monotonic() >= until or not is_locked(self.data / LOCK_NAME):
                    raise
            time.sleep(LOOK_S)


pass_session = click.make_pass_decorator(Session)


def consent(question: str, *, yes: bool) -> None:
    """Ask before something is sent or closed.

    Raises:
        RefusedError: the answer was no, or without a person to ask ``--yes`` was not given.
    """
    if yes:
        say(question.rstrip("?") + ": yes")
        return
    if not on_terminal():
        raise RefusedError(f"{question} Nothing was done; add --yes to do it without being asked")
    if not click.confirm(question, err=True):
        raise RefusedError("nothing was done")
