"""Results close items, and time does.

A result closes only the item of its own test: of the same specimen number, exactly, and of the same patient, where it
names one. The item was ordered before the result came, so a message that is processed again closes no rerun, and no
order of the next patient. A final result closes it; a preliminary one says that it is in progress. A result that comes
after its order was given up is noted as late; it is delivered all the same.

Where an item was sent to the channel of the result, the code under which it was sent counts, not a table that was
changed since. Where items of several orders ask for the same test, those that the channel was answered with are closed;
where it was answered with none, all are.
"""

from collections.abc import Iterable, Sequence

from engine.model.order_rules import ItemEvent, same_patient
from engine.model.orders import MOST_OF_TUBE, ItemState, code_alone, item_number
from engine.model.worklist import DAY_US, ResultOf
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.operations.worklist import items
from engine.store.operations.worklist.items import OPEN, Kept
from engine.store.operations.worklist.matching import note_without

FORGOTTEN_US = 30 * DAY_US  # how long after its time an item waits for an analyzer that has it
EXPIRED_AT_ONCE = 500
TWIN = "measured elsewhere"  # why an order is cancelled whose test another analyzer has measured

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
) -> list[tuple[int, bool]]:
    """Close the items that a result message answers; return (item, whether it is late) of all that it is about.

    Results that are of no item are noted (`note_without`).

    Args:
        edited_from: the message that brought the results, where a person has edited it.
        control: the message has results of a control material, which has no orders.
        specimen, patient_number: as the message has them; empty: it has none. Without a specimen no item is found.
        names: the groups that the channel is of, as in `engine.model.worklist.AskSettings`.
        redundant: a final result takes back what other analyzers have for the same test.
    """
    if not specimen or not tests:
        return []
    every = items.of_specimen(batch, specimen, MOST_OF_TUBE)
    came = edited_from or message_id
    tube = [
        one
        for one in every
        if one.state is not ItemState.REJECTED
        and one.message_id < came
        and not (patient_number and one.line.patient.number and patient_number != one.line.patient.number)
        and (not one.targets or not one.targets.isdisjoint(names | {channel}))
    ]
    by_code = _by_code(tube, channel)
    found: dict[int, bool] = {}
    without: list[ResultOf] = []
    for each in tests:
        meant = _meant(each, by_code, channel)
        if not meant:
            without.append(each)
        for one in meant:
            event = ItemEvent.FINAL if each.final else ItemEvent.PRELIMINARY
            done = items.apply(batch, one, event, message_id=message_id, channel=channel)
            found[one.number] = found.get(one.number, False) or done.late
            if redundant and done.done and each.final:
                _take_back_twins(batch, one, every, message_id, names | {channel})
    note_without(batch, message_id, channel, specimen, patient_number, () if control else without)
    return list(found.items())


def _take_back_twins(
    batch: Batch, measured: Kept, every: Iterable[Kept], message_id: int, here: frozenset[str]
) -> None:
    """Cancel the orders for the same test of the same patient that other analyzers have, or that are for them alone."""
    for one in every:
        elsewhere = one.channel not in here if one.known else bool(one.targets) and one.targets.isdisjoint(here)
        same = one.line.test == measured.line.test and same_patient(one.line.patient, measured.line.patient)
        if one is not measured and one.is_open and elsewhere and same:
            items.apply(batch, one, ItemEvent.CANCEL, message_id=message_id, channel=one.channel, cause=TWIN)


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


def _meant(each: ResultOf, by_code: _Codes, channel: str) -> list[Kept]:
    number = item_number(each.item_id)
    if number is not None:
        near = [one for one in by_code.get(("item", str(number)), ()) if _is_test(one, each, channel)]
        if near:
            return near
    near = by_code.get(("code", each.code), []) if each.code else []
    if each.test:
        near = near + [one for one in by_code.get(("test", each.test), ()) if one not in near]
    near = [one for one in near if _is_test(one, each, channel)]
    with_analyzer = [one for one in near if one.state in _WITH_ANALYZER]
    here = [one for one in with_analyzer if one.channel == channel]
    is_open = [one for one in near if one.is_open and not one.after]
    given_up = [one for one in near if one.state in _GIVEN_UP]
    ended = [one for one in near if one.state is ItemState.RESULTED]
    return here or with_analyzer or is_open or ended[-1:] or given_up[-1:]


def _is_test(one: Kept, each: ResultOf, channel: str) -> bool:
    """Whether an item asks for the test of a result."""
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
