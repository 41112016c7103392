"""Play an analyzer: made-up results over a real line, with faults on request, and a judgement of how it was answered.

PACK is an analyzer that samples are shipped of. Without --connect, --listen or --serial it plays to the channel of the
site that names this analyzer. Every patient, specimen and value is invented; numbers of patients begin with SIM. The
dialogue is printed as it is spoken (nothing in it needs hiding), and a summary follows. The exit code is 1 if the peer
broke the protocol or did not take a message.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.session import Session, consent, pass_session
from engine.model.units import HostPort, parse_host_port

if TYPE_CHECKING:
    from engine.devtools.simulator.faults import Fault
    from engine.devtools.simulator.packs import Model
    from engine.devtools.simulator.play import PlaySettings
    from engine.devtools.simulator.shift import PlannedMessage
    from engine.devtools.simulator.wires import Parity, Wire

GROUP = "for developers"

SPECIMENS = 10
SEEDED_START = datetime(2026, 3, 2, 8, 0)  # with a given seed everything is the same, also the times
FAULT_NAMES = ("bad-checksum", "lost-ack", "drop", "contention", "slow", "garbage", "split")


def _address(_ctx: click.Context, _param: click.Parameter, text: str | None) -> HostPort | None:
    if text is None:
        return None
    try:
        return parse_host_port(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _faults(_ctx: click.Context, _param: click.Parameter, text: str) -> "frozenset[Fault]":
    from engine.devtools.simulator.faults import ALL, Fault

    if text.strip() == "all":
        return ALL
    named = [part.strip() for part in text.split(",") if part.strip()]
    for name in named:
        if name not in FAULT_NAMES:
            raise click.BadParameter(f"no fault is called '{name}'; there are {', '.join(FAULT_NAMES)}, or all")
    return frozenset(map(Fault, named))


@click.command(help=__doc__)
@click.argument("pack")
@click.option("--connect", callback=_address, metavar="HOST:PORT", help="Connect to it, as most analyzers do.")
@click.option("--listen", callback=_address, metavar="HOST:PORT", help="Wait for a connection, as some analyzers do.")
@click.option("--serial", metavar="DEVICE", help="Play on a serial line, at its pace.")
@click.option("--baud", type=click.IntRange(110, 4_000_000), default=9600, show_default=True, help="With --serial.")
@click.option(
    "--parity",
    type=click.Choice(["none", "even", "odd", "mark", "space"]),
    default="none",
    show_default=True,
    help="With --serial; any but none has seven data bits.",
)
@click.option("--rate", type=click.FloatRange(0, 10_000), default=0.0, help="Messages per second, at most.")
@click.option(
    "--specimens",
    type=click.IntRange(0),
    default=SPECIMENS,
    show_default=True,
    help="How many new ones; 0: until Ctrl-C.",
)
@click.option("--qc", is_flag=True, help="With control runs, first and every 40 specimens.")
@click.option(
    "--faults",
    callback=_faults,
    default="",
    metavar="NAMES",
    help=f"What goes wrong, with commas between: {', '.join(FAULT_NAMES)}, or all.",
)
@click.option("--seed", type=int, help="Make the same messages and faults as another time.")
@click.option("-q", "--quiet", is_flag=True, help="Only the summary.")
@click.option("--yes", is_flag=True, help="Do not ask before playing to another machine.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(
    session: Session,
    pack: str,
    connect: HostPort | None,
    listen: HostPort | None,
    serial: str | None,
    baud: int,
    parity: "Parity",
    rate: float,
    specimens: int,
    qc: bool,
    faults: "frozenset[Fault]",
    seed: int | None,
    quiet: bool,
    yes: bool,
    form: Form,
) -> ExitCode:
    from engine.devtools.simulator.packs import find_model
    from engine.devtools.simulator.play import PlaySettings, new_seed, sentences, summary
    from engine.devtools.simulator.shift import shift

    if sum(way is not None for way in (connect, listen, serial)) > 1:
        raise click.UsageError("give one of --connect, --listen and --serial")
    model = find_model(pack, session.folder_or_none)
    if connect is None and listen is None and serial is None:
        connect, listen, serial, baud = _of_channel(session, model, baud)
    if connect is not None and not connect.is_loopback:
        consent(f"Send made-up results to {connect}, which may take them for a patient's?", yes=yes)
    if qc and not model.controls:
        say(f"no sample shows how {model.name} sends a control run, so none is sent")
    chosen = new_seed() if seed is None else seed
    start = datetime.now() if seed is None else SEEDED_START
    kinds: Counter[str] = Counter()
    sendings = _counted(shift(model, seed=chosen, start=start, specimens=specimens, controls=qc), kinds)
    wire = _wire(connect, listen, serial, baud, parity)
    spoken = not quiet and form is Form.TABLE
    tally: dict[str, Any] = {}
    try:
        asyncio.run(_play(model, wire, PlaySettings(faults=faults, seed=chosen, rate=rate), sendings, spoken, tally))
    finally:
        if tally:
            facts = summary(tally["tally"], kinds, chosen)
            show_document(form, {"analyzer": model.name, **facts}, sentences(facts))
    good = not facts["violations"] and not facts["failed"]
    return ExitCode.OK if good else ExitCode.FAILED


def _of_channel(
    session: Session, model: "Model", baud: int
) -> tuple[HostPort | None, HostPort | None, str | None, int]:
    """The place of the site's channel of this analyzer: if it connects, we listen here, and the other way round."""
    site = session.load(require_secrets=False) if session.folder_or_none is not None else None
    for channel in site.channels.values() if site is not None else ():
        if getattr(channel, "analyzer", None) != model.name:
            continue
        source: Any = channel.source
        if getattr(source, "listen", None) is not None:
            return source.listen, None, None, baud
        if getattr(source, "connect", None) is not None:
            return None, source.connect, None, baud
    raise click.UsageError(
        f"where to? No channel of a site here says analyzer: {model.name} and is on TCP; "
        "give --connect HOST:PORT, --listen HOST:PORT or --serial DEVICE"
    )


def _wire(connect: HostPort | None, listen: HostPort | None, serial: str | None, baud: int, parity: "Parity") -> "Wire":
    from engine.devtools.simulator.wires import ClientWire, Serial, SerialLine, ServerWire

    if serial is not None:
        return SerialLine(serial, Serial(baud=baud, parity=parity))
    if connect is not None:
        return ClientWire(connect)
    assert listen is not None
    return ServerWire(listen)


def _counted(sendings: "Iterable[PlannedMessage]", kinds: Counter[str]) -> "Iterator[PlannedMessage]":
    for sending in sendings:
        kinds[sending.kind.value] += 1
        yield sending


async def _play(
    model: "Model",
    wire: "Wire",
    manner: "PlaySettings",
    sendings: "Iterator[PlannedMessage]",
    spoken: bool,
    tally: dict[str, Any],
) -> None:
    from engine.devtools.simulator.dialogue import Dialogue
    from engine.devtools.simulator.play import Analyzer
    from engine.devtools.simulator.wires import ServerWire
    from engine.model.errors import LabRelayError

    dialogue = Dialogue(click.echo if spoken else None)
    try:
        try:
            if isinstance(wire, ServerWire):
                await wire.listen()
            say(f"{model.name} ({model.link}) at {wire.where}; all of it is invented")
            await wire.open()
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            number = getattr(error, "errno", None)
            words = os.strerror(number) if number else str(error) or "no peer"
            raise LabRelayError(f"{wire.where}: {words}") from None
        tally["tally"] = dialogue.tally
        await Analyzer(model.link, wire, dialogue, manner).work(sendings, keep=False)
    finally:
        await wire.close()
