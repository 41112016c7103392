"""See everything work on this machine: LabRelay, a FHIR server to receive results, and simulated analyzers.

The analyzers play the samples over real TCP, with other patients and values each time. Ctrl-C stops everything. It
plays on the site of `--site` or of this folder; elsewhere it makes a site of its own, and removes it afterwards.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.shared.output import ExitCode
from engine.commands.shared.session import Session, pass_session
from engine.model.errors import LabRelayError

if TYPE_CHECKING:
    from engine.config.load import Site

GROUP = "start"


@click.command(help=__doc__)
@click.option("--messages", type=click.IntRange(min=1), help="Send so many messages, as fast as they are acknowledged.")
@click.option("--exit", "leave", is_flag=True, help="End when all of them are on the server; exit code 1 if not all.")
@pass_session
def command(session: Session, messages: int | None, leave: bool) -> None:
    from engine.config.site import shipped
    from engine.devtools.demo.show import Demo

    if leave and messages is None:
        raise click.UsageError("--exit needs --messages: after how many?")
    samples = shipped("samples")
    if samples is None:
        raise LabRelayError("the samples are not installed; run the demo from the repository")

    def say(text: str) -> None:
        click.echo(text, err=True, nl=not text.startswith("\r"))

    async def play() -> int:
        return await Demo(site, samples=samples, messages=messages, leave=leave, say=say).run()

    with _site(session) as site:
        code = asyncio.run(play())
    raise click.exceptions.Exit(ExitCode.OK if code == 0 else ExitCode.FAILED)


@contextmanager
def _site(session: Session) -> "Iterator[Site]":
    """The site of the demo. Not the system's site unless that was named: its patients are invented."""
    from engine.config.load import load_site
    from engine.config.site import SITE_VARIABLE, is_site, shipped

    if session.site is not None or os.environ.get(SITE_VARIABLE) or is_site(Path.cwd()):
        yield session.load()
        return
    with tempfile.TemporaryDirectory(prefix="labrelay-demo-") as folder:
        for kind in ("config", "channels"):
            source = shipped(kind)
            if source is None:
                raise LabRelayError("the example site is not installed; run the demo from the repository")
            shutil.copytree(source, Path(folder) / kind)
        yield load_site(Path(folder))
