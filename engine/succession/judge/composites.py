"""A result is changed, and one that is computed from it stays: a person is asked (`engine.model.content.computed`).

Only results under the same order of the same person count, by the codes of tests as sent and as meant. Nothing is asked
where the message, or a correction since then, has the computed one anew.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from engine.model.content.computed import sources_of
from engine.model.content.quality_controls import spellings
from engine.model.texts.reasons import ReasonCode
from engine.succession.judge.words import Decision, Judgement, Said, Standing
from engine.succession.steps import CHANGES, GONE

_CHANGING = frozenset({"amends", "follows", "withdraws"})


def with_questions(
    judgement: Judgement, standing: Sequence[Standing], by_test: Mapping[str, frozenset[str]]
) -> Judgement:
    """The judgement, with a question in place of each change of a result that leaves a computed one behind.

    Args:
        by_test: what each test is made of, by code.
    """
    if not any(decision.kind in _CHANGING for decision in judgement.decisions):
        return judgement
    by_ref = {result.ref: result for result in standing}
    decisions = []
    for decision in judgement.decisions:
        before = by_ref.get(decision.meant) if decision.meant is not None and decision.kind in _CHANGING else None
        if before is not None and (tests := sorted(_left_behind(decision, judgement, before.last, standing, by_test))):
            decision = decision._replace(
                kind="held",
                reason=ReasonCode.COMPUTED_BEFORE.value,
                words=f"another result is computed from it, and stays as it was: {', '.join(tests)}",
                meant=None,
                may_mean=(before.ref,),
            )
        decisions.append(decision)
    return judgement._replace(decisions=tuple(decisions))


def _left_behind(
    decision: Decision,
    judgement: Judgement,
    before: Said,
    standing: Sequence[Standing],
    by_test: Mapping[str, frozenset[str]],
) -> Iterator[str]:
    """The computed tests that say what was computed from another value."""
    said = judgement.said[decision.place]
    is_changed = said.version.said in CHANGES or decision.kind == "amends"
    if not is_changed or (said.value == before.value and said.version.said not in GONE):
        return
    changing = [judgement.said[fresh.place] for fresh in judgement.decisions if fresh.kind not in ("echo", "again")]
    brought = {(result.person, result.number, result.test) for result in changing}
    codes = _codes(before) | _codes(said)
    for result in standing:
        last = result.last
        is_of_order = (last.person, last.number) == (before.person, before.number)
        is_newer = last.message > before.message and last.version.said in CHANGES
        is_out = is_newer or last.version.said in GONE or (said.person, said.number, last.test) in brought
        if is_of_order and not (is_out or codes.isdisjoint(sources_of(_codes(last), by_test))):
            yield last.test


def changes_source(judgement: Judgement, sources: Collection[str]) -> bool:
    """Whether a result is changed that others may be computed from: one of these codes."""
    changed = [judgement.said[decision.place] for decision in judgement.decisions if decision.kind in _CHANGING]
    return any(not _codes(result).isdisjoint(sources) for result in changed)


def _codes(result: Said) -> set[str]:
    return {*spellings(result.test), *(code.rpartition("|")[2] for code in result.codes)}
