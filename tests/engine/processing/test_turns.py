"""Turns: a model of random histories says what must hold for each pair of messages, and how long a channel waits."""

from dataclasses import dataclass
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.message import Stored
from engine.processing.turns import MESSAGE_COSTS, Turns, Waiting


def waiting(number: int, channel: str, names: frozenset[int] | None, size: int = 1, *, large: bool = False) -> Waiting:
    stored = Stored(id=number, channel=channel, seq=number, payload=b"", received_us=0)
    return Waiting(stored=stored, size=size, names=names, large=large)


@dataclass
class Model:
    """What came, and in which order it was done."""

    turns: Turns
    came: list[Waiting]
    under_way: list[Waiting]
    done: list[int]

    def add(self, one: Waiting) -> None:
        self.came.append(one)
        self.turns.add(one)

    def take(self) -> bool:
        one = self.turns.next()
        if one is None:
            return False
        self.turns.begin(one)
        self.under_way.append(one)
        if not one.large:
            self.end(one)
        return True

    def end(self, one: Waiting) -> None:
        self.under_way.remove(one)
        self.turns.done(one)
        self.done.append(one.stored.id)


def must_keep_order(one: Waiting, other: Waiting) -> bool:
    if one.stored.channel == other.stored.channel or one.names is None or other.names is None:
        return True
    return bool(one.names & other.names)


NAMES = st.one_of(st.none(), st.frozensets(st.integers(1, 8), max_size=3))
STEP = st.one_of(
    st.tuples(st.sampled_from("abcd"), NAMES, st.integers(1, 5_000), st.booleans()),
    st.just("take"),
    st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_messages_with_a_name_in_common_keep_their_order_and_none_waits_for_ever(steps: list) -> None:  # type: ignore[type-arg]
    model = Model(Turns(), [], [], [])
    for number, step in enumerate(steps, 1):
        if isinstance(step, tuple):
            channel, names, size, large = step
            model.add(waiting(number, channel, names, size, large=large))
        elif step == "take":
            model.take()
        elif model.under_way:
            model.end(model.under_way[step % len(model.under_way)])
    while len(model.turns):
        if not model.take():
            assert model.under_way, "messages wait, and none is under way"
            model.end(model.under_way[-1])
    at = {number: place for place, number in enumerate(model.done)}
    assert len(at) == len(model.came)
    for earlier, later in combinations(model.came, 2):
        if must_keep_order(earlier, later):
            assert at[earlier.stored.id] < at[later.stored.id]
    assert model.turns.oldest() is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5_000)), min_size=1, max_size=40), st.data())
def test_a_channel_waits_for_one_message_of_each_other_at_most(
    flood: list[tuple[str, int]], data: st.DataObject
) -> None:
    model = Model(Turns(), [], [], [])
    for number, (channel, size) in enumerate(flood, 1):
        model.add(waiting(number, channel, frozenset({number}), size))
    for _ in range(data.draw(st.integers(0, len(flood) - 1))):
        model.take()
    model.add(waiting(1000, "quiet", frozenset({1000})))
    before = len(model.done)
    while 1000 not in model.done:
        model.take()
    channels = [one.stored.channel for one in model.came if one.stored.id in model.done[before:-1]]
    assert len(channels) == len(set(channels))


def test_each_channel_gets_as_many_bytes_as_others() -> None:
    model = Model(Turns(), [], [], [])
    for number in range(1, 401):
        channel, size = ("small", 1_000) if number % 2 else ("big", 10_000)
        model.add(waiting(number, channel, frozenset({number}), size))
    had = {"small": 0, "big": 0}
    for _ in range(150):
        model.take()
        one = model.came[model.done[-1] - 1]
        had[one.stored.channel] += one.size + MESSAGE_COSTS
        assert abs(had["small"] - had["big"]) <= 10_000 + MESSAGE_COSTS
