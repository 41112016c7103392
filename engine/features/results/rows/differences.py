"""Where the judge of facts decides otherwise than the comparing of documents: in codes, without anything of a patient.

    sent > held SAMPLE_UNKNOWN      the document goes out, and the judge would have asked a person
    held STATUS_BACK > echo         it waits, and the judge has found nothing new in it
    amends > sent                   a final result is changed, which the judge takes for another one

Whose a result is (`ReasonCode.IDENTITY_CONFLICT`, `ReasonCode.NUMBER_AGAIN`) is asked before either of them.
"""

from collections.abc import Iterator, Sequence

from engine.model.journal.document_facts import NOTHING
from engine.model.journal.records import Routed
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.recording import Recording
from engine.succession.hl7_statements import MEDIA_TYPE
from engine.succession.judge.words import Decision, Judgement

_WHOSE = frozenset({ReasonCode.IDENTITY_CONFLICT, ReasonCode.NUMBER_AGAIN})
_AGAIN = frozenset({"echo", "again", "filtered"})


def differences(now: Recording, judgement: Judgement) -> list[str]:
    """The codes of what differs; each once."""
    if now.reason in _WHOSE or any(one is not None and one.reason in _WHOSE for one in now.held):
        return []
    would = _would(judgement.decisions)
    return sorted({f"{one} > {would}" for one in _is(now) if _kind(one) != _kind(would)})


def _is(now: Recording) -> Iterator[str]:
    """What became of each document that is compared."""
    if now.state == "dead":
        yield f"dead {now.reason.value if now.reason is not None else ''}"
    elif now.state == "filtered":
        yield "echo"
    elif now.state == "mapped":
        for place, routed in enumerate(now.routes, start=1):
            if _is_compared(routed):
                why = now.held[place - 1] if place <= len(now.held) else None
                changed = (now.facts or {}).get(place, NOTHING).statuses
                amends = any(name.startswith("Observation/") for name in changed)
                sent = "amends" if amends else "sent"
                yield "echo" if routed.echo else f"held {why.reason.value}" if why is not None else sent


def _is_compared(routed: Routed) -> bool:
    is_decided = routed.form is not None or routed.document.media_type == MEDIA_TYPE
    return bool(routed.document.reports and routed.destinations) and not is_decided


def _would(decisions: Sequence[Decision]) -> str:
    for kind in ("dead", "held"):
        if (one := next((one for one in decisions if one.kind == kind), None)) is not None:
            return f"{kind} {one.reason}"
    if all(one.kind in _AGAIN for one in decisions):
        return "echo"
    return "amends" if any(one.kind == "amends" for one in decisions) else "sent"


def _kind(code: str) -> str:
    return code.partition(" ")[0]
