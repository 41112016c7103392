"""The laboratory system is away for an hour, which a clock of the test makes short, and LabRelay restarts amid it.

It neither orders nor hears, and the server of the results is away with it. Meanwhile

    each question                     is answered at once, from the worklist: the tests of its tube, or none
    an order, add-ons and cancels     that it could not send come after the hour, and are answered then
    results and news of orders        wait

Afterwards each result is at the server with the value that was measured for its tube, each order's end was told to the
laboratory system, both in the order in which they came about, and nothing twice.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemFilter, items
from engine.model.process.clock import ManualClock
from engine.store.queries.reader import stored_message
from tests.faults.harness.trial import Trial
from tests.histories.two_way import Hearing, hearing_at
from tests.support.asking import asking, fields, question, result
from tests.support.ordering_lis import answered, order, ordering, segments
from tests.support.ports import quiet_ports
from tests.support.running import (
    MLLP,
    QUICK,
    RunningSite,
    astm_channel,
    channel,
    make_running_site,
    running_app,
)
from tests.support.waiting import until
from workbench.sandbox import Faults, Sandbox

CODES = {"TSH": "TSH3", "FERR": "Ferritin"}
MINUTES = 60
ASKS = {"answer": "query", "codes": CODES, "deadline": "60s"}


class Hospital:
    """A site and all around it, through two lives of LabRelay."""

    def __init__(self, folder: Path, sandbox: Sandbox, hearing: Hearing, clock: ManualClock) -> None:
        self.folder, self.sandbox, self.hearing, self.clock = folder, sandbox, hearing, clock
        self.value_of: dict[tuple[str, str], str] = {}  # tube, code of the analyzer -> as it was measured
        self.answers = 0

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[RunningSite]:
        async with running_app(self.folder, clock=self.clock) as app:
            yield RunningSite(self.folder, app, self.sandbox)

    def go(self, *, away: bool) -> None:
        self.hearing.set_up(not away)
        self.sandbox.faults.change(Faults(down=away))

    async def minute(self, site: RunningSite, tube: str) -> None:
        """An analyzer asks for a tube, measures what it is told, and asks for an unknown one."""
        self.clock.advance(60.0)
        async with asking(site.port("chemistry")) as analyzer:
            answer = await analyzer.ask(question(tube))
            told = {code.removeprefix("^^^") for one in fields(answer, "O") for code in one[4].split("\\")}
            assert (told, {one[2] for one in fields(answer, "O")}) == (set(CODES.values()), {tube})
            for code in sorted(told):
                self.value_of[tube, code] = f"{len(self.value_of)}.5"
                await analyzer.send(result(tube, f"P-{tube}", code, self.value_of[tube, code]))
            assert fields(await analyzer.ask(question(f"{tube}9")), "O") == []
        self.answers += 2
        await until(
            lambda: sum(one.state.value == "resulted" for one in items(site.journal, ItemFilter(specimen=tube))) == 2
        )


@contextlib.asynccontextmanager
async def hospital(folder: Path) -> AsyncIterator[Hospital]:
    (port,) = quiet_ports(1)
    sandbox = Sandbox()
    await sandbox.start()
    try:
        make_running_site(
            folder,
            {
                "chemistry": astm_channel(orders=ASKS),
                "his": channel(MLLP, {"mapping": "orders-hl7"}, role="orders", settings={"order_specimen": "OBR-3"}),
                "his-news": channel({"kind": "order-status", "of": "his"}, {"to": "back"}),
            },
            {
                "lab-fhir": {"kind": "fhir", "url": sandbox.url, **deepcopy(QUICK)},
                "back": {"kind": "mllp", "connect": f"127.0.0.1:{port}", **deepcopy(QUICK)},
            },
        )
        async with hearing_at(port) as hearing:
            yield Hospital(folder, sandbox, hearing, ManualClock(datetime.now(UTC)))  # as that of the analyzer
    finally:
        await sandbox.stop()


async def orders(site: RunningSite, *tubes: str) -> None:
    async with ordering(site.port("his")) as his:
        for tube in tubes:
            lines = [("NW", f"{tube}-{test}", test) for test in CODES]
            said = await his.ask(order(f"M{tube}", *lines, tube=tube, patient=f"P-{tube}"))
            assert answered(said) == ["OK", "OK"]


async def all_is_told(there: Hospital, site: RunningSite, ends: int) -> None:
    """Time goes on, until all has gone out and the laboratory system has heard of so many orders."""

    def done() -> bool:
        there.clock.advance(1.0)
        return site.is_settled() and len({one.control for one in there.hearing.news}) >= ends

    await until(done, 240.0)


async def test_an_hour_without_the_laboratory_system(tmp_path: Path, trial: Trial) -> None:
    count = trial.goal(quick=10, long=MINUTES, unit="tubes measured while it is away")
    tubes = [f"{number:05}" for number in range(1, count + 1)]
    async with hospital(tmp_path / "site") as there:
        async with there.life() as site:
            await orders(site, *tubes)
            there.go(away=True)
            for tube in tubes[: count // 2]:
                await there.minute(site, tube)
        async with there.life() as site:
            for tube in tubes[count // 2 :]:
                await there.minute(site, tube)
            there.clock.advance((MINUTES - count) * 60.0)
            assert not there.hearing.news
            assert not there.sandbox.accepted

            there.go(away=False)
            await orders(site, "99999")  # as it was written meanwhile
            await there.minute(site, "99999")
            await all_is_told(there, site, 2 * (count + 1))

            news = there.hearing.news
            journal = [
                segments(stored_message(site.journal, one.id).payload, "MSH")[0][10]
                for one in site.messages("his-news")
            ]
            assert [one.control for one in news] == journal, "told in another order, twice, or not at all"
            ended = Counter((one.placer, one.order, one.status) for one in news)
            assert ended == Counter((f"{tube}-{test}", "SC", "CM") for tube in [*tubes, "99999"] for test in CODES)
            assert {one.state.value for one in items(site.journal, ItemFilter(), limit=10_000)} == {"resulted"}
            log = queries(site.journal, limit=10_000)
            assert Counter((one.outcome if one.items else "", one.none) for one in log) == {
                ("sent", ()): count + 1, ("", ("unknown",)): count + 1
            }  # fmt: skip
            measured = [(float(value), f"P-{tube}") for (tube, _), value in there.value_of.items()]
            assert results(there.sandbox) == measured
            assert len(there.sandbox.accepted) == len(set(there.sandbox.accepted)) == len(measured)
    trial.figures(answered=there.answers, results=len(measured), reported=len(news), lost=0, twice=0, wrong=0)


def results(server: Sandbox) -> list[tuple[float, str]]:
    """Value and patient of each result on the server, in the order they came."""
    bearers = {one["id"]: one["identifier"][0]["value"] for one in server.resources("Patient")}
    return [
        (float(one["valueQuantity"]["value"]), bearers[one["subject"]["reference"].rpartition("/")[2]])
        for one in server.resources("Observation")
    ]
