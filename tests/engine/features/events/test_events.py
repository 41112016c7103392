"""Events in their order: which change has which event, and histories of changes against what readers were told, across
stops, kills, cut readers, other wishes, deleted rows and restored copies."""

import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.features.alerts.rows import changes as alerts
from engine.features.events import rows
from engine.features.events import rows as events
from engine.features.events.rows import StateChange, newest, page
from engine.features.events.rules import GAP, KINDS, TYPES, Event, Position, position_of, readable, wanted
from engine.features.orders.rows import reflex
from engine.features.quality_control.rows import closing as closed_tests
from engine.features.quality_control.rows.closing import Stream
from engine.features.quality_control.rules.westgard import Verdict
from engine.features.rework.rows import dismissal
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.site.alerts import Alert, Changes
from engine.model.site.permissions import ADMINISTERING, LOOKING
from engine.model.texts.reasons import ReasonCode
from engine.store.core import notes
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, audit, record_outcome
from engine.store.operations.outbox import attempts, claims, decisions
from tests.support.journals import opened, queue, received, routed, running, started, store

ALL = wanted(KINDS)
Told = list[tuple[str, dict[str, Any]]]
FIRING = Alert(key="silent/chem", rule="silent", level="problem", subject="chem", since_us=1, fired_us=2)


def told(found: Iterable[Event]) -> Told:
    return [(one.type, orjson.loads(one.data)) for one in found]


def read_on(journal: Journal, position: Position, names: Sequence[str] = tuple(KINDS)) -> tuple[list[Event], Position]:
    """All events behind a position, page by page."""
    found: list[Event] = []
    while True:
        one = page(journal, position, wanted(names))
        found += one.events
        position = one.position
        if one.is_last:
            return found, position


def look(changed: Sequence[Alert] = (), gone: Sequence[str] = ()) -> Callable[..., Changes]:
    return lambda kept, silences: Changes(changed=[*changed], gone=[*gone])


async def _dead(journal: Journal) -> int:
    (message,) = await queue(journal, b"dead", claimed=True)
    await journal.run(attempts.bury, message, ReasonCode.REFUSED, "no")
    return message


# -- the table: what happens, and what readers are told of it ----------------------------------------------------------


async def _received(journal: Journal) -> None:
    await store(journal, b"MSH|1")


async def _filtered(journal: Journal) -> None:
    (stored,) = await store(journal, b"MSH|1")
    await journal.run(record_outcome.record, stored.id, Outcome("filtered", ReasonCode.NO_ROUTE))


async def _incomplete(journal: Journal) -> None:
    await journal.run(append.store_incomplete, received(b"MSH"), ReasonCode.INCOMPLETE)


async def _delivered(journal: Journal) -> None:
    await queue(journal, b"{}", to=("fhir", "file"), claimed=True)
    await journal.run(attempts.settle, 2, 1)
    await journal.run(attempts.postpone, 1, attempt=1, not_before_us=1, cause=ReasonCode.BUSY)
    await journal.run(attempts.settle, 1, 1)


async def _retried(journal: Journal) -> None:
    message = await _dead(journal)
    await journal.run(decisions.requeue, [1])
    await journal.run(claims.claim, "chem", "fhir", 1)
    await journal.run(attempts.bury, message, ReasonCode.REFUSED, "no")
    await journal.run(dismissal.dismiss, deliveries=[1], actor="anita", reason="MRS SHARMA called")


async def _held(journal: Journal) -> None:
    await queue(journal, b"{}")
    await journal.run(decisions.hold, [1], ReasonCode.HELD_BY_RULE, "MRS SHARMA")
    await journal.writer.submit(lambda batch: decisions.release(batch, 1))
    await journal.run(decisions.supersede, [1], "a newer one")


