"""The file of a new site: the shipped example with the answers of a person, who is asked where one is there."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click

from engine.commands.shared.output import on_terminal, say
from engine.config.site import CONFIG_FILE, SYSTEM_SITE, shipped
from engine.model.errors import ConfigError

# Editors with a YAML language server (VS Code, Neovim, Helix ...) find a file's schema by this line.
SCHEMA_LINE = "# yaml-language-server: $schema={}\n"
PATIENT_NUMBERS = ("lasting", "counter")
MOUNTED = ("/mnt", "/media", "/run/media", "/srv", "/backup")  # where people mount disks and shares
BACKUP = """
backup:
  folder: {folder}    # a full copy a day, new rows every 5 minutes; `labrelay backup list` shows them
"""
NO_BACKUP = """
# No backup is configured, so the page is red. Name a folder on another disk, or on a mounted share:
# backup: {folder: /mnt/backup}
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a new site says of itself; None: the person has not said.

    Attributes:
        name: of the laboratory.
        timezone: an IANA name.
        fhir: base address of the FHIR server that gets the results.
        patient_numbers: one of `PATIENT_NUMBERS`.
        backup: the folder for copies.
    """

    name: str | None = None
    timezone: str | None = None
    fhir: str | None = None
    patient_numbers: str | None = None
    backup: str | None = None


def write(folder: Path, answers: Answers) -> Path:
    """Write the file of a new site, and make its folder for backups.

    Returns:
        The file.

    Raises:
        click.UsageError: the zone is unknown, or the file cannot be written.
        ConfigError: the shipped example is missing, or the answers give no valid site; nothing is left behind.
    """
    from engine.config.load import load_site

    default = Answers(name=_name(folder), timezone=_zone_of_this_machine())
    _check_zone(answers.timezone)
    if on_terminal():
        answers = _ask(answers, default, folder)
    path = folder / CONFIG_FILE
    create(
        path, _text(replace(answers, name=answers.name or default.name, timezone=answers.timezone or default.timezone))
    )
    try:
        site = load_site(folder, require_secrets=False)
    except ConfigError:
        path.unlink()
        raise
    say(f"wrote {path}")
    _backup(site.config.backup.folder, site.config.data, path)
    return path


def create(path: Path, text: str) -> None:
    """Write a file that is not there yet.

    Raises:
        click.UsageError: it is, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise click.UsageError(
            f"{path} is there already and was left as it is; move it, or give another name"
        ) from None
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None


def another_disk(data: Path, mounts: str | None = None) -> Path | None:
    """A mounted disk or share that this user may write to, and that the journal is not on; None without one.

    Args:
        data: the data folder, which may not exist yet.
        mounts: the text of ``/proc/mounts``, read if not given.
    """
    try:
        lines = (Path("/proc/mounts").read_text(encoding="utf-8") if mounts is None else mounts).splitlines()
        ours = os.stat(next(place for place in (data, *data.parents) if place.is_dir())).st_dev
    except OSError:
        return None
    for line in lines:
        device, place = [*line.split(), "", ""][:2]
        found = Path(place.encode().decode("unicode_escape"))
        if not device.startswith("/") and ":" not in device:  # neither a disk nor a share
            continue
        if not any(found.is_relative_to(known) for known in MOUNTED) or not os.access(found, os.W_OK | os.X_OK):
            continue
        if os.stat(found).st_dev != ours:
            return found
    return None


def _name(folder: Path) -> str:
    return folder.name if folder.name and folder != SYSTEM_SITE else "Laboratory"


def _check_zone(zone: str | None) -> None:
    from zoneinfo import available_timezones

    if zone is not None and zone not in available_timezones():
        raise click.UsageError(f"--timezone {zone}: unknown time zone; expected an IANA name, as Asia/Kolkata")


def _check_url(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"{url}: expected an address, as https://fhir.example.org/r4")


def _check_numbers(said: str) -> None:
    if said not in PATIENT_NUMBERS:
        raise click.UsageError(f"{said}: expected {' or '.join(PATIENT_NUMBERS)}")


