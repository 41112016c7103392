"""Histories without sockets: each message is processed and recorded in a journal at once, and delivered, so that some
hundred take a few seconds. What they give is what is held of them, and why: of a plain history nothing may be.

`python -m tests.histories.beside 0 400` counts the reasons of these seeds, with what is held of plain ones.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from engine.config.load import load_site
from engine.features.results.rows import hold_queue
from engine.model.journal.records import Recorded
from engine.model.message import Received
from engine.model.process.clock import to_us
from engine.model.routes import routed_by
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.runtime.build import build_site
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import attempts, decisions
from tests.histories import generate, history, product, render
from tests.histories.samples import draw
from tests.histories.samples.facts import Decision, History, Message
from tests.histories.samples.judged import BEGAN
from tests.histories.samples.render import Clock, payload
from tests.histories.samples.site import Site, channel
from tests.support.journals import WINDOW_S, opened

ZONE = ZoneInfo("Asia/Kolkata")
ROOT = Path(__file__).parents[2]
FIRST = datetime(2024, 3, 1, tzinfo=UTC)  # before all that histories tell
NOWHERE = "http://127.0.0.1:9"


class Held(NamedTuple):
    """Attributes:
    played: seed, name and output of its history. plain: nothing may be held in it.
    """

    played: str
    plain: bool
    cause: str
    message: int


class SetClock:
    """Both clocks are set by a history."""

    def __init__(self) -> None:
        self.at = FIRST

    def now(self) -> datetime:
        return self.at

    def now_us(self) -> int:
        return to_us(self.at)

    def monotonic(self) -> float:
        return self.at.timestamp()


class InOneProcess:
    """A site whose channels are spoken to by calls.

    Attributes:
        found: what was held: message and cause.
    """

    def __init__(self, folder: Path, site: Path) -> None:
        self.clock = SetClock()
        self.journal: Journal = opened(folder / "data", clock=self.clock, zone=ZONE)
        built = build_site(load_site(site), identity_key=self.journal.vault.identity_key, clock=self.clock)
        self.routes = {name: one.routes for name, one in built.channels.items()}
        self.found: list[tuple[int, str]] = []

    def say(self, name: str, content: bytes, at: datetime, *, refused: bool = False) -> int:
        """A message comes in, and all of it that is not held is delivered, or refused; its number."""
        self.clock.at = max(self.clock.at, at)
        return self.journal.run_alone(self._say, name, content, refused=refused)

    def _say(self, batch: Batch, name: str, content: bytes, *, refused: bool) -> int:
        routes = self.routes[name]
        header = routes.message_format.header(content)
        received = Received(
            channel=name, payload=content, received_us=self.clock.now_us(), control_id=header.control_id,
            message_type=header.message_type, sent=header.sent, measured=header.measured,
        )  # fmt: skip
        stored = append.store_message(batch, received, repeat_window_s=WINDOW_S)
        outcome = process(stored, routes)
        routed = [routed_by(route, document, claimed=(True,) * len(route.to)) for document, route in outcome.documents]
        done: Recorded = record_outcome.record(
            batch, stored.id, outcome, routed, rejected_before=stored.rejected_before
        )
        for delivery in done.deliveries:
            if refused:
                attempts.bury(batch, delivery.id, ReasonCode.REFUSED, "", b"")
            else:
                attempts.settle(batch, delivery.id, self.clock.now_us())
        held = batch.execute(
            "SELECT cause FROM delivery WHERE message_id = ? AND state = 'held'", (stored.id,)
        ).fetchall()
        self.found += [(stored.id, cause) for (cause,) in held]
        return stored.id

    def decide(self, act: str, message: int) -> None:
        """A person rejects, releases or dismisses what it can be done to."""
        self.journal.run_alone(self._decide, act, message)

    def _decide(self, batch: Batch, act: str, message: int) -> None:
        rows = batch.execute("SELECT id, state FROM delivery WHERE message_id = ?", (message,)).fetchall()
        held, dead = ([one for one, state in rows if state == which] for which in ("held", "dead"))
        if act == "reject" and held:
            hold_queue.reject(batch, held, actor="A", reason="R")
        elif act == "release" and held:
            hold_queue.release(batch, held, actor="A", reason="R")
            waiting = "SELECT id FROM delivery WHERE message_id = ? AND state = 'waiting'"
            for (one,) in batch.execute(waiting, (message,)).fetchall():
                attempts.settle(batch, one, self.clock.now_us())
        elif act == "dismiss" and dead:
            decisions.dismiss(batch, dead, "")
            record_outcome.free(batch, message)
        elif act == "dismiss":
            record_outcome.dismiss(batch, [message], "")


def of_samples(seeds: Iterable[int], folder: Path) -> Iterator[Held]:
    """What is held in histories of samples; those with orders need a running site."""
    histories = [one for one in map(draw.history, seeds) if not one.has_orders]
    Site(ROOT, folder / "site").write(tuple(histories), NOWHERE, NOWHERE)
    yield from _played(InOneProcess(folder, folder / "site"), histories, _play_samples)


def _play_samples(site: InOneProcess, place: int, one: History) -> None:
    clock = Clock(BEGAN)
    numbers: dict[int, int] = {}
    for step in one.steps:
        if isinstance(step, Message):
            content = payload([step], one.protocols[step.shown.channel], clock, place)
            at = BEGAN.replace(tzinfo=ZONE) + timedelta(minutes=step.sent, seconds=20)
            name = channel(place, step.shown.channel)
            numbers[step.id] = site.say(name, content, at, refused=step.refused)
        elif isinstance(step, Decision):
            site.decide(step.act, numbers[step.of])


def of_results(seeds: Iterable[int], folder: Path) -> Iterator[Held]:
    """The same of histories of results; people only release, reject and dismiss."""
    histories = [generate.history(f"0/0/{seed}", orders=False) for seed in seeds]
    site = product.Product(ROOT, folder / "site")
    channels = {
        f"h{place}c{number}": one for place, each in enumerate(histories) for number, one in enumerate(each.channels)
    }
    asyncio.run(site.write_site(channels, NOWHERE))
    yield from _played(InOneProcess(folder, folder / "site"), histories, _play_results)


def _play_results(site: InOneProcess, place: int, one: history.History) -> None:
    numbers: dict[int, int] = {}
    for each in one.rounds:
        for step in each.steps:
            if isinstance(step, history.Send):
                newest = max([step.at, *(result.at for result in step.results)])
                at = datetime.strptime(newest, "%Y%m%d%H%M%S").replace(tzinfo=ZONE) if newest else site.clock.at
                content = render.payload(step, one.channels[step.channel], place)
                numbers[step.id] = site.say(f"h{place}c{step.channel}", content, at + timedelta(seconds=20))
        for act in each.acts:
            for of in act.of or numbers:
                if of in numbers:
                    site.decide(act.act, numbers[of])


def _played(
    site: InOneProcess, histories: Sequence[Any], play: Callable[[InOneProcess, int, Any], None]
) -> Iterator[Held]:
    try:
        for place, one in enumerate(histories):
            site.clock.at = FIRST
            site.found.clear()
            play(site, place, one)
            played = f"{getattr(one, 'seed', place)} {one.name} {getattr(one, 'output', '')}"
            plain = one.name == "plain" or getattr(one, "plain", False)
            yield from (Held(played, plain, cause, number) for number, cause in site.found)
    finally:
        asyncio.run(site.journal.stop())


def play_all(first: int, count: int, say: Callable[[str], None]) -> bool:
    """Whether something is held of a plain history."""
    found: list[Held] = []
    for play in (of_samples, of_results):
        with tempfile.TemporaryDirectory(prefix="labrelay-beside-") as folder:
            found += play(range(first, first + count), Path(folder))
    for cause, n in Counter(one.cause for one in found).most_common():
        say(f"{n:5} {cause}")
    plain = [one for one in found if one.plain]
    for one in plain:
        say(f"{one.played} message {one.message}: {one.cause}")
    return bool(plain)


if __name__ == "__main__":
    sys.exit(play_all(int(sys.argv[1]), int(sys.argv[2]), print))
