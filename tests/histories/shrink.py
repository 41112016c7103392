"""The smallest history that still shows a fault: what can be left out of it is left out, as long as it is still broken.

All histories that lack one thing each are played side by side, so a step takes as long as one history.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.histories.history import Act, Asking, Batch, History, Ordering, Rest, Round, Send, Step, Weather
from tests.histories.play import play_alone

Breaks = Callable[[Batch], list[bool]]  # of each history, whether it is still broken
STEPS = 25
MOST_AT_ONCE = 60


def breaks(invariant: str, checkout: Path, folder: Path) -> Breaks:
    """Asks the program, on sites in ``folder`` that are removed again."""

    def ask(batch: Batch) -> list[bool]:
        return [
            any(fault.invariant == invariant for fault in ending.faults)
            for ending in play_alone(batch, checkout, folder)
        ]

    return ask


def shrink(history: History, weather: tuple[Weather, ...], invariant: str, broken: Breaks) -> Batch | None:
    """The history alone, made small; None where it is not broken alone."""

    def alone(one: History, under: tuple[Weather, ...]) -> Batch:
        return Batch(histories=(one,), weather=under, broken=(invariant,))

    conditions = [(Weather(),) * len(weather), weather]
    found = next((one for one in conditions if broken(alone(history, one))[0]), None)
    if found is None:
        return None
    for _ in range(STEPS):
        smaller = _first_broken(list(simpler(history)), found, broken)
        if smaller is None:
            break
        history = smaller
    return alone(history, found)


def _first_broken(some: list[History], under: tuple[Weather, ...], broken: Breaks) -> History | None:
    for first in range(0, len(some), MOST_AT_ONCE):
        tried = some[first : first + MOST_AT_ONCE]
        answers = broken(Batch(histories=tuple(tried), weather=under))
        for one, still in zip(tried, answers, strict=True):
            if still:
                return one
    return None


def simpler(history: History) -> Iterator[History]:
    """Histories that lack something: half of the messages, one of them, an act, a result; the smallest first."""
    steps = history.steps
    for half in (steps[: len(steps) // 2], steps[len(steps) // 2 :]):
        if half and len(steps) > 3:
            yield without(history, {step.id for step in half})
    for step in steps:
        if len(steps) > 1:
            yield without(history, {step.id})
    for number, one in enumerate(history.rounds):
        for act in one.acts:
            kept = tuple(other for other in one.acts if other is not act)
            yield _with_round(history, number, replace(one, acts=kept))
    for number, one in enumerate(history.rounds[:-1]):
        if not one.acts:
            following = history.rounds[number + 1]
            joined = Round(steps=one.steps + following.steps, acts=following.acts)
            yield replace(history, rounds=(*history.rounds[:number], joined, *history.rounds[number + 2 :]))
    tests = sorted({result.test for send in history.sends for result in send.results})
    for test in tests:
        if len(tests) > 1:
            yield _without_test(history, test)


def without(history: History, ids: set[int]) -> History:
    """Without these messages, and without acts that were about these alone."""
    rounds = []
    for one in history.rounds:
        acts = []
        for act in one.acts:
            left = tuple(ident for ident in act.of if ident not in ids)
            if left or not act.of:
                acts.append(Act(act=act.act, of=left))
        rounds.append(Round(steps=tuple(step for step in one.steps if step.id not in ids), acts=tuple(acts)))
    return replace(history, rounds=tuple(rounds))


def _with_round(history: History, number: int, changed: Round) -> History:
    return replace(history, rounds=(*history.rounds[:number], changed, *history.rounds[number + 1 :]))


def _without_test(history: History, test: str) -> History:
    gone: set[int] = set()
    rounds = []
    for one in history.rounds:
        steps: list[Step] = []
        for step in one.steps:
            left = _send_without(step, test) if isinstance(step, Send) else step
            if left is None:
                gone.add(step.id)
            else:
                steps.append(left)
        rounds.append(replace(one, steps=tuple(steps)))
    return without(replace(history, rounds=tuple(rounds)), gone)


def _send_without(send: Send, test: str) -> Send | None:
    groups = []
    for group in send.groups:
        results = tuple(result for result in group.results if result.test != test)
        if results:
            groups.append(replace(group, results=results))
    return replace(send, groups=tuple(groups)) if groups else None


def told(batch: Batch) -> Iterable[str]:
    """What happened, a line each."""
    for history in batch.histories:
        for one in history.rounds:
            for step in one.steps:
                yield from _told(history, step)
            for act in one.acts:
                yield f"act: {act.act} {' '.join(map(str, act.of))}"


def _told(history: History, step: Step) -> Iterator[str]:
    if isinstance(step, Rest):
        yield f"{step.id}: all is processed"
        return
    channel = f"{step.channel}/{history.channels[step.channel].protocol}"
    if isinstance(step, Ordering):
        lines = " ".join(f"{one.control} {one.placer} {one.test}{' stat' * one.stat}" for one in step.lines)
        yield f"{step.id}: channel {channel} person {step.person} ({step.number}) tube {step.tube} {lines}"
    elif isinstance(step, Asking):
        cut = "" if step.cut is None else f", cut at frame {step.cut}"
        yield f"{step.id}: channel {channel} asks for {' '.join(step.tubes) or 'all'}{cut}"
    else:
        for group in step.groups:
            said = " ".join(f"{result.test} {result.status} {result.value or '-'}" for result in group.results)
            who = f"person {group.results[0].person} ({group.number or 'no number'} {group.name or 'no name'})"
            yield f"{step.id}: channel {channel} control {step.control or '-'} {who} order {group.order} {said}"
