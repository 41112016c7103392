"""See everything work on this machine: LabRelay, a FHIR server to receive results, and simulated analyzers.

The analyzers play the samples over real TCP, with other patients and values each time. Ctrl-C stops everything. It
plays on the site of `--site` or of this folder; elsewhere it makes a site of its own, and removes it afterwards.

With `--show` it plays on a copy of the site. `trouble` brings a dead letter, a held result and a silent analyzer,
each with its next step. With `two-way` an analyzer asks for its orders, and measures them. With `abdm` a result travels
to the app of a made-up patient, by a simulator of India's network of health records.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
@click.option(
    "--show",
    "shown",
    type=click.Choice(["trouble", "two-way", "abdm"]),
    help="trouble: a dead letter, a held result and a silent analyzer; two-way: orders that an analyzer asks for; "
    "abdm: a report in the patient's app.",
)
@click.option(
    "--exit",
    "leave",
    is_flag=True,
    help="End when all of them are on the server, or all is shown; exit code 1 if that fails.",
)
@pass_session
def command(session: Session, messages: int | None, shown: str | None, leave: bool) -> None:
    from engine.config.site import shipped
    from workbench.demo.show import Demo

    if shown is not None and messages is not None:
        raise click.UsageError("--show and --messages exclude each other; give one")
    if leave and messages is None and shown is None:
        raise click.UsageError("--exit needs --messages: after how many?")
    samples = shipped("samples")
    if samples is None:
        raise LabRelayError("the samples are not installed; run the demo from the repository")

    def say(text: str) -> None:
        with suppress(OSError):  # a terminal that was closed; the parts are stopped all the same
            click.echo(text, err=True, nl=not text.startswith("\r"))

    async def play() -> int:
        if shown in ("two-way", "abdm"):
            return await _to_its_end(shown, site, leave=leave, say=say)
        show_trouble = shown is not None
        demo = Demo(site, samples=samples, messages=messages, leave=leave, say=say, show_trouble=show_trouble)
        return await demo.run()

    with _site(session) if shown is None else _site_that_shows(session, shown) as site:
        code = asyncio.run(play())
    raise click.exceptions.Exit(ExitCode.OK if code == 0 else ExitCode.FAILED)


async def _to_its_end(shown: str, site: "Site", *, leave: bool, say: Callable[[str], None]) -> int:
    """Or until Ctrl-C."""
    from workbench.demo import abdm, two_way

    played = two_way if shown == "two-way" else abdm
    playing: asyncio.Task[int] = asyncio.create_task(played.run(site, leave=leave, say=say))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    try:
        return await playing
    except asyncio.CancelledError:
        return 0


@contextmanager
def _site(session: Session) -> "Iterator[Site]":
    """The site of the demo. Not the system's site unless that was named: its patients are invented."""
    from engine.config.load import load_site
    from engine.config.site import SITE_VARIABLE, is_site

    if session.site is not None or os.environ.get(SITE_VARIABLE) or is_site(Path.cwd()):
        yield session.load()
        return
    with _copy(None) as folder:
        yield load_site(folder)


@contextmanager
def _site_that_shows(session: Session, shown: str) -> "Iterator[Site]":
    """A copy of the demo's site, made ready to show this; the site itself stays as it is."""
    from engine.config.load import load_site
    from workbench.demo import abdm, trouble, two_way

    with _copy(session.folder if session.site is not None else None) as folder:
        {"trouble": trouble, "two-way": two_way, "abdm": abdm}[shown].prepare(folder)
        site = load_site(folder)
        if not site.config.data.is_relative_to(folder):
            raise LabRelayError(f"data: {site.config.data} is outside of the site; this is shown in a copy alone")
        yield site


@contextmanager
def _copy(site: Path | None) -> Iterator[Path]:
    """A folder with the files of a site, by default the shipped one; removed afterwards."""
    from engine.config.site import shipped

    with tempfile.TemporaryDirectory(prefix="labrelay-demo-") as folder:
        for kind in ("config", "channels"):
            source = site / kind if site is not None else shipped(kind)
            if source is None:
                raise LabRelayError("the example site is not installed; run the demo from the repository")
            shutil.copytree(source, Path(folder) / kind)
        yield Path(folder)
