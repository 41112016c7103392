"""A spare takes over at any moment, under load, and the old machine comes back before, during or after that (T42).

What must hold:

| the old machine | its person | then |
|---|---|---|
| dead, and stays so | brings its disk: `adopt` | each acknowledged message is in the new journal and was delivered |
| comes back before the take-over | nothing | it delivers until the spare has claimed the folder; then nothing |
| comes back while it goes on, or after | nothing | it delivers and copies nothing |
| is back at any time | `resume deliveries` | refused, in words; still nothing |
| frozen, and goes on after the take-over | nothing | it delivers nothing more: it looks at the folder first |
| any | `adopt` a second time | nothing comes in twice |
| any | any | at the server nothing older comes behind a correction, and the newest that was acknowledged stands |
"""

import asyncio
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from engine.commands.shared.output import ExitCode
from engine.model.process.clock import SystemClock
from engine.runtime.upkeep.spare_watch import PROVEN_S
from engine.store.operations.incarnation import Incarnation
from engine.store.queries.lanes import list_pauses
from engine.store.queries.reader import Reader
from engine.store.recovery.backups import catalog
from engine.store.recovery.backups.catalog import Shelf
from engine.store.recovery.backups.following import Spare
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import is_settled, judge
from tests.faults.harness.trial import Trial
from tests.support.command_line import Ran, labrelay
from tests.support.live import Analyzer, Daemon, Server
from tests.support.ports import quiet_ports
from tests.support.waiting import until
from workbench.bench.messages import control_id

Back = Literal["before", "during", "after", "never", "frozen"]
BACK: tuple[Back, ...] = ("before", "during", "after", "never", "frozen")


EACH = 8  # messages about one specimen: a result, and its corrections


class Corrector(Analyzer):
    """Each value is the number of its message."""

    def _records(self, number: int, rng: random.Random) -> list[bytes]:
        first = (number - 1) // EACH * EACH + 1
        [text] = super()._records(first, random.Random(first))
        text = text.replace(control_id(self.channel, first).encode(), control_id(self.channel, number).encode())
        text = re.sub(rb"(OBX\|\d+\|NM\|[^|]*\|\|)[^|]*", rb"\g<1>%d" % number, text)
        return [text if number == first else text.replace(b"|||F|||", b"|||C|||").replace(b"|HM|F\r", b"|HM|C\r")]


