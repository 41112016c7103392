"""A correction that moves an order to another patient: the first patient's result must not stay valid beside it.

The tube was labelled with the wrong name, and the sender corrects the result under the right one. The number of the
order is the same, the patient is not. Two patients may also share one number, so a person is asked (`ORDER_MOVED`):

    withdraw   the order was the first patient's by mistake: that result is withdrawn, and the new one sent, at once
    both       two patients have the number: the new one is sent, and the first stays
"""

import re
from collections.abc import Mapping

from engine.model.journal.hashes import unpack_reports
from engine.model.message import Report
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.succession.judge.words import Decision, Judgement, Ref, Said, Standing

ANSWERS = ("withdraw", "both")
_WHY = "it corrects an order that message {} reported of another patient"


def moves(judgement: Judgement) -> bool:
    return any(True for one in judgement.decisions if one.reason and _is_moved(one))


def _is_moved(one: Decision) -> bool:
    return one.kind == "held" and one.reason == ReasonCode.ORDER_MOVED.value


def is_answered(judgement: Judgement, compared: frozenset[int] | None) -> bool:
    """Whether a person has decided about the patients of these results, and not about others.

    Args:
        compared: the messages of those patients whom the person has compared; None: it does not matter.
    """
    found = {_newest(one) for one in judgement.decisions if _is_moved(one)}
    return bool(found) and (compared is None or found <= compared)


def answered(judgement: Judgement, standing: Mapping[Ref, Standing], answer: str) -> Judgement:
    """What is decided once a person has answered."""
    decisions, gone = [], [*judgement.gone]
    for one in judgement.decisions:
        if _is_moved(one):
            said = judgement.said[one.place]
            if answer == "withdraw":
                gone += [ref for ref in one.may_mean if _is_of(said, standing[ref])]
            one = Decision(one.place, "new", said.version.said, finding=ReasonCode.CORRECTS_UNKNOWN.value)
        decisions.append(one)
    return judgement._replace(decisions=tuple(decisions), gone=tuple(dict.fromkeys(gone)))


def _is_of(said: Said, one: Standing) -> bool:
    return (said.test, said.sub, said.organism) == (one.last.test, one.last.sub, one.last.organism)


def reports_of(batch: Batch, refs: tuple[Ref, ...], own: tuple[Report, ...]) -> tuple[Report, ...]:
    """The reports of other patients that these results are in: under these the journal knows the order, too."""
    keys = {one.key for one in own}
    known = {(one.key, one.patient) for one in own}
    found: dict[tuple[bytes, bytes], Report] = {}
    for message in {message for message, _ in refs}:
        for (packed,) in batch.execute("SELECT reports FROM document WHERE message_id = ?", (message,)).fetchall():
            found |= {(one.key, one.patient): one for one in unpack_reports(packed) if one.key in keys and one.patient}
    return tuple(one for named, one in found.items() if named not in known)


def why(decision: Decision) -> str:
    """Why a document is held."""
    return _WHY.format(_newest(decision))


def _newest(decision: Decision) -> int:
    return max(message for message, _ in decision.may_mean)


def taken_from(why: str) -> int:
    """The message of the other patient, in the reason of a held delivery; 0: it names none."""
    before, after = _WHY.split("{}")
    found = re.search(f"{before}([0-9]+){after}", why)
    return int(found[1]) if found else 0
