"""Examine this machine and site: disk, clock, ports, certificates, keys; each line ok, or what to do.

Run it as the user of the service: rights are what it looks at. It writes one small file into the data folder to
measure how fast the disk syncs, and takes it away again. Exit code 1 if anything fails.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel

from engine.commands.shared.output import ExitCode, Form, form_option, show_document
from engine.commands.shared.session import Session, pass_session
from engine.config.load import Site, serial_lines
from engine.config.reading.secrets import CREDENTIALS_VARIABLE, Secret
from engine.diagnostics import examine
from engine.diagnostics.examine import examined
from engine.feature import Hook
from engine.model.errors import ConfigError, IntegrityError, StoreError
from engine.model.site.health import Health, Line
from engine.store.core.connecting import JOURNAL_NAME, connect
from engine.store.core.files.lock import LOCK_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.queries.lanes import list_pauses
from engine.store.recovery.backups import recovery_point
from engine.views.text import plural
from engine.views.view import picked

if TYPE_CHECKING:
    from engine.store.queries.reader import Reader

Examine = Callable[["Site", "Callable[[], AbstractContextManager[Reader]]", bool], Iterator[Line]]
EXAMINES: Hook[Examine] = Hook("examine")  # of a site and its journal; the last says whether a daemon runs

GROUP = "when something is wrong"

COLORS = {Health.OK: "green", Health.WARN: "yellow", Health.FAIL: "red"}


@click.command(help=__doc__)
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(session: Session, form: Form) -> ExitCode:
    lines = list(_examine(session))
    document = {"health": examine.worst(lines), "lines": [picked(line, "health subject text advice") for line in lines]}
    show_document(form, document, (_for_people(line) for line in lines))
    return ExitCode.FAILED if examine.worst(lines) is Health.FAIL else ExitCode.OK


def _examine(session: Session) -> Iterator[Line]:
    yield examine.origin()
    yield examine.python_version()
    yield examine.sqlite_version()
    yield examine.clock_is_synchronised()
    folder = session.folder_or_none
    if folder is None:
        yield Line(Health.WARN, "site", "there is no site here", "go to its folder, or name it with --site DIR")
        return
    runs = examine.is_locked(session.data / LOCK_NAME)
    yield from _data(session.data, runs)
    try:
        site = session.load(require_secrets=False)
    except ConfigError as error:
        yield Line(Health.FAIL, "site", f"{folder}: {plural(len(error.problems), 'problem')}", "labrelay check")
        return
    from engine.config.site import SYSTEM_SITE
    from engine.diagnostics import service

    yield Line(Health.OK, "site", f"{folder}: {plural(len(site.channels), 'channel')}, configuration {site.hash[:12]}")
    sources = [channel.source for channel in site.channels.values()]
    yield examine.open_files(sum(getattr(source, "max_connections", 1) for source in sources))
    yield from _network(site, runs)
    yield from _lines(site, runs)
    yield from _secrets(site)
    yield from asyncio.run(examined(site))
    yield from recovery_point.lines(site.config.backup, session.data, runs=runs, practice=site.config.site.practice)
    if site.folder == SYSTEM_SITE:
        yield from service.examine(site)
    yield examine.budget(site)
    yield from _journal(session, site)
    yield from _of_features(session, site, runs)


def _journal(session: Session, site: "Site") -> Iterator[Line]:
    """Whether the journal can be read, whether deliveries are at a standstill, and whether a rolled back data folder
    would be noticed.
    """
    from engine.model.journal.records import DELIVERIES
    from engine.runtime.upkeep import other_history

    if not (session.data / JOURNAL_NAME).exists():
        return
    try:
        with session.reader() as reader:
            pauses = {pause.target: pause for pause in list_pauses(reader)}
    except StoreError as error:
        yield Line(Health.FAIL, "journal", str(error))
        return
    if DELIVERIES in pauses:
        text = f"nothing is delivered: {pauses[DELIVERIES].reason or 'paused'}"
        yield Line(Health.FAIL, "deliveries", text, "labrelay resume deliveries --reason TEXT, once that is mended")
    folder = other_history.folder(site.config)
    if any(folder.glob("*.anchor")):
        yield Line(Health.OK, "second anchor", f"in {folder}")
    else:
        text = f"there is none in {folder}: a data folder that is put back to an earlier state goes unnoticed"
        yield Line(
            Health.WARN, "second anchor", text, "name a folder that the service may write, on another disk: anchor"
        )


def _of_features(session: Session, site: "Site", runs: bool) -> Iterator[Line]:
    """What features find in the journal."""
    if not (session.data / JOURNAL_NAME).exists():
        return
    with suppress(StoreError):  # `_journal` says so
        for one in EXAMINES.each():
            yield from one(site, session.reader, runs)


def _data(data: Path, runs: bool) -> Iterator[Line]:
    yield from examine.data_folder(data)
    if not data.is_dir():
        return
    yield examine.sync_speed(data)
    yield Line(Health.OK, "daemon", "runs, and holds the data folder" if runs else "does not run")
    key = examine.private_file(data / KEY_NAME, "key")
    if key is not None:
        yield key
    yield from _key(data)


def _key(data: Path) -> Iterator[Line]:
    """Whether the journal's key is present, and whether a person has confirmed the recovery sheet."""
    import sqlite3

    from engine.store.core import key_encryption_key
    from engine.store.lifecycle import key_rotation

    if not (data / JOURNAL_NAME).exists():
        return
    try:
        with closing(connect(data / JOURNAL_NAME)) as connection:
            facts = key_rotation.facts(connection.execute)
        found = key_encryption_key.unlock(data, facts.check)
    except (sqlite3.Error, KeyError, PermissionError):
        return  # the line on the file says so, or `labrelay verify`
    except (ConfigError, IntegrityError) as error:
        if any(data.glob(f"{KEY_NAME}*")) or CREDENTIALS_VARIABLE in os.environ:
            yield Line(Health.FAIL, "key", str(error), "labrelay key init --from-sheet")
        else:
            advice = "nothing, where the service gets it as a credential; else labrelay key init --from-sheet"
            yield Line(Health.WARN, "key", f"key {facts.id} is not at hand in this shell", advice)
        return
    if found.source is key_encryption_key.Source.NEW_FILE:
        text = f"key {found.id} is still in {found.place}"
        yield Line(Health.WARN, "key", text, "bring it to where the old key was, then remove the file")
    if not facts.sheet_us:
        text = f"the recovery sheet of key {facts.id} is not confirmed: if the key is lost, so is the data"
        yield Line(Health.WARN, "key", text, "labrelay key recovery-sheet, and then --confirm")


