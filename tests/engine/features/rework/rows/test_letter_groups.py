"""Dead letters in groups: the same ones as if each letter were opened, and how few of them are."""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.journal.journal_views import Filter
from engine.model.message import Received
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.vault import KEY_NAME, Vault
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from engine.store.operations import dead_letters as failure_fingerprint
from engine.store.operations.dead_letters import cause_of
from engine.store.operations.outbox import attempts, decisions
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader
from tests.support.journals import NOW_US, WINDOW_S, opened, routed

HOUR_US = 3_600_000_000
CHANNELS = ("chem", "haema", "urine")
DETAILS = ("OBX[{n}]-3: no row for the code", "table units: no row", "", "message {n} names no patient")
ANSWERS = ("HTTP 422", "HTTP 400", "Observation/{n:016x}: the server has version 3", "")
Summary = dict[tuple[str, str, str], tuple[int, int, int, frozenset[str], int]]


def store(batch: Batch, *, count: int, rng: random.Random) -> None:
    """Messages an hour apart, half of them dead letters of some kind."""
    for number in range(count):
        received = Received(
            channel=rng.choice(CHANNELS),
            payload=b"%d" % number,
            received_us=NOW_US + number * HOUR_US,
            message_type="ORU^R01",
        )
        batch.now_us = received.received_us + 1000
        if rng.random() < 0.1:
            append.store_incomplete(batch, received, ReasonCode.INCOMPLETE)
            continue
        stored = append.store_message(batch, received, repeat_window_s=WINDOW_S)
        done = partial(record_outcome.record, batch, stored.id)
        if rng.random() < 0.4:
            reason = rng.choice((ReasonCode.UNMAPPED_CODE, ReasonCode.BAD_VALUE))
            done(Outcome("dead", reason, rng.choice(DETAILS).format(n=number)))
            continue
        routes = (routed(b"{}", "a", "b", claimed=True),)
        for delivery in done(Outcome("mapped"), routes).deliveries:
            if rng.random() < 0.4:
                attempts.bury(batch, delivery.id, ReasonCode.REFUSED, rng.choice(ANSWERS).format(n=number), b"no")
            else:
                attempts.settle(batch, delivery.id, batch.now_us)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = opened(tmp_path, clock=ManualClock())
    made.run_alone(partial(store, count=300, rng=random.Random(5)))
    yield made
    made.close()


def summary(journal: Reader, wanted: Filter | None = None) -> Summary:
    return {
        (one.reason, one.cause, one.destination): (
            one.count, one.oldest_us, one.newest_us, frozenset(one.channels), one.example,
        )
        for one in letter_groups(journal, wanted)
    }  # fmt: skip


def by_opening_each(journal: Reader, wanted: Filter | None = None) -> Summary:
    found: Summary = {}
    for letter in dead_letters(journal, wanted, limit=10_000):
        trace = trace_of(journal, letter.message_id)
        assert trace is not None
        details = {0: trace.detail} | {one.id: one.detail for one in trace.deliveries}
        key = letter.reason, cause_of(details[letter.delivery_id]), letter.destination
        count, oldest, newest, channels, example = found.get(key, (0, 2**62, 0, frozenset(), 0))
        found[key] = (
            count + 1,
            min(oldest, letter.at_us),
            max(newest, letter.at_us),
            channels | {letter.channel},
            max(example, letter.message_id),
        )
    return found


def forget_causes(batch: Batch, every: int = 1) -> None:
    """As rows stand that were restored."""
    for table in ("message_state", "delivery"):
        batch.execute(f"UPDATE {table} SET cause_token = NULL WHERE id % ? = 0", (every,))


