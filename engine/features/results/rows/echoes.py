"""Which results of a message repeat accepted ones, as its worklist is to know them: by the codes of their tests."""

from collections.abc import Iterable, Mapping, Sequence

from engine.model.content.order_results import TubeResults
from engine.model.journal.document_facts import DocumentFacts
from engine.model.journal.records import Routed
from engine.model.values import changed
from engine.store.core.writing.batch import Batch
from engine.succession.kinds import open_of
from engine.succession.statements import under


def with_repeats(
    batch: Batch,
    tubes: Iterable[TubeResults],
    made: Sequence[Routed],
    sent: Sequence[Routed],
    facts: Mapping[int, DocumentFacts],
) -> list[TubeResults]:
    """The results, each with whether it `repeats` one that a destination has accepted.

    Args:
        made: the documents of the mapping. sent: after their comparison, which gave ``facts``, by place from 1.
    """
    codes: set[str] = set()
    for place, routed in enumerate(made, start=1):
        if sent[place - 1].echo:  # nothing of the message is new to this destination
            return [_marked(tube, None) for tube in tubes]
        if place in facts and facts[place].echoes:
            codes |= _repeated(batch, routed, facts[place])
    return [_marked(tube, codes) for tube in tubes] if codes else list(tubes)


def _marked(tube: TubeResults, codes: set[str] | None) -> TubeResults:
    """Args: codes: of the results that repeat; None: all do."""
    tests = tuple(
        changed(one, repeats=codes is None or one.code in codes or one.test in codes - {""}) for one in tube.tests
    )
    return changed(tube, tests=tests)


def _repeated(batch: Batch, routed: Routed, facts: DocumentFacts) -> set[str]:
    """The codes of tests whose results are all echoes."""
    try:
        found = open_of(routed.document, routed.form, batch.zone)
    except ValueError:
        return set()
    again: set[str] = set()
    new: set[str] = set()
    for one in found.resources if found is not None else ():
        if one.kind in ("Observation", "Result"):
            codes = {code.partition("|")[2] for code in one.codes}
            (again if under(one.name, facts.corrects) in facts.echoes else new).update(codes)
    return again - new
