"""The usual message: nothing is known of its orders, and no rule has a word about any of its results. Each of them is
new. It is the judgement of `engine.succession.judge.judging`, found without making what that one compares.
"""

from collections.abc import Iterator
from functools import lru_cache

from engine.model.content.facts import Facts, Result
from engine.succession.critical import is_critical
from engine.succession.judge.cultures import organism_of
from engine.succession.judge.reading import NO_RESULT, STATUS_ONLY, Times, drawn_of, key_of
from engine.succession.judge.roles import is_of_controls
from engine.succession.judge.words import Critical, Decision, Judgement, Receipt
from engine.succession.steps import CHANGES


def usual(facts: Facts, receipt: Receipt) -> Judgement | None:
    """The judgement, without what the results say; None: rules have to be asked."""
    if is_of_controls(facts):
        return None
    decisions: list[Decision] = []
    critical: list[Critical] = []
    named: set[tuple[str, str, str]] = set()
    times = Times(receipt)
    for number, result in _numbered(facts, receipt):
        measure = result.measure
        state = measure.state or "unknown"
        if number is None or state in CHANGES or measure.status == STATUS_ONLY:
            return None
        name = number, measure.test or "", measure.sub or ""
        if name in named or organism_of(result, ()) or times.are_wrong(result):
            return None
        named.add(name)
        decisions.append(_new(result.place, state))
        if is_critical(result):
            critical.append(Critical((receipt.message, result.place), begins=True))
    decisions.sort()
    return Judgement(tuple(decisions), {}, (), tuple(critical))


def _numbered(facts: Facts, receipt: Receipt) -> Iterator[tuple[str | None, Result]]:
    """Each result with the number of its order; with none where it may be of no patient, belongs to another one, or
    its clock is wrong."""
    for person in facts.people:
        whose = key_of(person)
        for order in person.orders:
            tubes: dict[str | None, str | None] = {}
            for result in order.results:
                if result.head is not None:
                    yield None, result
                if result.kind in NO_RESULT:
                    continue
                if result.tube not in tubes:
                    drawn = drawn_of(whose, order, result, receipt)
                    tubes[result.tube] = drawn.number if drawn.role == "patient" and not drawn.unsure else None
                yield tubes[result.tube], result


@lru_cache(maxsize=4096)
def _new(place: int, state: str) -> Decision:
    return Decision(place, "new", state)
