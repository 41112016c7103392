"""What takes something back must take something (rule 3): where to look, in circles, the narrowest first."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from engine.model.texts.reasons import ReasonCode
from engine.succession.judge.matching import is_person
from engine.succession.judge.rejected import plain
from engine.succession.judge.samples import (
    NEAR,
    Sample,
    at_same_time,
    compare,
    is_named_otherwise,
    is_near,
    is_of_other_material,
    is_within,
)
from engine.succession.judge.words import Decision, Receipt, Ref, Said, Standing
from engine.succession.steps import CANCELLED, WITHDRAWN


class Found(NamedTuple):
    """Attributes:
    one: what is taken back; None: a person is asked, or nothing is known.
    may_mean: what a person has to look at. words: why.
    moved: the order is another patient's.
    """

    one: Standing | None = None
    may_mean: tuple[Standing, ...] = ()
    words: str = ""
    moved: bool = False


def find(
    new: Said,
    left: int,
    alike: Sequence[Standing],
    standing: Sequence[Standing],
    asides: Collection[str],
    taken: Collection[Ref],
    receipt: Receipt,
) -> Found:
    """What a correction or a withdrawal takes back.

    Args:
        left: how many of its message with its key take something back, with this one and without those before it.
        alike: what is known of its test, of all channels. standing: of its order or person, whatever test.
        asides: as of `is_aside`: what waits for these is not taken back.
        taken: what another result of its message is a later word of.
    """
    if not new.number:
        return Found(words="it names no order")
    mine = [one for one in _of_order_and_person(new, alike, receipt) if not is_aside(one, *asides)]
    for is_done, circle in _CIRCLES if mine else ():
        found = [one for one in mine if circle(new, one.last, receipt)]
        if found and (one := _in_circle(new, left, found, taken, receipt, is_done=is_done)):
            return one
    order = [one for one in standing if is_of_order(new, one.last, receipt) and not is_aside(one, *asides)]
    mine = [one for one in order if is_person(new, one.last)]
    if not mine:
        near = tuple(one for one in order if _is_alive(one) and (receipt.unique or is_near(new, one.last)))
        return Found(may_mean=near, words="the order is another patient's", moved=True) if near else Found()
    if theirs := _of_anothers(new, order, receipt):
        return Found(may_mean=theirs, words="the order is another patient's, too", moved=True)
    if one := _in_circle(new, left, mine, taken, receipt, is_done=False):
        return one
    known = tuple(one for one in mine if one.last.version.said != CANCELLED)
    return Found(may_mean=known, words="none of the order's results fits") if known else Found()


def _in_circle(
    new: Said, left: int, found: Sequence[Standing], taken: Collection[Ref], receipt: Receipt, *, is_done: bool
) -> Found | None:
    """What it takes back of these; None: nothing of them."""
    found = [one for one in found if _is_alive(one)] or [one for one in found if is_done and _is_again(new, one)]
    free = [one for one in found if one.ref not in taken]
    if found and not free and is_done:
        return Found(may_mean=tuple(found), words="two of its message are about one result")
    if len(free) > 1:
        free = _closest(new, free, receipt)
    if is_done and left == len(free):
        free = free[:1]  # runs of one message, in its order
    return _taken(new, free, is_done=is_done) if free else None


def _of_order_and_person(new: Said, some: Sequence[Standing], receipt: Receipt) -> list[Standing]:
    return [
        one
        for one in some
        if is_of_order(new, one.last, receipt) and is_person(new, one.last) and not is_of_other_material(new, one.last)
    ]


def _of_anothers(new: Said, order: Sequence[Standing], receipt: Receipt) -> tuple[Standing, ...]:
    """What another patient has of the same order and test."""
    return tuple(
        one
        for one in order
        if not is_person(new, one.last) and _is_alive(one) and new.test == one.last.test
        and (receipt.unique or is_near(new, one.last))
    )  # fmt: skip


def in_place(new: Said, alike: Sequence[Standing], receipt: Receipt) -> list[Standing]:
    """What is known in the place of a result: the first circle, or the second."""
    mine = _of_order_and_person(new, alike, receipt)
    found = [one for one in mine if _in_place(new, one.last, receipt)]
    return found or [one for one in mine if _in_other_panel(new, one.last, receipt)]


def is_of_order(new: Said, one: Said, receipt: Receipt) -> bool:
    """Whether both name one order: its number, or one of its numbers, which was not given again since."""
    if receipt.unique and not is_within(new, one, receipt.reused):
        return False
    return not new.numbers.isdisjoint(one.numbers) or new.number == one.number


def _taken(new: Said, found: Sequence[Standing], *, is_done: bool) -> Found:
    several = len(found) > 1
    if not is_done or several:
        words = "several results may be meant" if several else "one of another day, channel or test may be meant"
        return Found(may_mean=tuple(found), words=words)
    (one,) = found
    if new.version.said == WITHDRAWN and _is_alive(one) and not _repeats(new, one):
        return Found(may_mean=(one,), words="it withdraws another value than the one that was accepted")
    return Found(one)


def _repeats(new: Said, one: Standing) -> bool:
    """Whether a withdrawal has no value, or that of the last word, or of one that waits."""
    said = plain(new.value)
    waiting = [word.value for word in one.words if word.version.waits]
    return not said or said in map(plain, (one.last.value, *waiting))


def _is_again(new: Said, one: Standing) -> bool:
    """Of what is withdrawn already: whether it is corrected after that, or withdrawn once more."""
    said = plain(new.value)
    return new.version.said != WITHDRAWN or not said or said in [plain(word.value) for word in one.words]


def _closest(new: Said, found: list[Standing], receipt: Receipt) -> list[Standing]:
    """Of several, those of the same sample, measured in the same minute, of the same patient: as far as they tell."""
    tells: tuple[Callable[[Said], bool], ...] = (
        lambda one: not is_named_otherwise(new, one),
        lambda one: compare(new, one, receipt) is Sample.SAME,
        lambda one: at_same_time(new, one),
    )
    for is_it in tells:
        found = [one for one in found if is_it(one.last)] or found
    return found


# -- circles -----------------------------------------------------------------------------------------------------------


def _in_place(new: Said, one: Said, receipt: Receipt) -> bool:
    return new.panel == one.panel and _in_other_panel(new, one, receipt) and is_person(new, one)


def _in_other_panel(new: Said, one: Said, receipt: Receipt) -> bool:
    if not _of_other_day(new, one, receipt):
        return False
    how = compare(new, one, receipt)
    span = receipt.reused if receipt.unique else NEAR
    return how is Sample.SAME or (how in (Sample.UNKNOWN, Sample.DOUBTFUL) and is_within(new, one, span))


def _of_other_day(new: Said, one: Said, receipt: Receipt) -> bool:
    own = receipt.of_site or new.channel == one.channel
    same = (new.test, new.sub, new.organism) == (one.test, one.sub, one.organism)
    # a susceptibility alone does not say of which isolate it is
    alone = bool(one.organism) and not new.organism and not one.isolate and new.test == one.test
    return own and (same or alone)


def _of_other_channel(new: Said, one: Said, receipt: Receipt) -> bool:
    return new.test == one.test


_CIRCLES: tuple[tuple[bool, Callable[[Said, Said, Receipt], bool]], ...] = (
    (True, _in_place),
    (True, _in_other_panel),
    (False, _of_other_day),
    (False, _of_other_channel),
)


def _is_alive(one: Standing) -> bool:
    return one.last.version.said not in (WITHDRAWN, CANCELLED)


def in_its_time(decision: Decision, known: Mapping[Ref, Standing], later: tuple[int, int]) -> Decision:
    """Of a message that another machine received, and that came in late: it replaces no result received since.

    Args:
        later: as `Receipt.later`.
    """
    meant = known.get(decision.meant) if decision.meant is not None else None
    if meant is None or decision.kind not in ("follows", "amends", "finishes", "withdraws"):
        return decision
    if not any(later[0] < word.message <= later[1] for word in meant.words):
        return decision
    words = "received earlier, by another machine, than the result that was accepted"
    return decision._replace(kind="held", reason=ReasonCode.OLDER_RESULT.value, words=words)


def is_aside(one: Standing, *reasons: str) -> bool:
    """Whether all that is known of a result waits for a person, so that another word needs not wait: for one of
    ``reasons``, or it is a withdrawal of it is not known what."""
    return all(word.doubt in reasons or (word.doubt and word.version.said == WITHDRAWN) for word in one.words)
