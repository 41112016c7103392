"""Which results of a message repeat accepted ones, as its worklist is to know them: by the codes of their tests."""

from collections.abc import Collection, Iterable, Sequence

from engine.features.results.rows.judged import Judged
from engine.model.content.order_results import TubeResults
from engine.model.journal.records import Routed
from engine.model.values import changed


def with_repeats(tubes: Iterable[TubeResults], sent: Sequence[Routed], judged: Judged | None) -> list[TubeResults]:
    """The results, each with whether it `repeats` one that a destination has accepted.

    Args:
        sent: the documents, after their comparison.
    """
    if any(routed.echo for routed in sent):  # nothing of the message is new to this destination
        return [_marked(tube, None) for tube in tubes]
    codes = set() if judged is None else judged.repeated()
    return [_marked(tube, codes) for tube in tubes] if codes else list(tubes)


def _marked(tube: TubeResults, codes: Collection[str] | None) -> TubeResults:
    """Args: codes: of the results that repeat; None: all do."""
    tests = tuple(
        changed(one, repeats=codes is None or one.code in codes or (one.test != "" and one.test in codes))
        for one in tube.tests
    )
    return changed(tube, tests=tests)
