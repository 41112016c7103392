"""The daemon ends at each step of an order's way, amid a random history of a laboratory system that repeats until it is
answered: the worklist is as a model says, and each message has one answer in meaning, however often it is asked.

    NW   none, cancelled: waiting, OK       waiting, held: waiting, OK
    HD   none, waiting, held: held, HR      cancelled: UH
    RL   waiting, held: waiting, OR         none, cancelled: UR
    CA   waiting, held, cancelled: cancelled, CR      none: UC
    XO   none, cancelled: waiting, XR       waiting, held: superseded by a new one that waits, XR
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.features.orders.rows.reading import ItemFilter, items
from engine.model.journal.journal_views import Filter
from engine.store.integrity.verify import run as verify
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader, stored_message
from tests.faults.harness.trial import seeds
from tests.support.failpoints import When
from tests.support.forking import Forked, live
from tests.support.ordering_lis import OrderingLis, answered, order, segments
from tests.support.ports import quiet_ports
from tests.support.running import Json, channel, make_running_site
from tests.support.waiting import until

ORDERS = 5
STEPS = ("receive", "store a message", "flush", "commit", "hand over", "map", "anchor", "answer")
BOTH: tuple[When, When] = ("before", "after")
AFTER_THE_LAST = 12  # messages

# (state, ORC-1) -> state, the answer, whether an item is made
MODEL: dict[tuple[str, str], tuple[str, str, bool]] = {
    ("", "NW"): ("waiting", "OK", True),
    ("cancelled", "NW"): ("waiting", "OK", True),
    ("waiting", "NW"): ("waiting", "OK", False),
    ("held", "NW"): ("waiting", "OK", False),
    ("", "HD"): ("held", "HR", True),
    ("waiting", "HD"): ("held", "HR", False),
    ("held", "HD"): ("held", "HR", False),
    ("cancelled", "HD"): ("cancelled", "UH", False),
    ("held", "RL"): ("waiting", "OR", False),
    ("", "RL"): ("", "UR", False),
    ("waiting", "RL"): ("waiting", "OR", False),
    ("cancelled", "RL"): ("cancelled", "UR", False),
    ("waiting", "CA"): ("cancelled", "CR", False),
    ("held", "CA"): ("cancelled", "CR", False),
    ("cancelled", "CA"): ("cancelled", "CR", False),
    ("", "CA"): ("", "UC", False),
    ("", "XO"): ("waiting", "XR", True),
    ("cancelled", "XO"): ("waiting", "XR", True),
    ("waiting", "XO"): ("waiting", "XR", True),
    ("held", "XO"): ("waiting", "XR", True),
}


class Model:
    """What has been asked for, and what must be there."""

    def __init__(self, rng: random.Random, asks: tuple[str, str] = ("", "")) -> None:
        """Args: asks: MSH-15 and MSH-16."""
        self._rng, self._asks = rng, asks
        self._states = [""] * ORDERS
        self._urgent = [False] * ORDERS
        self.items: list[tuple[str, str]] = []  # order number and state, in their order
        self.sent: list[tuple[bytes, str]] = []  # each message, and its answer

    def next(self) -> tuple[bytes, str]:
        """A new message; now and then one of the last again, as where its answer was not seen."""
        if self.sent and self._rng.random() < 0.2:
            return self._rng.choice(self.sent[-6:])
        number, control = self._rng.randrange(ORDERS), self._rng.choice(["NW", "NW", "HD", "RL", "CA", "XO"])
        placer = f"P{number}"
        before = self._states[number]
        state, answer, is_made = MODEL[before, control]
        self._states[number] = state
        if control == "XO":
            self._urgent[number] = not self._urgent[number]
            if before in ("waiting", "held"):
                self._put(placer, "superseded")
        if is_made:
            self.items.append((placer, state))
        else:
            self._put(placer, state)
        priority = "S" if self._urgent[number] else "R"
        message = order(
            f"M{len(self.sent)}", (control, placer, "TSH"), tube=f"T{number}", priority=priority, asks=self._asks
        )
        self.sent.append((message, answer))
        return self.sent[-1]

    def _put(self, placer: str, state: str) -> None:
        """The newest item of an order is in this state; the older ones were cancelled."""
        for at in reversed(range(len(self.items))):
            if self.items[at][0] == placer:
                self.items[at] = (placer, state)
                return


class Lis:
    """Sends each message again until it is answered, over a new connection where the old one has ended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._line: OrderingLis | None = None

    async def ask(self, message: bytes, life: Forked) -> bytes:
        """Its answer; empty: the daemon has ended."""
        while life.returncode is None:
            with contextlib.suppress(OSError):
                if self._line is None:
                    self._line = OrderingLis(*await asyncio.open_connection("127.0.0.1", self._port))
                if said := await self._line.ask(message):
                    return said
            await self.close()
            await asyncio.sleep(0.02)  # while nothing listens
        return b""

    async def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.close()