def _network(site: "Site", runs: bool) -> Iterator[Line]:
    from engine.config.findings.tls_files import certificate_files
    from engine.config.sources.source_tee import TeePart

    if site.config.web.enabled:
        yield examine.address(site.config.web.listen, "status page", daemon_runs=runs)
    for name, channel in site.channels.items():
        source = channel.source
        listens_on = getattr(source, "listen", None)
        if isinstance(source, TeePart):
            listens_on = source.tee.listens_on
        if listens_on is not None and channel.enabled:
            yield examine.address(listens_on, f"channel {name}", daemon_runs=runs)
    for one in certificate_files(site):
        yield examine.certificate(one.cert, one.owner)
        if one.key is not None:
            yield _private_key(one.key, one.owner)
    asked: dict[str, Any] = {f"channel {name}": channel.source for name, channel in site.channels.items()}
    asked |= {f"destination {name}": destination for name, destination in site.config.destinations.items()}
    for owner, block in asked.items():
        oauth2 = getattr(getattr(block, "auth", None), "oauth2", None)
        if oauth2 is not None and oauth2.key is not None:
            yield _private_key(oauth2.key, owner)


def _lines(site: "Site", runs: bool) -> Iterator[Line]:
    from engine.config import registry

    enabled = [(name, channel) for name, channel in site.channels.items() if channel.enabled]
    lines = [(name, line) for name, channel in enabled for _, line in serial_lines(channel)]
    if not lines:
        return
    serial = registry.transport("serial")
    for name, line in lines:
        owner = f"channel {name}"
        if line.is_remote:
            yield examine.server(line.device, owner)
            continue
        try:
            yield examine.port(line.device, owner, serial.look(line.device), daemon_runs=runs)
        except OSError as error:
            yield examine.missing(line.device, owner, str(error))
    busybodies = examine.busybodies()
    if busybodies is not None:
        yield busybodies


def _private_key(key: Path, owner: str) -> Line:
    return examine.private_file(key, "private key") or Line(
        Health.FAIL, "private key", f"{key} ({owner}) does not exist", "correct the path"
    )


def _secrets(site: "Site") -> Iterator[Line]:
    from engine.config.sitewide import servers

    named: dict[str, BaseModel] = {f"channel {name}": channel.source for name, channel in site.channels.items()}
    named |= {server.owner: server.block for server in servers(site.config)}
    for name, block in (*site.config.destinations.items(), *named.items()):  # a destination may be called traces
        for secret in _secrets_in(block):
            if secret.is_set:
                yield Line(Health.OK, "secret", f"{secret} ({name}) is set")
            else:
                advice = "set here or not, the service must have it: LoadCredential= or its environment"
                yield Line(Health.WARN, "secret", f"{secret} ({name}) is not set in this shell", advice)


def _secrets_in(block: "BaseModel") -> "Iterator[Secret]":
    """Every secret that a block of configuration names."""

    for key in type(block).model_fields:
        value = getattr(block, key)
        if isinstance(value, Secret):
            yield value
        elif isinstance(value, BaseModel):
            yield from _secrets_in(value)


def _for_people(line: Line) -> str:
    mark = click.style(f"{line.health.value:<5}", fg=COLORS[line.health])
    advice = f"\n      -> {line.advice}" if line.advice else ""
    return f"{mark} {line.subject}: {line.text}{advice}"
