"""The usual message: nothing is known of its orders, and no rule has a word about any of its results. Each of them is
new. It is the judgement of `engine.succession.judge.judging`, found without making what that one compares.
"""

from functools import lru_cache

from engine.model.content.facts import Facts, Order, Result
from engine.succession.judge.cultures import organism_of
from engine.succession.judge.reading import NO_RESULT, STATUS_ONLY, Times, drawn_of, key_of
from engine.succession.judge.roles import is_of_controls
from engine.succession.judge.words import Decision, Judgement, Receipt
from engine.succession.steps import CHANGES


def usual(facts: Facts, receipt: Receipt) -> Judgement | None:
    """The judgement, without what the results say; None: rules have to be asked."""
    if is_of_controls(facts):
        return None
    decisions: list[Decision] = []
    named: set[tuple[str, str, str]] = set()
    times = Times(receipt.received)
    right: set[str | None] = set()  # times that are not wrong
    for person in facts.people:
        whose = key_of(person)
        for order in person.orders:
            tubes: dict[str | None, str | None] = {}
            for result in order.results:
                if result.head is not None:  # it belongs to another one
                    return None
                if result.kind in NO_RESULT:
                    continue
                if (tube := result.tube) not in tubes:
                    tubes[tube] = _number(whose, order, result, receipt)
                number, measure, at = tubes[tube], result.measure, result.at or result.stated
                if number is None or measure.status == STATUS_ONLY or organism_of(result, ()):
                    return None
                if at not in right:
                    if times.are_wrong(result):
                        return None
                    right.add(at)
                state = measure.state or "unknown"
                if state in CHANGES:
                    return None
                named.add((number, measure.test or "", measure.sub or ""))
                decisions.append(_new(result.place, state))
    if len(named) < len(decisions):  # two have one name
        return None
    decisions.sort()
    return Judgement(tuple(decisions), {})


def _number(whose: str, order: Order, result: Result, receipt: Receipt) -> str | None:
    """The number of its order; None where it may be of no patient, or its clock is wrong."""
    drawn = drawn_of(whose, order, result, receipt)
    return drawn.number if drawn.role == "patient" and not drawn.unsure else None


@lru_cache(maxsize=4096)
def _new(place: int, state: str) -> Decision:
    return Decision(place, "new", state)
