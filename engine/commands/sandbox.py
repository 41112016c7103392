"""Run a FHIR R4 server for development, with faults to switch on.

Documented in docs/sandbox.md. Faults given here are in force from the start; ``POST /$faults`` changes them later.
"""

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.output import ExitCode, say
from engine.commands.shared.selecting import read_by
from engine.model.units import HostPort, parse_duration, parse_host_port

if TYPE_CHECKING:
    from engine.devtools.sandbox import Faults

GROUP = "for developers"
RARE = True

LISTEN = "127.0.0.1:8581"


def percent(text: str) -> float:
    """A share from 0 to 1, written as ``30%``.

    Raises:
        ValueError: not a percentage from 0 to 100.
    """
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise ValueError("expected a percentage from 0% to 100%, as 30%")
    return value / 100


@click.command()
@click.option(
    "--listen",
    callback=read_by(parse_host_port),
    default=LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Port 0: any that is free.",
)
@click.option("--base", default="/fhir", show_default=True, metavar="PATH", help="Path of the FHIR base address.")
@click.option("--data", default="memory", show_default=True, metavar="DIR|memory", help="Where to keep what arrives.")
@click.option("--fail", callback=read_by(percent), default="0%", metavar="PERCENT", help="Share of writes that fail.")
@click.option(
    "--fault",
    "kinds",
    multiple=True,
    metavar="KIND",
    help="How they fail: a status (503), reset, lost, cut, html or hang. Repeatable; default 503, reset, lost.",
)
@click.option("--latency", callback=read_by(parse_duration), default="0s", metavar="TIME", help="Before each answer.")
@click.option("--retry-after", type=int, metavar="SECONDS", help="Sent with 429 and 503.")
@click.option(
    "--refuse", multiple=True, metavar="VALUE", help="Answer 422 to documents with this identifier. Repeatable."
)
@click.option("--down", is_flag=True, help="Reset every request.")
@click.option("--answer-html", is_flag=True, help="Answer each write with a log-in page, as a captive portal does.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Another host name to answer under. Repeatable.")
@click.option("--seed", type=int, metavar="N", help="Make the same random faults each time.")
def command(
    listen: HostPort,
    base: str,
    data: str,
    fail: float,
    kinds: tuple[str, ...],
    latency: float,
    retry_after: int | None,
    refuse: tuple[str, ...],
    down: bool,
    answer_html: bool,
    names: tuple[str, ...],
    seed: int | None,
) -> ExitCode:
    """Run a FHIR R4 server for development, with faults to switch on.

    It takes transactions as a real server does, keeps every version, answers simple searches, and shows what came on
    a page of its own. Stop it with Ctrl-C. It has no log-in and keeps nothing safe: never send it a real patient.
    """
    from pydantic import ValidationError

    from engine.devtools.sandbox import Faults

    given: dict[str, Any] = {"fail": fail, "latency": latency, "down": down, "html": answer_html, "refuse": refuse}
    if kinds:
        given["kinds"] = kinds
    try:
        faults = Faults(**given, retry_after=retry_after)
    except ValidationError as error:
        options = {"kinds": "--fault", "retry_after": "--retry-after", "latency": "--latency"}
        option = options.get(str(error.errors()[0]["loc"][0]), "a fault")
        raise click.UsageError(f"{option}: {error.errors()[0]['msg']}") from None
    if not listen.is_loopback:
        say(f"{listen} is open to the network, and the sandbox has no log-in: it is for made-up data only")
    folder = None if data == "memory" else Path(data)
    from engine.runtime import event_loop

    return event_loop.run(_serve(listen, base, folder, faults, seed, names))


async def _serve(
    listen: HostPort, base: str, folder: Path | None, faults: "Faults", seed: int | None, names: tuple[str, ...]
) -> ExitCode:
    """Serve until SIGINT or SIGTERM."""
    from engine.devtools.sandbox import Sandbox

    sandbox = Sandbox(
        host=listen.host, port=listen.port, base=base, folder=folder, faults=faults, seed=seed, names=names
    )
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        port = await sandbox.start()
    except OSError as error:
        await sandbox.stop()
        say(f"cannot listen on {listen}: {error.strerror or type(error).__name__}; give another address with --listen")
        return ExitCode.FAILED
    page = HostPort(listen.host, port)
    say(f"FHIR R4 server on {sandbox.url}; its page is http://{page}/")
    await stopped.wait()
    totals = sandbox.stats()["resources"]
    await sandbox.stop()
    say("stopped; kept " + (", ".join(f"{count} {kind}" for kind, count in totals.items()) or "nothing"))
    return ExitCode.OK
