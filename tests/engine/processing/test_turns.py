"""Turns: a model of random histories says what must hold for each pair of messages, and how long a channel waits."""

from array import array
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.message import Stored
from engine.processing import turns
from engine.processing.turns import MESSAGE_COSTS, UNKNOWN, Named, Turns, Waiting


def waiting(number: int, channel: str, named: Named, size: int = 1, *, large: bool = False) -> Waiting:
    stored = Stored(id=number, channel=channel, seq=number, payload=b"", received_us=0)
    return Waiting(stored=stored, size=size, named=named, large=large)


def alone(number: int) -> Named:
    return Named(frozenset({number}))


@dataclass
class Model:
    """What came, and in which order it was done."""

    turns: Turns
    came: list[Waiting]
    under_way: list[Waiting]
    done: list[int]
    is_slow: bool = False  # the processor of small ones answers later

    def add(self, one: Waiting) -> None:
        self.came.append(one)
        self.turns.add(one)

    def take(self) -> bool:
        one = self.turns.next()
        if one is None:
            return False
        self.turns.begin(one)
        self.under_way.append(one)
        if not one.large and not self.is_slow:
            self.end(one)
        return True

    def end(self, one: Waiting) -> None:
        """A small one: those that were asked before it end first."""
        if not one.large:
            one = next(each for each in self.under_way if not each.large)
        else:
            asked = [each for each in self.came if each.is_asked and each.stored.id not in self.done]
            for each in asked:
                assert each is one or not must_keep_order(each, one), "a large one began too early"
        self.under_way.remove(one)
        self.turns.done(one)
        self.done.append(one.stored.id)


def must_keep_order(one: Waiting, other: Waiting) -> bool:
    """Whether the later one, ``other``, waits for ``one``."""
    if one.stored.channel == other.stored.channel or not one.named.complete or not other.named.complete:
        return True
    return bool(all_names(one.named) & all_names(other.named))


def all_names(named: Named) -> set[int]:
    return set(named.names).union(*named.many)


def with_many(names: frozenset[int]) -> Named:
    """Kept in two pieces."""
    ordered = sorted(names)
    return Named(frozenset(), many=(array("I", ordered[::2]), array("I", ordered[1::2])))


NAMES = st.frozensets(st.integers(1, 8), max_size=3)
NAMED = st.builds(
    lambda named, is_critical: named._replace(is_critical=is_critical),
    st.one_of(st.just(UNKNOWN), st.builds(Named, NAMES), st.builds(Named, NAMES), st.builds(with_many, NAMES)),
    st.booleans(),
)
STEP = st.one_of(
    st.tuples(st.sampled_from("abcd"), NAMED, st.integers(1, 5_000), st.booleans()),
    st.just("take"),
    st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=40), st.booleans())
def test_messages_with_a_name_in_common_keep_their_order_and_none_waits_for_ever(steps: list, is_slow: bool) -> None:  # type: ignore[type-arg]
    model = Model(Turns(), [], [], [], is_slow)
    for number, step in enumerate(steps, 1):
        if isinstance(step, tuple):
            channel, named, size, large = step
            model.add(waiting(number, channel, named, size, large=large))
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
    assert model.turns.names == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5_000)), min_size=1, max_size=40), st.data())
def test_a_channel_waits_for_one_message_of_each_other_at_most(
    flood: list[tuple[str, int]], data: st.DataObject
) -> None:
    model = Model(Turns(), [], [], [])
    for number, (channel, size) in enumerate(flood, 1):
        model.add(waiting(number, channel, alone(number), size))
    for _ in range(data.draw(st.integers(0, len(flood) - 1))):
        model.take()
    model.add(waiting(1000, "quiet", alone(1000)))
    before = len(model.done)
    while 1000 not in model.done:
        model.take()
    channels = [one.stored.channel for one in model.came if one.stored.id in model.done[before:-1]]
    assert len(channels) == len(set(channels))


