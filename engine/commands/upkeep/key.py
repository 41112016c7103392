"""The key that opens the journal: where it is, a sheet of paper to bring it back, a new one.

Everything that LabRelay stores of patients is sealed; this key opens it. Where the key is lost, so is the data, and
backups with it: print the recovery sheet, and keep it away from this machine.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.acting import ask
from engine.commands.shared.output import ExitCode, Form, form_option, on_terminal, say, show_document
from engine.commands.shared.selecting import file_option
from engine.commands.shared.session import Session, consent, pass_session
from engine.model.errors import ConfigError, IntegrityError, RefusedError, StoreError
from engine.model.process.clock import SystemClock, from_us
from engine.store.core import key_encryption_key
from engine.store.core.vault import KEY_BYTES, KEY_NAME, check_value, make_kek, write_kek
from engine.views.view import local

if TYPE_CHECKING:
    from engine.store.core.key_encryption_key import FoundKey
    from engine.store.lifecycle.key_rotation import KeyFacts

GROUP = "upkeep"


@click.group(help=__doc__)
def command() -> None:
    pass


# -- status --------------------------------------------------------------------------------------------------------


@command.command()
@form_option(Form.TABLE, Form.JSON)
@pass_session
def status(session: Session, form: Form) -> ExitCode:
    """Show which key is in use, where it is, and what it opens; never the key."""
    exists = session.journal.exists()
    found, others = _look(session)
    document: dict[str, Any] = {
        "key": found.id if found else None,
        "at_hand": found is not None,
        "source": found.source.value if found else None,
        "place": found.place if found else None,
        "data_keys": [],
    }
    if not exists:
        words = f"key {found.id} in {found.place}" if found else "there is no key yet; the first start makes one"
        show_document(form, document, [f"{words}; there is no journal yet"])
        return ExitCode.OK
    facts = _facts(session)
    document |= {
        "key": facts.id,
        "made": from_us(facts.made_us),
        "age_days": round((SystemClock().now_us() - facts.made_us) / 86_400e6, 1),
        "sheet_confirmed": from_us(facts.sheet_us) if facts.sheet_us else None,
        "data_keys": [
            {"class": key_class, "month": month or None, "made": from_us(made_us)}
            for key_class, month, made_us in facts.data_keys
        ],
        "others": [{"key": one.id, "source": one.source.value, "place": one.place} for one in others],
    }
    show_document(form, document, _status_lines(session, document))
    return ExitCode.OK if found is not None else ExitCode.INTEGRITY


def _status_lines(session: Session, found: dict[str, Any]) -> Iterator[str]:
    if found["at_hand"]:
        yield f"key {found['key']}: {found['place']} ({found['source']})"
    else:
        yield f"key {found['key']} is needed, and not at hand here"
        if not found["others"]:
            yield f"  {key_encryption_key.not_there(session.data, found['key'])}"
    yield f"in use since {local(found['made']):%Y-%m-%d} ({found['age_days']:.0f} days)"
    if found["sheet_confirmed"]:
        yield f"recovery sheet: confirmed on {local(found['sheet_confirmed']):%Y-%m-%d}"
    else:
        yield "recovery sheet: not confirmed: labrelay key recovery-sheet, then --confirm"
    if found["source"] == "new file":
        yield "  bring this key to where the old one was (credential or environment), and remove the file"
    months: dict[str, list[str]] = {}
    for key in found["data_keys"]:
        months.setdefault(key["month"] or "all time", []).append(key["class"])
    yield from (f"  {month:<10} {', '.join(classes)}" for month, classes in months.items())
    for other in found["others"]:
        yield f"also here: key {other['key']} in {other['place']}; it opens no row of this journal as it is now"


# -- making and bringing back ----------------------------------------------------------------------------------------


@command.command()
@click.option("--from-sheet", is_flag=True, help="Type it in from its recovery sheet.")
@pass_session
def init(session: Session, from_sheet: bool) -> ExitCode:
    """Make the key of a new site, or bring a lost one back from its recovery sheet.

    Without --from-sheet: for a site that has no journal yet. The first start does the same by itself; use this to print
    the sheet, or to seal the key as a credential, before anything is stored.
    """
    path = session.data / KEY_NAME
    session.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if from_sheet:
        return _restore(session, path)
    if session.journal.exists():
        raise RefusedError("there is a journal, and no other key than its own opens it: labrelay key status")
    if (found := key_encryption_key.first(session.data)) is not None:
        raise RefusedError(f"there is a key already: {found.id} in {found.place}")
    _, note = make_kek(session.data)
    say(note)
    return ExitCode.OK


def _restore(session: Session, path: Path) -> ExitCode:
    from engine.store.core import key_encryption_key

    key = _typed(list(range(1, key_encryption_key.LINES + 1)))
    typed = key_encryption_key.key_id(check_value(key))
    if session.journal.exists():
        expected = _facts(session).id
        if typed != expected:
            raise IntegrityError(
                f"this is the sheet of key {typed}, and the journal needs {expected}; nothing was done"
            )
        found = None
        with suppress(ConfigError):  # the sheet is the remedy for a damaged file
            found, _ = _look(session)
        if found is not None:
            say(f"the key is there already: {found.place}")
            return ExitCode.OK
    if path.exists():  # another journal's key, or a damaged one: kept, for it may open something else
        aside = path.with_name(f"{path.name}.aside-{secrets.token_hex(3)}")
        path.rename(aside)
        say(f"{path}: was there, and opens nothing here; kept as {aside.name}")
    write_kek(path, key)
    if session.journal.exists():
        ask(session, "key", {"step": "restored", "key": typed})
    say(f"key {typed} is back: {path}")
    return ExitCode.OK


def _typed(numbers: list[int]) -> bytes:
    """A person's input for these lines of a sheet; on a terminal line by line, until each is right."""

    if not on_terminal():
        given = [line.strip() for line in sys.stdin.read(4096).splitlines() if line.strip()]
        if len(given) != len(numbers):
            raise click.UsageError(
                f"{len(numbers)} lines of the sheet are expected on standard input, not {len(given)}"
            )
        try:
            return b"".join(
                key_encryption_key.read_line(number, line) for number, line in zip(numbers, given, strict=True)
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    parts = []
    for number in numbers:
        while True:
            try:
                parts.append(key_encryption_key.read_line(number, click.prompt(f"line {number}", err=True)))
                break
            except ValueError as error:
                say(f"{error}; once more")
    return b"".join(parts)


# -- the sheet -------------------------------------------------------------------------------------------------------


@command.command("recovery-sheet")
@click.option("--html", is_flag=True, help="As a page to print; else as text.")
@file_option("--to", "path", help="Into this new file, which only you can read; else to standard output.")
@click.option(
    "--confirm",
    is_flag=True,
    help="Say that the sheet is in safe hands: type the line of it that is asked for, or pipe in all four.",
)
@click.option("--yes", is_flag=True, help="Show the key without being asked.")
@pass_session
def recovery_sheet(session: Session, html: bool, path: Path | None, confirm: bool, yes: bool) -> ExitCode:
    """Print the key on a sheet that brings it back. This is noted in the audit trail.

    Keep the sheet where a stranger does not come, away from this machine. Its holder can read all of a copy of the
    journal or a backup. Then say so: labrelay key recovery-sheet --confirm
    """
    from engine.store.core import key_encryption_key
    from engine.store.core.files.ownership import as_given

    found, others = _look(session)
    if found is None and not session.journal.exists():
        raise ConfigError("there is no key yet; the first start makes one")
    if found is None:
        facts = _facts(session)
        if others:
            key_encryption_key.unlock(session.data, facts.check)  # says which keys lie there, and which is needed
        raise ConfigError(key_encryption_key.not_there(session.data, facts.id))
    if confirm:
        numbers = (
            [1 + secrets.randbelow(key_encryption_key.LINES)]
            if on_terminal()
            else list(range(1, key_encryption_key.LINES + 1))
        )
        size = KEY_BYTES // key_encryption_key.LINES
        right = b"".join(found.kek[(number - 1) * size : number * size] for number in numbers)
        if not secrets.compare_digest(_typed(numbers), right):
            raise IntegrityError(f"this is not the sheet of the key in use ({found.id}); print a new one")
        ask(session, "key", {"step": "confirm"})
        say(f"confirmed: the sheet of key {found.id} is in safe hands")
        return ExitCode.OK
    where = f"into {path}" if path is not None else "here"
    consent(f"Show the key that opens every result of this site, {where}?", yes=yes)
    if session.journal.exists():  # before it there is nowhere to note it, and nothing that the key opens
        ask(session, "key", {"step": "show", "key": found.id})
    text = _sheet(session.load(require_secrets=False).config.site.name, found, html=html)
    if path is None:
        click.echo(text, nl=False)
        return ExitCode.OK
    try:
        with as_given(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    say(f"{path}: print it, and remove the file")
    return ExitCode.OK


def _sheet(site: str, found: "FoundKey", *, html: bool) -> str:
    from engine.web.page_templates import templates

    typed = list(enumerate(key_encryption_key.write(found.kek), start=1))
    facts: dict[str, Any] = {
        "site": site,
        "key": found.id,
        "day": from_us(SystemClock().now_us()).date().isoformat(),
        "lines": typed,
    }
    return templates(Path(__file__).parent).get_template(f"key_sheet.{'html' if html else 'txt'}").render(facts)


# -- rotation --------------------------------------------------------------------------------------------------------


@command.command()
@click.option(
    "--discard-old",
    is_flag=True,
    help="Throw the old key away once the new one is proven. Backups from before open with its recovery sheet only.",
)
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def rotate(session: Session, discard_old: bool, yes: bool, form: Form) -> ExitCode:
    """Make a new key, and wrap all data keys by it; with or without the daemon.

    Stored rows are not rewritten, so it takes a moment. The old key stays in the data folder, since older backups need
    it, unless --discard-old is given. The recovery sheet is another one afterwards.
    """
    facts = _facts(session)
    old = " and throw the old one away" if discard_old else ""
    consent(f"Make a new key in the place of {facts.id}{old}?", yes=yes)
    done = ask(session, "key", {"step": "rotate", "discard_old": discard_old})
    show_document(form, done, _rotated_lines(done))
    return ExitCode.OK


def _rotated_lines(done: dict[str, Any]) -> Iterator[str]:
    yield f"key {done['after']} is in use now, in the place of {done['before']}: {done['keys']} data keys wrapped anew"
    if done["to_move"]:
        yield f"it is in {done['place']}: bring it to where the old one is, for instance with"
        yield f"  systemd-creds encrypt --name=labrelay-kek {done['place']} /etc/labrelay/credentials/labrelay-kek.cred"
        yield "start LabRelay again, look whether `labrelay key status` shows it there, then remove the file"
    elif done["kept"]:
        yield f"the old key is kept for backups from before: {done['kept']}"
    else:
        yield "the old key was thrown away: backups from before open with its recovery sheet only"
    yield "print the new recovery sheet now: labrelay key recovery-sheet"


# -- looking ----------------------------------------------------------------------------------------------------------


def _facts(session: Session) -> "KeyFacts":
    """Facts about the journal's keys; works without the key."""
    import sqlite3

    from engine.store.core.connecting import connect
    from engine.store.lifecycle.key_rotation import facts

    path = session.journal
    if not session.journal.exists():
        raise StoreError(f"{session.data}: there is no journal yet; the first labrelay run makes it")
    try:
        with closing(connect(path)) as connection:
            return facts(connection.execute)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


def _look(session: Session) -> tuple["FoundKey | None", list["FoundKey"]]:
    """The key in use, if it is at hand, and all others that are."""
    if not session.journal.exists():
        return key_encryption_key.first(session.data), []
    check = _facts(session).check
    try:
        every = list(key_encryption_key.candidates(session.data))
    except PermissionError as error:
        raise ConfigError(key_encryption_key.not_readable(str(error.filename))) from error
    right = next((found for found in every if found.check == check), None)
    return right, [found for found in every if found is not right]
