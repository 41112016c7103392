"""Orders that go to an analyzer unasked, one specimen at a time; and orders that are taken back from it.

As with a question, what goes is noted as under way before its first byte (`answering`), and after a crash it is perhaps
sent. Of a specimen with orders of two patients nothing goes.

An order that was cancelled after an analyzer got it is taken back once, as far as the link knows. It stays
``cancel_pending``: until its result comes, or a person closes it. What another order of the tube still asks for is not
taken back.
"""

from collections.abc import Iterator, Sequence

from engine.features.orders.rows import answering, items
from engine.features.orders.rows.items import OPEN, RANKS, Kept
from engine.model.orders import ANSWERED_STATES, MOST_OF_TUBE, Asked, ItemState, Tube
from engine.model.values import changed
from engine.model.worklist import Answered, AskSettings
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

DOWNLOAD, TAKING_BACK = "download", "cancel"  # kinds of rows of ``order_query``
TAKEN_BACK = "cancel_sent"  # the event of an item that was taken back
MOST_LOOKED_AT = 500  # specimens of one look, of those that turn out to have nothing to send

_WITH_ANALYZER = frozenset(
    {ItemState.OFFERED, ItemState.ACCEPTED, ItemState.IN_PROGRESS, ItemState.CANCEL_PENDING, ItemState.RESULTED}
)
_ASKABLE = "state IN ('waiting', 'offered', 'accepted', 'in_progress')"


@operation(priority=Priority.SETTLE)
def download(
    batch: Batch, settings: AskSettings, skip: frozenset[int] = frozenset(), *, orders: bool, cancels: bool
) -> Answered:
    """Find the next specimen that the analyzer of a channel is to hear of, and note its items as under way.

    Orders to take back come first; then the most urgent orders, and of these the oldest. An order that was sent
    already and is not ``MAYBE_KNOWN`` is not sent again.

    Args:
        settings: `AskSettings.again` does not count here.
        skip: items that cannot be sent just now.
        orders, cancels: which of the two are looked for.

    Returns:
        One tube. Items to take back have the action ``cancel``. No tube: there is nothing to send.
    """
    if cancels and (taken_back := _to_take_back(batch, settings.channel, skip)):
        query = answering.note(batch, 0, TAKING_BACK, settings, [taken_back])
        return Answered(query=query, tubes=(taken_back[0],))
    if not orders:
        return Answered(query=0)
    look = answering.Look(batch, changed(settings, again=False))
    for specimen in _waiting(batch, settings, skip):
        tube, kept = look.tube(Asked(specimen=specimen))
        kept = [one for one in kept if one.number not in skip]
        if kept:
            wanted = {one.number for one in kept}
            tube = changed(
                tube,
                items=tuple(item for item in tube.items if item.number in wanted),
                known=_is_known(batch, specimen, settings.channel),
            )
            query = answering.note(batch, 0, DOWNLOAD, settings, [(tube, kept)])
            look.note_left_out(0, query)
            return Answered(query=query, tubes=(tube,))
    look.note_left_out(0, 0)
    return Answered(query=0)


@operation(priority=Priority.SETTLE)
def taken_back(batch: Batch, query: int, numbers: Sequence[int], channel: str, at_us: int) -> None:
    """The link confirmed the message that takes these items back.

    Args:
        at_us: when the link confirmed that.
    """
    for number in numbers:
        one = items.by_number(batch, number)
        if one is not None:
            items.leave_query(batch, one, "sent")
            items.note(batch, one, TAKEN_BACK, channel=channel, query=query, at_us=at_us)


def _to_take_back(batch: Batch, channel: str, skip: frozenset[int]) -> tuple[Tube, list[Kept]] | None:
    """The items of one specimen that the channel's analyzer got, and that were cancelled and not taken back since."""
    rows = batch.execute(
        f"SELECT number FROM order_item WHERE {OPEN} AND state = 'cancel_pending' AND channel = ? AND sent = 1"  # noqa: S608 - constants
        " AND made = 0 AND query = 0 AND NOT EXISTS (SELECT 1 FROM order_event WHERE item = number AND event = ?)"
        " ORDER BY number LIMIT ?",
        (channel, TAKEN_BACK, MOST_LOOKED_AT),
    ).fetchall()
    found: list[Kept] = []
    for (number,) in rows:
        one = None if number in skip else items.by_number(batch, number)
        if one is None or not one.line.specimen or not one.code or _is_wanted_by_another(batch, one):
            continue
        if not found or one.line.specimen == found[0].line.specimen:
            found.append(one)
    if not found:
        return None
    values = (one.value() for one in found)
    cancelled = tuple(changed(one, line=changed(one.line, action="cancel")) for one in values)
    return Tube(asked=Asked(specimen=found[0].line.specimen), items=cancelled), found


def _is_wanted_by_another(batch: Batch, given_up: Kept) -> bool:
    """Whether the analyzer has the test of an order that is given up for another order of the tube, too: a message that
    takes it back names tube and test alone, so the other one would never be measured."""
    return any(
        one.state in ANSWERED_STATES and one.channel == given_up.channel and one.known and one.code == given_up.code
        for one in items.of_specimen(batch, given_up.line.specimen, MOST_OF_TUBE)
    )


def _waiting(batch: Batch, settings: AskSettings, skip: frozenset[int]) -> Iterator[str]:
    """Specimens with an order that waits and may be this channel's."""
    tests = sorted({items.test_token(batch.vault, test) for test in settings.codes})
    mine = settings.names | {settings.channel}
    seen: set[str] = set()
    for rank in sorted(set(RANKS.values())):
        rows = batch.execute(
            "SELECT number, targets FROM order_item INDEXED BY order_item_askable"  # noqa: S608 - constants
            f" WHERE {_ASKABLE} AND state = 'waiting' AND rank = ? AND test IN ({', '.join('?' * len(tests))})"
            " ORDER BY number",
            (rank, *tests),
        )
        for number, targets in rows:
            if number in skip or (targets and mine.isdisjoint(targets.split(","))):
                continue
            one = items.by_number(batch, number)
            if one is None or not one.line.specimen or one.line.specimen in seen:
                continue
            seen.add(one.line.specimen)
            yield one.line.specimen
            if len(seen) >= MOST_LOOKED_AT:
                return


def _is_known(batch: Batch, specimen: str, channel: str) -> bool:
    """Whether the analyzer has other orders of this specimen already. Those that it may have are not counted: where
    they are sent again, it is as the first time."""
    return any(
        one.channel == channel and one.sent and one.state in _WITH_ANALYZER
        for one in items.of_specimen(batch, specimen, MOST_OF_TUBE)
    )