async def _died(journal: Journal) -> None:
    (stored,) = await store(journal, b"MSH|1")
    await journal.run(record_outcome.record, stored.id, Outcome("dead", ReasonCode.NO_ROUTE, "MRS SHARMA"))
    await journal.run(dismissal.dismiss, messages=[stored.id], actor="anita", reason="known")


async def _acts(journal: Journal) -> None:
    act = await journal.run(audit.begin, "anita", "replay", {"reason": "MRS SHARMA"})
    await journal.run(audit.end, act, {"done": 1})


async def _alerts(journal: Journal) -> None:
    await journal.run(alerts.look, look([FIRING]))
    await journal.run(alerts.look, look([FIRING]))  # nothing new
    await journal.run(alerts.look, look(gone=[FIRING.key]))
    await journal.run(alerts.look, look([FIRING]))
    await journal.run(alerts.forget)


async def _controls(journal: Journal) -> None:
    stream = Stream(1, "chem", "", "GLU")
    for verdict in (Verdict.ACCEPT, Verdict.NOT_EVALUATED, Verdict.REJECT):
        await journal.writer.submit(lambda batch, verdict=verdict: closed_tests.follow(batch, stream, 7, verdict))


async def _reflexes(journal: Journal) -> None:
    def follow(batch: Batch) -> None:
        batch.execute(
            "INSERT INTO order_reflex VALUES (1, 7, 'FT4', 'TSH is high', '', 'chem', 1, 'waits', 0, 0, 1, 0, 0)"
        )
        for state in ("proposed", "proposed", "unsure", "withdrawn", "waits", "untrue"):
            reflex.move(batch, 1, state, 1)

    await journal.writer.submit(follow)


async def _states(journal: Journal) -> None:
    changed = [StateChange("channel", "chem", "silent", "receiving"), StateChange("destination", "fhir", "ok", "")]
    await journal.run(rows.note, changed)


def _message(number: int = 1, seq: int = 1, size: int = 5) -> tuple[str, dict[str, Any]]:
    return "message.received", {
        "message": number, "channel": "chem", "number": seq, "message_type": "ORU^R01", "size": size,
    }  # fmt: skip


def _delivery(state: str, number: int = 1, to: str = "fhir", reason: str = "") -> tuple[str, dict[str, Any]]:
    return f"delivery.{state}", {
        "delivery": number, "message": 1, "channel": "chem", "destination": to, "reason": reason,
    }  # fmt: skip


def _state(state: str, reason: str = "") -> tuple[str, dict[str, Any]]:
    return f"message.{state}", {"message": 1, "channel": "chem", "reason": reason}


def _act(number: int, verb: str) -> tuple[str, dict[str, Any]]:
    return "act.begun", {"act": number, "verb": verb, "actor": "anita"}


_ALERT = {"alert": "silent/chem", "rule": "silent", "level": "problem", "subject": "chem", "count": 1}
ORACLE: dict[Callable[[Journal], Awaitable[None]], Told] = {
    _received: [_message()],
    _filtered: [_message(), _state("filtered", "NO_ROUTE")],
    _incomplete: [_message(size=3), _state("incomplete", "INCOMPLETE")],
    _delivered: [_message(size=2), _delivery("delivered", 2, "file"), _delivery("delivered")],
    _retried: [
        _message(size=4),
        _delivery("dead", reason="REFUSED"),
        _delivery("waiting"),
        _delivery("dead", reason="REFUSED"),
        _delivery("dismissed"),
        _act(2, "dismiss"),
    ],
    _held: [
        _message(size=2),
        _delivery("held", reason="HELD_BY_RULE"),
        _delivery("waiting"),
        _delivery("superseded"),
    ],
    _died: [_message(), _state("dead", "NO_ROUTE"), _state("dismissed", "NO_ROUTE"), _act(2, "dismiss")],
    _states: [
        ("channel.state", {"channel": "chem", "state": "silent", "was": "receiving"}),
        ("destination.state", {"destination": "fhir", "state": "ok", "was": ""}),
    ],
    _controls: [
        ("qc.accepted", {"channel": "chem", "test": "GLU", "run": 7}),
        ("qc.rejected", {"channel": "chem", "test": "GLU", "run": 7}),
    ],
    _reflexes: [
        (f"reflex.{state}", {"proposal": 1, "channel": "chem", "order": "W7", "test": "FT4"})
        for state in ("proposed", "unsure", "withdrawn", "untrue")
    ],
    _acts: [_act(1, "replay"), ("act.ended", {"act": 1, "row": 2})],
    _alerts: [("alert.started", _ALERT), ("alert.ended", _ALERT), ("alert.started", _ALERT), ("alert.ended", _ALERT)],
}


