"""Histories without sockets: each message is processed and recorded in a journal at once, and delivered, so that some
hundred take a few seconds. What they give is where facts would be judged otherwise than documents are.

`python -m tests.histories.beside 0 400` lists the differences of these seeds, with examples.
"""

import asyncio
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from engine.config.load import load_site
from engine.features.results.rows import hold_queue, judged
from engine.features.results.rows.differences import differences
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
from engine.store.operations.recording import Recording
from engine.succession.judge.words import Judgement
from tests.histories import generate, history, product, render
from tests.histories.samples import draw
from tests.histories.samples.facts import Decision, History, Message
from tests.histories.samples.judged import BEGAN
from tests.histories.samples.render import Clock, payload
from tests.histories.samples.site import Site, channel
from tests.support.journals import WINDOW_S, opened

ZONE = ZoneInfo("Asia/Kolkata")
ROOT = Path(__file__).parents[2]
START_OF_ALL = datetime(2024, 3, 1, tzinfo=UTC)
NOWHERE = "http://127.0.0.1:9"


class SetClock:
    """Both clocks are set by a history, and never go back."""

    def __init__(self) -> None:
        self.at = START_OF_ALL

    def now(self) -> datetime:
        return self.at

    def now_us(self) -> int:
        return to_us(self.at)

    def monotonic(self) -> float:
        return self.at.timestamp()



class Told:
    """Notes every difference, in place of the counting."""

    def __init__(self) -> None:
        self.found: list[tuple[str, int, str, Judgement]] = []

    def __enter__(self) -> "Told":
        self._tell = judged.tell
        judged.tell = self._note
        return self

    def __exit__(self, *exc: object) -> None:
        judged.tell = self._tell

    def _note(self, now: Recording, judgement: Judgement) -> None:
        self.found += [(now.channel, now.id, code, judgement) for code in differences(now, judgement)]


class InOneProcess:
    """A site whose channels are spoken to by calls."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.clock = SetClock()
        self.journal: Journal = opened(folder / "data", clock=self.clock, zone=ZONE)
        built = build_site(load_site(site), identity_key=self.journal.vault.identity_key, clock=self.clock)
        self.routes = {name: one.routes for name, one in built.channels.items()}

    def say(self, name: str, content: bytes, at: datetime, *, refused: bool = False) -> int:
        """A message comes in, and all of it that is not held is delivered, or refused."""
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
            for one in held:
                (state,) = batch.execute("SELECT state FROM delivery WHERE id = ?", (one,)).fetchone()
                if state == "waiting":
                    attempts.settle(batch, one, self.clock.now_us())
        elif act == "dismiss" and dead:
            decisions.dismiss(batch, dead, "")
            record_outcome.free(batch, message)
        elif act == "dismiss":
            record_outcome.dismiss(batch, [message], "")


# -- histories of samples ----------------------------------------------------------------------------------------------


def of_samples(seeds: Iterable[int], folder: Path) -> Iterator[tuple[str, str, Judgement]]:
    """Each difference: the history, its code, the judgement."""
    histories = [one for one in map(draw.history, seeds) if not one.has_orders]
    site = Site(ROOT, folder / "site")
    site.write(tuple(histories), NOWHERE, NOWHERE)
    yield from _played(InOneProcess(folder, folder / "site"), histories, _play_samples)


def _play_samples(site: InOneProcess, place: int, one: History) -> None:
    clock = Clock(BEGAN)
    numbers: dict[int, int] = {}
    for step in one.steps:
        if isinstance(step, Message):
            name = channel(place, step.shown.channel)
            content = payload(step, one.protocols[step.shown.channel], clock, place)
            at = BEGAN.replace(tzinfo=ZONE) + timedelta(minutes=step.sent, seconds=20)
            numbers[step.id] = site.say(name, content, at, refused=step.refused)
        elif isinstance(step, Decision):
            site.decide(step.act, numbers[step.of] if step.of in numbers else 0)


# -- histories of results ----------------------------------------------------------------------------------------------


def of_results(seeds: Iterable[int], folder: Path) -> Iterator[tuple[str, str, Judgement]]:
    """The same of histories of results; what only a running site can do is left out."""
    histories = [generate.history(f"0/0/{seed}", orders=False) for seed in seeds]
    site = product.Product(ROOT, folder / "site")
    channels = {
        f"h{place}c{number}": one for place, each in enumerate(histories) for number, one in enumerate(each.channels)
    }
    asyncio.run(site.write_site(channels, NOWHERE, 0))
    yield from _played(InOneProcess(folder, folder / "site"), histories, _play_results)


def _play_results(site: InOneProcess, place: int, one: history.History) -> None:
    numbers: dict[int, int] = {}
    for each in one.rounds:
        for step in each.steps:
            if isinstance(step, history.Send):
                newest = max([step.at, *(result.at for result in step.results)])
                at = datetime.strptime(newest, "%Y%m%d%H%M%S").replace(tzinfo=ZONE) if newest else site.clock.at
                at += timedelta(seconds=20)
                content = render.payload(step, one.channels[step.channel], place)
                numbers[step.id] = site.say(f"h{place}c{step.channel}", content, at)
        for act in each.acts:
            for of in act.of or numbers:
                if of in numbers:
                    site.decide(act.act, numbers[of])


def _played(site: InOneProcess, histories: Sequence[Any], play: Any) -> Iterator[tuple[str, str, Judgement]]:
    for place, one in enumerate(histories):
        site.clock.at = START_OF_ALL
        with Told() as told:
            play(site, place, one)
        for _, number, code, judgement in told.found:
            yield f"{getattr(one, 'seed', place)} {one.name} {getattr(one, 'output', '')} #{number}", code, judgement


def main(first: int, count: int) -> None:
    found: dict[str, list[tuple[str, Judgement]]] = defaultdict(list)
    for play in (of_samples, of_results):
        with tempfile.TemporaryDirectory() as folder:
            for name, code, judgement in play(range(first, first + count), Path(folder)):
                found[f"{play.__name__} {code}"].append((name, judgement))
    for code, some in sorted(found.items(), key=lambda one: (one[0][:10], -len(one[1]))):
        print(len(some), code, dict(Counter(name.split()[1] for name, _ in some)))
        for name, judgement in some[:6]:
            told = [
                " ".join(map(str, (one.place, one.kind, one.reason, one.words, one.meant)))
                for one in judgement.decisions
            ]
            print("     ", name, told)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
