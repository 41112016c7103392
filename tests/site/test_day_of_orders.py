"""A laboratory's day in miniature: a LIS that orders over MLLP, an analyzer that asks on a serial line. The LIS and the
server of the results are away for an hour. At the end every result is at the server, once, of its tube and with its
order, every order is closed, or shown with its reason, and the LIS has heard of each end, once and in order.
"""

import os
import tty
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.features.orders import rows as worklist
from engine.features.orders.exchange.taking import take_settings
from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.model.orders import OrderedPatient, OrderLine
from engine.model.process.clock import ManualClock
from engine.model.texts.units import HostPort
from tests.histories.two_way import hearing_at
from tests.support.ports import quiet_ports
from tests.support.running import MLLP, QUICK, RunningSite, astm_channel, channel, running_site
from tests.support.waiting import until
from workbench.sandbox import Faults
from workbench.sandbox.lis import Lis, LisOrder
from workbench.simulator.asking import AskingAnalyzer, find_asker
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.play import PlaySettings
from workbench.simulator.shift import Kind, PlannedMessage
from workbench.simulator.wires import Serial, SerialLine

AT = datetime(2026, 3, 2, 8, 0)
CODES = {"GLU": "10", "UREA": "20", "NA": "30"}
CONTROL = (
    b"H|\\^&|||SIMULATED^1|||||LIS||P|1|20260302090000\rP|1\rO|1|QC-1||^^^10|R||||||Q||||||||||||||F\r"
    b"R|1|^^^10|5.01|mmol/L||N||F||||20260302090000\rL|1|N\r"
)


