"""Write a new site, or a channel for a known analyzer.

Overwrites nothing. Without `--analyzer`: a site with its file, ready for `labrelay run`; on a terminal it asks for
what the options do not say. With it: a channel file of that analyzer's pack (`labrelay analyzers` lists them), in the
site if there is one, else in a new one.

`config/schema` of the site gets JSON Schema for editors, which the first line of each file names: keys are completed,
and slips marked, while one types. `--schemas` writes them anew, as after an upgrade.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.shared.output import ExitCode, on_terminal, say
from engine.commands.shared.session import Session, pass_session
from engine.config.site import CONFIG_FILE, SYSTEM_SITE, shipped
from engine.model.errors import ConfigError

if TYPE_CHECKING:
    from engine.config.load import Site
    from engine.config.pack import Pack


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


GROUP = "start"

OF_A_LINE = r"(?m)^  (?:baud|bytesize|parity|stopbits|flow): .*\n"  # nothing of these on TCP
BAUD = "  baud: 9600                         # with bytesize, parity, stopbits, flow: as in the analyzer's menu"
SCHEMAS = Path("config") / "schema"
ASKS = """\
# Orders: {orders}. To have it answered, name its tests, each as code of the LIS: code of the analyzer, and take
# the # away (docs/questions.md). The codes are those of its results; TSH and FT4 are an example:
# orders: {{answer: query, codes: {{TSH: "10", FT4: "40"}}}}
"""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@click.command(help=__doc__)
@click.option("--analyzer", metavar="NAME", help="The pack to start from; without it, a new site alone.")
@click.option("--name", metavar="NAME", help="Name of the channel and of its file; else that of the pack.")
@click.option("--listen", metavar="HOST:PORT", help="The analyzer connects to us, here.")
@click.option("--connect", metavar="HOST:PORT", help="The analyzer is the server; we connect to it.")
@click.option("--device", metavar="PATH", help="A serial line, as /dev/serial/by-id/usb-...")
@click.option("--lab", metavar="NAME", help="Name of the laboratory of a new site; else that of its folder.")
@click.option("--timezone", metavar="ZONE", help="Zone of a new site, as Asia/Kolkata; else this machine's.")
@click.option("--fhir", metavar="URL", help="The FHIR server that gets the results of a new site; else the sandbox.")
@click.option(
    "--patient-numbers",
    type=click.Choice(PATIENT_NUMBERS),
    help="Of a new site: whether a patient number stays with one person for good (docs/identity.md).",
)
@click.option("--backup", metavar="FOLDER", help="Folder for backups of a new site, on another disk; it is made.")
@click.option("--schemas", is_flag=True, help="Only write config/schema of a site anew.")
@pass_session
def command(
    session: Session,
    /,
    analyzer: str | None,
    name: str | None,
    listen: str | None,
    connect: str | None,
    device: str | None,
    lab: str | None,
    timezone: str | None,
    fhir: str | None,
    patient_numbers: str | None,
    backup: str | None,
    schemas: bool,
) -> ExitCode:
    from engine.config.site import is_site

    answers = Answers(lab, timezone, fhir, patient_numbers, backup)
    if schemas:
        if any((analyzer, name, listen, connect, device)) or answers != Answers():
            raise click.UsageError("--schemas cannot be combined: it writes the schemas of a site and nothing else")
        write_schemas(session.folder)
        say(f"wrote {session.folder / SCHEMAS}")
        return ExitCode.OK

    places = {key: value for key, value in (("listen", listen), ("connect", connect), ("device", device)) if value}
    if len(places) > 1:
        raise click.UsageError(f"--{' and --'.join(places)} exclude each other; give one")
    if analyzer is None and (places or name):
        raise click.UsageError("an address and a name are a channel's; name its --analyzer (labrelay analyzers)")
    pack = _pack(session, analyzer) if analyzer is not None else None
    channel = name or (pack.name if pack is not None else "")
    if channel and not NAME.fullmatch(channel):
        raise click.UsageError(f"--name {channel}: expected letters, digits, '.', '_' and '-', at most 64")
    folder = _folder(session)
    if not is_site(folder):
        write(folder, answers)
        write_schemas(folder)
        (folder / "channels").mkdir(exist_ok=True)
    elif pack is None:
        raise click.UsageError(f"{folder} is a site already; --analyzer NAME adds a channel to it (labrelay analyzers)")
    elif answers != Answers():
        raise click.UsageError(
            f"{folder} is a site already, and --lab, --timezone, --fhir, --patient-numbers and --backup are of a new "
            f"one: edit {folder / CONFIG_FILE}; a channel may have a timezone: of its own"
        )
    if pack is not None:
        return _write_channel(folder, pack, channel, places)
    say(
        "Next: labrelay analyzers, then labrelay init --analyzer NAME for each of yours; labrelay listen and labrelay "
        "detect for an unknown analyzer."
    )
    return ExitCode.OK


def _folder(session: Session) -> Path:
    """The selected site, or the folder of the new one."""
    from engine.config.site import SYSTEM_SITE

    if session.site is not None:
        return Path(session.site).expanduser().resolve()
    found = session.folder_or_none
    return found if found is not None and found != SYSTEM_SITE else Path.cwd()


def _pack(session: Session, name: str) -> "Pack":
    from engine.diagnostics.packs import check_pack, find_pack
    from engine.model.errors import ConfigError

    site = Path(session.site) if session.site is not None else session.folder_or_none
    try:
        pack = find_pack(name, site)
    except KeyError as error:
        raise click.UsageError(str(error.args[0])) from None
    if problems := list(check_pack(pack)):
        raise ConfigError(*problems)
    return pack


def _write_channel(folder: Path, pack: "Pack", name: str, places: dict[str, str]) -> ExitCode:
    from engine.config.load import load_site
    from engine.model.errors import ConfigError

    path = folder / "channels" / f"{name}.yaml"
    before = _read(folder)
    if name in before.channels:
        taken = before.nodes[name].file
        raise click.UsageError(f"the site has a channel {name} already ({taken}); give another --name")
    create(path, SCHEMA_LINE.format("../config/schema/channel.json") + channel_text(pack, name, places, before))
    if not (folder / SCHEMAS).is_dir():
        write_schemas(folder)
    try:
        load_site(folder, require_secrets=False)
    except ConfigError:
        path.unlink()  # a file that would keep the site from starting is worse than none
        say(f"{path} was not written, because the site would not start with it:")
        raise
    say(f"wrote {path}")
    if not places:
        say(f"The address is the pack's own; set source: in {path} to where the analyzer is.")
    if pack.config.orders:
        say(f"Orders: {pack.config.orders}. They go out once orders: in {path} names its tests (docs/questions.md).")
    say("Next: labrelay check, then labrelay run (or labrelay reload, where the daemon runs).")
    return ExitCode.OK


def _read(folder: Path) -> "Site":
    from engine.config.load import load_site

    return load_site(folder, require_secrets=False)


def channel_text(pack: "Pack", name: str, places: dict[str, str], site: "Site") -> str:
    """The pack's channel file with this name, this address or device, and destinations that the site has."""
    from engine.diagnostics.lines.guess import kind_at

    text = re.sub(r"(?m)^channel: .*$", lambda _: f"channel: {name}", pack.template)
    for key, value in places.items():
        text = re.sub(r"(?m)^  (?:listen|connect|device): .*$", lambda _: f'  {key}: "{value}"', text)  # noqa: B023
        if key != "device":
            text = re.sub(OF_A_LINE, "", text)
        elif not value.startswith("socket://") and not re.search(r"(?m)^  baud: ", text):
            text = re.sub(r"(?m)^  device: .*$", lambda found: f"{found[0]}\n{BAUD}", text)
        text = re.sub(r"(?m)^  kind: (\S+)", lambda found: f"  kind: {kind_at(found[1], key)}", text)  # noqa: B023
    known = site.config.destinations

    def destinations(found: re.Match[str]) -> str:
        wanted = [one.strip() for one in found[2].strip("[]").split(",")]
        kept = [one for one in wanted if one in known] or list(known)[:1] or wanted
        return f"{found[1]}{kept[0] if len(kept) == 1 else '[' + ', '.join(kept) + ']'}"

    text = re.sub(r"(?m)^(    to: )(\S.*?)$", destinations, text)
    if pack.config.orders is not None:
        text = re.sub(r"(?m)^routes:", lambda found: ASKS.format(orders=pack.config.orders) + found[0], text)
    return text


def write_schemas(folder: Path) -> None:
    """Put this version's schemas into a site, in place of older ones.

    Raises:
        click.UsageError: they cannot be written.
    """
    from engine.config.site import shipped

    model = shipped("config")
    try:
        for source in sorted((model / "schema").glob("*.json")) if model is not None else ():
            (folder / SCHEMAS).mkdir(parents=True, exist_ok=True)
            (folder / SCHEMAS / source.name).write_bytes(source.read_bytes())
    except OSError as error:
        raise click.UsageError(f"{folder / SCHEMAS} cannot be written: {error.strerror}") from None