def points(rng: random.Random, steps: Sequence[str] = STEPS) -> list[tuple[str, str, str]]:
    found = [(step, when, str(rng.randint(2, 5))) for step in steps for when in BOTH]
    rng.shuffle(found)
    return found


def write_site(folder: Path, port: int, **more: Json) -> Path:
    his = channel({"kind": "mllp", "listen": f"127.0.0.1:{port}"}, {"mapping": "orders-hl7"}, role="orders")
    analyzer = channel({"kind": "astm", "listen": "127.0.0.1:0"}, {"mapping": "astm-results", "to": "out"})
    channels = {
        "his": {**his, "settings": {"order_specimen": "OBR-3"}, "lis": {"deadline": "60s"}},
        "chemistry": {**analyzer, "orders": {"answer": "query", "codes": {"TSH": "10"}}},
        **more,
    }
    return make_running_site(folder, channels, {"out": {"kind": "file", "folder": "out"}})


@pytest.mark.parametrize("seed", seeds(1, 2))
async def test_orders_are_taken_once_and_answered_once_wherever_the_process_ends(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    (port,) = quiet_ports(1)
    site, model, lis = write_site(tmp_path / "site", port), Model(rng), Lis(port)
    pending: tuple[bytes, str] | None = None
    for point in [*points(rng), None]:
        life = await live(site, tmp_path / "log", *(point or ()))
        for _ in range(AFTER_THE_LAST) if point is None else iter(int, 1):
            message, wanted = pending or model.next()
            pending = (message, wanted)
            said = await lis.ask(message, life)
            if not said:
                break
            pending = None
            assert (answered(said), segments(said, "MSA")[0][2]) == ([wanted], control_id(message)), point
        if point is None:
            life.send_signal(15)
        assert await life.wait() == (0 if point is None else -9), (tmp_path / "log").read_text()[-2000:]
    await lis.close()
    journal = Reader.beside(site / "var")
    try:
        await until(lambda: len(items(journal, ItemFilter())) == len(model.items))
        found = [(one.line.placer, one.state.value) for one in reversed(items(journal, ItemFilter()))]
    finally:
        journal.close()
    assert found == model.items
    assert verify(site / "var", deep=True) == []


STEPS_LATER = ("store a message", "flush", "commit", "hand over", "map", "make the answers")


async def test_each_answer_that_goes_elsewhere_is_made_once_wherever_the_process_ends(tmp_path: Path) -> None:
    """``answers: true``: the line has the commit accept alone, and another channel one answer to each message."""
    rng = random.Random(3)
    (port,) = quiet_ports(1)
    news = channel({"kind": "order-status", "of": "his", "answers": True}, {"to": "out"})
    site, model, lis = write_site(tmp_path / "site", port, news=news), Model(rng, ("AL", "AL")), Lis(port)
    pending: bytes | None = None
    for point in [*points(rng, STEPS_LATER), None]:
        life = await live(site, tmp_path / "log", *(point or ()))
        for _ in range(AFTER_THE_LAST) if point is None else iter(int, 1):
            message = pending = pending or model.next()[0]
            said = await lis.ask(message, life)
            if not said:
                break
            pending = None
            assert segments(said, "MSA")[0][1:3] == ["CA", control_id(message)], point
        if point is None:
            await until(lambda: len(answers_made(site)) >= len(wanted_of(model)))
            life.send_signal(15)
        assert await life.wait() == (0 if point is None else -9), (tmp_path / "log").read_text()[-2000:]
    await lis.close()
    assert answers_made(site) == wanted_of(model)
    assert verify(site / "var", deep=True) == []


def wanted_of(model: Model) -> list[tuple[str, list[str]]]:
    """Of each message the number, and ORC-1 of its answer."""
    return sorted((control_id(message), [answer]) for message, answer in model.sent)


def answers_made(site: Path) -> list[tuple[str, list[str]]]:
    journal = Reader.beside(site / "var")
    try:
        made = [view.id for view in messages_page(journal, Filter(channel="news"), limit=10_000)]
        found = [stored_message(journal, number).payload for number in made]
    finally:
        journal.close()
    return sorted((segments(one, "MSA")[0][2], answered(one)) for one in found)


def control_id(message: bytes) -> str:
    return segments(message, "MSH")[0][10]
