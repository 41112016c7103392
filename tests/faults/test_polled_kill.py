"""The daemon ends at each step of a search, while a laboratory system orders, changes and cancels at its FHIR server:
each version of each request is one message, in the order in which the server had them.
"""

import random
from pathlib import Path

import pytest

from engine.features.orders.rows.reading import ItemFilter, items
from engine.model.journal.journal_views import Filter
from engine.store.integrity.verify import run as verify
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader
from tests.faults.harness.trial import seeds
from tests.support.failpoints import When
from tests.support.fhir_orders import OrderServer, order_server, request
from tests.support.forking import Forked, live
from tests.support.running import channel, make_running_site
from tests.support.waiting import until

STEPS = ("receive", "store a version", "move the cursor", "flush", "commit", "hand over", "map", "anchor")
BOTH: tuple[When, When] = ("before", "after")
REQUESTS = 4
AFTER_THE_LAST = 12  # versions


def write_site(folder: Path, url: str) -> Path:
    source = {"kind": "fhir-search", "url": url, "every": "50ms", "page": "2"}
    his = channel(source, {"mapping": "orders-fhir"}, role="orders")
    analyzer = channel({"kind": "astm", "listen": "127.0.0.1:0"}, {"mapping": "astm-results", "to": "out"})
    chemistry = {**analyzer, "orders": {"answer": "query", "codes": {"TSH": "10"}}}
    return make_running_site(folder, {"his": his, "chemistry": chemistry}, {"out": {"kind": "file", "folder": "out"}})


class Lis:
    """Changes a request; then waits until a search after that has ended, or the daemon has."""

    def __init__(self, server: OrderServer, rng: random.Random) -> None:
        self._server, self._rng = server, rng
        self.made: list[str] = []
        self.states: dict[str, str] = {}  # of the newest order of each number

    def change(self) -> None:
        number = str(self._rng.randrange(REQUESTS))
        status = self._rng.choice(["active", "active", "on-hold", "revoked"])
        self._server.put(request(number, status=status, priority=self._rng.choice(["routine", "stat"])))
        version = self._server.resources[f"ServiceRequest/{number}"]["meta"]["versionId"]
        self.made.append(f"ServiceRequest/{number}/{version}")
        before = self.states.get(f"P-{number}", "")
        if before or status != "revoked":  # a cancel of no order leaves none, and a cancelled one cannot be held
            held = "cancelled" if before == "cancelled" else "held"
            self.states[f"P-{number}"] = {"active": "waiting", "revoked": "cancelled", "on-hold": held}[status]

    async def searched(self, life: Forked) -> bool:
        wanted = len(self._server.searches()) + 3  # one under way, one after the change, and the beginning of the next
        await until(lambda: len(self._server.searches()) >= wanted or life.returncode is not None)
        return life.returncode is None


@pytest.mark.parametrize("seed", seeds(1, 2))
async def test_each_version_is_taken_once_wherever_the_process_ends(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    points = [(step, when, str(rng.randint(2, 4))) for step in STEPS for when in BOTH]
    rng.shuffle(points)
    async with order_server() as server:
        site, lis = write_site(tmp_path / "site", server.url), Lis(server, rng)
        for point in [*points, None]:
            life = await live(site, tmp_path / "log", *(point or ()))
            goes_on = await lis.searched(life)  # what the life before has left
            for _ in range(AFTER_THE_LAST) if point is None else iter(int, 1):
                if not goes_on:
                    break
                lis.change()
                goes_on = await lis.searched(life)
            if point is None:
                life.send_signal(15)
            assert await life.wait() == (0 if point is None else -9), (tmp_path / "log").read_text()[-2000:]
    journal = Reader.beside(site / "var")
    try:
        found = [one.control_id for one in messages_page(journal, Filter(channel="his"), limit=500)]
        ends = {one.reason for one in messages_page(journal, Filter(channel="his"), limit=500)}
        newest: dict[str, str] = {}
        for one in items(journal, ItemFilter()):
            newest.setdefault(one.line.placer, one.state.value)
    finally:
        journal.close()
    assert found[::-1] == lis.made
    assert ends == {"ORDERS"}
    assert newest == lis.states
    assert verify(site / "var", deep=True) == []
