"""The program by calls: it is in the checker's process, with a real journal, and without sockets, daemon and commands.

A message is stored, mapped and recorded, and goes out, before the next one comes. What a history asks is asked of it
all the same: the server's moods, answers that are lost, kills between two messages with deliveries under way, and what
people decide. Not played: orders, and what only crossing threads and connections show; the daemon plays these.
"""

import json
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.config.load import load_site
from engine.delivery.before_send import GUARDS
from engine.features.results.lists.held_results import held_of
from engine.features.results.lists.whose import whose
from engine.features.results.rows import hold_queue, number_bearers
from engine.features.rework.rows import dismissal
from engine.model.journal.records import NO_DECISION, Decision
from engine.model.message import Received, Stored
from engine.model.packing import unpack
from engine.model.process.clock import to_us
from engine.model.routes import ChannelRoutes, routed_by
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.processing.reprocessing import examine
from engine.runtime.build import build_site
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import attempts, claims, decisions, queueing
from engine.store.queries.reader import stored_message
from tests.histories import hand
from tests.histories.history import Act, Json
from tests.histories.product import REASON, Product, is_open_to
from tests.histories.senders import Sender
from tests.support.journals import WINDOW_S, opened
from tests.support.loaded_once import shipped_mappings_once
from workbench.sandbox import Faults
from workbench.sandbox.bundle import Interactions
from workbench.sandbox.exact_json import parse
from workbench.sandbox.faults import KEEPING, FaultDrawer
from workbench.sandbox.store import Store

SERVER = "server"
URL = "http://127.0.0.1:9/fhir"
ZONE = ZoneInfo("Asia/Kolkata")


