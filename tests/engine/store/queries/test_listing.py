"""Lists of messages and dead letters: what they give, page by page, and that none of them walks through the journal."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.journal.journal_views import DeadLetter, Filter, MessageView
from engine.store.core import moments
from engine.store.journal import Journal
from engine.store.queries import listing
from engine.store.queries.acts import acts_page
from engine.store.queries.lanes import list_lanes, list_pauses, open_lanes
from engine.store.queries.letters import count_dead_letters, count_held, dead_letters, held_deliveries
from engine.store.queries.line import line_of
from engine.store.queries.messages import (
    count_messages,
    count_waiting,
    deliveries_of,
    messages_page,
    trace_of,
    waiting_deliveries,
)
from tests.support.journals import DAY_S, NOW_US
from tests.support.many_messages import HOUR_US, fill

# What may be walked: indexes that hold only what is rare, tables that stay small, and what is no table at all.
NARROW = (
    "message_dead", "message_cause", "message_ended", "message_reason",
    "delivery_stuck", "delivery_cause", "delivery_rejected", "delivery_held",
    "delivery_waiting", "delivery_sending",
    "SCAN channel", "SCAN lane", "SCAN l ", "SCAN p", "SCAN every", "SCAN CONSTANT ROW", "SCAN a", "SCAN unmapped",
)  # fmt: skip


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    made = fill(tmp_path_factory.mktemp("listed"), 1500)
    yield made
    made.close()


FILTERS = {
    "all": Filter(),
    "channel": Filter(channel="haema"),
    "no such channel": Filter(channel="nowhere"),
    "state mapped": Filter(state="mapped"),
    "state dead": Filter(state="dead"),
    "state filtered": Filter(state="filtered"),
    "state dismissed": Filter(state="dismissed"),
    "state stored": Filter(state="stored"),
    "state held": Filter(state="held"),
    "state waiting": Filter(state="waiting"),
    "state delivered": Filter(state="delivered"),
    "state waiting of a channel": Filter(state="waiting", channel="chem"),
    "state delivered of a type": Filter(state="delivered", message_type="QRY^A19"),
    "reason": Filter(code="NO_ROUTE"),
    "no such reason": Filter(code="DAMAGED"),
    "reason and state": Filter(code="NO_ROUTE", state="dead"),
    "reason of another state": Filter(code="NO_ROUTE", state="filtered"),
    "type": Filter(message_type="QRY^A19"),
    "no such type": Filter(message_type="ADT^A01"),
    "type and channel": Filter(message_type="QRY^A19", channel="chem"),
    "type and state": Filter(message_type="QRY^A19", state="filtered"),
    "channel and state": Filter(channel="chem", state="dead"),
    "since": Filter(after_us=NOW_US + 1000 * HOUR_US),
    "until": Filter(before_us=NOW_US + 300 * HOUR_US),
    "a while": Filter(after_us=NOW_US + 400 * HOUR_US, before_us=NOW_US + 500 * HOUR_US, state="filtered"),
    "a while of a channel": Filter(after_us=NOW_US + 400 * HOUR_US, before_us=NOW_US + 500 * HOUR_US, channel="chem"),
    "specimen": Filter(specimen="s7"),
    "specimen and channel": Filter(specimen="S7", channel="chem"),
    "message's own number": Filter(number="C77"),
    "any number": Filter(bears="s7"),
    "any number: the message's own": Filter(bears="C77"),
    "any number: the one here": Filter(bears="77"),
    "no such number": Filter(bears="1" * 40),
    "any number of a channel in a while": Filter(bears="S7", channel="chem", after_us=NOW_US + 400 * HOUR_US),
    "destination": Filter(destination="b"),
    "no such destination": Filter(destination="c"),
    "waiting for a destination": Filter(state="waiting", destination="b"),
    "held for a destination": Filter(state="held", destination="a"),
    "delivered to a destination": Filter(state="delivered", destination="b"),
}


States = set[tuple[str, str]]  # of the deliveries of a message: destination, state


def stands(view: MessageView, wanted: Filter, those: States) -> bool:
    """Whether a message is in the state that is asked for, by its own and its deliveries' states."""
    states = {state for destination, state in those if wanted.destination in (None, destination)}
    if wanted.destination is not None and not states:
        return False
    if wanted.state == "held":
        return "held" in states
    if wanted.state == "waiting":
        return bool(states & {"waiting", "sending"})
    if wanted.state == "delivered":
        return bool(states) and states <= {"delivered", "superseded"}
    return wanted.state in (None, view.state)