@contextmanager
def serial_line() -> Iterator[tuple[int, str]]:
    """The analyzer's end, and the device of the other."""
    ours, theirs = os.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    try:
        yield ours, os.ttyname(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


def order(number: str, tube: str, test: str, patient: str = "P-1") -> LisOrder:
    return LisOrder(number, tube, test, patient)


def states(site: RunningSite) -> dict[tuple[str, str, int], str]:
    found = read_items(site.journal, ItemFilter())
    return {(one.line.placer, one.line.test, one.run): one.state.value for one in found}


def settled_after(site: RunningSite, clock: ManualClock) -> bool:
    """Whether all is settled, a second later."""
    clock.advance(1.0)
    return site.is_settled()


async def resulted(site: RunningSite, *wanted: tuple[str, str, int]) -> None:
    await until(lambda: all(states(site)[one] == "resulted" for one in wanted))


def named(site: RunningSite) -> Counter[tuple[str, str]]:
    """Test and order number (``basedOn``) of each result at the server."""
    tests = {code: test for test, code in CODES.items()}
    return Counter(
        (tests[one["code"]["coding"][0]["code"]], order["identifier"]["value"])
        for one in site.sandbox.resources("Observation")
        for order in one["basedOn"]
    )


def results(site: RunningSite) -> Counter[tuple[str, str, str]]:
    """Test, tube and status of each result at the server."""
    tubes = {one["id"]: one["identifier"][0]["value"] for one in site.sandbox.resources("Specimen")}
    tests = {code: test for test, code in CODES.items()}
    return Counter(
        (
            tests[one["code"]["coding"][0]["code"]],
            tubes[one["specimen"]["reference"].rpartition("/")[2]],
            one["status"],
        )
        for one in site.sandbox.resources("Observation")
    )


async def test_a_day_of_orders_questions_and_results(tmp_path: Path) -> None:
    clock, (back,) = ManualClock(AT.replace(tzinfo=ZoneInfo("Asia/Kolkata"))), quiet_ports(1)
    with serial_line() as (ours, device):
        asks = {"answer": "query", "codes": CODES, "deadline": "60s"}
        channels = {
            "chemistry": astm_channel(source={"kind": "astm-serial", "device": device}, orders=asks),
            "lis": channel(MLLP, {"mapping": "orders-hl7"}, role="orders", settings={"order_specimen": "OBR-3"}),
            "news": channel({"kind": "order-status", "of": "lis"}, {"to": "back"}),
        }
        to_lis = {"back": {"kind": "mllp", "connect": f"127.0.0.1:{back}", **deepcopy(QUICK)}}
        async with hearing_at(back) as hearing, running_site(tmp_path, channels, to_lis, clock=clock) as site:
            wire = SerialLine(ours, Serial(baud=4_000_000))
            await wire.open()
            talk = Dialogue()
            analyzer = AskingAnalyzer(find_asker("generic"), wire, talk, PlaySettings(seed=7), start=AT)
            lis = Lis(HostPort("127.0.0.1", site.port("lis")), "ORM")

            # Orders: one tube with two tests, one whose order is taken back, one that two patients have.
            said = await lis.order([order("L1", "T1", "GLU"), order("L2", "T1", "UREA")], at=AT)
            assert said.orders == {"L1": "OK", "L2": "OK"}
            await lis.order([order("L3", "T2", "NA")], at=AT)
            assert (await lis.order([order("L3", "T2", "NA")], "cancel", at=AT)).orders == {"L3": "CR"}
            await lis.order([order("L4", "T3", "GLU", "P-3")], at=AT)
            await lis.order([order("L5", "T3", "GLU", "P-4")], at=AT)
            assert (await lis.order([order("L6", "T4", "LACTATE")], at=AT)).orders == {"L6": "UA"}

            # Questions: T9 is unknown.
            await analyzer.work(["T1", "T2", "T3", "T9"])
            await resulted(site, ("L1", "GLU", 1), ("L2", "UREA", 1))
            await until(lambda: settled_after(site, clock) and len(hearing.news) == 2)

            # An add-on and a rerun come. Then server and LIS go away; these and a control are measured all the same.
            await lis.order([order("L7", "T1", "NA")], at=AT)
            again = OrderLine(
                action="rerun", placer="L1", specimen="T1", test="GLU", patient=OrderedPatient(number="P-1")
            )
            settings = take_settings(site.app.parts.built.site.channels)
            await site.app.journal.run(worklist.take_orders, site.app.journal.last_id + 1, "lis", [again], settings)
            await lis.close()
            hearing.set_up(False)
            site.sandbox.faults.change(Faults(down=True))
            await analyzer.work(["T1"])
            await analyzer.send(PlannedMessage(Kind.CONTROL, "made up", (), CONTROL))
            await resulted(site, ("L7", "NA", 1), ("L1", "GLU", 2))
            clock.advance(3600.0)
            assert (len(hearing.news), len(site.sandbox.accepted)) == (2, 1)
            hearing.set_up(True)
            site.sandbox.faults.change(Faults(down=False))
            await until(lambda: settled_after(site, clock) and len(hearing.news) == 4)
            await wire.close()

            assert talk.tally.violations == []
            assert states(site) == {
                ("L1", "GLU", 1): "resulted", ("L2", "UREA", 1): "resulted", ("L3", "NA", 1): "cancelled",
                ("L4", "GLU", 1): "held", ("L5", "GLU", 1): "held", ("L6", "LACTATE", 1): "rejected",
                ("L7", "NA", 1): "resulted", ("L1", "GLU", 2): "resulted",
            }  # fmt: skip
            reasons = {one.reason.value for one in read_items(site.journal, ItemFilter()) if one.state.value == "held"}
            assert reasons == {"SPECIMEN_CONFLICT"}
            asked = [(len(one.items), list(one.none)) for one in reversed(queries(site.journal))]
            assert asked == [(2, []), (0, ["done"]), (0, ["conflict"]), (0, ["unknown"]), (2, [])]
            assert Counter(site.ends("chemistry")) == {"QUESTION": 5, "delivered": 2, "QUALITY_CONTROL": 1}
            assert len(site.sandbox.accepted) == len(set(site.sandbox.accepted)) == 2
            heard = [(one.order, one.placer, one.status) for one in hearing.news]
            assert sorted(heard[:2]) == [("SC", "L1", "CM"), ("SC", "L2", "CM")]
            assert sorted(heard[2:]) == [("SC", "L1", "CM"), ("SC", "L7", "CM")]
            assert len({one.control for one in hearing.news}) == 4
            # The analyzer names no patient, so the rerun stands beside the first run.
            assert results(site) == Counter(
                {("GLU", "T1", "final"): 2, ("UREA", "T1", "final"): 1, ("NA", "T1", "final"): 1}
            )
            assert named(site) == Counter({("GLU", "L1"): 2, ("UREA", "L2"): 1, ("NA", "L7"): 1})