@pytest.mark.parametrize("change", ORACLE, ids=lambda one: one.__name__[1:])
async def test_each_change_has_the_events_of_the_table(
    tmp_path: Path, change: Callable[[Journal], Awaitable[None]]
) -> None:
    async with running(tmp_path) as journal:
        begin = newest(journal)
        await change(journal)
        found, end = read_on(journal, begin)
        assert told(found) == ORACLE[change]
        assert b"SHARMA" not in b"".join(one.encoded() for one in found)
        assert end == newest(journal)
        assert len({one.position for one in found}) == len(found)
        for n, one in enumerate(found):  # from each place on, the rest
            assert read_on(journal, position_of(str(one.position)))[0] == found[n + 1 :]
        for kind in KINDS:
            assert told(read_on(journal, begin, [kind])[0]) == [
                one for one in ORACLE[change] if one[0].startswith(f"{kind}.")
            ]


def test_the_table_has_every_type() -> None:
    seen = {name for told_of in ORACLE.values() for name, _ in told_of}
    # A document rejected or mapped anew takes a site; the same two functions tell of it.
    assert set(TYPES) - seen == {"delivery.rejected", "message.mapped"}


def test_each_kind_has_its_permission() -> None:
    assert {kind for kind, (_, needs) in KINDS.items() if needs != LOOKING} == {"act"}
    assert readable(LOOKING).types == {one for one in TYPES if not one.startswith("act.")}
    assert readable(LOOKING | ADMINISTERING).types == set(TYPES)
    assert wanted(["delivery.dead", "act"]).needs == LOOKING | ADMINISTERING
    with pytest.raises(ValueError, match="there are no events 'deliveries'; there are message, "):
        wanted(["deliveries"])


