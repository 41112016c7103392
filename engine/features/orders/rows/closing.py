"""Results close items, and time does.

A result closes only the item of its own test: of the same specimen number, exactly, and of the same patient, where it
names one. The item was ordered before the result came, so a message that is processed again closes no rerun, and no
order of the next patient. Nor does an old result that an analyzer sends again as a new message, from its memory:

    measured clearly before the order came, by its own time (`CLOCK_US`)    it is of no such order
    the same, and no time ties it to the result of the order before         it is of none, and a person matches it
    before the order came, not newer than that result (without a patient)   it is of the order before
    after the order came, by a clock that the older result shows ahead      the same time: of the order before; an older
                                                                            one: of none, and a person matches it
    accepted before, unchanged (an echo)                                    it closes no order that is open

An order that says when its specimen was collected may be of a tube that was measured before the order came: a test
that is added on. Then that time counts, but never for a rerun. A result that names the order by its number (IHE LAW)
is of that order, by any clock. One that names an order which this channel was given for another tube says two things
at once: it is of none, and a person has to look.

A result of which the analyzer says that it ordered the test itself has an item of its own, where no order asks for it
(`engine.features.orders.rows.matching`).

A final result closes its item; a preliminary one says that it is in progress. A result whose message is held does so
when it is released (`engine.features.orders.rows.holding`). A result that comes after its order was given up is
noted as late; it is delivered all the same.

A correction is of an order that has its result, and closes no open one beside it, as that of a rerun. It does where it
names that one, or was measured after the result by the clock of the same analyzer, which then sends the rerun so. A
result that is taken back, or that cannot be obtained after all, opens the order that it has closed.

Where an item was sent to the channel of the result, the code under which it was sent counts, not a table that was
changed since. Where items of several orders ask for the same test, those that the channel was answered with are closed;
where it was answered with none, all are.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from engine.features.orders.rows import holding, items, matching
from engine.features.orders.rows.items import OPEN, Kept
from engine.features.orders.rows.matching import note_without
from engine.features.orders.rules.order_rules import ItemEvent
from engine.model.orders import MOST_OF_TUBE, ItemReason, ItemState, code_alone, item_number
from engine.model.process.clock import to_us
from engine.model.worklist import DAY_US, ResultOf
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

FORGOTTEN_US = 30 * DAY_US  # how long after its time an item waits for an analyzer that has it
EXPIRED_AT_ONCE = 500
CLOCK_US = 75 * 60_000_000  # an analyzer's clock is wrong by so much: by minutes, and the hour of daylight saving
_IS_PAST = f"own_us <= at_us + {CLOCK_US}"  # a result of the future says nothing of when it was measured

_WITH_ANALYZER = frozenset({ItemState.OFFERED, ItemState.ACCEPTED, ItemState.IN_PROGRESS, ItemState.CANCEL_PENDING})
_GIVEN_UP = frozenset({ItemState.CANCELLED, ItemState.EXPIRED, ItemState.SUPERSEDED, ItemState.REFUSED})


@operation(priority=Priority.SETTLE)
def result(
    batch: Batch,
    message_id: int,
    channel: str,
    specimen: str,
    patient_number: str,
    tests: Sequence[ResultOf],
    names: frozenset[str] = frozenset(),
    *,
    edited_from: int | None = None,
    control: bool = False,
    redundant: bool = False,
    held: bool = False,
    again: bool = False,
) -> list[tuple[int, bool]]:
    """Close the items that a result message answers; return (item, whether it is late) of all that it is about.

    Results that are of no item are noted (`note_without`).

    Args:
        edited_from: the message that brought the results, where a person has edited it.
        control: the specimen is a control material, which has no orders.
        specimen, patient_number: as the message has them; empty: it has none. Without a specimen no item is found.
        names: the groups that the channel is of, as in `engine.model.worklist.AskSettings`.
        redundant: a final result takes back what other analyzers have for the same test.
        held: the message waits for a person. again: it is processed anew; it is of the orders that it was of before.
    """
    if not specimen or not tests:
        return []
    results = Results(
        batch, message_id, channel, specimen, patient_number, names, came=edited_from or message_id, again=again
    )
    found: dict[int, bool] = {}
    without: list[ResultOf] = []
    older = False
    for each in sorted(tests, key=lambda one: not one.withdrawn):  # a value beside a withdrawal takes its place
        meant = results.of(each)
        if not meant and not control and results.is_self_made(each):
            parent = results.parent_of(each)
            one = matching.make(batch, message_id, channel, specimen, patient_number, each, parent)
            results.add(one)
            meant = [one]
        if all(one.made and not one.parent for one in meant):
            without.append(each)
            older = older or results.is_older(each)
        for one in meant:
            if _takes_back(each, one):
                found.setdefault(one.number, False)
                if not each.repeats and (one.state is ItemState.RESULTED or one.reason is ItemReason.RESULT_HELD):
                    _take_back(batch, one, message_id, channel, held=held)
                continue
            if one.state is ItemState.RESULTED:
                results.note_time(one, each.own_us)
            if held:
                cause = holding.PRELIMINARY if not each.final else holding.REDUNDANT if redundant else ""
                holding.hold(batch, one, message_id=message_id, channel=channel, cause=cause, own_us=each.own_us)
                found.setdefault(one.number, False)
                continue
            is_own = each.final and patient_number and one.line.patient.number
            more: dict[str, Any] = {"message_id": message_id, "channel": channel, "own_us": each.own_us}
            if is_own and holding.note_in_conflict(batch, one, **more):
                found.setdefault(one.number, False)
                continue
            event = ItemEvent.FINAL if each.final else ItemEvent.PRELIMINARY
            done = items.apply(batch, one, event, **more)
            found[one.number] = found.get(one.number, False) or done.late
            if redundant and done.done and each.final and not one.made:
                holding.take_back_twins(batch, one, message_id, names | {channel})
    note_without(batch, message_id, channel, specimen, patient_number, () if control else without, older=older)
    return list(found.items())


class Results:
    """The items that the results of one specimen in a message may be of.

    Args:
        came: the message that brought them. again: it is processed anew; it is of the orders that it was of before.

    Attributes:
        is_anybodys: the results name no patient, and the specimen has orders of two.
    """

    def __init__(
        self,
        batch: Batch,
        message_id: int,
        channel: str,
        specimen: str,
        patient_number: str,
        names: frozenset[str],
        *,
        came: int,
        again: bool,
    ) -> None:
        self._batch, self._message, self._channel = batch, message_id, channel
        self._specimen, self._patient = specimen, patient_number
        every = items.of_specimen(batch, specimen, MOST_OF_TUBE)
        was = holding.of_message(batch, message_id) if again and every else []
        self._before = {one.number for one, _, _ in was}
        self.is_anybodys = not patient_number and any(one.reason is ItemReason.SPECIMEN_CONFLICT for one in every)
        self._given: set[int] = set()  # the open items that an earlier result of the message is of
        self._tube = [
            one
            for one in every
            if one.state is not ItemState.REJECTED
            and (matching.may_go_on(batch, one, channel) if one.made else one.message_id < came)
            and not (patient_number and one.line.patient.number and patient_number != one.line.patient.number)
            and (not one.targets or not one.targets.isdisjoint(names | {channel}))
        ]
        self._by_code = _by_code(self._tube, channel)

    def of(self, each: ResultOf) -> list[Kept]:
        """The items of a result, as they are now. A reflex is not the result that an order has already."""
        if self._names_another_tube(each):
            return []
        of_message = self._before | self._given  # a replicate is of no other order than the one before it
        found = _meant(each, self._by_code, self._channel, partial(self._may_be_of, each), of_message, self._corrected)
        sure = {item_number(each.item_id), *self._before, *self._given}
        if sure.isdisjoint(one.number for one in found) and any(
            self._cannot_say(each, one, found) for one in self._tube
        ):
            return []
        self._given.update(one.number for one in found if one.is_open)
        ended = [one for one in found if one.state is ItemState.RESULTED and not one.made]
        if each.made and ended and self._before.isdisjoint(one.number for one in ended) and self.parent_of(each):
            return [one for one in self._by_code.get(("code", each.code), ()) if one.made]
        return found

    def _may_be_of(self, each: ResultOf, one: Kept) -> bool:
        return _may_be_of(self._batch, each, one) and self._is_of_older(each, one) is False

    def _cannot_say(self, each: ResultOf, one: Kept, found: Sequence[Kept]) -> bool:
        """Whether a result may be of a new order of the number as well as of an older one: it is of none.

        So it may be where the new order came clearly later, and is open or was matched: the clock may be a day behind,
        or the time is that of the collection. But an older order takes it that waits for its result, or has one that
        was not measured before it.

        Args:
            found: the items that the result is of by its time.
        """
        if not _is_test(one, each, self._channel) or each.repeats:
            return False
        if _may_be_of(self._batch, each, one):
            return self._is_of_older(each, one) is None
        if any(other.is_open and other.reason is not ItemReason.RESULT_HELD for other in found):
            return False
        if not (one.is_open or self._was_matched(one)):
            return False
        if last := self._last_us(each, one):
            return not (each.own_us and self._is_before(each, max(last)))
        return all(other.state in _GIVEN_UP and not _was_changed(other, one) for other in found)

    def _is_of_older(self, each: ResultOf, one: Kept) -> bool | None:
        """Whether a result is that of an older order of the number, and of none that came after its measurement: by the
        clock of its analyzer it was measured before the result that the older order has. None: that cannot be compared,
        and it names no patient."""
        is_named = item_number(each.item_id) == one.number or one.number in self._before
        if is_named or one.made or not one.is_open or not each.measured_us:
            return False
        if each.measured_us >= min(one.created_us, _received_us(self._batch, one)):
            return self._is_by_clock_ahead(each, one)
        last = self._last_us(each, one)
        if not last:
            return False
        if each.own_us and self._is_before(each, max(last)):
            return True
        return None if not (each.own_us and last[-1]) and not self._patient else False

    def _is_by_clock_ahead(self, each: ResultOf, one: Kept) -> bool | None:
        """As `_is_of_older`, of a result from after the order came. The older order has it, by a clock that is ahead,
        where its result came before the newer order, and was measured at the same time. None: that was measured later,
        so the clock may have been put back."""
        last_us = max(self._last_us(each, one, had_come=True), default=0)
        if not (each.own_us and self._is_before(each, last_us)):
            return False
        return True if each.own_us == last_us else None

    def _is_before(self, each: ResultOf, last_us: int) -> bool:
        """At the same time it may be a rerun whose time is that of the collection, unless it is a correction, or names
        no patient."""
        return each.own_us < last_us or (each.own_us == last_us and (each.corrects or not self._patient))

    def _was_matched(self, one: Kept) -> bool:
        """Whether a person said that a result of this analyzer is the one of an item."""
        if one.state is not ItemState.RESULTED:
            return False
        of_match = (one.number, self._channel, holding.MATCHED)
        query = "SELECT 1 FROM order_event WHERE item = ? AND channel = ? AND cause = ?"
        return self._batch.execute(query, of_match).fetchone() is not None

    def _last_us(self, each: ResultOf, one: Kept, *, had_come: bool = False) -> list[int]:
        """When the results of the older orders were measured, the newest order last; 0: not known by the clock of this
        analyzer. Of an order that has none one counts that is held, was taken back, or came too late, and of one that
        was given up a preliminary one, if it came before the newer order.

        Args:
            had_come: so it must have of an order that is closed, too.
        """
        had = f"message_id < {one.message_id}"
        found = []
        for other in self._tube:
            if other.number >= one.number or not _is_test(other, each, self._channel):
                continue
            if other.state is ItemState.RESULTED:
                found.append(self._own_us(other, f"{_IS_PAST} AND {had}" if had_come else _IS_PAST))
            elif (term := _had_result(other)) and not _was_changed(other, one):
                came = self._own_us(other, f"{_IS_PAST} AND {term} AND {had}")
                found += [came] if came else []
        return found

    def _corrected(self, each: ResultOf, near: list[Kept]) -> list[Kept]:
        """Those that a correction may be of: one that has its result; each, where none has one, or where the same
        analyzer measured it after that."""
        times = {one.number: self._own_us(one) for one in near if one.state is ItemState.RESULTED}
        if not each.corrects or not times:
            return near
        if not each.withdrawn and min(times.values()) > 0 and each.own_us > max(times.values()):
            return near
        ended = [one for one in near if one.number in times]
        later = [one for one in ended if times[one.number] >= each.own_us > 0]
        return [min(later, key=lambda one: (times[one.number], -one.number))] if later else ended[-1:]

    def _own_us(self, one: Kept, also: str = "1") -> int:
        """When the newest result of an item was measured by the clock of this analyzer; 0: not known.

        Args:
            also: what else is to be true of it, as a term.
        """
        of_results = f"event IN ('preliminary', 'final', 'result_held', '{items.ONE_MORE}')"
        row = self._batch.execute(
            "SELECT coalesce(max(own_us), 0) FROM order_event"  # noqa: S608 - constants
            f" WHERE item = ? AND channel = ? AND {of_results} AND {also}",
            (one.number, self._channel),
        ).fetchone()
        return int(row[0])

    def note_time(self, one: Kept, own_us: int) -> None:
        """A measured item has got one more result: the time of the newest one counts, where it is none of the
        future (`_IS_PAST`)."""
        done = self._batch.execute(
            "UPDATE order_event SET own_us = ?1 WHERE item = ?2 AND channel = ?3 AND event = 'final' AND own_us < ?1"
            " AND ?1 <= at_us + ?4",
            (own_us, one.number, self._channel, CLOCK_US),
        )
        if done.rowcount:
            items.store(self._batch, one)
        elif self._own_us(one, _IS_PAST) < own_us <= self._batch.now_us + CLOCK_US:  # measured long after the first one
            items.note(self._batch, one, items.ONE_MORE, message_id=self._message, channel=self._channel, own_us=own_us)

    def is_older(self, each: ResultOf, *, is_open: bool = False) -> bool:
        """Of a result without an item: there is one, which is perhaps to be open, and it came after the result."""
        if self._names_another_tube(each):
            return False
        found = _meant(each, self._by_code, self._channel, lambda one: True, self._before)
        return any(not one.made and (one.is_open or not is_open) for one in found)

    def is_self_made(self, each: ResultOf) -> bool:
        """Of a result without an item: the analyzer ordered it itself, and has measured it now. A code that no table
        has is no test that could be ordered."""
        if not each.made or not each.test or each.repeats or each.withdrawn:
            return False
        return not self.is_older(each, is_open=True)

    def parent_of(self, each: ResultOf) -> Kept | None:
        """The one order of this tube that the analyzer had, and names as the cause of a reflex; None: it names none, or
        it is not known which."""
        if each.parent:
            number = item_number(each.parent)
            near = [] if number is None else self._by_code.get(("item", str(number)), [])
        else:
            near = self._by_code.get(("code", each.parent_test), []) if each.parent_test else []
            near = [one for one in near if one.state in _WITH_ANALYZER or one.state is ItemState.RESULTED]
        near = [one for one in near if one.channel == self._channel and one.sent]
        return near[0] if len(near) == 1 else None

    def add(self, made: Kept) -> None:
        """An item that was made of one of the results."""
        self._tube.append(made)
        self._by_code = _by_code(self._tube, self._channel)

    def _names_another_tube(self, each: ResultOf) -> bool:
        """Whether it names an item that this channel was given for another specimen."""
        number = item_number(each.item_id)
        if number is None or ("item", str(number)) in self._by_code:
            return False
        one = items.by_number(self._batch, number)
        return one is not None and one.channel == self._channel and one.line.specimen != self._specimen


def _had_result(other: Kept) -> str:
    """As a term, which results an order had that has none now; empty: that is not known of it."""
    if other.state in _GIVEN_UP:
        return "1"
    is_gone = other.reason in (ItemReason.RESULT_HELD, ItemReason.RESULT_WITHDRAWN)
    return "event <> 'preliminary'" if is_gone else ""


def _was_changed(other: Kept, one: Kept) -> bool:
    """Whether the item is the version that a change put in the place of the other one."""
    return other.number == one.parent and one.run == 1


def _takes_back(each: ResultOf, one: Kept) -> bool:
    """Whether a result without a value is about an earlier one: it says so, or the order has one."""
    return each.withdrawn and (each.corrects or one.state is ItemState.RESULTED)


def _take_back(batch: Batch, one: Kept, message_id: int, channel: str, *, held: bool) -> None:
    if held:
        holding.hold(batch, one, message_id=message_id, channel=channel, cause=holding.WITHDRAWAL)
    else:
        holding.withdraw(batch, one, message_id=message_id, channel=channel)


def _may_be_of(batch: Batch, each: ResultOf, one: Kept) -> bool:
    """Whether a result may be of this item by its time; an echo is of none that is open."""
    if item_number(each.item_id) == one.number or one.made:
        return True
    if each.repeats and one.is_open:
        return False
    at_us = each.measured_us + CLOCK_US
    if not each.measured_us or at_us >= one.created_us:
        return True
    if one.run == 1 and one.line.action != "rerun" and one.line.collected and at_us >= _collected_us(batch, one):
        return True
    return at_us >= _received_us(batch, one)


def _received_us(batch: Batch, one: Kept) -> int:
    """When an order came; one that was dead at first came earlier than its item was made."""
    row = batch.execute("SELECT received_us FROM journal WHERE id = ?", (one.message_id,)).fetchone()
    return one.created_us if row is None else int(row[0])


def _collected_us(batch: Batch, one: Kept) -> int:
    """When the specimen of an order was collected; that it came later where this is no time."""
    try:
        at = datetime.fromisoformat(one.line.collected)
        return to_us(at if at.tzinfo is not None else at.replace(tzinfo=batch.zone))
    except (ValueError, OverflowError):
        return one.created_us


_Codes = dict[tuple[str, str], list[Kept]]


def _by_code(tube: Iterable[Kept], channel: str) -> _Codes:
    """The items of a tube by what a result may call their tests."""
    found: _Codes = {}
    for one in tube:
        found.setdefault(("item", str(one.number)), []).append(one)
        found.setdefault(("test", one.line.test), []).append(one)
        if one.code and one.channel == channel:
            found.setdefault(("code", code_alone(one.code)), []).append(one)
    return found


def _meant(
    each: ResultOf,
    by_code: _Codes,
    channel: str,
    may_be: Callable[[Kept], bool],
    before: Collection[int],
    corrected: Callable[[ResultOf, list[Kept]], list[Kept]] = lambda _, near: near,
) -> list[Kept]:
    """Args: before: the numbers of items that the message was of before."""
    number = item_number(each.item_id)
    if number is not None:
        near = [one for one in by_code.get(("item", str(number)), ()) if _is_test(one, each, channel)]
        if near:
            return near
    near = by_code.get(("code", each.code), []) if each.code else []
    if each.test:
        near = near + [one for one in by_code.get(("test", each.test), ()) if one not in near]
    near = sorted((one for one in near if _is_test(one, each, channel) and may_be(one)), key=lambda one: one.number)
    near = corrected(each, near)
    with_analyzer = [one for one in near if one.state in _WITH_ANALYZER]
    here = [one for one in with_analyzer if one.channel == channel]
    is_open = [one for one in near if one.is_open and not one.after]
    given_up = [one for one in near if one.state in _GIVEN_UP]
    ended = [one for one in near if one.state is ItemState.RESULTED]
    same = [one for one in near if one.number in before]
    if with_analyzer and all(one.made for one in with_analyzer):  # a LIS has ordered meanwhile what it runs already
        here = with_analyzer + [one for one in is_open if not one.made]
    return same or here or with_analyzer or is_open or ended[-1:] or given_up[-1:]


def _is_test(one: Kept, each: ResultOf, channel: str) -> bool:
    """Whether an item asks for the test of a result."""
    if one.made and not each.made:
        return False
    if each.code and one.code and one.channel == channel:
        return code_alone(one.code) == each.code
    return bool(each.test) and one.line.test == each.test


@operation(priority=Priority.SETTLE)
def expire(batch: Batch) -> int:
    """End items whose time has come, some hundred at once; return how many. A clock that was set ahead ends none.

    One that an analyzer has may still get its result: it ends `FORGOTTEN_US` later.
    """
    rows = batch.execute(
        f"SELECT number FROM order_item WHERE {OPEN} AND state IN ('waiting', 'held') AND expires_us < ?1 AND query = 0"  # noqa: S608
        f" UNION ALL SELECT number FROM order_item WHERE {OPEN}"
        " AND state IN ('offered', 'accepted', 'in_progress', 'cancel_pending') AND expires_us < ?2 LIMIT ?3",
        (batch.steady_us, batch.steady_us - FORGOTTEN_US, EXPIRED_AT_ONCE),
    ).fetchall()
    done = 0
    for (number,) in rows:
        one = items.by_number(batch, number)
        if one is not None and items.apply(batch, one, ItemEvent.EXPIRE).done:
            done += 1
    return done
