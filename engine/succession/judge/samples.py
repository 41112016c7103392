"""Whether two results of one order and test are of one sample (rules 8 and 9).

A tolerance test, troponin at 0 and 3 hours, a cortisol day curve, peak and trough: one order, several tubes, and all
are right. A rerun is of the same tube: only the last is right. They differ in when the tube was drawn.

    both name a tube                another number: another sample; one of several: nothing is known, a person is asked
    both have a time of collection  more than ten minutes apart: another sample
    both name a material            another one: a person is asked, for receivers may go by order and test alone
    a channel names a test anew     nothing else parts them: a person is asked (glucose of 0 and 2 hours under one code)
    else                            nothing is known

Many analyzers write into OBR-7 or O-8 when they began to measure. Such a time is taken for a collection only where it
is earlier than the measurement in both results. And where it is earlier by the same span in both, to the minute, it
may be how long a run takes: `DOUBTFUL`, a person is asked.
"""

from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache

from engine.succession.judge.cultures import is_no_growth
from engine.succession.judge.words import Receipt, Said
from engine.succession.steps import MINUTE, UNFINISHED

SAME = timedelta(minutes=10)  # clocks of a ward and an analyzer, and hands that write
RUN = timedelta(minutes=1)
NEAR = timedelta(hours=36)  # a correction, and what was not finished, comes on the next day
GROWS = timedelta(days=21)
NIGHT = timedelta(hours=6)
_LONGEST_RUN = timedelta(hours=3)
SEVERAL = "\x1f"  # between the numbers of tubes of which one was measured


class Sample(Enum):
    SAME = "same"
    OTHER = "other"
    DOUBTFUL = "doubtful"
    UNKNOWN = "unknown"


def is_other(new: Said, one: Said, receipt: Receipt) -> bool:
    """Whether ``new`` is of another sample than ``one``, or of another material or test."""
    how = _by_tube_and_time(new, one, receipt)
    is_of_other_test = how is Sample.UNKNOWN and is_named_otherwise(new, one)
    return how is Sample.OTHER or is_of_other_material(new, one) or is_of_other_test


def is_of_other_material(new: Said, one: Said) -> bool:
    """Whether both name a material, and not the same: serum and urine."""
    return new.material != one.material and bool(new.material and one.material)


def compare(new: Said, one: Said, receipt: Receipt) -> Sample:
    """Whether ``new`` is of the sample of ``one``."""
    how = _by_tube_and_time(new, one, receipt)
    if how is Sample.UNKNOWN and is_named_otherwise(new, one):
        return Sample.DOUBTFUL
    return Sample.DOUBTFUL if how is not Sample.OTHER and is_of_other_material(new, one) else how


def is_named_otherwise(new: Said, one: Said) -> bool:
    """Whether a channel names two tests under one code: glucose fasting, and after two hours."""
    return new.name != one.name and bool(new.name and one.name) and new.channel == one.channel


def _by_tube_and_time(new: Said, one: Said, receipt: Receipt) -> Sample:
    if is_of_other_tube(new, one):
        return Sample.OTHER
    if new.tube and one.tube and new.tube != one.tube:
        return Sample.DOUBTFUL
    if receipt.runs_apart and not new.organism and new.version.time != one.version.time:
        return Sample.OTHER
    if new.collected == one.collected and len(new.collected) >= MINUTE:
        return Sample.SAME  # whatever it means: when it was drawn, or when its run began
    mine, theirs = _collected(new, receipt), _collected(one, receipt)
    if mine is None or theirs is None:
        return Sample.SAME if new.tube and new.tube == one.tube else Sample.UNKNOWN
    if abs(mine - theirs) <= SAME:
        return Sample.SAME
    if new.organism:
        return Sample.UNKNOWN  # a culture is no series
    if new.tube and one.tube:  # one tube was drawn once
        return Sample.DOUBTFUL
    return Sample.DOUBTFUL if receipt.collection is None and _may_be_runs(new, one, mine, theirs) else Sample.OTHER


def is_of_other_tube(new: Said, one: Said) -> bool:
    """Whether both name tubes, and none in common."""
    if not (new.tube and one.tube) or new.tube == one.tube:
        return False
    return {*new.tube.split(SEVERAL)}.isdisjoint(one.tube.split(SEVERAL))


def _may_be_runs(new: Said, one: Said, mine: datetime, theirs: datetime) -> bool:
    spans = [at - drawn for at, drawn in ((instant(new.version.time), mine), (instant(one.version.time), theirs)) if at]
    return len(spans) == 2 and abs(spans[0] - spans[1]) <= RUN and max(spans) <= _LONGEST_RUN


def _collected(said: Said, receipt: Receipt) -> datetime | None:
    """When the sample was drawn, where the message says so."""
    drawn, measured = instant(said.collected), instant(said.version.time)
    if drawn is None or said.unsure or receipt.collection is False:
        return None
    if receipt.collection:
        return drawn
    return drawn if measured is not None and drawn < measured else None


def is_near(new: Said, one: Said) -> bool:
    """Whether both were measured within a day and a half; True where a time is absent."""
    return is_within(new, one, NEAR)


def is_within(new: Said, one: Said, span: timedelta) -> bool:
    mine, theirs = (instant(said.version.time) or instant(said.collected) for said in (new, one))
    return mine is None or theirs is None or abs(mine - theirs) <= span


def is_another_order(new: Said, one: Said, receipt: Receipt) -> bool:
    """Whether the number may have been given again: on another day, where numbers are counters.

    What is not finished is so on the day after, too; a culture grows for weeks.
    """
    if any(said.organism or is_no_growth(said.value) for said in (new, one)):
        return not is_within(new, one, GROWS)
    if receipt.unique:
        return not is_within(new, one, receipt.reused)
    if compare(new, one, receipt) is Sample.SAME:
        return False
    if one.version.said in UNFINISHED:
        return not is_near(new, one)
    days = [(said.collected or said.version.time)[:10] for said in (new, one)]
    return all(days) and days[0] != days[1]


def is_over_night(new: Said, one: Said, receipt: Receipt) -> bool:
    """Whether the number is of another day only because it is after midnight: of a named patient, within some hours."""
    mine, theirs = instant(new.version.time), instant(one.version.time)
    if not (new.person and mine and theirs and is_another_order(new, one, receipt)):
        return False
    is_told = is_of_other_material(new, one) or _by_tube_and_time(new, one, receipt) is not Sample.UNKNOWN
    return not is_told and abs(mine - theirs) <= NIGHT


def at_same_time(new: Said, one: Said) -> bool:
    """Whether both were measured in one minute."""
    mine, theirs = new.version.time, one.version.time
    return len(mine) >= MINUTE and len(theirs) >= MINUTE and instant(mine) == instant(theirs)


@lru_cache(maxsize=4096)
def instant(text: str) -> datetime | None:
    """A FHIR dateTime with its minute; None: it has none."""
    if len(text) < MINUTE:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