FILTERS = {
    "all": Filter(),
    "channel": Filter(channel="haema"),
    "no such channel": Filter(channel="nowhere"),
    "destination": Filter(destination="b"),
    "channel and destination": Filter(channel="chem", destination="a"),
    "reason": Filter(code="REFUSED"),
    "reason of messages": Filter(code="BAD_VALUE"),
    "state": Filter(state="incomplete"),
    "dead": Filter(state="dead"),
    "a while": Filter(after_us=NOW_US + 40 * HOUR_US, before_us=NOW_US + 170 * HOUR_US),
    "a while of a channel": Filter(channel="urine", after_us=NOW_US + 40 * HOUR_US, before_us=NOW_US + 170 * HOUR_US),
    "type": Filter(message_type="ORU^R01"),
    "no such type": Filter(message_type="QRY^A19"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_groups_are_those_of_letters_opened_one_by_one(journal: Journal, name: str) -> None:
    wanted = FILTERS[name]
    expected = by_opening_each(journal, wanted)
    assert bool(expected) is ("no such" not in name)
    assert summary(journal, wanted) == expected

    journal.run_alone(partial(forget_causes, every=3))
    assert summary(journal, wanted) == expected
    journal.run_alone(forget_causes)
    assert summary(journal, wanted) == expected


def test_one_letter_of_a_cause_is_opened(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    open_sealed = Vault.open

    def opening(self: Vault, *place: bytes) -> bytes:
        seen.append(place[1:])
        return open_sealed(self, *place)  # type: ignore[arg-type]  # as it was called

    groups = letter_groups(journal)
    monkeypatch.setattr(Vault, "open", opening)
    letter_groups(journal)
    assert 1 < len({one.cause for one in groups}) == len(seen) + 1, "each but that which is empty"
    assert len(seen) < sum(one.count for one in groups) / 10


async def test_causes_are_noted_in_steps_where_there_is_none(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = by_opening_each(journal)
    noted = tokens(journal)
    assert len(noted) > 100
    assert None not in noted.values()
    journal.run_alone(forget_causes)
    assert set(tokens(journal).values()) == {None}

    monkeypatch.setattr(failure_fingerprint, "SWEEP_ROWS", 10)
    assert not journal.run_alone(failure_fingerprint.sweep)
    assert summary(journal) == expected
    while not journal.run_alone(failure_fingerprint.sweep):
        pass
    assert tokens(journal) == noted
    assert summary(journal) == expected


def tokens(journal: Journal) -> dict[tuple[str, int], bytes | None]:
    with journal.snapshot() as execute:
        return {
            (table, row_id): token
            for table, dead in (("message_state", "'dead', 'incomplete'"), ("delivery", "'dead'"))
            for row_id, token in execute(f"SELECT id, cause_token FROM {table} WHERE state IN ({dead})")
        }


def test_a_damaged_detail_is_no_cause_and_stops_nothing(journal: Journal) -> None:
    def damage(batch: Batch) -> None:
        batch.execute("UPDATE message_state SET detail = zeroblob(60), cause_token = NULL WHERE state = 'dead'")

    journal.run_alone(damage)
    causes_found = {cause for reason, cause, _ in summary(journal) if reason != "REFUSED"}
    assert causes_found == {""}
    journal.run_alone(failure_fingerprint.sweep)
    assert {cause for reason, cause, _ in summary(journal) if reason != "REFUSED"} == {""}


def test_what_dies_again_has_its_new_cause(journal: Journal) -> None:
    (letter, *_) = dead_letters(journal, Filter(code="REFUSED"), limit=1)

    def again(batch: Batch) -> None:
        decisions.requeue(batch, (letter.delivery_id,))
        attempts.bury(batch, letter.delivery_id, ReasonCode.REFUSED, "HTTP 409: another reason", b"")

    journal.run_alone(again)
    assert summary(journal)["REFUSED", "HTTP 409: another reason", letter.destination][0] == 1
    assert summary(journal) == by_opening_each(journal)


def test_without_the_keys_there_are_groups_of_one_reason_and_destination(journal: Journal, tmp_path: Path) -> None:
    expected: dict[tuple[str, str, str], int] = {}
    for (reason, _, destination), (count, *_) in summary(journal).items():
        expected[reason, "", destination] = expected.get((reason, "", destination), 0) + count
    (tmp_path / KEY_NAME).rename(tmp_path / "elsewhere")
    reader = Reader.beside(tmp_path)
    try:
        assert {key: count for key, (count, *_) in summary(reader).items()} == expected
    finally:
        reader.close()
