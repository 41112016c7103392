"""An order whose result is held, on a whole site: what the order says, what the analyzer gets, what the LIS hears.

the result comes, and is held       in_progress, RESULT_HELD; the LIS hears nothing
the analyzer asks for the tube      it gets the order again: a person has loaded the tube once more
another analyzer asks, or for all   it does not
a person releases it                resulted, in the same moment; the LIS hears CM
rejects it, dismisses it            as it was before the result; the test can be measured again
it is a dead letter at first        as it was before the result
the LIS has changed it meanwhile    where no analyzer has the order, the new version is given at once
a person has undone its match       the release closes nothing
the analyzer takes a result back    that is held, and released: the order is open again, and the LIS hears SC
a delivered one is a dead letter    it stays resulted; dismissed: as before, and the LIS hears that it is open;
                                    sent all the same: resulted
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.features.orders.rows import reading
from tests.engine.features.orders.exchange.test_orders_of_a_lis import lis, states
from tests.engine.features.orders.exchange.test_status_of_orders import OUT, quiet, said, status
from tests.support.asking import AskingAnalyzer, asking, fields, question, result
from tests.support.ordering_lis import OrderingLis, order, ordering
from tests.support.running import ASTM, RunningSite, astm_channel, channel, running_site
from tests.support.waiting import until

HOLD = [{"when": "=value > 50", "reason": "implausible"}]
ORDERS = {"answer": "query", "codes": {"TSH": "TSH3", "FERR": "Ferritin"}, "deadline": "60s"}
WAITS, GIVEN, HELD, DONE = (
    ("TSH", "waiting", ""),
    ("TSH", "offered", ""),
    ("TSH", "in_progress", "RESULT_HELD"),
    ("TSH", "resulted", ""),
)


def analyzer(**more: Any) -> dict[str, Any]:
    routes = ({"to": "raw"}, {"mapping": "astm-results", "to": "lab-fhir", "hold": HOLD})
    return channel(ASTM, *routes, orders=ORDERS, **more)


@asynccontextmanager
async def site_of(folder: Path, **more: Any) -> AsyncIterator[tuple[RunningSite, OrderingLis, AskingAnalyzer]]:
    channels = {"chemistry": analyzer(), "second": astm_channel(orders=ORDERS), "his": lis(), "status": status()}
    destinations = {**OUT, "raw": {"kind": "file", "folder": "var/raw"}, **more}
    async with (
        running_site(folder, channels, destinations) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH")))
        yield site, his, peer


async def held(site: RunningSite, verb: str, *messages: int) -> None:
    ran = await site.labrelay("held", verb, *map(str, messages), "--reason", "looked at", "--yes")
    assert ran.code == 0, ran.err
    await site.settled()


def newest(site: RunningSite) -> int:
    return site.messages("chemistry")[-1].id


def events(site: RunningSite) -> list[tuple[str, str, int]]:
    """Event, state and message of each row of the history behind the first."""
    found = reading.item(site.journal, 1)
    assert found is not None
    return [(one.event, str(one.state), one.message_id) for one in found.history[1:]]


def asked(answer: bytes) -> list[str]:
    return [one[4] for one in fields(answer, "O")]


async def given(peer: AskingAnalyzer) -> None:
    assert asked(await peer.ask(question("00042"))) == ["^^^TSH3"]


async def measured(site: RunningSite, peer: AskingAnalyzer, value: str, *wanted: tuple[str, str, str]) -> int:
    await peer.send(result("00042", "P-17", "TSH3", value))
    await until(lambda: states(site) == list(wanted))
    return newest(site)


async def test_a_held_result_closes_its_order_when_it_is_released(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await given(peer)
        message = await measured(site, peer, "99.0", HELD)
        await quiet(site)
        assert said(site) == []

        await held(site, "release", message)

        assert states(site) == [DONE]
        await quiet(site)
        assert said(site) == [("SC", "P1", "CM")]
        assert events(site)[1:] == [("result_held", "in_progress", message), ("final", "resulted", message)]


async def test_a_rejected_result_gives_the_order_back(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await given(peer)
        message = await measured(site, peer, "99.0", HELD)

        await held(site, "reject", message)

        assert states(site) == [GIVEN]
        await quiet(site)
        assert said(site) == []
        await given(peer)  # it is measured again
        await measured(site, peer, "1.20", DONE)
        assert events(site)[1:3] == [("result_held", "in_progress", message), ("put_back", "offered", message)]


async def test_a_result_that_is_taken_back_opens_its_order_once_that_is_released(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await given(peer)
        await measured(site, peer, "1.20", DONE)
        await peer.send(result("00042", "P-17", "TSH3", "").replace(b"||F", b"||X"))
        await site.settled()
        assert states(site) == [DONE]  # a value was accepted: a person decides

        await held(site, "release", newest(site))

        assert states(site) == [("TSH", "in_progress", "RESULT_WITHDRAWN")]
        await quiet(site)
        assert said(site) == [("SC", "P1", "CM"), ("SC", "P1", "SC")]
        await given(peer)
        await measured(site, peer, "1.30", DONE)


async def test_an_order_that_was_never_given_waits_again(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, his, peer):
        message = await measured(site, peer, "99.0", HELD)
        await held(site, "reject", message)
        assert states(site) == [WAITS]

        await his.ask(order("M2", ("CA", "P1", "TSH")))
        assert states(site) == [("TSH", "cancelled", "")]  # no analyzer has it


async def test_a_held_order_is_given_for_its_tube_alone(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer), asking(site.port("second")) as other:
        await given(peer)
        await measured(site, peer, "99.0", HELD)

        assert asked(await other.ask(question("00042"))) in ([], [""])
        every = question("x").replace(b"^x||ALL", b"ALL||")
        assert asked(await peer.ask(every)) in ([], [""])
        await given(peer)
        assert states(site) == [HELD]


async def test_a_cancel_between_hold_and_decision_stays(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, his, peer):
        await given(peer)
        message = await measured(site, peer, "99.0", HELD)
        await his.ask(order("M2", ("CA", "P1", "TSH")))
        assert states(site) == [("TSH", "cancel_pending", "RESULT_HELD")]

        await held(site, "reject", message)

        assert states(site) == [("TSH", "cancel_pending", "")]


async def test_a_change_of_an_order_that_was_never_given_waits_for_no_analyzer(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, his, peer):
        message = await measured(site, peer, "99.0", HELD)
        await his.ask(order("M2", ("XO", "P1", "TSH"), priority="S"))
        assert states(site) == [("TSH", "cancel_pending", "RESULT_HELD"), ("TSH", "waiting", "AFTER_CANCEL")]

        await held(site, "reject", message)

        assert states(site) == [("TSH", "cancelled", ""), WAITS]
        await given(peer)


async def test_a_match_that_was_undone_closes_nothing_at_the_release(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, his, peer):
        await peer.send(result("00043", "P-17", "TSH3", "99.0"))
        await until(lambda: site.is_settled() and len(site.trace(newest(site)).deliveries) == 2)
        message = newest(site)
        await his.ask(order("M5", ("NW", "P5", "TSH"), tube="00043"))
        for verb, wanted in (("match", HELD), ("unmatch", WAITS)):
            of = [str(message)] if verb == "match" else []
            ran = await site.labrelay("orders", verb, "W2", *of, "--reason", "looked at")
            assert ran.code == 0, ran.err
            assert states(site) == [WAITS, wanted]

        await held(site, "release", message)

        assert states(site) == [WAITS, WAITS]
        await quiet(site)
        assert said(site) == []


async def test_a_second_held_result_outlives_the_first(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await given(peer)
        first = await measured(site, peer, "99.0", HELD)
        await peer.send(result("00042", "P-17", "TSH3", "98.0"))
        await until(lambda: len(events(site)) == 3)
        second = newest(site)

        await held(site, "reject", first)
        assert states(site) == [HELD]
        await held(site, "reject", second)
        assert states(site) == [GIVEN]


async def test_a_held_preliminary_result_begins_its_order_when_it_is_released(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await given(peer)
        await peer.send(result("00042", "P-17", "TSH3", "99.0", "P"))
        await until(lambda: states(site) == [HELD])

        await held(site, "release", newest(site))

        assert states(site) == [("TSH", "in_progress", "")]


async def test_a_dead_message_closes_nothing(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await given(peer)
        before = newest(site)
        await peer.send(result("00042", "P-17", "TSH3", "1.20", "Z9"))
        await until(lambda: newest(site) > before and site.is_settled())
        assert site.trace(newest(site)).message.state == "dead"
        assert states(site) == [GIVEN]


async def test_a_result_that_no_server_takes_gives_the_order_back_while_it_is_dismissed(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        site.sandbox.faults.next = ["400"] * 20
        await given(peer)
        message = await measured(site, peer, "1.20", DONE)
        await until(lambda: site.trace(message).deliveries[-1].state == "dead")
        assert states(site) == [DONE]  # its result is known, and a person will send it

        ran = await site.labrelay("dlq", "dismiss", str(message), "--reason", "a wrong tube", "--yes")

        assert ran.code == 0, ran.err
        assert states(site) == [GIVEN]
        await quiet(site)
        assert said(site) == [("SC", "P1", "CM"), ("SC", "P1", "SC")]

        site.sandbox.faults.next = []
        ran = await site.labrelay("replay", str(message), "--state", "dismissed", "--reason", "the right tube", "--yes")

        assert ran.code == 0, ran.err
        await until(lambda: states(site) == [DONE] and site.trace(message).deliveries[-1].state == "delivered")
