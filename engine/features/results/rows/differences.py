"""Where the judge of facts decides otherwise than the comparing of documents: in codes, without anything of a patient.

    sent > held SAMPLE_UNKNOWN      the document goes out, and the judge would have asked a person
    held STATUS_BACK > echo         ... the other way round

Whose a result is (`ReasonCode.IDENTITY_CONFLICT`, `ReasonCode.NUMBER_AGAIN`) is asked before either of them.
"""

from collections.abc import Iterator, Sequence

from engine.model.journal.records import Routed
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.recording import Recording
from engine.succession.judge.words import Decision, Judgement

_WHOSE = frozenset({ReasonCode.IDENTITY_CONFLICT, ReasonCode.NUMBER_AGAIN})
_AGAIN = frozenset({"echo", "again", "filtered"})


def differences(now: Recording, judgement: Judgement) -> list[str]:
    """The codes of what differs; each once."""
    if now.reason in _WHOSE or any(one is not None and one.reason in _WHOSE for one in now.held):
        return []
    would = _would(judgement.decisions)
    return sorted({f"{one} > {would}" for one in _is(now) if one.split(" ")[0] != would.split(" ")[0]})


def _is(now: Recording) -> Iterator[str]:
    """What became of each document that is compared."""
    if now.state == "dead":
        yield f"dead {now.reason.value if now.reason is not None else ''}"
    elif now.state == "filtered":
        yield "echo"
    elif now.state == "mapped":
        for place, routed in enumerate(now.routes):
            if _is_compared(routed):
                why = now.held[place] if place < len(now.held) else None
                yield "echo" if routed.echo else f"held {why.reason.value}" if why is not None else "sent"


def _is_compared(routed: Routed) -> bool:
    return bool(routed.document.reports and routed.destinations)


def _would(decisions: Sequence[Decision]) -> str:
    for kind in ("dead", "held"):
        if (one := next((one for one in decisions if one.kind == kind), None)) is not None:
            return f"{kind} {one.reason}"
    return "echo" if all(one.kind in _AGAIN for one in decisions) else "sent"
