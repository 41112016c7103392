"""What waited for a server goes out in order, or newest first where the route says so, and no faster than `rate`."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import load_site
from engine.delivery import lane
from engine.delivery.breaker import BreakerState
from engine.delivery.lane import AWAITED_ATTEMPTS
from engine.delivery.worker import Pace
from engine.model.errors import ConfigError, TransientDeliveryError
from engine.model.message import Delivery
from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.monitoring import metrics
from engine.runtime.build import build_site
from engine.store.queries.lanes import list_channels
from tests.support.filled_journal import payload
from tests.support.running import MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

NEWEST = {"mapping": "hl7-results", "to": "lab-fhir", "order": "none", "drain": "newest-first"}
COUNT = 40


@asynccontextmanager
async def running(folder: Path, route: dict[str, Any], **destination: Any) -> AsyncIterator[RunningSite]:
    sandbox = Sandbox()
    await sandbox.start()
    config = {"kind": "fhir", "url": sandbox.url, "concurrency": 1, **QUICK, **destination}
    make_running_site(folder, {"chem": channel(MLLP, route)}, {"lab-fhir": config})
    try:
        async with running_app(folder) as app:
            yield RunningSite(folder, app, sandbox)
    finally:
        await sandbox.stop()


async def down(site: RunningSite) -> None:
    """Wait until all is mapped, and the server known to be down."""
    await until(lambda: not any(view.stored for view in list_channels(site.journal)), 240.0)
    await until(lambda: site.app.parts.delivery_workers["lab-fhir"].breaker.state is not BreakerState.CLOSED, 240.0)


def sent(site: RunningSite) -> list[int]:
    """Messages in the order in which the server took them."""
    by_key = {one.key: view.id for view in site.messages() for one in site.deliveries(view.id)}
    return [by_key[key] for key in site.sandbox.accepted]


def corrected(number: int, value: str) -> bytes:
    message = payload(number).replace(f"|C{number}|".encode(), f"|K{number}|".encode())
    return message.replace(f"||14.{number}|".encode(), f"||{value}|".encode()).replace(b"|||||F\r", b"|||||C\r")


@pytest.fixture(autouse=True)
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of a backlog is in the store only, as after hours."""
    monkeypatch.setattr(lane, "LANE_SHARE", 32)  # 16 deliveries in memory


async def test_a_backlog_goes_out_newest_first(tmp_path: Path) -> None:
    async with running(tmp_path, NEWEST) as site:
        site.sandbox.faults.down = True
        await send_blocks(site.port("chem"), [payload(number) for number in range(1, COUNT + 1)])
        await down(site)
        site.sandbox.faults.down = False
        await site.settled()
        order = sent(site)
        assert sorted(order) == list(range(1, COUNT + 1)), "each once"
        assert order[1:] == sorted(order[1:], reverse=True), "but for the one that found the server back"
        assert order[1] >= COUNT - 1


