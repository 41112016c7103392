"""Which standing result a new one is a later word of (rules 7 to 11)."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from engine.succession.judge.samples import Sample, at_same_time, compare, instant, is_another_order, is_over_night
from engine.succession.judge.words import Receipt, Said, Standing
from engine.succession.steps import UNFINISHED

UNEVEN = "it is a run more, or less, than before"
_SECOND = re.compile(r"\d{4}-?\d\d-?\d\d[T ]?\d\d:?\d\d:?\d\d")
SAMPLE = "SAMPLE_UNKNOWN"  # a rerun of a sample, or another sample: nothing says which


class Match(NamedTuple):
    """Attributes:
    one: the result that it is a later word of; None: it is the first word of its own.
    among: results of which nothing says which one it is; then it is held, for the reason in ``words``.
    """

    one: Standing | None = None
    among: tuple[Standing, ...] = ()
    words: str = ""


def with_key(new: Said, standing: Sequence[Standing], receipt: Receipt) -> list[Standing]:
    """What is known under the key of a new result, of its channel. One without a patient may be of each."""
    return [one for one in standing if new.number and has_key(new, one.last, receipt)]


def has_key(new: Said, one: Said, receipt: Receipt) -> bool:
    """Whether both are of one order, test and channel, as far as they name a patient of one, too."""
    mine, theirs = new.key, one.key
    return mine[1:] == theirs[1:] and is_person(new, one) and (receipt.of_site or new.channel == one.channel)


def is_person(new: Said, one: Said) -> bool:
    """Whether nothing says that the two are of different patients."""
    return new.person == one.person or not (new.person and one.person)


def match(new: Said, left: int, runs: int, found: Sequence[Standing], receipt: Receipt) -> Match:
    """The result that a new one, which takes nothing back, is a later word of.

    Args:
        left: of the ``runs`` of its message, which are of its key and sample, those from this one on.
        found: what is known under its key.
    """
    undated = tuple(one for one in found if one.last.unsure and one.last.version.said not in UNFINISHED)
    if undated and not new.unsure:
        return Match(among=undated, words="the result before it has no time, for its clock was wrong")
    night = tuple(one for one in found if is_over_night(new, one.last, receipt))
    found = [one for one in found if not is_another_order(new, one.last, receipt)]
    samples = [(one, compare(new, one.last, receipt)) for one in found]
    beside = [one for one, how in samples if how is Sample.OTHER and at_same_time(new, one.last)]
    if beside:
        return Match(among=tuple(beside), words="another sample, measured in the same minute")
    same = [
        one for one, how in samples if how is Sample.SAME and (_is_drawn(new) or _may_be_one(new, one.last, receipt))
    ]
    same = same or [one for one, how in samples if how is Sample.UNKNOWN and _may_be_one(new, one.last, receipt)]
    if not same and night:
        return Match(among=night, words="measured after midnight, under the number of the day before")
    if not same:
        doubtful = tuple(one for one, how in samples if how is Sample.DOUBTFUL)
        return Match(among=doubtful, words="a rerun, or another sample" if doubtful else "")
    if runs > 1 and same and left != len(same):
        return Match(among=tuple(same), words=UNEVEN)
    if left == len(same):
        same = same[:1]  # runs of one message, in its order
    if len(same) > 1:
        same = [one for one in same if at_same_time(new, one.last)] or same
    if len(same) > 1:
        return Match(among=tuple(same), words="several results may be meant")
    return _named_alike(new, same[0])


def _is_drawn(new: Said) -> bool:
    """Whether it says of which tube it is: by the tube's number, or by a time that is not that of its run."""
    return bool(new.tube) or instant(new.collected) != instant(new.version.time)


def _may_be_one(new: Said, one: Said, receipt: Receipt) -> bool:
    """Whether a number alone, without a patient or a sample, says that two results are of one: not where it is given
    again on one day, but for what was not finished, and what was measured in one second."""
    if new.person or one.person or receipt.unique or receipt.of_a_day:
        return True
    if one.version.said in UNFINISHED:
        return True
    return at_same_time(new, one) and _SECOND.match(new.stated) is not None


def _named_alike(new: Said, one: Standing) -> Match:
    """A result that lacks the patient of the other: a word of it only where it is that measurement, and names him."""
    if new.person == one.last.person:
        return Match(one)
    if new.person and at_same_time(new, one.last) and new.value == one.last.value:
        return Match(one)
    return Match(among=(one,), words="one of the two names no patient")
