"""`labrelay demo --show two-way`: an analyzer asks for its orders, measures them, and the orders are closed.

Four tubes: one with two tests, one that is ordered for two patients, one that has no order, and one with a cancelled
order. What becomes of each is shown, with the command that shows it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.config.load import Site, load_site
from engine.model.texts.units import HostPort
from workbench.demo.parts import Part, command_for, labrelay, listens, play, refuse_taken
from workbench.simulator.asking import AskingAnalyzer, find_asker
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.play import PlaySettings, new_seed
from workbench.simulator.wires import ClientWire

ANALYZER = "sysmex-xn"
HAEMATOLOGY = "haematology"
CHANNEL = f"""\
channel: {HAEMATOLOGY}
description: Cell counter that asks for its orders, ASTM over TCP
analyzer: {ANALYZER}
source: {{{{kind: astm, listen: "{{listen}}"}}}}
orders:
  answer: query
  codes: {{{{WBC: WBC, HGB: HGB}}}}       # code of the laboratory system: code of the analyzer
routes:
  - mapping: astm-results
    to: lab-fhir
"""
SHOWS_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class ShownTube:
    """A tube of the demo.

    Attributes:
        name: behind the digits that only this run has.
        orders: (patient, tests) of each order. cancelled: the first is cancelled before the analyzer asks.
        ends: states of its orders at the end, in order.
        says: what a person sees, and why.
    """

    name: str
    orders: tuple[tuple[str, tuple[str, ...]], ...]
    ends: tuple[str, ...]
    says: str
    cancelled: bool = False


TUBES = (
    ShownTube("01", (("SIM-1", ("WBC", "HGB")),), ("resulted", "resulted"), "two tests: given, measured, closed"),
    ShownTube("02", (("SIM-2", ("WBC",)), ("SIM-3", ("WBC",))), ("held", "held"), "two patients: held, none given"),
    ShownTube("03", (), (), "no order has this number: none given"),
    ShownTube("04", (("SIM-4", ("WBC",)),), ("cancelled",), "cancelled before: none given", cancelled=True),
)


def prepare(folder: Path) -> None:
    """Give a copy of the demo's site one channel: its haematology, with an analyzer that asks.

    Raises:
        LabRelayError: it has no such channel.
    """
    listen = _address(load_site(folder))
    for channel in (folder / "channels").glob("*.yaml"):
        channel.unlink()
    (folder / "channels" / f"{HAEMATOLOGY}.yaml").write_text(CHANNEL.format(listen=listen), encoding="utf-8")


def _address(site: Site) -> HostPort:
    return listens(site, HAEMATOLOGY, "orders are")


async def run(site: Site, *, leave: bool, say: Callable[[str], None]) -> int:
    """Play it; 0 if all ended as it should. Without ``leave`` the parts go on until it is cancelled."""
    server = next(one for one in site.config.destinations.values() if one.kind == "fhir")
    host, _, port = server.url.split("//", 1)[1].split("/", 1)[0].rpartition(":")
    web, listen = site.config.web.listen, _address(site)
    receives = HostPort(host, int(port))
    refuse_taken({"sandbox": receives, "status page": web, HAEMATOLOGY: listen})
    logs = site.config.data / "demo"
    sandbox = Part("the sandbox", ["sandbox", "--listen", str(receives)], logs / "sandbox.log")
    daemon = Part("the daemon", ["--site", str(site.folder), "run"], logs / "daemon.log")
    return await play(
        (f"Starting a FHIR server to receive results (the sandbox) on http://{receives}/", sandbox, receives),
        (f"Starting LabRelay; its page: http://{web}/", daemon, listen),
        lambda: _play(site, say),
        leave=leave,
        say=say,
    )


async def _play(site: Site, say: Callable[[str], None]) -> bool:
    seed, zone = new_seed(), ZoneInfo(site.channels[HAEMATOLOGY].timezone)
    numbers = {one.name: f"{seed % 100_000_000:08d}{one.name}" for one in TUBES}
    say("")
    for one in TUBES:
        say(f"Tube {numbers[one.name]}: {one.says}")
        for patient, tests in one.orders:
            added = await labrelay(site.folder, "orders", "add", numbers[one.name], *tests, "--patient", patient)
            if one.cancelled:
                for order in added["orders"]:
                    await labrelay(site.folder, "orders", "cancel", order["order"], "--reason", "shown in the demo")
    say("")
    wire = ClientWire(_address(site))
    await wire.open()
    try:
        analyzer = AskingAnalyzer(
            find_asker(ANALYZER), wire, Dialogue(say), PlaySettings(seed=seed), start=datetime.now(zone)
        )
        await analyzer.work(numbers.values())
    finally:
        await wire.close()
    ends = await _ends(site)
    wanted = [state for one in TUBES for state in one.ends]
    command = command_for(site.folder)
    say("")
    say(f"The orders are now {', '.join(ends)}. Look at them while this goes on:")
    say(f"  {command} orders list --all      each order with its state")
    say(f"  {command} orders log             each question, and why it got no order")
    say(f"  {command} orders show W1         the history of an order")
    if ends != wanted:
        say(f"They should be {', '.join(wanted)}.")
    return ends == wanted and not analyzer.counts["unanswered"]


async def _ends(site: Site) -> list[str]:
    """The states of all orders, once none is at the analyzer any more, or as they are after some time."""
    states: list[str] = []
    due = asyncio.get_running_loop().time() + SHOWS_WITHIN_S
    while asyncio.get_running_loop().time() < due:
        found = await labrelay(site.folder, "orders", "list", "--all")
        states = [one["state"] for one in reversed(found["orders"])]
        if "offered" not in states and "waiting" not in states:
            return states
        await asyncio.sleep(0.2)
    return states