class Passing:
    """A clock that goes on by a second with each message."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at

    def now_us(self) -> int:
        return to_us(self.at)

    def monotonic(self) -> float:
        return self.at.timestamp()


class CalledServer:
    """A server that is called: its resources as the sandbox keeps them, and its faults."""

    url = URL

    def __init__(self, folder: Path) -> None:
        self.faults = Faults()
        self._drawer = FaultDrawer(self.faults, seed=1)
        self._store = Store(folder)

    def take(self, body: bytes, now_us: int) -> bool:
        """Whether the sender hears that it was taken."""
        fault = self._drawer.draw(writes=True)
        if not fault or fault in KEEPING:
            Interactions(self._store, URL, now_us).transaction(parse(body))
        return not fault

    def refuses(self, body: bytes) -> bool:
        """Whether it has one of the identifiers that the fault `refuse` names."""
        return any(f'"value":"{one}"'.encode() in body for one in self.faults.refuse)

    async def start(self) -> None:
        """It is there already."""

    async def stop(self) -> None:
        self._store.close()


class CalledSender(Sender):
    """An analyzer without a line."""

    def __init__(self, product: "CalledProduct", name: str) -> None:
        super().__init__("", 0, "")
        self._take = partial(product.take, name)

    async def send(self, ident: int, message: bytes) -> bool:
        self._take(message)
        self.tries.append((ident, message, True))
        return True


class CalledProduct(Product):
    """A site whose channels are called."""

    def __init__(self, checkout: Path, folder: Path, server: CalledServer) -> None:
        super().__init__(checkout, folder)
        self._clock = Passing()
        self._server = server
        self._journal: Journal
        self._routes: dict[str, ChannelRoutes] = {}
        self._open: set[str] = set()  # channels with work for the server
        self._lives = 0

    def sender(self, name: str, protocol: str) -> Sender:
        return CalledSender(self, name)

    async def _known_keys(self) -> frozenset[str]:
        return frozenset({"patient_numbers", "specimen_ids=day"})

    # -- its lives -----------------------------------------------------------------------------------------------------

    @property
    def _data(self) -> Path:
        return self.folder / f"var{self._lives}"

    async def start(self) -> None:
        self._journal = opened(self._data, clock=self._clock, zone=ZONE)
        recover(self._journal)
        if not self._routes:
            self._build()

    def _build(self) -> None:
        key, others = self._journal.vault.identity_key, self._journal.others
        with shipped_mappings_once():
            built = build_site(load_site(self.folder), identity_key=key, clock=self._clock, others=others)
        self._routes = {name: one.routes for name, one in built.channels.items()}

    async def kill(self) -> None:
        """With the next deliveries of each lane under way. The files are those of that moment; nothing is put away."""
        for name in sorted(self._open):
            for destination in self._to(name):
                self._journal.run_alone(claims.claim, name, destination, 1)
        left = self._data
        self._lives += 1
        shutil.copytree(left, self._data)
        await self._journal.stop()
        shutil.rmtree(left)

    async def stop(self) -> None:
        await self._journal.stop()

    # -- a message -----------------------------------------------------------------------------------------------------

    def take(self, name: str, content: bytes) -> None:
        self._clock.at += timedelta(seconds=1)
        routes = self._routes[name]
        header = routes.message_format.header(content)
        received = Received(
            channel=name, payload=content, received_us=self._clock.now_us(), control_id=header.control_id,
            message_type=header.message_type, sent=header.sent, measured=header.measured,
        )  # fmt: skip
        self._journal.run_alone(self._taken, received)
        self._deliver(name)

    def _taken(self, batch: Batch, received: Received) -> None:
        self._record(batch, append.store_message(batch, received, repeat_window_s=WINDOW_S))

    def _record(self, batch: Batch, stored: Stored, decision: Decision = NO_DECISION) -> None:
        outcome = process(stored, self._routes[stored.channel])
        routed = [routed_by(route, document) for document, route in outcome.documents]
        before = stored.rejected_before
        record_outcome.record(batch, stored.id, outcome, routed, decision=decision, rejected_before=before)
        self._open.add(stored.channel)

    def _again(self, message: int, decision: Decision) -> None:
        self._journal.run_alone(self._record, stored_message(self._journal, message), decision)

    def _deliver(self, name: str) -> None:
        """All of the lanes of a channel, each until the server has no answer."""
        self._open.discard(name)
        for destination in self._to(name):
            while self._journal.run_alone(self._deliver_next, name, destination):
                pass

    def _deliver_next(self, batch: Batch, name: str, destination: str) -> bool:
        """Whether the server had the next of a lane, and more may follow."""
        found = claims.claim(batch, name, destination, 1)
        if not found:
            return False
        (one,), (guard,) = found, GUARDS.each()
        if one.manual and (how := guard.overtaken(batch, one.id)):
            guard.close(batch, one.id, whole=how == "whole")
            return True
        body = unpack(one.body) if one.packed else one.body
        if one.joins and (one.manual or one.known_order):
            body = guard.joined(batch, one.id) or body
        if self._server.refuses(body):
            attempts.bury(batch, one.id, ReasonCode.REFUSED, "", b"")
            return True
        if self._is_taken(destination, body):
            attempts.settle(batch, one.id, self._clock.now_us())
            return True
        claims.unclaim(batch, [one.id], maybe_delivered=True)
        self._open.add(name)
        return False

    def _to(self, name: str) -> tuple[str, ...]:
        """Where what a channel brings goes."""
        return (SERVER,)

    def _is_taken(self, destination: str, body: bytes) -> bool:
        """Whether the sender hears that its receiver has it."""
        return self._server.take(body, self._clock.now_us())

    async def is_processed(self, channels: Iterable[str]) -> bool:
        return True

    async def is_settled(self) -> bool:
        for name in sorted(self._open):
            self._deliver(name)
        return not self._open

    # -- what it has, and people ---------------------------------------------------------------------------------------

    async def messages(self, channels: Iterable[str] = ()) -> list[Json]:
        return hand.messages_of(self._journal, list(channels))

    async def newest(self) -> int:
        with self._journal.snapshot() as execute:
            return int(execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0])

    async def answer(self, message: int, said: str) -> bool:
        rows = whose(self._journal, self._routes, message, held_of(self._journal, message))
        done = False
        for row in rows if len(rows) == 1 or said == "other" else ():
            if said not in row["answers"]:
                continue
            answered = self._journal.run_alone(number_bearers.answer, message, row["mark"], same=said == "same")
            if answered is not None:
                waiting, others = answered
                self._journal.others.update(others)
                for one in waiting:
                    self._again(one, Decision(again=True))
                done = True
        return done

    async def act(self, act: Act, messages: list[Json]) -> list[int]:
        wanted = [int(one["id"]) for one in messages if is_open_to(act.act, one)]
        states = {"release": "held", "reject": "held", "retry": "dead", "dismiss": "dead"}
        found = self._deliveries(wanted, states[act.act]) if act.act in states else []
        dead = [int(one["id"]) for one in messages if one["state"] == "dead"]
        person = {"actor": "A", "reason": REASON}
        match act.act:
            case "release":
                self._journal.run_alone(hold_queue.release, found, **person)
            case "reject":
                self._journal.run_alone(hold_queue.reject, found, **person)
            case "retry":
                self._journal.run_alone(decisions.requeue, found)
                for one in dead:
                    self._again(one, Decision(again=True, while_dead=True))
            case "dismiss":
                self._journal.run_alone(dismissal.dismiss, messages=dead, deliveries=found, **person)
            case "replay":
                self._journal.run_alone(queueing.replay, wanted, states=frozenset({"delivered"}))
            case _:
                return []
        self._open |= {one["channel"] for one in messages}
        return wanted

    def _deliveries(self, messages: Iterable[int], state: str) -> list[int]:
        of = "SELECT id FROM delivery WHERE state = ? AND message_id IN (SELECT value FROM json_each(?)) ORDER BY id"
        with self._journal.snapshot() as execute:
            return [number for (number,) in execute(of, (state, json.dumps(list(messages)))).fetchall()]

    async def repair(self, channels: Iterable[str]) -> None:
        repaired = list(self.taught(channels))
        self._build()
        for one in hand.messages_of(self._journal, repaired):
            finding = examine(self._journal, one["id"], self._routes[one["channel"]])
            if finding.outcome == "changed" and finding.processed is not None:
                decision = Decision(again=True, accept_conflict=finding.same_reports)
                self._journal.run_alone(
                    record_outcome.record, one["id"], finding.processed, finding.send, decision=decision
                )
                self._open.add(one["channel"])
