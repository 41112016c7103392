"""How a result follows those that were accepted for it before. Pure.

    echo       it says again what was sent: an analyzer sends its memory. The last word that one of several receivers
               refused is no echo: it goes out again, for that one does not have it
    again      it says again what is held, and was not sent
    plain      it goes out as it is
    amended    a final result that changes a final one: it goes out as ``amended``
    held       it would take something back: a person decides

*Accepted* is a version that waits, is being sent, was delivered, or is held. Statuses are those of FHIR R4
(Observation.status); HL7 table 0085 gives them.

    registered < preliminary, partial < final, unknown < amended, appended < corrected
"""

import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from engine.model.texts.reasons import ReasonCode

RANK = {
    "registered": 0,
    "preliminary": 1,
    "partial": 1,
    "final": 2,
    "unknown": 2,
    "amended": 3,
    "appended": 3,
    "corrected": 4,
}
WITHDRAWN = "entered-in-error"
CANCELLED = "cancelled"
CHANGES = frozenset({"corrected", "amended", "appended", WITHDRAWN})  # by these the sender itself says: I take it back
GONE = frozenset({WITHDRAWN, CANCELLED})
UNFINISHED = frozenset({"registered", "preliminary", "partial"})
MINUTE = len("2026-03-01T09:30")  # a day alone cannot distinguish a stored result from a second measurement
_ALIKE = (CHANGES, UNFINISHED, frozenset({CANCELLED}))
NO_VALUE = re.compile(r"[-*._?=~/]{2,}")  # what analyzers write where they have no value
FIRST_YEAR = 2001  # clocks that have lost their battery begin in 1970, 1980, 1990 or 2000
AHEAD = timedelta(minutes=15)  # a measurement cannot be later than its receipt; clocks differ by minutes


class Version(NamedTuple):
    """One version of a result.

    Attributes:
        status: as it goes out, or went out. said: as the sender gave it.
        whole: digest of the resource without its id, status and time of issue.
        time: ``effectiveDateTime`` as FHIR writes it; empty where the message gives none.
        has_value: it has a value, and not only a reason for its absence.
        waits: it is on hold, and no receiver has it.
        repeats: the sender marks it as sent before (ASTM E1394, R-9 is R).
        refused: receivers that refused it, or never got it.
        content: digest as ``whole``, used to compare results of a culture.
        issued: when its sender issued it, as FHIR writes it; empty if not known.
    """

    status: str
    said: str
    whole: bytes
    time: str = ""
    has_value: bool = True
    waits: bool = False
    repeats: bool = False
    refused: Collection[str] = ()
    content: bytes = b""
    issued: str = ""


class Step(NamedTuple):
    """The decision about a new version.

    Attributes:
        status: as it goes out; of a held result, once a person releases it.
        reason: why it is held, with ``words`` that name no value.
    """

    kind: Literal["echo", "again", "plain", "amended", "held"]
    status: str
    reason: ReasonCode | None = None
    words: str = ""


def follow(new: Version, accepted: Sequence[Version], received: datetime) -> Step:
    """Decide about ``new``, after the versions accepted before it, the oldest first.

    Args:
        received: when the message of ``new`` came in; aware.
    """
    return _once_released(_follow(new, accepted, received), new, accepted)


def _once_released(step: Step, new: Version, accepted: Sequence[Version]) -> Step:
    """A held step, with the status that it gets once a person releases it."""
    if step.kind == "held" and new.said == "final" and any(_is_changed_by(new, one) for one in accepted):
        return step._replace(status="amended")
    return step


def _is_changed_by(new: Version, one: Version) -> bool:
    """Whether a receiver has a finished version that ``new`` would change."""
    return not one.waits and RANK.get(one.said, 0) >= RANK["final"] and one.whole != new.whole


def _follow(new: Version, accepted: Sequence[Version], received: datetime) -> Step:
    if not accepted:
        return Step("plain", new.said)
    if (new.repeats or len(new.time) >= MINUTE) and (same := [one for one in accepted if _says_again(new, one)]):
        if all(one.waits for one in same) and not all(one.refused for one in same):
            return Step("again", new.said)
        sent = [one for one in accepted if not one.waits]
        if not sent:
            return _compared(new, accepted, received)
        last = sent[-1]
        # A memory of the runs before the last has their times; with one time for all it may be the newest word.
        if last not in same and _is_issued_later(new, last, received):
            if same[-1].waits:
                return Step("again", new.said)
            return _held(ReasonCode.STATUS_BACK, "an earlier result again, issued after the one that was accepted")
        if not (all(one.refused or one.waits for one in same) and last in same):
            return Step("echo", new.said)
    return _compared(new, accepted, received)