def test_many_names_of_a_flood_delay_no_message_that_has_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as 100 messages of 20,000 orders have, each with two numbers."""
    model = Model(Turns(), [], [], [])
    for number in range(1, 101):
        names = array("I", range(number * 40_000, (number + 1) * 40_000))
        model.add(waiting(number, "flood", Named(frozenset(), many=(names[:20_000], names[20_000:])), 1_000_000))
    model.add(waiting(101, "quiet", Named(frozenset({1, 2, 3}))))
    model.add(waiting(102, "other", Named(frozenset({1, 40_000 * 3 + 39_999}))))
    for _ in range(5):
        model.take()
    assert model.done == [1, 101, 2, 3, 102]
    assert model.turns.names == 97 * 40_000
    monkeypatch.setattr(turns, "NAMES", model.turns.names)  # no more: one with others keeps its place among all
    model.add(waiting(103, "second", Named(frozenset(), many=(array("I", [1]),))))
    model.add(waiting(104, "third", alone(104)))
    for _ in range(97):
        model.take()
    assert model.done[-1] == 100
    model.take()
    assert model.done[-1] == 103


@pytest.mark.parametrize("limit", ["MESSAGES", "FEW_NAMES", "WITH_MANY"])
def test_turns_are_full_before_they_take_too_much_memory(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(turns, limit, 6)
    model = Model(Turns(), [], [], [])
    for number in range(1, 7):
        assert not model.turns.is_full
        model.add(waiting(number, "flood", with_many(frozenset({number})) if limit == "WITH_MANY" else alone(number)))
    assert model.turns.is_full
    while model.take():
        assert not model.turns.is_full


def test_each_channel_gets_as_many_bytes_as_others() -> None:
    model = Model(Turns(), [], [], [])
    for number in range(1, 401):
        channel, size = ("small", 1_000) if number % 2 else ("big", 10_000)
        model.add(waiting(number, channel, alone(number), size))
    had = {"small": 0, "big": 0}
    for _ in range(150):
        model.take()
        one = model.came[model.done[-1] - 1]
        had[one.stored.channel] += one.size + MESSAGE_COSTS
        assert abs(had["small"] - had["big"]) <= 10_000 + MESSAGE_COSTS


def test_a_channel_that_waited_gets_no_more_than_its_part_afterwards() -> None:
    """One whose messages wait for a large one of another channel is behind; it does not go back in time for all."""
    model = Model(Turns(), [], [], [])
    held = waiting(1, "slow", alone(1), 100, large=True)
    model.add(held)
    model.add(waiting(2, "held", alone(1), 100))
    for number in range(3, 43):
        model.add(waiting(number, "busy", alone(number), 10_000))
    for _ in range(21):
        model.take()
    model.end(held)
    for number in range(43, 83):
        model.add(waiting(number, "held", alone(number), 10_000))
    model.add(waiting(100, "new", alone(100)))
    before = len(model.done)
    while len(model.done) < before + 12:
        model.take()
    channels = [model_channel(model, number) for number in model.done[before:]]
    assert channels.count("busy") >= 4
    assert channels.index("new") <= 4


def critical(number: int, *names: int) -> Named:
    return Named(frozenset({number, *names}), is_critical=True)


def test_a_channel_with_a_critical_value_has_its_turns_first_and_gives_them_back() -> None:
    model = Model(Turns(), [], [], [])
    for number in range(1, 61):
        model.add(waiting(number, "abc"[number % 3], alone(number), 10_000))
    model.add(waiting(61, "c", critical(61), 10_000))
    for number in range(62, 92):
        model.add(waiting(number, "abc"[number % 3], alone(number), 10_000))
    for _ in range(21):
        model.take()
    assert model.done == [*range(2, 61, 3), 61]
    for _ in range(42):
        model.take()
    assert "c" not in [model_channel(model, number) for number in model.done[21:]]
    for _ in range(9):
        model.take()
    assert sorted(model_channel(model, number) for number in model.done[63:]) == [*"aaabbbccc"]


def test_the_channel_of_a_message_that_a_critical_one_waits_for_has_its_turns_first() -> None:
    model = Model(Turns(), [], [], [])
    for number in range(1, 31):
        model.add(waiting(number, "abc"[number % 3], alone(number), 10_000))
    model.add(waiting(31, "d", critical(31, 8)))  # number 8 is of channel c
    for _ in range(4):
        model.take()
    assert model.done == [2, 5, 8, 31]


def test_so_has_the_channel_of_a_message_that_this_one_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def done() -> list[int]:
        model = Model(Turns(), [], [], [])
        for number in range(1, 31):
            named = Named(frozenset({8, 4})) if number == 8 else alone(number)  # number 4 is of channel b
            model.add(waiting(number, "abc"[number % 3], named, 10_000))
        model.add(waiting(31, "d", critical(31, 8)))
        for _ in range(6):
            model.take()
        return model.done

    assert done() == [1, 2, 4, 5, 8, 31]
    monkeypatch.setattr(turns, "CHAIN", 2)
    assert 31 not in done()


def test_a_flood_of_critical_values_delays_no_channel_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that was there before, nor one whose first message comes now."""
    monkeypatch.setattr(turns, "AHEAD", 30_000)
    model = Model(Turns(), [], [], [])
    model.add(waiting(1, "quiet", alone(1)))
    for number in range(2, 202):
        model.add(waiting(number, "ab"[number % 2], critical(number), 10_000))
    for _ in range(9):
        model.take()
    assert 1 in model.done
    for _ in range(40):
        model.take()
    model.add(waiting(202, "new", alone(202)))
    for _ in range(9):
        model.take()
    assert 202 in model.done


def model_channel(model: Model, number: int) -> str:
    return next(one.stored.channel for one in model.came if one.stored.id == number)


def test_what_is_done_takes_no_memory_while_an_old_one_takes_its_time() -> None:
    model = Model(Turns(), [], [], [])
    model.add(waiting(1, "slow", alone(1), large=True))
    model.take()
    for number in range(2, 2_000):
        model.add(waiting(number, "busy", alone(number)))
        model.take()
    assert len(model.turns) == 1
    assert len(model.turns._oldest_first) < 100
    oldest = model.turns.oldest()
    assert oldest is not None
    assert oldest.stored.id == 1
