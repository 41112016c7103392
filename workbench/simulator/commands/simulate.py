"""Play an analyzer: made-up results over a real line, with faults on request, and a judgement of how it was answered.

PACK is an analyzer of which samples are shipped, or are in the site. Without --connect, --listen or --serial it plays
to the channel of the site that names this analyzer. Every patient, specimen and value is invented; numbers of patients
begin with SIM. The dialogue is printed as it is spoken (nothing in it needs hiding), and a summary follows. The exit
code is 1 if the peer broke the protocol or did not take a message, or the site's channel made a dead letter of one.

With --ask the analyzer asks which tests to run on a tube, checks the answer, and sends results of exactly these tests.
PACK may then be a dialect that asks, too, or `generic` (ASTM), or `ihe-law`. Enter orders before with `labrelay orders
add`.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.selecting import read_by
from engine.commands.shared.session import Session, consent, pass_session
from engine.feature import Hook
from engine.model.errors import ConfigError, LabRelayError
from engine.model.journal.journal_views import Filter
from engine.model.texts.units import HostPort, parse_host_port

if TYPE_CHECKING:
    from pathlib import Path

    from engine.config.channel import ChannelConfig
    from engine.store.operations.dead_letters import Group
    from engine.store.queries.reader import Reader
    from workbench.simulator.dialogue import Dialogue
    from workbench.simulator.faults import Fault
    from workbench.simulator.packs import Model
    from workbench.simulator.play import PlaySettings
    from workbench.simulator.shift import PlannedMessage
    from workbench.simulator.wires import Parity, Wire

    Work = Callable[[], Awaitable[None]]

GROUP = "for developers"

SPECIMENS = 10
SEEDED_START = datetime(2026, 3, 2, 8, 0)  # with a given seed everything is the same, also the times
MAPPED_WITHIN_S = 10.0  # how long the daemon may take for the last messages
LOOK_EVERY_S = 0.1
FAULT_NAMES = ("bad-checksum", "lost-ack", "drop", "contention", "slow", "garbage", "split")


_address = read_by(parse_host_port)


def _faults(_ctx: click.Context, _param: click.Parameter, text: str) -> "frozenset[Fault]":
    from workbench.simulator.faults import ALL, Fault

    if text.strip() == "all":
        return ALL
    named = [part.strip() for part in text.split(",") if part.strip()]
    for name in named:
        if name not in FAULT_NAMES:
            raise click.BadParameter(f"no fault is called '{name}'; there are {', '.join(FAULT_NAMES)}, or all")
    return frozenset(map(Fault, named))


DEAD_LETTERS: Hook[Callable[["Reader", Filter], Sequence["Group"]]] = Hook("dead_letters")


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
@click.option("--ask", is_flag=True, help="Ask for the orders of each tube, and measure what was ordered.")
@click.option(
    "--specimen",
    "tubes",
    multiple=True,
    metavar="NUMBER",
    help="With --ask: a tube; several may be given. Else made up.",
)
@click.option(
    "--orders-listen",
    callback=_address,
    metavar="HOST:PORT",
    help="With --ask, IHE LAW: wait there for LabRelay's own connection with the orders.",
)
@click.option(
    "--refuse",
    "refuses",
    multiple=True,
    metavar="CODE",
    help="With --ask, over HL7 v2: refuse orders of this test; several may be given.",
)
@click.option("--qc", is_flag=True, help="With control runs, first and every 40 specimens.")
@click.option(
    "--faults",
    callback=_faults,
    default="",
    metavar="NAMES",
    help=f"Faults to make, with commas between: {', '.join(FAULT_NAMES)}, or all.",
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
    ask: bool,
    tubes: tuple[str, ...],
    orders_listen: HostPort | None,
    refuses: tuple[str, ...],
    qc: bool,
    faults: "frozenset[Fault]",
    seed: int | None,
    quiet: bool,
    yes: bool,
    form: Form,
) -> ExitCode:
    from engine.config.channel import own_line
    from workbench.simulator.dialogue import Dialogue
    from workbench.simulator.play import PlaySettings, new_seed, sentences, summary

    if sum(way is not None for way in (connect, listen, serial)) > 1:
        raise click.UsageError("give one of --connect, --listen and --serial")
    if tubes and not ask:
        raise click.UsageError("--specimen names a tube to ask for; give --ask, too")
    if (orders_listen is not None or refuses) and not ask:
        raise click.UsageError("--orders-listen and --refuse are about orders; give --ask, too")
    if ask and qc:
        raise click.UsageError("--ask and --qc exclude each other; give one")
    model = _asker(pack, session.folder_or_none) if ask else _model(pack, session.folder_or_none)
    channel = _channel(session, model, connect, listen, serial)
    if channel is not None:
        model = model.in_dialect(channel.dialect)
        if connect is None and listen is None:  # if it connects, we listen here, and the other way round
            connect, listen = getattr(channel.source, "listen", None), getattr(channel.source, "connect", None)
        if ask and orders_listen is None and (ours := own_line(channel)) is not None:
            orders_listen = ours[0]
    if connect is not None and not connect.is_loopback:
        consent(f"Send made-up results to {connect}, which may take them for a patient's?", yes=yes)
    chosen = new_seed() if seed is None else seed
    zone = ZoneInfo(channel.timezone) if channel is not None else None
    # What was ordered today is measured today: an older result would close no order.
    start = SEEDED_START if seed is not None and not ask else datetime.now(zone)
    wire = _wire(connect, listen, serial, baud, parity)
    orders = _wire(None, orders_listen, None, baud, parity) if orders_listen is not None else None
    dialogue = Dialogue(click.echo if not quiet and form is Form.TABLE else None)
    manner = PlaySettings(faults=faults, seed=chosen, rate=rate)
    kinds: Counter[str] = Counter()
    questions: Counter[str] = Counter()
    if ask:
        more = {"kinds": kinds, "counts": questions, "orders": orders, "refuses": refuses}
        work = _asking(model, tubes, specimens, wire, dialogue, manner, start, **more)
    else:
        work = _sending(model, specimens, wire, dialogue, manner, start, kinds, qc=qc)
    facts: dict[str, Any] = {}
    since_us = time.time_ns() // 1000
    try:
        asyncio.run(_play(f"{model.name} ({model.link})", wire, orders, work))
    finally:
        if kinds:  # else there was no line
            dead = _dead_letters(session, channel.channel, since_us) if channel is not None else None
            facts = {**summary(dialogue.tally, kinds, chosen, questions if ask else None), "dead_letters": dead}
            show_document(form, {"analyzer": model.name, **facts}, sentences(facts))
    good = not facts["violations"] and not facts["failed"] and not facts["dead_letters"]
    return ExitCode.OK if good and not questions["unanswered"] else ExitCode.FAILED


def _model(pack: str, site: "Path | None") -> "Model":
    from workbench.simulator.packs import find_model

    return find_model(pack, site)


def _asker(name: str, site: "Path | None") -> "Model":
    from workbench.simulator.asking import find_asker

    return find_asker(name, site)


def _asking(
    model: "Model",
    tubes: tuple[str, ...],
    specimens: int,
    wire: "Wire",
    dialogue: "Dialogue",
    manner: "PlaySettings",
    start: datetime,
    **more: Any,
) -> "Work":
    """Questions for tubes, and what was ordered measured; ``more``: of the `AskingAnalyzer`."""
    from workbench.simulator.asking import AskingAnalyzer, made_up

    asking = AskingAnalyzer(model, wire, dialogue, manner, start=start, **more)
    return partial(asking.work, tubes or made_up(manner.seed, specimens))


def _sending(
    model: "Model",
    specimens: int,
    wire: "Wire",
    dialogue: "Dialogue",
    manner: "PlaySettings",
    start: datetime,
    kinds: Counter[str],
    *,
    qc: bool,
) -> "Work":
    """A shift of the analyzer; ``kinds`` counts its messages."""
    from workbench.simulator.play import Analyzer
    from workbench.simulator.read_back import check
    from workbench.simulator.shift import shift

    if qc and not model.controls:
        say(f"no sample shows how {model.name} sends a control run, so none is sent")
    check(model, start)
    now = partial(datetime.now, start.tzinfo)
    sendings = _counted(shift(model, seed=manner.seed, start=start, specimens=specimens, controls=qc, now=now), kinds)
    return lambda: Analyzer(model.link, wire, dialogue, manner).work(sendings, keep=False)


def _channel(
    session: Session, model: "Model", connect: HostPort | None, listen: HostPort | None, serial: str | None
) -> "ChannelConfig | None":
    """The site's channel of this analyzer, on TCP: the first, or where an address was given, the one that is there.

    Raises:
        click.UsageError: no address was given, and there is none.
    """
    given = connect or listen or serial
    try:
        site = session.load(require_secrets=False) if session.folder_or_none is not None else None
    except ConfigError:
        if given is None:
            raise
        return None
    for channel in site.channels.values() if site is not None else ():
        if channel.analyzer != model.name and (model.results or (channel.dialect or "") != model.dialect):
            continue
        ends = [getattr(channel.source, key, None) for key in ("listen", "connect")]
        if given is None and any(ends):
            return channel
        if any(
            ours is not None and theirs is not None and ours.is_loopback and ours.port == theirs.port
            for ours, theirs in zip((connect, listen), ends, strict=True)
        ):
            return channel
    if given is not None:
        return None
    raise click.UsageError(
        f"where to? No channel of a site here says analyzer: {model.name} and is on TCP; "
        "give --connect HOST:PORT, --listen HOST:PORT or --serial DEVICE"
    )


def _dead_letters(session: Session, channel: str, since_us: int) -> dict[str, int] | None:
    """How many messages and deliveries of the channel became dead letters, by reason code; None without a journal."""
    from engine.store.queries.lanes import list_channels

    if not session.journal.is_file():
        return None
    found: Counter[str] = Counter()
    due = time.monotonic() + MAPPED_WITHIN_S
    with session.reader() as reader:
        while any(view.stored for view in list_channels(reader) if view.name == channel) and time.monotonic() < due:
            time.sleep(LOOK_EVERY_S)
        wanted = Filter(channel=channel, state="dead", after_us=since_us)
        for group in (one for letters in DEAD_LETTERS.each() for one in letters(reader, wanted)):
            found[group.reason] += group.count
    return dict(found)


def _wire(connect: HostPort | None, listen: HostPort | None, serial: str | None, baud: int, parity: "Parity") -> "Wire":
    from workbench.simulator.wires import ClientWire, Serial, SerialLine, ServerWire

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


async def _play(name: str, wire: "Wire", orders: "Wire | None", work: "Work") -> None:
    """``orders``: another line, on which the orders come."""
    from workbench.simulator.wires import ServerWire

    try:
        try:
            for one in (wire, orders):
                if isinstance(one, ServerWire):
                    await one.listen()
            say(f"{name} at {wire.where}; all of it is invented")
            await wire.open()
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            number = getattr(error, "errno", None)
            words = os.strerror(number) if number else str(error) or "no peer"
            raise LabRelayError(f"{wire.where}: {words}") from None
        await work()
    finally:
        await wire.close()
        if orders is not None:
            await orders.close()