def out_of_order(ledger: Ledger, servers: Iterable[Server], corrector: Corrector) -> list[str]:
    """At the server nothing older came behind a newer one of its specimen, but again under its key; and of each
    specimen the newest that was acknowledged stands.
    """
    number_of = {
        key: number
        for server in servers
        for (channel, number), keys in server.keys.items()
        if channel == corrector.channel
        for key in keys
    }
    wrong: list[str] = []
    newest: dict[int, int] = {}
    stands: dict[int, int] = {}
    seen: set[str] = set()
    for one in ledger.taken:
        if (number := number_of.get(one.key)) is None:
            continue
        specimen = (number - 1) // EACH
        if number < newest.get(specimen, 0) and one.key not in seen:
            wrong.append(f"{number} over {newest[specimen]}")
        seen.add(one.key)
        newest[specimen], stands[specimen] = max(number, newest.get(specimen, 0)), number
    wanted = {(number - 1) // EACH: number for number in sorted(corrector.acked)}
    return wrong + [f"{stands.get(n)} stands, not {wanted[n]}" for n in wanted if stands.get(n) != wanted[n]]


async def ran(folder: Path, *arguments: str, code: ExitCode = ExitCode.OK) -> Ran:
    done = await asyncio.to_thread(labrelay, *arguments, site=folder)
    assert done.code == code, (arguments, done.out, done.err)
    return done


def files(copies: Path) -> set[str]:
    """Of copies and pieces, not the small notes."""
    return {str(path.relative_to(copies)) for path in copies.rglob("*") if path.suffix in (".rows", ".state", ".db")}


def is_paused(site: Path) -> bool:
    journal = Reader.beside(site / "var")
    try:
        return bool(list_pauses(journal))
    finally:
        journal.close()


def configure(daemon: Daemon, server: Server, copies: Path) -> None:
    path = daemon.folder / "config" / "labrelay.yaml"
    text = path.read_text().partition("destinations:")[0]
    url = f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir"}}'
    path.write_text(f"{text}destinations:\n  server: {url}\nbackup: {{folder: '{copies}', rows: 10s}}\n")


class Place:
    """A laboratory with a machine, its copies and a spare."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.copies, self.spare = folder / "copies", folder / "spare"
        self.copies.mkdir(parents=True)
        self.server, self.other = Server(ledger=ledger), Server(ledger=ledger)
        self.old = Daemon(folder / "site", ["mllp", "astm"], "{}", page=False)
        self.ledger, self._stop = ledger, threading.Event()

    async def begin(self) -> None:
        await self.server.start()
        await self.other.start()
        configure(self.old, self.server, self.copies)
        await self.old.start()
        await self.old.commanded()
        await ran(self.old.folder, "backup", "now")
        self.following = asyncio.create_task(asyncio.to_thread(self._follow))
        await until(lambda: (self.spare / ".standby" / "standby.json").exists(), 60.0)

    def _follow(self) -> None:
        spare = Spare(self.spare, SystemClock(), backup=self.copies, keys=self.old.folder / "var")
        while not self._stop.wait(0.2) and not spare.is_over:
            spare.round()

    async def take_over(self) -> float:
        """How long the command took; then the machine is there, and not started."""
        self._stop.set()
        await self.following
        began = time.monotonic()
        done = await ran(self.spare, "standby", "take-over", "--reason", "the machine failed", "-o", "json")
        assert (done.json["wrong"], done.json["findings"], done.json["lacks"]) == ([], [], [])
        took = time.monotonic() - began
        self.new = Daemon.__new__(Daemon)
        self.new.__dict__.update(self.old.__dict__, folder=self.spare, port_of={}, _process=None)
        for number, port in enumerate(quiet_ports(2)):  # the old machine may have the old ones
            path = self.spare / "channels" / f"c{number}.yaml"
            path.write_text(path.read_text().replace(str(self.old.port_of[number]), str(port)))
            self.new.port_of[number] = port
        configure(self.new, self.other, self.copies)
        return took

    async def end(self) -> None:
        self._stop.set()
        await self.following
        for daemon in (self.old, getattr(self, "new", self.old)):
            await daemon.end()
        await self.server.stop()
        await self.other.stop()


async def taken_over(folder: Path, trial: Trial, back: Back) -> dict[str, float]:
    ledger = Ledger()
    place = Place(folder, ledger)
    await place.begin()
    try:
        analyzers = [
            Corrector(0, place.old.port_of[0], "mllp", ledger=ledger, pause_s=0.02),
            Analyzer(1, place.old.port_of[1], "astm", ledger=ledger, pause_s=0.02),
        ]
        sending = [asyncio.create_task(one.run()) for one in analyzers]
        await asyncio.sleep(trial.chance.uniform(1.0, 18.0))
        if back == "frozen":
            place.old.send(signal.SIGSTOP)
        else:
            await place.old.kill()
        returned: asyncio.Task[None] | None = None
        if back == "before":
            await place.old.start()
        elif back == "during":
            returned = asyncio.create_task(_returns(place, trial.chance.uniform(0.0, 6.0)))
        began = time.monotonic()
        took = await place.take_over()
        copied, sent = files(place.copies), sum(map(len, place.server.keys.values()))
        await place.new.start()
        out_s = time.monotonic() - began
        for one in analyzers:
            one.port = place.new.port_of[one.channel]
        await place.new.commanded()
        if returned is not None:
            await returned
        elif back == "after":
            await place.old.start()
        elif back == "frozen":
            place.old.send(signal.SIGCONT)
        if back != "never":
            await place.old.commanded()
            await until(lambda: is_paused(place.old.folder), 60.0)
            resume = ("resume", "deliveries", "--reason", "try", "--yes")
            refused = await ran(place.old.folder, *resume, code=ExitCode.REFUSED)
            assert "this journal goes on elsewhere" in refused.err, refused.err
            await asyncio.sleep(0.5)
            assert sum(map(len, place.server.keys.values())) == sent, "the old machine delivers"
            await place.old.kill()
        written = {one for one in files(place.copies) - copied if not one.split("/")[1].startswith("making-")}
        for name in {one.split("/")[1] for one in written}:
            made = catalog.read_copy(next(place.copies.glob("labrelay-*")) / name)
            assert made is None or made.manifest.incarnation == 2, "the old machine writes"
        until_n = [one.last + 5 for one in analyzers]
        await until(lambda: all(one.last >= n for one, n in zip(analyzers, until_n, strict=True)), 60.0)
        for one in analyzers:
            one.stop()
        await asyncio.gather(*sending)
        assert await place.new.terminate() == 0
        adopted = (await ran(place.spare, "standby", "adopt", str(place.old.folder), "-o", "json")).json
        again = (await ran(place.spare, "standby", "adopt", str(place.old.folder), "-o", "json")).json
        assert (again["messages"], again["repeats"]) == (0, 0)
        await place.new.start()
        await place.new.commanded()
        await ran(place.spare, "resume", "deliveries", "--reason", "all is here", "--yes")
        await until(lambda: is_settled(place.spare / "var"), 120.0)
        assert await place.new.terminate() == 0
        judged = judge(place.spare / "var", ledger, settled=True)
        # The old machine had sent some of what came in later here.
        judged.wrong = [one for one in judged.wrong if not one.startswith("taken out of order")]
        assert isinstance(analyzers[0], Corrector)
        judged.wrong += out_of_order(ledger, (place.server, place.other), analyzers[0])
        trial.note(judged.must_pass())
        return {
            "take_over_s": took,
            "out_s": out_s,
            "adopted": adopted["messages"],
            "repeats": adopted["repeats"],
            "acked": len(ledger.acked),
        }
    except BaseException:
        print(folder, back)
        raise
    finally:
        await place.end()


async def test_a_frozen_machine_that_thaws_delivers_nothing(tmp_path: Path, trial: Trial) -> None:
    """Another machine claims the folder while it is frozen; then its person lets it go on, and it freezes again."""
    copies, ledger = tmp_path / "copies", Ledger()
    copies.mkdir()
    server = Server(ledger=ledger)
    await server.start()
    old = Daemon(tmp_path / "site", ["mllp", "mllp", "astm", "astm"], "{}", page=False)
    configure(old, server, copies)
    await old.start()
    await old.commanded()
    analyzers = [
        Analyzer(n, old.port_of[n], kind, ledger=ledger, pause_s=0.005) for n, kind in enumerate(old.protocols)
    ]
    sending = [asyncio.create_task(one.run()) for one in analyzers]

    def came() -> int:
        return sum(map(len, server.keys.values()))

    try:
        await ran(old.folder, "backup", "now")
        [copy] = catalog.copies(next(copies.glob("labrelay-*")))
        shelf = Shelf(copies, bytes.fromhex(copy.manifest.journal_id))
        late, number = 0, 1
        for _ in trial.rounds(quick=1, long=3, soak=20, unit="freezes"):
            before = came()
            await until(lambda before=before: came() > before + 20, 60.0)  # under load
            await asyncio.sleep(trial.chance.uniform(0.0, 1.5))
            old.send(signal.SIGSTOP)
            await asyncio.sleep(PROVEN_S + trial.chance.uniform(0.1, 1.0))
            shelf.claim(Incarnation(number := number + 1, f"{number:x}", "spare"))
            sent, written = came(), files(copies)  # what it had sent has come by now
            old.send(signal.SIGCONT)
            await until(lambda: is_paused(old.folder), 60.0)
            late += came() - sent
            assert files(copies) <= written, "written after a thaw"  # a copy under way is given up
            reason = ("--reason", "that machine was stopped")
            await ran(old.folder, "backup", "go-on", *reason)
            number += 1
            await ran(old.folder, "resume", "deliveries", *reason, "--yes")
        print(f"{late} deliveries after a thaw", flush=True)
        trial.more |= {"after_thaw": late}
        assert late == 0
        for one in analyzers:
            one.stop()
        await asyncio.gather(*sending)
        await until(lambda: is_settled(old.folder / "var"), 120.0)
        assert await old.terminate() == 0
        trial.note(judge(old.folder / "var", ledger, settled=True).must_pass())
    finally:
        await old.end()
        await server.stop()


async def _returns(place: Place, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await place.old.start()


async def test_a_spare_takes_over_and_nothing_is_lost(tmp_path: Path, trial: Trial) -> None:
    slowest = 0.0
    for n in trial.rounds(quick=2, long=2, soak=50, unit="take-overs"):
        back = ("during", "frozen")[n] if n < 2 else trial.chance.choice(BACK)
        found = await taken_over(tmp_path / str(n), trial, back)
        print(n, back, {name: round(value, 1) for name, value in found.items()}, flush=True)
        slowest = max(slowest, found["out_s"])
        shutil.rmtree(tmp_path / str(n))
    assert slowest < 30.0
    trial.more |= {"slowest_s": round(slowest, 1)}
