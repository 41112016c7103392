"""Answers to analyzers: which orders a question gets, and what became of the answer.

An answer is written before its first byte goes out: the question, its specimens, and the items, which are from then on
under way to this channel (`order_query`). No other channel gets them meanwhile. Each ends as sent, not sent, or perhaps
sent; after a crash all are perhaps sent (`recover`). An item that was cancelled under way comes back from `offered`:
the analyzer has it, and must hear of that.

A specimen number is compared exactly. Where its open orders are of two patients, there is no order. An order whose
result is held is for the analyzer that has it, and only where that asks for the tube itself: a person has loaded it
once more.

Everything that is journaled waits while a question is looked up. So a question that names no tubes reads a bounded part
of the worklist, however long that is.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing

from engine.features.orders.rows import items
from engine.features.orders.rows.items import Kept
from engine.features.orders.rules.order_rules import ItemEvent, PatientsOfTube, same_patient
from engine.model import orders
from engine.model.worklist import Answered, AskSettings
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

RESERVED_US = 120_000_000  # how long an answer under way keeps its items from other channels
MOST_ITEMS = 5_000  # of one answer
MOST_READ = 5_000  # items and numbers that one question for all, or for a range, looks at; the answer is marked as cut
UNCONFIRMED = "unconfirmed"  # why an item that was sent may not be known: its answer did not come
PLACES = ("rack", "tray")  # kinds of questions
_WITHOUT_TUBES = frozenset({"all", "range", "numbers", *PLACES})  # where there is no order, the log has one reason
_BY_TUBE = frozenset({"specimens", "rack"})
_ELSEWHERE = frozenset({orders.ItemState.OFFERED, orders.ItemState.ACCEPTED, orders.ItemState.IN_PROGRESS})
_TIES = orders.ANSWERED_STATES | {orders.ItemState.CANCEL_PENDING}


# -- the question --------------------------------------------------------------------------------------------------


@operation(priority=Priority.SETTLE)
def answer(batch: Batch, message_id: int, question: orders.Question, settings: AskSettings) -> Answered:
    """Look up the orders that a question asks for, and note the answer as under way.

    Args:
        message_id: the journal's row of the question.
    """
    if question.kind == "cancel":
        return Answered(query=note(batch, message_id, question.kind, settings, (), outcome="taken_back"))
    if _is_incomplete(question, settings):
        none = orders.Tube(asked=orders.Asked(specimen=""), none=orders.NoOrder.NOT_SUPPORTED)
        return Answered(query=note(batch, message_id, question.kind, settings, [(none, [])]), tubes=(none,))
    look = Look(batch, settings, tubes_alone=question.kind in _BY_TUBE)
    if question.kind == "demographics":
        of_them = look.of_person(question.patients)
        tubes = tuple(orders.Tube(asked=orders.Asked(specimen=""), items=(one.value(),)) for one in of_them)
        return Answered(query=note(batch, message_id, question.kind, settings, ()), tubes=tubes)
    limit = MOST_ITEMS if question.kind == "specimens" else min(settings.limit, MOST_ITEMS)
    found: list[tuple[orders.Tube, list[Kept]]] = []
    held, cut = 0, question.kind == "specimens" and len(question.asked) > orders.MOST_TUBES
    with closing(look.asked(question)) as asked:
        for one in asked:
            tube, kept = look.tube(one)
            if question.kind != "specimens" and not kept:
                continue
            if (held and held + len(kept) > limit) or len(found) >= orders.MOST_TUBES:
                cut = True
                break
            held += len(kept)
            found.append((tube, kept))
    cut = cut or look.cut
    tubes = tuple(tube for tube, _ in found)
    if not found and question.kind in _WITHOUT_TUBES:
        is_no_range = question.kind == "numbers" and orders.counters(question.since, question.until) is None
        none = orders.Tube(
            asked=orders.Asked(specimen=""),
            none=orders.NoOrder.NOT_SUPPORTED if is_no_range else orders.NoOrder.UNKNOWN,
        )
        found = [(none, [])]
    query = note(batch, message_id, question.kind, settings, found, cut=cut)
    look.note_left_out(message_id, query)
    return Answered(query=query, tubes=tubes, cut=cut)


def note(
    batch: Batch,
    message_id: int,
    kind: str,
    settings: AskSettings,
    found: Sequence[tuple[orders.Tube, list[Kept]]],
    *,
    cut: bool = False,
    outcome: str = "",
) -> int:
    """Write the answer, and its items as under way; return its number.

    Args:
        kind: of the question; or that of a download.
        outcome: where it is known already.
    """
    (query,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM order_query").fetchone()
    under_way = {one.number: one for _, kept in found for one in kept}
    for one in under_way.values():
        items.leave_query(batch, one, "asked again")
        one.query = query
        if one.state is not orders.ItemState.CANCEL_PENDING:  # that keeps the code under which it was sent
            one.channel, one.code = settings.channel, settings.codes[one.line.test]
        items.store(batch, one)
    batch.execute(
        "INSERT INTO order_query (number, message_id, channel, at_us, kind, asked, items, cut, open, ended_us, outcome)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            query, message_id, settings.channel, batch.now_us, kind, len(found),
            "".join(f"{number}," for number in under_way), int(cut), len(under_way),
            0 if under_way else batch.now_us, outcome,
        ),
    )  # fmt: skip
    batch.executemany(
        "INSERT OR IGNORE INTO order_asked (specimen, query, items, none) VALUES (?, ?, ?, ?)",
        [
            (items.specimen_token(batch.vault, tube.asked.specimen), query, len(tube.items), tube.none or "")
            for tube, _ in found
            if tube.asked.specimen or tube.none
        ],
    )
    return int(query)


def explain(batch: Batch, message_id: int, channel: str) -> None:
    """Have a question that was not looked up in the log, too: its line, LabRelay or the disk had ended before."""
    if batch.execute("SELECT 1 FROM order_query WHERE message_id = ?", (message_id,)).fetchone() is None:
        batch.execute(
            "INSERT INTO order_query (number, message_id, channel, at_us, kind, asked, items, cut, open, ended_us,"
            " outcome) SELECT coalesce(max(number), 0) + 1, ?, ?, ?, '', 0, '', 0, 0, ?, 'interrupted'"
            " FROM order_query",
            (message_id, channel, batch.now_us, batch.now_us),
        )


class Look:
    """Look-ups for one question; each specimen is read once.

    Attributes:
        cut: the question asks for more than may be looked at.
    """

    def __init__(self, batch: Batch, settings: AskSettings, *, tubes_alone: bool = False) -> None:
        """
        Args:
            tubes_alone: the question names tubes.
        """
        self._answers_held = tubes_alone
        self._batch = batch
        self._settings = settings
        self._mine = settings.names | {settings.channel}
        self._tubes: dict[str, tuple[tuple[orders.WorkItem, ...], orders.NoOrder | None, list[Kept]]] = {}
        self._unmapped: list[Kept] = []
        self._undilutable: list[Kept] = []
        self._busy: dict[int, bool] = {}
        self._looked_at = 0
        self.cut = False

    def asked(self, question: orders.Question) -> Generator[orders.Asked]:
        """The specimens that a question is for, as far as they may be looked at."""
        if question.kind == "specimens":
            yield from question.asked[: orders.MOST_TUBES]
        elif question.kind == "numbers":
            yield from self._between(question.since, question.until)
        elif question.kind in PLACES:
            yield from self._at_place(question)
        elif question.kind == "patients":
            yield from self._of_patients(question.patients)
        else:
            yield from self._every(self._settings.between_us if question.kind == "range" else None)

    def tube(self, asked: orders.Asked) -> tuple[orders.Tube, list[Kept]]:
        """The answer for one specimen, and the rows of its items."""
        specimen = asked.specimen
        if not orders.is_specimen_number(specimen):
            return orders.Tube(asked=asked, none=orders.NoOrder.UNREAD), []
        if specimen not in self._tubes:
            kept, none = self._find(specimen)
            self._tubes[specimen] = tuple(one.value(self._settings.codes[one.line.test]) for one in kept), none, kept
        found, none, kept = self._tubes[specimen]
        return orders.Tube(asked=asked, items=found, none=none), kept

    def _every(self, between_us: tuple[int, int] | None) -> Iterator[orders.Asked]:
        """Each specimen with an open order of this channel, the most urgent and newest first; where a time is given,
        with one that came then.
        """
        tests = [items.test_token(self._batch.vault, test) for test in self._settings.codes]
        if not tests:
            return
        then = " AND created_us BETWEEN ? AND ?" if between_us else ""
        select = (
            "SELECT number, targets FROM order_item INDEXED BY order_item_askable"  # noqa: S608 - question marks
            f" WHERE state IN ('waiting', 'offered', 'accepted', 'in_progress'){then}"
            f" AND test IN ({', '.join('?' * len(tests))}) ORDER BY rank, number DESC"
        )
        seen: set[str] = set()
        # Row by row, for most questions end at the limit of their answer.
        with closing(self._batch.execute(select, (*(between_us or ()), *tests))) as rows:
            for number, targets in rows:
                if targets and self._mine.isdisjoint(targets.split(",")):
                    continue
                if self._is_enough():
                    return
                self._looked_at += 1
                one = items.by_number(self._batch, number)
                if one is not None and one.line.specimen and one.line.specimen not in seen:
                    seen.add(one.line.specimen)
                    yield orders.Asked(specimen=one.line.specimen)

    def _between(self, since: str, until: str) -> Iterator[orders.Asked]:
        """Each specimen number in a range of `counters`."""
        for number in orders.counters(since, until) or ():
            if self._is_enough():
                return
            self._looked_at += 1
            yield orders.Asked(specimen=number)

    def _is_enough(self) -> bool:
        """Whether the question has looked at all that it may; then it is cut."""
        self.cut = self.cut or self._looked_at >= MOST_READ
        return self.cut

    def _of_patients(self, numbers: Iterable[str]) -> Iterator[orders.Asked]:
        """Each specimen with an open order of these patients; the numbers are compared exactly."""
        seen: set[str] = set()
        for number in dict.fromkeys(filter(None, numbers)):
            for one in items.open_of_patient(self._batch, number, orders.MOST_OF_TUBE):
                if one.line.specimen not in seen:
                    seen.add(one.line.specimen)
                    yield orders.Asked(specimen=one.line.specimen)

    def _at_place(self, question: orders.Question) -> Iterator[orders.Asked]:
        """The specimen that the LIS said today to be at this place, and at no other one since; none where it said so of
        two."""
        find = items.of_rack if question.kind == "rack" else items.of_tray
        near = find(self._batch, question.carrier, question.position, orders.MOST_OF_TUBE)
        today = [one for one in near if self._named_today(one)]
        there = {specimen for specimen in {one.line.specimen for one in today} if self._is_at(specimen, today)}
        if len(there) == 1:
            yield orders.Asked(specimen=there.pop(), echo=question.echo)

    def _named_today(self, one: Kept) -> bool:
        return bool(one.line.specimen) and items.named_place(self._batch, one)[1] >= self._settings.today_us

    def _is_at(self, specimen: str, at_place: Sequence[Kept]) -> bool:
        """Whether a tube has open orders, and the order of its patient that named a place last is ``at_place``."""
        tube = items.of_specimen(self._batch, specimen, orders.MOST_OF_TUBE)
        patient = next((one.line.patient for one in tube if one.is_open), None)
        placed = [
            one
            for one in tube
            if one.state is not orders.ItemState.REJECTED
            and any(items.place_of(one.line))
            and patient is not None
            and same_patient(one.line.patient, patient)
        ]
        newest = max(placed, key=lambda one: (items.named_place(self._batch, one)[0], one.number), default=None)
        return newest is not None and newest.number in {one.number for one in at_place}

    def of_person(self, numbers: Iterable[str]) -> Iterator[Kept]:
        """The open orders of these patients that this channel may see, of any test."""
        for number in dict.fromkeys(filter(None, numbers)):
            yield from filter(self._is_mine, items.open_of_patient(self._batch, number, orders.MOST_OF_TUBE))

    def note_left_out(self, message_id: int, query: int) -> None:
        """Note that this channel has no code for an order that names it, or the analyzer takes no such dilution."""
        channel = self._settings.channel
        for one in {one.number: one for one in self._unmapped}.values():
            one.reason = orders.ItemReason.UNMAPPED_CODE
            items.note(self._batch, one, "unmapped", message_id=message_id, channel=channel, query=query)
        for one in {one.number: one for one in self._undilutable}.values():
            items.apply(self._batch, one, ItemEvent.UNSUPPORTED, message_id=message_id, channel=channel, query=query)

    def _find(self, specimen: str) -> tuple[list[Kept], orders.NoOrder | None]:
        """The items that this channel gets of a specimen; or why there are none."""
        every = [one for one in items.of_specimen(self._batch, specimen, orders.MOST_OF_TUBE) if not one.made]
        self._looked_at += len(every)
        patients = PatientsOfTube({})
        for one in every:  # of all channels
            if one.state in _TIES:
                patients.add(one.line.patient)
        if patients.conflict:
            return [], orders.NoOrder.CONFLICT
        mine = [one for one in every if self._is_mine(one)]
        if not mine:
            return [], orders.NoOrder.ELSEWHERE if any(one.is_open for one in every) else orders.NoOrder.UNKNOWN
        answered = [
            one
            for one in mine
            if one.state in orders.ANSWERED_STATES
            and not one.after
            and (self._answers_held or one.reason is not orders.ItemReason.RESULT_HELD)
        ]
        if not answered:
            return [], _why_none(mine)
        here = [one for one in answered if not self._is_elsewhere(one)]
        if not here:
            return [], orders.NoOrder.ELSEWHERE
        coded = [one for one in here if one.line.test in self._settings.codes]
        self._unmapped += [
            one
            for one in here
            if one.line.test not in self._settings.codes
            and one.state is orders.ItemState.WAITING
            and one.reason is orders.ItemReason.NONE
            and not self._mine.isdisjoint(one.targets)
        ]
        if not coded:
            return [], orders.NoOrder.UNMAPPED
        dilutions = self._settings.dilutions
        if dilutions is not None:
            self._undilutable += [one for one in coded if one.line.dilution not in dilutions]
            coded = [one for one in coded if one.line.dilution in dilutions]
            if not coded:
                return [], orders.NoOrder.NOT_SUPPORTED
        if not self._settings.again:
            coded = [one for one in coded if one.state is orders.ItemState.WAITING and not one.query]
        return coded, None if coded else orders.NoOrder.DONE

    def _is_mine(self, one: Kept) -> bool:
        return not one.made and (not one.targets or not self._mine.isdisjoint(one.targets))

    def _is_elsewhere(self, one: Kept) -> bool:
        """Whether another channel has the item, or is getting it just now."""
        if one.channel == self._settings.channel:
            return False
        if one.state in _ELSEWHERE:
            return True
        return one.query > 0 and self._is_under_way(one.query)

    def _is_under_way(self, query: int) -> bool:
        if query not in self._busy:
            row = self._batch.execute("SELECT at_us FROM order_query WHERE number = ?", (query,)).fetchone()
            self._busy[query] = row is not None and row[0] > self._batch.now_us - RESERVED_US
        return self._busy[query]


def _why_none(mine: Sequence[Kept]) -> orders.NoOrder:
    if any(one.reason is orders.ItemReason.SPECIMEN_CONFLICT for one in mine if one.is_open):
        return orders.NoOrder.CONFLICT
    if any(
        one.is_open and (one.state is orders.ItemState.HELD or one.reason is orders.ItemReason.RESULT_HELD or one.after)
        for one in mine
    ):
        return orders.NoOrder.HELD
    states = {one.state for one in mine} - {orders.ItemState.REJECTED}
    if not states:
        return orders.NoOrder.UNKNOWN
    return orders.NoOrder.EXPIRED if mine[-1].state is orders.ItemState.EXPIRED else orders.NoOrder.DONE


def _is_incomplete(question: orders.Question, settings: AskSettings) -> bool:
    """Whether a question by place or time leaves a part of it open. Nothing is put in for that."""
    if question.kind == "range":
        return settings.between_us is None
    return question.kind in PLACES and not (question.carrier and question.position)


# -- what became of the answer -------------------------------------------------------------------------------------


@operation(priority=Priority.SETTLE)
def offered(batch: Batch, query: int, numbers: Sequence[int], channel: str, at_us: int) -> list[int]:
    """The link confirmed the bytes of these items. Return those that may not be run any more, or are another
    channel's: the analyzer must hear of that.

    Args:
        at_us: when the link confirmed them.
    """
    back = []
    for one in _rows(batch, numbers):
        if one.channel != channel:
            back.append(one.number)
            continue
        items.leave_query(batch, one, "sent")
        had = one.sent
        done = items.apply(batch, one, ItemEvent.SENT, channel=channel, query=query, at_us=at_us).done
        if had and not done:  # it changes nothing, and its answer is that to a second message
            items.note(batch, one, ItemEvent.SENT, channel=channel, query=query, at_us=at_us)
        items.store(batch, one)
        if not done:
            back.append(one.number)
    return back


@operation(priority=Priority.SETTLE)
def not_offered(batch: Batch, query: int, numbers: Sequence[int], reason: str, *, maybe: bool) -> None:
    """The answer did not arrive as far as the link knows.

    Args:
        query: of which it was; an item that is part of a later answer by now is left alone.
        reason: a short constant, for people.
        maybe: the analyzer may have them all the same.
    """
    batch.orders_changed = True  # they may go another way now
    for one in _rows(batch, numbers):
        if one.query not in (0, query):
            if maybe and not one.sent:
                one.sent = True
                items.note(batch, one, ItemEvent.MAYBE_SENT, channel=one.channel, query=query, cause=reason)
            continue
        items.leave_query(batch, one, reason)
        event = ItemEvent.MAYBE_SENT if maybe else ItemEvent.NOT_SENT
        items.apply(batch, one, event, channel=one.channel, query=query, cause=reason)
        items.store(batch, one)


@operation(priority=Priority.SETTLE)
def told(batch: Batch, query: int, outcome: str) -> None:
    """What became of an answer without an item: ``sent``, or why not. Of another one its items say that."""
    batch.execute(
        "UPDATE order_query SET outcome = ?, ended_us = ? WHERE number = ? AND items = '' AND outcome = ''",
        (outcome, batch.now_us, query),
    )


@operation(priority=Priority.SETTLE)
def confirmed(
    batch: Batch,
    channel: str,
    message_id: int,
    confirmation: orders.Confirmation,
    sent_items: Sequence[int] = (),
    *,
    cancels: bool = False,
) -> list[int]:
    """The analyzer said yes or no to items that this channel sent to it; return those that this changed.

    Args:
        message_id: the journal's row of what it said.
        sent_items: of the message that it answers, for an answer that names no items.
        cancels: that message took orders back.
    """
    again = [
        one.number
        for one in _rows(batch, confirmation.of_items(sent_items, cancels=cancels))
        if one.reason is not orders.ItemReason.MAYBE_KNOWN and _was_sent_twice(batch, one.number, channel)
    ]
    said = confirmation.of_items(sent_items, () if cancels else again, cancels=cancels)
    for specimen, test, *answered in confirmation.tests:
        for one in items.of_specimen(batch, specimen, orders.MOST_OF_TUBE):
            if one.is_open and test in ("", orders.code_alone(one.code)):
                said[one.number] = bool(answered[0]), str(answered[1]), str(answered[2])
    done = []
    for one in _rows(batch, said):
        accepted, code, text = said[one.number]
        if one.channel != channel or not one.known:
            continue
        items.leave_query(batch, one, "accepted" if accepted else "refused")
        if cancels:
            event = ItemEvent.CANCEL_CONFIRMED if accepted else None
        else:
            event = ItemEvent.ACCEPTED if accepted else ItemEvent.REFUSED
        words = " ".join(filter(None, (code, text)))
        if event is not None:
            one.sent = True
            found = items.apply(batch, one, event, message_id=message_id, channel=channel, detail=words)
            if found.done:
                done.append(one.number)
        else:
            items.note(batch, one, "cancel_refused", message_id=message_id, channel=channel, detail=words)
        items.store(batch, one)
    return done


def _was_sent_twice(rows: Rows, number: int, channel: str) -> bool:
    """Whether the analyzer was sent this item more than once since it refused it last."""
    (count,) = rows.execute(
        "SELECT count(*) FROM order_event WHERE item = ?1 AND channel = ?2"
        " AND (event = 'sent' OR (event = 'maybe_sent' AND cause <> ?3))"
        " AND n > coalesce((SELECT max(n) FROM order_event WHERE item = ?1 AND state = 'refused'), 0)",
        (number, channel, UNCONFIRMED),
    ).fetchone()
    return int(count) > 1


@operation(priority=Priority.SETTLE)
def recover(batch: Batch) -> int:
    """At a start: answers that were under way when LabRelay ended may have arrived. Return of how many items."""
    numbers = [row[0] for row in batch.execute("SELECT number FROM order_item WHERE query > 0").fetchall()]
    for one in _rows(batch, numbers):
        query = one.query
        items.leave_query(batch, one, "interrupted")
        items.apply(batch, one, ItemEvent.MAYBE_SENT, channel=one.channel, query=query, cause="interrupted")
        items.store(batch, one)
    batch.execute("UPDATE order_query SET outcome = 'interrupted' WHERE outcome = '' AND items = ''")
    return len(numbers)


def _rows(rows: Rows, numbers: Iterable[int]) -> Iterator[Kept]:
    for number in dict.fromkeys(numbers):
        one = items.by_number(rows, number)
        if one is not None:
            yield one