def _ask(answers: Answers, default: Answers, folder: Path) -> Answers:
    """Ask a person for what was not given."""

    def ask(
        question: str, given: str | None, usual: str | None = None, check: Callable[[str], None] = lambda _: None
    ) -> str | None:
        """The answer; None for none. A wrong one is asked for again."""

        def checked(said: str) -> str:
            if said.strip():
                check(said.strip())
            return said.strip()

        if given is not None:
            return given
        shown = bool(usual)
        said: str = click.prompt(question, default=usual or "", show_default=shown, err=True, value_proc=checked)
        return said or None

    say("Enter takes the answer in brackets. Each answer can be changed in the file.")
    disk = another_disk(folder / "var")
    return Answers(
        name=ask("Name of the laboratory", answers.name, default.name),
        timezone=ask("Its time zone", answers.timezone, default.timezone, _check_zone),
        fhir=ask("Address of the FHIR server for the results (empty: later)", answers.fhir, None, _check_url),
        patient_numbers=ask(
            "Does a patient number stay with one person for good? lasting, counter (empty: later)",
            answers.patient_numbers,
            None,
            _check_numbers,
        ),
        backup=ask(
            "Folder for backups, on another disk (empty: later)",
            answers.backup,
            str(disk / "labrelay") if disk else None,
        ),
    )


def _text(answers: Answers) -> str:
    model = shipped("config")
    if model is None:
        raise ConfigError("the shipped configuration is missing; is the package whole?")

    def quoted(value: str | None) -> str:
        return json.dumps(value, ensure_ascii=False)

    text = (model / CONFIG_FILE.name).read_text(encoding="utf-8")
    text = re.sub(r"(?m)^  timezone: \S+", lambda _: f"  timezone: {answers.timezone}", text)
    text = re.sub(r"(?m)^  name: .*$", lambda _: f"  name: {quoted(answers.name)}", text)
    text = re.sub(r"(?m)^  practice: .*\n", "", text)
    # A question that only the laboratory can answer: `labrelay check` asks it until then.
    numbers = answers.patient_numbers
    line = f"patient_numbers: {numbers}" if numbers else "# patient_numbers: lasting or counter"
    text = re.sub(r"(?m)^patient_numbers: .*$", line, text)
    if answers.fhir:
        text = re.sub(r"(?m)^    url: .*$", lambda _: f"    url: {quoted(answers.fhir)}", text)
    return (
        SCHEMA_LINE.format("schema/site.json")
        + text
        + (BACKUP.format(folder=quoted(answers.backup)) if answers.backup else NO_BACKUP)
    )


def _backup(folder: Path | None, data: Path, file: Path) -> None:
    """Make the folder for backups, of the owner of the data; say what is missing."""
    from engine.store.core.files.ownership import give_to_owner
    from engine.store.recovery.backups import recovery_point

    if folder is None:
        disk = another_disk(data)
        where = f"{disk} is another disk" if disk else "choose a folder on another disk, or a mounted share"
        say(f"No backup is configured, so the page is red: write backup: {{folder: ...}} into {file}; {where}")
        return
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            if data.is_dir():
                give_to_owner(folder, data)
            say(f"made {folder}")
    except OSError as error:
        say(f"{folder} cannot be made ({error.strerror}): make it, for the user that LabRelay runs as")
    if recovery_point.is_on_one_disk(folder, data if data.is_dir() else file.parent):
        say(f"Backup: {recovery_point.SAME_DISK}")


def _zone_of_this_machine() -> str:
    """The IANA name of this machine's zone; UTC where it does not say."""
    from zoneinfo import available_timezones

    for place in (Path("/etc/timezone"), Path("/etc/localtime")):
        try:
            name = place.read_text(encoding="ascii").strip() if place.name == "timezone" else _zone_of_link(place)
        except (OSError, UnicodeDecodeError):
            continue
        if name in available_timezones():
            return name
    return "UTC"


def _zone_of_link(link: Path) -> str:
    return str(link.resolve()).partition("/zoneinfo/")[2]
