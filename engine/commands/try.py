"""Write a mapping while a page shows what it makes of a message: both sides, every value explained, faults in place.

MAPPING is the name of a mapping or its file; without it, that of the channel's route, or of the message's kind. FILE
holds the message to begin with; others are pasted, or chosen from --samples, from the folder samples/CHANNEL of the
site, and from those that ship for the channel's analyzer.

The page is for this machine only: the address that is printed has a token, and a person who has it sees what is pasted.
Messages are mapped as if nothing was known of their orders, and nothing of them is stored or logged. Files are saved
when you say so, and never over an edit made elsewhere; a mapping that ships with LabRelay is saved as the site's own.
Ctrl-C ends it.
"""

# ruff: noqa: N999  (a verb is named as people call it)

import asyncio
import signal
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.shared.mapping_options import FIRST_OF_ALL, settings_option
from engine.commands.shared.output import ExitCode, say
from engine.commands.shared.selecting import read_by
from engine.commands.shared.session import Session, pass_session
from engine.model.units import HostPort, parse_host_port

if TYPE_CHECKING:
    from engine.devtools.playground.files import Folders
    from engine.devtools.playground.samples import Samples
    from engine.devtools.playground.server import Start

GROUP = "mapping"

LISTEN = "127.0.0.1:0"


@click.command(help=__doc__)
@click.argument("mapping", default="", metavar="[MAPPING]")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="[FILE]")
@click.option("--channel", default="", metavar="NAME", help="As this channel of the site: its tables and settings.")
@settings_option
@click.option("--timezone", default="", metavar="ZONE", help="Zone of the analyzer's clock, as Asia/Kolkata.")
@click.option(
    "--samples",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="A folder with messages to choose from. Repeatable.",
)
@click.option(
    "--listen",
    callback=read_by(parse_host_port),
    default=LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Port 0: any that is free.",
)
@pass_session
def command(
    session: Session,
    /,
    mapping: str,
    file: Path | None,
    channel: str,
    timezone: str,
    samples: tuple[Path, ...],
    listen: HostPort,
) -> ExitCode:
    from engine.commands.shared.trying import TrySettings
    from engine.config.site import shipped
    from engine.devtools.playground.samples import sample_folders
    from engine.devtools.playground.server import Start
    from engine.model.spelling import did_you_mean

    if mapping and file is None and Path(mapping).is_file() and not mapping.endswith((".yaml", ".yml")):
        mapping, file = "", Path(mapping)  # only a message
    site = session.folder if channel else session.folder_or_none
    setting = TrySettings(site=str(site or ""), channel=channel, timezone=timezone, settings=session.settings)
    if mapping.endswith((".yaml", ".yml")):
        path = Path(mapping)
        if not path.is_file():
            raise click.UsageError(f"{mapping}: there is no such file")
        setting.beside, mapping = str(path.resolve().parent), path.name
    elif mapping and (folders := setting.folders()).find(f"{mapping}.yaml") is None:
        hint = did_you_mean(mapping, folders.mappings()) or "a mapping is a name or a .yaml file; a message is a file"
        raise click.UsageError(f"{mapping}: there is no such mapping or file; {hint}")
    setting.mapper("", ())  # a faulty site or channel is reported here
    analyzer = ""
    if channel:
        analyzer = session.load(require_secrets=False).channels[channel].analyzer or ""
    start = Start(mapping, channel, asdict(setting), b"" if file is None else file.read_bytes())
    chosen = sample_folders(site, channel, analyzer, samples, shipped("samples"))
    return asyncio.run(_serve(listen, setting.folders(), chosen, start))


async def _serve(listen: HostPort, folders: "Folders", samples: "Samples", start: "Start") -> ExitCode:
    """Serve until SIGINT or SIGTERM."""
    from engine.devtools.playground.child import Child, python
    from engine.devtools.playground.server import TryServer

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="labrelay-try-") as scratch:
        child = Child(python("engine.commands.shared.trying"))
        server = TryServer((listen.host, listen.port), child, folders, samples, start, Path(scratch))
        try:
            await server.start()
        except OSError as error:
            say(f"{listen}: cannot listen there: {error.strerror}")
            return ExitCode.FAILED
        try:
            click.echo(server.address)
            say("Open this address in a browser of this machine; Ctrl-C ends it.")
            if start.channel:
                say(f"Messages are {FIRST_OF_ALL}")
            await stop.wait()
        finally:
            await server.stop()
    return ExitCode.OK