def _compared(new: Version, accepted: Sequence[Version], received: datetime) -> Step:
    if new.said == WITHDRAWN:
        return Step("plain", new.said)
    if new.repeats and all(one.whole != new.whole for one in accepted):
        return _held(ReasonCode.STATUS_BACK, "called sent before, and another result was accepted")
    sent = [one for one in accepted if not one.waits]
    held = [one for one in accepted if one.waits]
    current = sent[-1] if sent else None
    if any(one.said == WITHDRAWN for one in (*sent[-1:], *held)):
        return _held(ReasonCode.WITHDRAWN_BEFORE, "the result was withdrawn before")
    if any(one.has_value for one in (*sent[-1:], *held)) and (new.said == CANCELLED or not new.has_value):
        return _held(ReasonCode.VALUE_GONE, "a result without a value would take the place of one with a value")
    if current is not None and (why := _goes_back(new, current, received)):
        return why
    if any(RANK.get(new.said, 2) < RANK.get(one.said, 2) for one in held):
        return _held(ReasonCode.STATUS_BACK, f"{new.said} after a held result of a higher status")
    if current is None or new.said != "final":
        return Step("plain", new.said)
    if current.said in RANK and current.status in CHANGES:
        return Step("amended", "amended" if current.status == WITHDRAWN else current.status)
    # Behind a final one only a person lets another status go: the receiver has seen a final value that is changed.
    finals = [one for one in sent if RANK.get(one.said, 0) >= RANK["final"]]
    if finals and new.whole != (current if current in finals else finals[-1]).whole:
        return Step("amended", "amended")
    return Step("plain", new.said)


def _is_issued_later(new: Version, last: Version, received: datetime) -> bool:
    """Whether a version of no lower status than the last word has its time of measurement, and was issued after it."""
    ranks = RANK.get(new.said, -1), RANK.get(last.said, len(RANK))
    return ranks[0] >= ranks[1] and new.time == last.time and is_older(last.issued, new.issued, received)


def _says_again(new: Version, one: Version) -> bool:
    return new.whole == one.whole and new.said == one.said


def _goes_back(new: Version, current: Version, received: datetime) -> Step | None:
    if current.said in RANK:
        mine, theirs = RANK.get(new.said, 2), RANK[current.said]
        if mine < theirs:
            return _held(ReasonCode.STATUS_BACK, f"{new.said} after {current.said}")
        if mine > theirs:
            return None
    if new.said not in CHANGES and is_older(new.time, current.time, received):
        return _held(ReasonCode.OLDER_RESULT, "measured earlier than the result that was accepted")
    return None


def _held(reason: ReasonCode, words: str) -> Step:
    return Step("held", "", reason, words)


def is_older(new: str, old: str, received: datetime) -> bool:
    """Whether one time of measurement lies before another, compared at the coarser precision of the two.

    Never where one is absent or impossible: before 2001, or after the receipt.

    Args:
        new, old: FHIR dateTimes.
    """
    if not new or not old or _is_impossible(new, received) or _is_impossible(old, received):
        return False
    length = min(len(new), len(old))
    if length < 19:  # a year, a month or a day
        return new[:length] < old[:length]
    try:
        return datetime.fromisoformat(new) < datetime.fromisoformat(old)
    except (ValueError, TypeError):
        return False


def _is_impossible(text: str, received: datetime) -> bool:
    try:
        if int(text[:4]) < FIRST_YEAR:
            return True
        if len(text) < 19:
            return text[:10] > f"{received + timedelta(days=1):%Y-%m-%d}"[: len(text)]
        return datetime.fromisoformat(text) > received + AHEAD
    except (ValueError, TypeError):
        return True


def is_said(status: str, said: str) -> bool:
    """Whether a mapping says of a result what its sender says: that it is changed, not finished, or cannot be had.

    Args:
        status: of the sender, or as it was decided. said: of the mapping.
    """
    return not any(status in some and said not in some for some in _ALIKE)


def of_report(said: str, before: str, statuses: Sequence[str]) -> str:
    """The status of a report that has grown.

    Args:
        said: as the sender gives it now. before: as it went out last; empty for the first time.
        statuses: of the results that it lists, as they go out.
    """
    alive = [one for one in statuses if one != WITHDRAWN]
    if said == CANCELLED and before in RANK and any(one != CANCELLED for one in alive):
        said = before  # some of its tests cannot be done, and the others are valid
    if said not in RANK:
        return said
    if statuses and not alive:
        return WITHDRAWN
    if any(one in UNFINISHED for one in alive):
        finished = any(one not in UNFINISHED for one in alive)
        return "partial" if finished or RANK.get(before, 0) > RANK["partial"] else said
    if len(alive) < len(statuses) and RANK[said] >= RANK["final"]:
        return "corrected"
    for changed in ("corrected", "amended"):
        if changed in statuses or changed in (before, said):
            return changed
    return before if RANK.get(before, 0) > RANK[said] else said