def fits(view: MessageView, wanted: Filter, states: States) -> bool:
    """What a filter means, without any index."""
    own = int(view.control_id[1:])
    return (
        wanted.channel in (None, view.channel)
        and stands(view, wanted, states)
        and wanted.code in (None, view.reason)
        and wanted.message_type in (None, view.message_type)
        and (wanted.after_us is None or view.received_us >= wanted.after_us)
        and (wanted.before_us is None or view.received_us < wanted.before_us)
        and (wanted.number is None or view.control_id == wanted.number)
        and (wanted.bears is None or bears(view, wanted.bears))
        and (wanted.specimen is None or (own % 50 == 7 and view.state != "stored"))
    )


def bears(view: MessageView, number: str) -> bool:
    """As a specimen's, as the message's own, as that here; those of an unprocessed message are not known yet."""
    own = int(view.control_id[1:])
    return number == str(view.id) or (view.state != "stored" and number.upper() in (f"S{own % 50}", view.control_id))


def pages(read: Callable[[int | None], list[Any]], key: Callable[[Any], int]) -> list[Any]:
    found: list[Any] = []
    before: int | None = None
    while page := read(before):
        found += page
        before = key(page[-1])
    return found


@pytest.mark.parametrize("small_channel", [10_000, 10], ids=["small channels", "large channels"])
@pytest.mark.parametrize("few_waiting", [10_000, 10], ids=["few wait", "many wait"])
@pytest.mark.parametrize("name", FILTERS)
def test_pages_hold_what_fits_newest_first_and_once(
    journal: Journal, name: str, small_channel: int, few_waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SMALL_CHANNEL", small_channel)
    monkeypatch.setattr(listing, "FEW_WAITING", few_waiting)
    monkeypatch.setattr(listing, "BLOCKS_AT_ONCE", 1)
    wanted = FILTERS[name]
    everything = messages_page(journal, limit=10_000)
    states: dict[int, States] = {view.id: set() for view in everything}
    for at in range(0, len(everything), 300):
        for delivery in deliveries_of(journal, [view.id for view in everything[at : at + 300]]):
            states[delivery.message_id].add((delivery.destination, delivery.state))
    expected = [view for view in everything if fits(view, wanted, states[view.id])]
    assert len(everything) == 1500
    assert (
        pages(lambda before: messages_page(journal, wanted, before_id=before, limit=7), lambda view: view.id)
        == expected
    )
    assert bool(expected) is ("no such" not in name and "another" not in name)
    assert count_messages(journal, wanted, most=10_000) == len(expected)
    assert count_messages(journal, wanted, most=3) == min(3, len(expected))
    if expected:
        middle = expected[len(expected) // 2].id
        assert count_messages(journal, wanted, most=10_000, after_id=middle) == len(expected) // 2
        assert count_messages(journal, wanted, most=10_000, before_id=middle + 1) == (len(expected) + 1) // 2


LETTERS = {
    "all": Filter(),
    "channel": Filter(channel="haema"),
    "destination": Filter(destination="b"),
    "reason": Filter(code="REFUSED"),
    "type": Filter(message_type="QRY^A19"),
    "a while": Filter(after_us=NOW_US + 400 * HOUR_US, before_us=NOW_US + 700 * HOUR_US),
    "cause": Filter(cause="HTTP 422", code="REFUSED"),
    "without a cause": Filter(cause=""),
}


@pytest.mark.parametrize("name", LETTERS)
def test_pages_of_dead_letters_hold_what_fits(journal: Journal, name: str) -> None:
    def letter_fits(letter: DeadLetter) -> bool:
        at_us = received[letter.message_id]
        return (
            wanted.channel in (None, letter.channel)
            and wanted.destination in (None, letter.destination)
            and wanted.code in (None, letter.reason)
            and wanted.cause in (None, "HTTP 422" if letter.delivery_id % 2 else "")
            and wanted.message_type in (None, letter.message_type)
            and (wanted.after_us is None or at_us >= wanted.after_us)
            and (wanted.before_us is None or at_us < wanted.before_us)
        )

    wanted = LETTERS[name]
    received = {view.id: view.received_us for view in messages_page(journal, limit=10_000)}
    everything = dead_letters(journal, limit=10_000)
    expected = [letter for letter in everything if letter_fits(letter)]
    assert expected
    found = pages(
        lambda before: dead_letters(journal, wanted, before_id=before, limit=7), lambda letter: letter.message_id
    )
    assert found == expected
    assert count_dead_letters(journal, wanted) == len(expected)
    middle = expected[len(expected) // 2].message_id
    assert sum(group.count for group in letter_groups(journal, wanted)) == len(expected)
    assert count_dead_letters(journal, wanted, before_id=middle) == sum(one.message_id < middle for one in expected)


@pytest.mark.parametrize("channel", [None, "haema"])
def test_held_results_are_counted(journal: Journal, channel: str | None) -> None:
    wanted = Filter(channel=channel)
    assert count_held(journal, wanted) == len(held_deliveries(journal, wanted, limit=10_000)) > 0


# -- how they are found --------------------------------------------------------------------------------------------


@contextmanager
def explained(journal: Journal) -> Iterator[list[str]]:
    """The query plans of all that is asked meanwhile."""
    said: list[str] = []
    snapshot = journal.snapshot

    @contextmanager
    def explaining() -> Iterator[Callable[..., Any]]:
        with snapshot() as execute:

            def run(text: str, *values: Any) -> Any:
                said.extend(row[3] for row in execute(f"EXPLAIN QUERY PLAN {text}", *values))
                return execute(text, *values)

            yield run

    journal.snapshot = explaining  # type: ignore[method-assign]  # every statement of the reader goes through it
    try:
        yield said
    finally:
        journal.snapshot = snapshot  # type: ignore[method-assign]  # as before


LISTS: dict[str, Callable[[Journal], object]] = {
    **{f"messages: {name}": partial(lambda wanted, journal: messages_page(journal, wanted), wanted)
       for name, wanted in FILTERS.items()},
    **{f"next messages: {name}": partial(lambda wanted, journal: messages_page(journal, wanted, before_id=700), wanted)
       for name, wanted in FILTERS.items()},
    **{f"count: {name}": partial(lambda wanted, journal: count_messages(journal, wanted, most=100), wanted)
       for name, wanted in FILTERS.items()},
    **{f"newer: {name}": partial(lambda those, journal: count_messages(journal, those, most=100, after_id=900), wanted)
       for name, wanted in FILTERS.items()},
    **{f"letters: {name}": partial(lambda wanted, journal: dead_letters(journal, wanted), wanted)
       for name, wanted in LETTERS.items()},
    **{f"groups: {name}": partial(lambda wanted, journal: letter_groups(journal, wanted), wanted)
       for name, wanted in LETTERS.items()},
    **{f"held: {name}": partial(lambda wanted, journal: held_deliveries(journal, wanted), wanted)
       for name, wanted in LETTERS.items()},
    "held, counted": lambda journal: count_held(journal, Filter(channel="chem")),
    "rejected": lambda journal: held_deliveries(journal, Filter(state="rejected")),
    "reagent lot": lambda journal: messages_page(journal, Filter(lot="A1")),
    "control id": lambda journal: messages_page(journal, Filter(channel="chem", control_id="C7")),
    "acts": lambda journal: acts_page(journal),
    "one message": lambda journal: trace_of(journal, 7),
    "waiting": lambda journal: waiting_deliveries(journal, destination="b"),
    "waiting, counted": lambda journal: count_waiting(journal, channel="chem"),
    "lanes": lambda journal: list_lanes(journal),
    "open lanes": lambda journal: open_lanes(journal),
    "pauses": lambda journal: list_pauses(journal),
    "line": lambda journal: line_of(journal, "chem"),
}  # fmt: skip


@pytest.mark.parametrize("small_channel", [10_000, 10], ids=["small channels", "large channels"])
@pytest.mark.parametrize("name", LISTS)
def test_no_list_walks_through_a_table(
    journal: Journal, name: str, small_channel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SMALL_CHANNEL", small_channel)
    with explained(journal) as plan:
        LISTS[name](journal)
    walked = [step for step in plan if step.startswith("SCAN") and not any(narrow in step for narrow in NARROW)]
    assert walked == [], plan
    # In the index's order, not sorted.
    assert not any("TEMP B-TREE FOR ORDER BY" in step or "FOR GROUP BY" in step for step in plan), plan


RARE = {
    name: ask
    for name, ask in LISTS.items()
    if name in {
        "messages: all", "messages: channel", "messages: no such reason",
        "messages: no such type", "messages: no such channel", "messages: message's own number", "control id", "acts",
        "one message",
    }
}  # fmt: skip


@pytest.mark.parametrize("name", RARE)
def test_the_work_does_not_grow_with_the_journal(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in steps of SQLite's machine, so that no clock is needed."""

    def steps(count: int) -> int:
        made = fill(tmp_path / str(count), count)
        taken = [0]

        def more() -> int:
            taken[0] += 1
            return 0

        class Counting:
            """A connection whose progress handler is ours."""

            def __init__(self, connection: sqlite3.Connection) -> None:
                connection.set_progress_handler(more, 10)
                self.execute = connection.execute
                self.close = connection.close

            @property
            def in_transaction(self) -> bool:
                return True

            def set_progress_handler(self, *_: object) -> None: ...

        take = made._take
        monkeypatch.setattr(made, "_take", lambda: Counting(take()))
        RARE[name](made)
        made.close()
        return taken[0]

    small, large = steps(300), steps(3000)
    assert large <= 2 * small + 60, (small, large)


def test_days_are_found_by_halving(journal: Journal) -> None:
    with journal.snapshot() as execute:
        for hour in (0, 1, 700, 1499, 1500, 9000):
            first = moments.first_at(execute, NOW_US + hour * HOUR_US)
            assert first == min(hour, 1500) + 1
    assert moments.DISORDER_US == DAY_S * 1e6
