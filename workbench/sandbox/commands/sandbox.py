"""Run a FHIR R4 server for development, with faults to switch on.

Documented in docs/trying.md. Faults given here are in force from the start; ``POST /$faults`` changes them later.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from engine.commands.shared.output import ExitCode, say
from engine.commands.shared.selecting import read_by
from engine.model.texts.units import HostPort, parse_duration, parse_host_port

if TYPE_CHECKING:
    from workbench.sandbox import Faults
    from workbench.sandbox.lis import MessageKind, Ordering

GROUP = "for developers"
RARE = True

LISTEN = "127.0.0.1:8581"
Itself = Literal["fhir", "fhir-tasks"]
ITSELF: dict[str, Itself] = {one: one for one in get_args(Itself)}


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


def where_to_order(text: str) -> "HostPort | Itself":
    """The address of a laboratory system's host, or the sandbox itself.

    Raises:
        ValueError: neither.
    """
    return ITSELF[text] if text in ITSELF else parse_host_port(text)


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
@click.option("--seed", type=int, metavar="N", help="Make the same random faults, and the same orders, each time.")
@click.option(
    "--lis",
    callback=read_by(where_to_order),
    metavar="HOST:PORT|fhir|fhir-tasks",
    help="Play a laboratory system, too: order over MLLP there, and show the answers. fhir: order on the sandbox "
    "itself, to be searched, by ServiceRequests; fhir-tasks: by Tasks.",
)
@click.option("--orders", "tests", metavar="CODES", help="With --lis: the tests that it orders, as TSH,FT4.")
@click.option("--tubes", type=click.IntRange(0), default=10, show_default=True, help="With --lis; 0: until Ctrl-C.")
@click.option(
    "--order-message", type=click.Choice(["OML", "ORM"]), default="OML", show_default=True, help="OML^O21 or ORM^O01."
)
@click.option(
    "--cancel",
    "cancels",
    callback=read_by(percent),
    default="10%",
    metavar="PERCENT",
    help="Share of tubes with a cancel.",
)
@click.option("--order-rate", type=click.FloatRange(0, 1_000), default=1.0, show_default=True, help="Tubes a second.")
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
    lis: HostPort | Itself | None,
    tests: str | None,
    tubes: int,
    order_message: "MessageKind",
    cancels: float,
    order_rate: float,
) -> ExitCode:
    """Run a FHIR R4 server for development, with faults to switch on.

    It takes transactions as a real server does, keeps every version, answers simple searches, and shows what came on
    a page of its own. Stop it with Ctrl-C. It has no log-in and keeps nothing safe: never send it a real patient.

    With --lis it plays a laboratory system as well: it orders tests for made-up tubes and cancels some, over MLLP or
    as ServiceRequests or Tasks of its own, for a channel that searches them (fhir, fhir-tasks). Each line names the
    order and its answer; `labrelay simulate PACK --ask --specimen NUMBER` then asks for such a tube.
    """
    from pydantic import ValidationError

    from workbench.sandbox import Faults

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
    if (lis is None) != (not tests):
        raise click.UsageError("--lis and --orders belong together: where to, and which tests")
    if isinstance(lis, HostPort) and not lis.is_loopback:
        say(f"made-up orders go to {lis}: an analyzer there may measure real tubes for them")
    folder = None if data == "memory" else Path(data)
    from engine.runtime import event_loop

    ordering: Callable[[str], Coroutine[Any, Any, None]] | None = None
    if lis is not None:
        from workbench.sandbox.fhir_lis import FhirLis
        from workbench.sandbox.lis import Lis, play

        codes = [code.strip() for code in (tests or "").split(",") if code.strip()]
        chosen = int(time.time()) if seed is None else seed

        def order(url: str) -> "Coroutine[Any, Any, None]":
            if isinstance(lis, str):
                return play_at(FhirLis(url, tasks=lis == "fhir-tasks", say=click.echo))
            return play_at(Lis(lis, order_message, say=click.echo))

        def play_at(system: "Ordering") -> "Coroutine[Any, Any, None]":
            return play(system, codes, tubes=tubes, cancels=cancels, rate=order_rate, seed=chosen)

        ordering = order
    return event_loop.run(_serve(listen, base, folder, faults, seed, names, ordering))


async def _serve(
    listen: HostPort,
    base: str,
    folder: Path | None,
    faults: "Faults",
    seed: int | None,
    names: tuple[str, ...],
    ordering: "Callable[[str], Coroutine[Any, Any, None]] | None",
) -> ExitCode:
    """Serve, and order, until SIGINT or SIGTERM."""
    from workbench.sandbox import Sandbox

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
    lis = asyncio.create_task(_order(partial(ordering, sandbox.url))) if ordering is not None else None
    await stopped.wait()
    if lis is not None:
        lis.cancel()
    totals = sandbox.stats()["resources"]
    await sandbox.stop()
    say("stopped; kept " + (", ".join(f"{count} {kind}" for kind, count in totals.items()) or "nothing"))
    return ExitCode.OK


async def _order(ordering: "Callable[[], Coroutine[Any, Any, None]]") -> None:
    """As the laboratory system; where its line breaks it says so, and the server goes on."""
    try:
        await ordering()
        say("all orders are sent; the server goes on")
    except (OSError, EOFError) as error:  # TimeoutError is an OSError
        say(f"the laboratory system has no answer: {str(error) or type(error).__name__}; start it again with --lis")
