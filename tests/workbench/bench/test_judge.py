"""The count at the end of a benchmark: what was lost, repeated or out of order."""

from workbench.bench.cases import Round, judge
from workbench.bench.processes import Usage


def counted(acked: list[tuple[int, int, float]], seen: list[tuple[int, int, str, float]]) -> Round:
    return judge(acked, seen, start=0.0, end=2.0, ack_s=[0.001], refused=0, used=Usage({1: 0.1}))


def test_all_well() -> None:
    found = counted([(1, 1, 0.0), (1, 2, 1.0), (2, 1, 1.0)], [(1, 1, "a", 0.5), (2, 1, "c", 1.5), (1, 2, "b", 2.0)])
    assert (found.lost, found.reordered, found.repeats_same_key, found.repeats_other_key) == (0, 0, 0, 0)
    assert found.messages == 3
    assert sorted(found.delivered_ms) == [500.0, 500.0, 1000.0]
    assert found.delivered_per_s == 1.5


def test_what_was_acknowledged_and_did_not_come_is_lost_and_not_counted_as_delivered() -> None:
    found = counted([(1, 1, 0.0), (1, 2, 0.0)], [(1, 2, "b", 1.0)])
    assert found.lost == 1
    assert found.delivered_per_s == 1.0


def test_what_came_and_was_never_acknowledged_is_not_held_against_anyone() -> None:
    found = counted([(1, 2, 0.0)], [(1, 1, "a", 0.5), (1, 2, "b", 1.0)])
    assert (found.lost, found.messages, found.reordered) == (0, 1, 0)


def test_repeats_are_told_apart_by_their_keys() -> None:
    seen = [(1, 1, "a", 1.0), (1, 1, "a", 1.1), (1, 1, "x", 1.2), (1, 1, "x", 1.3)]
    found = counted([(1, 1, 0.0)], seen)
    assert (found.repeats_same_key, found.repeats_other_key) == (2, 1)


def test_an_older_message_after_a_newer_one_of_its_channel_is_out_of_order() -> None:
    acked = [(1, n, 0.0) for n in (1, 2, 3, 4)]
    found = counted(acked, [(1, 3, "c", 1.0), (1, 1, "a", 1.1), (1, 2, "b", 1.2), (1, 4, "d", 1.3), (1, 1, "a", 1.4)])
    assert found.reordered == 2  # and a repeat of one that was in order is none
    found = counted([*acked, (2, 1, 0.0)], [(1, 3, "c", 1.0), (2, 1, "e", 1.1), (1, 4, "d", 1.2)])
    assert found.reordered == 0


def test_nothing_at_all() -> None:
    found = counted([], [])
    assert (found.messages, found.lost, found.delivered_per_s, found.cpu_ms) == (0, 0, 0.0, 0.0)