@pytest.mark.parametrize(
    "text", ["", "1", "1-2", "1-2-3", "a-2-00000000", "1-2-000000000", "1--00000000", f"{'9' * 30}-1-00000000"]
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no position"):
        position_of(text)


# -- histories ---------------------------------------------------------------------------------------------------------


class History:
    """Changes by chance, and the events that they have: the model."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.events: Told = []
        self._sending: dict[int, tuple[int, str]] = {}
        self._dead: dict[int, tuple[int, str]] = {}
        self._seqs = 0

    async def go_on(self, journal: Journal) -> None:
        step = self.chance.choice([self._take, self._take, self._settle, self._bury, self._again, self._act])
        await step(journal)

    async def _take(self, journal: Journal) -> None:
        body = b"%d" % self.chance.getrandbits(60)
        to = ("fhir", "file")[: self.chance.randint(1, 2)]
        (stored,) = await store(journal, body)
        self._seqs += 1
        self.events.append(_message(stored.id, self._seqs, len(body)))
        if self.chance.random() < 0.2:
            await journal.run(record_outcome.record, stored.id, Outcome("dead", ReasonCode.NO_ROUTE))
            said = {"message": stored.id, "channel": "chem", "reason": "NO_ROUTE"}
            self.events.append(("message.dead", said))
            return
        recorded = await journal.run(
            record_outcome.record, stored.id, Outcome("mapped"), [routed(body, *to, claimed=True)]
        )
        self._sending |= {one.id: (stored.id, one.destination) for one in recorded.deliveries}

    def _tell(self, state: str, delivery: int, of: tuple[int, str], reason: str = "") -> None:
        said = {"delivery": delivery, "message": of[0], "channel": "chem", "destination": of[1], "reason": reason}
        self.events.append((f"delivery.{state}", said))

    def _one_of(self, those: dict[int, tuple[int, str]]) -> tuple[int, tuple[int, str]] | None:
        if not those:
            return None
        one = self.chance.choice(sorted(those))
        return one, those.pop(one)

    async def _settle(self, journal: Journal) -> None:
        if (one := self._one_of(self._sending)) is not None:
            await journal.run(attempts.settle, one[0], 1)
            self._tell("delivered", *one)

    async def _bury(self, journal: Journal) -> None:
        if (one := self._one_of(self._sending)) is not None:
            await journal.run(attempts.bury, one[0], ReasonCode.REFUSED)
            self._dead[one[0]] = one[1]
            self._tell("dead", *one, "REFUSED")

    async def _again(self, journal: Journal) -> None:
        if (one := self._one_of(self._dead)) is not None:
            await journal.run(decisions.requeue, [one[0]])
            self._tell("waiting", *one)
            self._sending[one[0]] = one[1]

    async def _act(self, journal: Journal) -> None:
        number = await journal.run(audit.note, "anita", "pause", {})
        self.events.append(_act(number, "pause"))


class Reader:
    """Reads a page now and then, and goes on at a place that it has kept: of any event, or behind a page."""

    def __init__(self, chance: random.Random, names: Sequence[str], position: Position) -> None:
        self._chance = chance
        self.names = names
        self.position = position
        self.told: Told = []

    def read(self, journal: Journal) -> None:
        one = page(journal, self.position, wanted(self.names))
        taken = one.events
        if taken and self._chance.random() < 0.3:  # cut in the middle
            taken = taken[: self._chance.randrange(len(taken))]
            self.position = taken[-1].position if taken else self.position
        else:
            self.position = one.position
        self.position = position_of(str(self.position))
        self.told += told(taken)


@pytest.mark.parametrize("seed", range(4))
async def test_readers_of_a_history_are_told_of_all_in_order_and_of_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(events, "PAGE", 3 + seed)
    history, chance = History(seed), random.Random(seed)
    journal = await started(tmp_path, clock=ManualClock())
    wishes = (tuple(KINDS), ("delivery",), ("message", "act"), ("act.begun", "delivery.dead"))
    readers = [Reader(chance, names, newest(journal)) for names in wishes]
    for _ in range(150):
        await history.go_on(journal)
        if chance.random() < 0.3:
            chance.choice(readers).read(journal)
        if chance.random() < 0.03:
            await journal.stop()
            journal = await started(tmp_path, clock=ManualClock())
            history._sending, history._dead = {}, history._dead  # their claims are void
    for one in readers:
        for _ in range(400):
            one.read(journal)
        expected = [event for event in history.events if event[0] in wanted(one.names).types]
        assert one.told == expected
    assert len(history.events) > 100
    await journal.stop()


async def test_events_that_are_gone_are_a_gap_and_reading_goes_on_with_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "MOST_EVENTS", 5)
    async with running(tmp_path) as journal:
        begin = newest(journal)
        for n in range(9):
            await queue(journal, b"%d" % n, claimed=True)
            await journal.run(attempts.settle, n + 1, 1)
        found, end = read_on(journal, begin)
        assert [one.type for one in found] == [
            GAP,
            *["delivery.delivered", "message.received"] * 4,
            "delivery.delivered",
        ]
        assert told(found)[0] == (GAP, {"reason": "deleted", "kept_from": found[0].timestamp})
        assert told(found)[1][1]["message"] == 5
        assert read_on(journal, found[0].position)[0] == found[1:]
        assert read_on(journal, end)[0] == []
        with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as connection:
            assert connection.execute("SELECT count(*) FROM event").fetchone() == (5,)


async def test_deleted_rows_of_the_journal_are_a_gap(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        begin = newest(journal)
        await store(journal, b"1", b"2", b"3", b"4", b"5")
        await journal.writer.submit(lambda batch: batch.execute("DELETE FROM journal WHERE id IN (2, 3)"))
        found, _ = read_on(journal, begin)
        assert [one.type for one in found] == ["message.received", GAP, "message.received", "message.received"]
        assert told(found)[1][1] == {"reason": "deleted-rows", "first_row": 2, "last_row": 3}
        for n, one in enumerate(found):
            assert read_on(journal, one.position)[0] == found[n + 1 :]
        assert read_on(journal, begin, ["delivery"])[0] == []


async def test_a_reader_goes_on_where_the_row_before_its_place_is_deleted(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        begin = newest(journal)
        await queue(journal, b"1", b"2", b"3", claimed=True)
        await journal.run(attempts.settle, 1, 1)
        every, _ = read_on(journal, begin)
        calm = page(journal, newest(journal), wanted(["alert"])).position
        await store(journal, b"4")
        await journal.writer.submit(lambda batch: batch.execute("DELETE FROM journal WHERE id <= 3"))
        found, end = read_on(journal, every[1].position)
        assert [one.type for one in found] == ["delivery.delivered", GAP, "message.received"]
        assert told(found)[1][1] == {"reason": "deleted-rows", "first_row": 3, "last_row": 3}
        assert told(read_on(journal, every[1].position, ["delivery"])[0]) == told(found[:1])
        assert read_on(journal, calm, ["alert"])[0] == []
        assert read_on(journal, end)[0] == []


async def test_a_reader_that_has_the_last_deleted_event_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "MOST_EVENTS", 5)
    async with running(tmp_path) as journal:
        await queue(journal, *[b"%d" % n for n in range(8)], claimed=True)
        await journal.run(attempts.settle, 1, 1)
        places = [newest(journal)]
        for n in range(2, 9):
            await journal.run(attempts.settle, n, 1)
            places.append(newest(journal))
        kept = [[one.type for one in read_on(journal, place)[0]] for place in places]
        assert kept[2:] == [["delivery.delivered"] * n for n in (5, 4, 3, 2, 1, 0)]
        assert kept[1] == [GAP, *["delivery.delivered"] * 5]


async def test_a_journal_that_was_put_back_is_another_history(tmp_path: Path) -> None:
    async with running(tmp_path / "a") as journal:
        await queue(journal, b"1", b"2", claimed=True)
        await journal.run(attempts.settle, 1, 1)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    async with running(tmp_path / "a") as journal:
        await journal.run(attempts.settle, 2, 1)
        await store(journal, b"lost with the disk")
        lost = newest(journal)
    async with running(tmp_path / "b") as journal:
        found, _ = read_on(journal, lost)
        assert told(found)[0][1]["reason"] == "another-history"
        await store(journal, b"another")
        await journal.run(attempts.bury, 2, ReasonCode.REFUSED)
        assert (lost.row, lost.event) == newest(journal)[:2]  # the same numbers
        found, _ = read_on(journal, lost)
        assert [one.type for one in found] == [
            GAP,
            *["message.received"] * 2,
            "delivery.delivered",
            "message.received",
            "delivery.dead",
        ]


def test_a_journal_that_begins_anew_uses_no_number_again(tmp_path: Path) -> None:
    clock = ManualClock()
    journal = opened(tmp_path, clock=clock)
    before = newest(journal)
    journal.run_alone(lambda batch: notes.begin_anew(batch.execute))
    journal.close()
    clock.advance(1.0)
    journal = opened(tmp_path, clock=clock)
    assert newest(journal).event > before.event
    assert [(kind, said["reason"]) for kind, said in told(read_on(journal, before)[0])] == [(GAP, "another-history")]
    journal.close()
