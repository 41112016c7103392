"""Write a new site, or a channel for a known analyzer.

Overwrites nothing. Without `--analyzer`: a site with its file, ready for `labrelay run`; on a terminal it asks for
what the options do not say. With it: a channel file of that analyzer's pack (`labrelay analyzers` lists them), in the
site if there is one, else in a new one.

`config/schema` of the site gets JSON Schema for editors, which the first line of each file names: keys are completed,
and slips marked, while one types. `--schemas` writes them anew, as after an upgrade.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.shared import new_site
from engine.commands.shared.new_site import PATIENT_NUMBERS, SCHEMA_LINE
from engine.commands.shared.output import ExitCode, say
from engine.commands.shared.session import Session, pass_session
from engine.config.site import CONFIG_FILE

if TYPE_CHECKING:
    from engine.config.load import Site
    from engine.config.pack import Pack

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

    answers = new_site.Answers(lab, timezone, fhir, patient_numbers, backup)
    if schemas:
        if any((analyzer, name, listen, connect, device)) or answers != new_site.Answers():
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
        new_site.write(folder, answers)
        write_schemas(folder)
        (folder / "channels").mkdir(exist_ok=True)
    elif pack is None:
        raise click.UsageError(f"{folder} is a site already; --analyzer NAME adds a channel to it (labrelay analyzers)")
    elif answers != new_site.Answers():
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
    new_site.create(
        path, SCHEMA_LINE.format("../config/schema/channel.json") + channel_text(pack, name, places, before)
    )
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
    from engine.diagnostics.lines.channel import kind_at

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