async def test_an_older_result_never_takes_the_place_of_a_correction_that_went_before_it(tmp_path: Path) -> None:
    async with running(tmp_path, NEWEST) as site:
        site.sandbox.faults.down = True
        originals = [payload(number) for number in range(1, COUNT // 2 + 1)]
        corrections = [corrected(number, f"9.{number}") for number in range(1, COUNT // 2 + 1)]
        await send_blocks(site.port("chem"), originals + corrections)
        await down(site)
        site.sandbox.faults.down = False
        await site.settled()
        values = {one["valueQuantity"]["value"] for one in site.sandbox.resources("Observation")}
        assert values == {float(f"9.{number}") for number in range(1, COUNT // 2 + 1)}
        assert site.ends().count("superseded") >= COUNT // 2 - 2


async def test_no_result_is_lost_where_the_newest_is_a_rerun_of_one_test(tmp_path: Path) -> None:
    """The rest of its panel is nowhere else: sent, it would undo the rerun; closed, nobody would miss it."""
    async with running(tmp_path, NEWEST) as site:
        site.sandbox.faults.down = True
        panel = payload(1) + b"OBX|2|NM|PLT^Platelets^L||250|10*9/L|||||F\r"
        others = [payload(number) for number in range(2, COUNT)]
        later = payload(1).replace(b"|C1|", b"|K1|").replace(b"|HGB^Hb^L||14.1|g/dL|", b"|MCV^MCV^L||88|fL|")
        rerun = corrected(1, "9.1").replace(b"|C\r", b"|F\r")  # so that the report is no further on than before
        await send_blocks(site.port("chem"), [panel, later, *others, rerun])
        await down(site)
        awaited = site.app.parts.outcomes.expect_known(1)
        site.sandbox.faults.down = False
        await site.settled()
        assert site.ends().count("delivered") == COUNT
        (kept,) = site.deliveries(1)
        assert (kept.state, kept.cause) == ("held", "OVERTAKEN")
        values = {one["valueQuantity"]["value"] for one in site.sandbox.resources("Observation")}
        assert 9.1 in values
        assert 88 in values, "another session's tests are no version of the panel's"
        assert 250 not in values
        assert not awaited.done(), "it is open until a person has decided"
        site.app.observer.expire()
        site.app.observer.snapshot()
        assert site.app.counters.cells.get(metrics.DEAD, {}) == {}, "nor is it a dead letter"


@pytest.mark.parametrize("common", [False, True], ids=["another session", "a rerun"])
async def test_what_a_server_cannot_digest_keeps_back_no_other_session_of_the_specimen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, common: bool
) -> None:
    """It answers 500 to the newer document for ever, and had failed at the older one once."""
    newer = corrected(1, "9.1")
    if not common:
        newer = newer.replace(b"|HGB^Hb^L||9.1|g/dL|||||C", b"|MCV^MCV^L||88|fL|||||F")  # it corrects nothing
    async with running(tmp_path, {"mapping": "hl7-results", "to": "lab-fhir", "order": "none"}) as site:
        destination: Any = site.app.parts.delivery_workers["lab-fhir"].attempts.setup.destination
        deliver, tried = destination.deliver, Counter[int]()

        async def fails(delivery: Delivery) -> Any:
            tried[delivery.message_id] += 1
            if delivery.message_id == 2 or tried[2] == 0:
                raise TransientDeliveryError(ReasonCode.BUSY, "HTTP 500")
            return await deliver(delivery)

        monkeypatch.setattr(destination, "deliver", fails)
        await send_blocks(site.port("chem"), [payload(1), newer])
        await until(lambda: tried[2] > 2 * AWAITED_ATTEMPTS or site.is_settled(), 240.0)
        assert [site.deliveries(one)[0].state for one in (1, 2)] == ["waiting" if common else "delivered", "waiting"]
        monkeypatch.setattr(destination, "deliver", deliver)
        await site.settled()
        assert site.ends() == ["superseded" if common else "delivered", "delivered"]


async def test_nor_after_a_restart_amid_the_backlog(tmp_path: Path) -> None:
    sandbox = Sandbox()
    await sandbox.start()
    config = {"kind": "fhir", "url": sandbox.url, "concurrency": 1, **QUICK}
    make_running_site(tmp_path, {"chem": channel(MLLP, NEWEST)}, {"lab-fhir": config})
    try:
        sandbox.faults.down = True
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, sandbox)
            await send_blocks(site.port("chem"), [payload(number) for number in range(1, 21)])
            await send_blocks(site.port("chem"), [corrected(number, f"9.{number}") for number in range(1, 21)])
            await until(lambda: not any(view.stored for view in list_channels(site.journal)))
            sandbox.faults.down = False
            await until(lambda: len(sandbox.accepted) >= 5, 240.0)
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, sandbox)
            await site.settled()
            values = [one["valueQuantity"]["value"] for one in sandbox.resources("Observation")]
            assert sorted(values) == sorted(float(f"9.{number}") for number in range(1, 21))
            assert set(site.ends()) <= {"delivered", "superseded"}
    finally:
        await sandbox.stop()


async def test_without_it_a_backlog_goes_out_in_order(tmp_path: Path) -> None:
    async with running(tmp_path, {"mapping": "hl7-results", "to": "lab-fhir"}) as site:
        site.sandbox.faults.down = True
        await send_blocks(site.port("chem"), [payload(number) for number in range(1, COUNT + 1)])
        site.sandbox.faults.down = False
        await site.settled()
        assert sent(site) == list(range(1, COUNT + 1))


async def test_a_server_that_is_back_gets_no_more_than_its_rate(tmp_path: Path) -> None:
    async with running(tmp_path, {"mapping": "hl7-results", "to": "lab-fhir"}, rate=2, concurrency=8) as site:
        await send_blocks(site.port("chem"), [payload(number) for number in range(1, 6)])
        began = site.app.clock.monotonic()
        await site.settled()
        took = site.app.clock.monotonic() - began
        assert sent(site) == [1, 2, 3, 4, 5]
        assert took > 1.0, "five at two a second"


def test_a_pace_is_a_limit_in_any_second() -> None:
    pace, now, begun = Pace(20.0), 100.0, list[float]()
    while len(begun) < 100:
        now = pace.next_at(now)
        pace.take(now)
        begun.append(now)
    assert max(sum(at <= other < at + 1.0 for other in begun) for at in begun) <= 22
    assert begun[-1] - begun[0] < 5.0
    assert pace.next_at(now + 1000.0) == now + 1000.0


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"mapping": "hl7-results", "to": "lab-fhir", "drain": "newest-first"}, "say order: none as well"),
        ({**NEWEST, "order": "specimen"}, "is no order specimen"),
        ({**NEWEST, "on_dead": "hold"}, "on_dead: hold does not"),
        ({"to": "lab-fhir", "order": "none", "drain": "newest-first"}, "needs a mapping"),
        ({"filter": "no", "drain": "newest-first"}, "filter sends nothing"),
    ],
)
def test_it_is_refused_where_it_makes_no_sense(tmp_path: Path, route: dict[str, Any], said: str) -> None:
    make_running_site(tmp_path, {"chem": channel(MLLP, route)}, {"lab-fhir": {"kind": "fhir", "url": "http://x/fhir"}})
    with pytest.raises(ConfigError, match=said):
        load_site(tmp_path)


def test_two_routes_of_one_lane_cannot_have_two_orders(tmp_path: Path) -> None:
    routes = ({**NEWEST, "when": "=MSH-9.1 == 'ORU'"}, {"mapping": "hl7-results", "to": "lab-fhir"})
    make_running_site(
        tmp_path, {"chem": channel(MLLP, *routes)}, {"lab-fhir": {"kind": "fhir", "url": "http://x/fhir"}}
    )
    with pytest.raises(ConfigError, match=r"routes.0.drain: another route sends to lab-fhir in order"):
        build_site(load_site(tmp_path), identity_key=bytes(32), clock=SystemClock())
