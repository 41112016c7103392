"""Orders in: each test of a message becomes an item of the worklist, or changes one that is there.

    new, add    the same order and test with the same content    the item that is there (a repeat); its tube is where
                                                                  the newest message says
                with other content, and an item that is there    held: ORDER_CONFLICT
                after a cancel that is pending                    one more item; it waits until that cancel is done
    change      the item that is there                            superseded; where an analyzer may have it, first
                                                                  cancel_pending; the new one waits
                items in conflict with it                         superseded
    cancel      each item that the line names by its number       cancelled or cancel_pending; too late after a result
                without an order number                           no such order; by ``cancel: specimen`` its tube's
    hold        each item that no analyzer has                    held: HELD_BY_LIS
    release     each of these                                     waiting; of a conflict a person decides
                one that is not held                              as it is: a repeat
    hold        with one that goes on beside it, an item that
    and release is being cancelled                                is not meant
    both        without an order number                           that of its tube and test, if it has no number either
    rerun       the newest item, which has a result               one more item; the old result stays

An order number that ended without a result may be ordered again by a later message. A message that is processed again
has its own items already: it makes none twice, and it undoes nothing that came after it.

One specimen number with two patients holds both orders. The cost grows with the lines, and with the items of their
specimens and order numbers, which are read once.

A message that the old machine received, and that came in later (`engine.store.core.adopted`), is older than those that
came here meanwhile. Where one of these names the order, it stays as that one left it; where that one cancelled it and
found none, it is taken and cancelled. An analyzer may have been given it there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.features.orders.rows import announcing, forgetting, items, meant
from engine.features.orders.rows.items import Kept
from engine.features.orders.rules.order_rules import (
    ItemEvent,
    PatientsOfTube,
    bears_patient,
    has_number,
    names,
    same_content,
    same_patient,
    same_placer,
)
from engine.model.orders import (
    ANSWERED_STATES,
    MOST_LINES,
    MOST_OF_TUBE,
    ItemReason,
    ItemState,
    OrderedPatient,
    OrderLine,
    is_specimen_number,
)
from engine.model.worklist import LineOutcome, TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

_EVENTS = {"cancel": ItemEvent.CANCEL, "hold": ItemEvent.HOLD, "release": ItemEvent.RELEASE}
_AGAIN = frozenset({ItemState.CANCELLED, ItemState.EXPIRED, ItemState.REFUSED})  # ended without a result
_ANALYZER_HAS = frozenset({ItemState.OFFERED, ItemState.ACCEPTED, ItemState.IN_PROGRESS, ItemState.CANCEL_PENDING})


@operation(priority=Priority.SETTLE)
def take_orders(
    batch: Batch, message_id: int, channel: str, lines: Sequence[OrderLine], settings: TakeSettings
) -> list[LineOutcome]:
    """Put the lines of a message on the worklist; return what became of each, in their order.

    Args:
        message_id: the journal's row of the message, or of the act of a person.
        channel: of the message; empty for a person's.
    """
    parts = list(meant.parts(lines, settings))
    if max(len(lines), len(parts)) > MOST_LINES:
        return [
            LineOutcome(line_index=place, number=0, state=ItemState.REJECTED, reason=ItemReason.TOO_MANY_LINES)
            for place in range(len(lines))
        ]
    since = batch.tail.adopted.came_meanwhile(message_id)
    later = announcing.said_of(lines, announcing.said_between(batch, channel, *since)) if any(since) else {}
    taking = _Taking(batch, message_id, channel, settings, since, later)
    return [outcome for place, line, known in parts for outcome in taking.take(place, line, known=known)]


@dataclass(slots=True)
class _Tube:
    """The items of one specimen number, and their patients.

    Attributes:
        open: how many are open, or were when they were read.
        is_held: none of them is left that a conflict would hold.
    """

    items: list[Kept]
    patients: PatientsOfTube
    open: int = 0
    is_held: bool = False


@dataclass(slots=True)
class _OneTest:
    """The items of one order number and test: those that are or were on the worklist, and the last rejected one."""

    items: list[Kept] = field(default_factory=list)
    rejected: Kept | None = None

    def add(self, one: Kept) -> None:
        if one.state is ItemState.REJECTED:
            self.rejected = one
        else:
            self.items.append(one)


@dataclass(slots=True)
class _Taking:
    """One message being taken. Items are read once, and are the same object wherever they are found."""

    batch: Batch
    message_id: int
    channel: str
    settings: TakeSettings
    since: tuple[int, int]  # an adopted message: older than these rows
    later: Mapping[int, str]  # place of a line -> what is to be done with its order, by the newest message among these
    known: dict[int, Kept] = field(default_factory=dict)
    tubes: dict[str, _Tube] = field(default_factory=dict)
    orders: dict[tuple[str, str], list[Kept]] = field(default_factory=dict)
    by_test: dict[tuple[str, str, str], _OneTest] = field(default_factory=dict)
    own: dict[tuple[int, str], list[Kept]] | None = None
    read: dict[str, set[str]] = field(default_factory=dict)  # order number -> kinds of it that were sorted
    next_number: int = 0
    until: int | None = None  # `forgetting.until`

    def _is_after(self, row: int) -> bool:
        return self.message_id > row and not self.since[0] < row <= self.since[1]

    def take(self, place: int, line: OrderLine, *, known: bool) -> list[LineOutcome]:
        """What becomes of a line, by what is there, and by newer messages that came before it."""
        if (later := self.later.get(place)) is None or not known:
            return self._take(place, line, known=known)
        event = _EVENTS.get(line.action)
        if there := self._same_order(line)[:1] if event is None else self._named(line, event):
            return [_outcome(place, one, repeat=True) for one in there]
        done = self._take(place, line, known=known)
        if later == "cancel":
            return [self._step(place, self.known[one.number], ItemEvent.CANCEL) if one.number else one for one in done]
        return done

    def _take(self, place: int, line: OrderLine, *, known: bool) -> list[LineOutcome]:
        if line.action == "unknown":
            return [self._put_rejected(place, line, ItemReason.UNKNOWN_ACTION)]
        if not known and line.action in ("cancel", "release"):
            return [_no_such_order(place)]
        if not known:
            return [self._put_rejected(place, line, ItemReason.UNKNOWN_TEST)]
        if line.action == "cancel":
            return self._act(place, line, ItemEvent.CANCEL)
        if line.action == "release":
            return self._act(place, line, ItemEvent.RELEASE)
        if line.action == "hold":
            done = self._act(place, line, ItemEvent.HOLD)
            if done[0].number or not line.test or self._is_ordered(line):
                return done
        if (reason := self._why_rejected(line)) is not ItemReason.NONE:
            return [self._put_rejected(place, line, reason)]
        return [self._order(place, line)]

    # -- new, add, change, rerun ---------------------------------------------------------------------------------

    def _order(self, place: int, line: OrderLine) -> LineOutcome:
        for one in self._own().get((place, line.test), ()):  # this very message has made it
            if one.state is not ItemState.REJECTED and same_content(one.line, line):
                return _outcome(place, one, repeat=True)
        same = self._same_order(line)
        latest = same[0] if same else None
        if line.action == "rerun":
            return self._rerun(place, line, latest)
        if latest is None:
            return self._put(place, line)
        if same_content(latest.line, line) and not (line.action == "change" and _is_in_conflict(latest)):
            return self._order_again(place, line, latest)
        return self._other_content(place, line, same)

    def _order_again(self, place: int, line: OrderLine, latest: Kept) -> LineOutcome:
        is_newer = self._is_after(latest.last_id)
        if latest.state in _AGAIN and is_newer:
            return self._put(place, line)
        if latest.state is ItemState.CANCEL_PENDING and is_newer:
            return self._put(place, line, replaces=latest)
        self._move(latest, line)
        if line.action == "hold":
            return self._step(place, latest, ItemEvent.HOLD)
        if latest.reason is ItemReason.HELD_BY_LIS and is_newer:
            return self._step(place, latest, ItemEvent.RELEASE)
        return _outcome(place, latest, repeat=True)

    def _other_content(self, place: int, line: OrderLine, same: Sequence[Kept]) -> LineOutcome:
        latest = same[0]
        is_newer = self._is_after(max(latest.message_id, latest.last_id if any(self.since) else 0))
        if latest.state in _AGAIN and is_newer:
            return self._put(place, line)
        if latest.state is ItemState.CANCEL_PENDING and self._is_after(latest.last_id):
            return self._put(place, line, replaces=latest)
        if line.action != "change" or not is_newer:
            return self._put(place, line, reason=ItemReason.ORDER_CONFLICT)
        current = next((one for one in same if not _is_in_conflict(one)), latest)
        if current.state is ItemState.RESULTED:
            return _outcome(place, current, reason=ItemReason.TOO_LATE)
        for one in same:  # a change ends the conflict, too: no version beside it goes on
            if one is not current and _is_in_conflict(one):
                self._apply(one, ItemEvent.REPLACE)
        return self._put(place, line, replaces=current if current.is_open else None)

    def _rerun(self, place: int, line: OrderLine, latest: Kept | None) -> LineOutcome:
        if latest is None:
            return self._put(place, line)
        if not self._is_after(latest.message_id):
            return _outcome(place, latest, repeat=True)
        if latest.state is ItemState.CANCEL_PENDING and self._is_after(latest.last_id):
            return self._put(place, line, replaces=latest)
        if latest.is_open:  # it has no result yet
            self._move(latest, line)
            return _outcome(place, latest, repeat=True)
        return self._put(place, line, run=latest.run + 1, parent=latest.number)

    def _move(self, one: Kept, line: OrderLine) -> None:
        """The tube is where its LIS has said last; that is no content of an order."""
        if any(items.place_of(line)) and self._is_after(items.named_place(self.batch, one)[0]):
            items.place(self.batch, one, line, self.message_id)

    def _put(
        self,
        place: int,
        line: OrderLine,
        *,
        reason: ItemReason = ItemReason.NONE,
        replaces: Kept | None = None,
        run: int = 1,
        parent: int = 0,
    ) -> LineOutcome:
        tube = self._tube(line.specimen)
        if tube.open >= MOST_OF_TUBE:
            return self._put_rejected(place, line, ItemReason.TOO_MANY_ITEMS)
        state, after = ItemState.WAITING, 0
        if reason is ItemReason.ORDER_CONFLICT:
            state = ItemState.HELD
        elif line.action == "hold":
            state, reason = ItemState.HELD, ItemReason.HELD_BY_LIS
        if replaces is not None:
            self._apply(replaces, ItemEvent.REPLACE)
            parent = replaces.number
            if replaces.is_open:
                after, reason = replaces.number, reason or ItemReason.AFTER_CANCEL
        if tube.patients.contradicts(line.patient):
            for one in () if tube.is_held else tube.items:
                self._apply(one, ItemEvent.CONFLICT)
            tube.is_held = True
            state, reason = ItemState.HELD, ItemReason.SPECIMEN_CONFLICT
        else:
            tube.is_held = False
        made = self._make(place, line, state, reason, after=after, run=run, parent=parent)
        if (any(self.since) or 0 < self.message_id <= self._earlier()) and not after:
            items.apply(self.batch, made, ItemEvent.MAYBE_SENT, cause=forgetting.CAUSE)
        tube.items.append(made)
        tube.open += 1
        tube.patients.add(line.patient)
        return _outcome(place, made, replaced=replaces.number if replaces is not None else 0)

    def _earlier(self) -> int:
        if self.until is None:
            self.until = forgetting.until(self.batch.execute)
        return self.until

    def _put_rejected(self, place: int, line: OrderLine, reason: ItemReason) -> LineOutcome:
        """A rejected line is kept, so that a person sees it; the same one again is the same row."""
        one = self._same_test(line).rejected
        if one is not None and one.reason is reason and same_content(one.line, line):
            return _outcome(place, one, repeat=True)
        return _outcome(place, self._make(place, line, ItemState.REJECTED, reason))

    def _make(
        self,
        place: int,
        line: OrderLine,
        state: ItemState,
        reason: ItemReason,
        *,
        after: int = 0,
        run: int = 1,
        parent: int = 0,
    ) -> Kept:
        batch, settings = self.batch, self.settings
        if not self.next_number:
            self.next_number = items.next_number(batch.execute)
        kept = Kept(
            number=self.next_number, message_id=self.message_id, place=place, last_id=self.message_id,
            source=self.channel, state=state, reason=reason,
            targets=meant.targets(line, settings),
            channel="", code="", query=0, sent=False, after=after, run=run, parent=parent, created_us=batch.now_us,
            changed_us=batch.now_us, expires_us=batch.steady_us + settings.expires_us,
            waits_us=settings.expires_us, reuse_us=settings.specimen_reuse_us, events=1, line=line,
        )  # fmt: skip
        self.next_number += 1
        items.put(batch, kept)
        if state is not ItemState.REJECTED:
            batch.count(self.channel, "", "ordered")
        self.known[kept.number] = kept
        self._same_test(line).add(kept)
        for kind, number in _order_keys(line):
            if (kind, number) in self.orders:
                self.orders[kind, number].append(kept)
        return kept

    def _why_rejected(self, line: OrderLine) -> ItemReason:
        settings = self.settings
        if not is_specimen_number(line.specimen):
            return ItemReason.NO_SPECIMEN
        if settings.is_control is not None and settings.is_control(line.specimen):
            return ItemReason.CONTROL_NUMBER
        runners = meant.runners(line, settings)
        if line.targets and not runners:
            return ItemReason.UNKNOWN_CHANNEL
        if not line.test or not any(line.test in settings.known_channels[one] for one in runners):
            return ItemReason.UNKNOWN_TEST
        return ItemReason.NONE

    # -- cancel, hold, release -----------------------------------------------------------------------------------

    def _act(self, place: int, line: OrderLine, event: ItemEvent) -> list[LineOutcome]:
        named = self._named(line, event)
        found = [one for one in named if one.message_id == self.message_id or self._is_after(one.message_id)]
        if not found:
            return [_no_such_order(place)]
        open_ones = [one for one in found if one.is_open]
        if event is not ItemEvent.CANCEL:  # it is about the version that goes on, not about one that is given up
            open_ones = [one for one in open_ones if one.state is not ItemState.CANCEL_PENDING] or open_ones
        return [self._step(place, one, event) for one in open_ones or found[-1:]]

    def _is_ordered(self, line: OrderLine) -> bool:
        """Whether a line without an order number may mean an open order of its tube and test, which has one."""
        if has_number(line):
            return False
        return any(one.is_open and names(line, one.line) for one in self._tube(line.specimen).items)

    def _named(self, line: OrderLine, event: ItemEvent) -> list[Kept]:
        """The items that the line names, oldest first; without those that were never on the worklist."""
        if has_number(line) or (line.filler and event is not ItemEvent.CANCEL):
            near = self._order_items(("placer", line.placer) if line.placer else ("filler", line.filler))
            if event is ItemEvent.CANCEL and not line.placer and not self.settings.cancel_by_specimen:
                near = [one for one in near if one.line.filler != one.line.specimen]  # it is the tube's number
            elif not has_number(line):
                near = [one for one in near if not has_number(one.line)]
        elif event is not ItemEvent.CANCEL or self.settings.cancel_by_specimen:
            near = self._tube(line.specimen).items if line.specimen else []
            if event is not ItemEvent.CANCEL:  # without its number an order is named by tube and test
                near = [one for one in near if line.test and not one.line.placer and not one.line.filler]
        else:
            near = []
        ended = (ItemState.REJECTED, ItemState.SUPERSEDED)
        near = [one for one in near if one.state not in ended and names(line, one.line)]
        return near if line.patient != OrderedPatient() else [one for one in near if self._is_of_source(one)]

    def _step(self, place: int, one: Kept, event: ItemEvent) -> LineOutcome:
        if event is ItemEvent.HOLD and (one.known or one.state in _ANALYZER_HAS):
            return _outcome(place, one, reason=ItemReason.TOO_LATE)
        before = one.state, one.reason
        if not (one.last_id == self.message_id or self._is_after(one.last_id)) and event is not ItemEvent.CANCEL:
            return _outcome(place, one, repeat=True)  # an old message, processed again
        if event is ItemEvent.RELEASE and one.state in ANSWERED_STATES:
            return _outcome(place, one, repeat=True)  # it is not held, or not any more
        done = self._apply(one, event)
        if not done and one.state is ItemState.HELD:
            return _outcome(place, one)  # of a conflict a person decides
        if not done:
            return _outcome(place, one, reason=ItemReason.TOO_LATE)
        return _outcome(place, one, repeat=before == (one.state, one.reason))

    def _apply(self, one: Kept, event: ItemEvent) -> bool:
        if event is ItemEvent.CANCEL and one.state in (ItemState.CANCELLED, ItemState.CANCEL_PENDING):
            return True  # a repeat is no event
        bore = self._bears(one)
        done = items.apply(self.batch, one, event, message_id=self.message_id).done
        tube = self.tubes.get(one.line.specimen)
        if tube is not None and bore and not self._bears(one):
            tube.patients.remove(one.line.patient)
        return done

    # -- items that are there ------------------------------------------------------------------------------------

    def _same_order(self, line: OrderLine) -> list[Kept]:
        """The items of the same order number and test, the newest first; without those that another has replaced."""
        return [
            one
            for one in reversed(self._same_test(line).items)
            if one.state is not ItemState.SUPERSEDED
            and same_placer(one.line, line)
            and (self._is_of_source(one) or same_patient(one.line.patient, line.patient))
        ]

    def _is_of_source(self, one: Kept) -> bool:
        """Whether the order is of this laboratory system, or a person had a part in it. Two systems may give the same
        order number: an order of another one is meant only by a line that names its patient."""
        return self.channel in (one.source, "") or not one.source

    def _same_test(self, line: OrderLine) -> _OneTest:
        """The items with the order number and the test of a line; the namespace is not compared here."""
        key = _order_keys(line)[0]
        found = self.by_test.get((*key, line.test))
        if found is None:
            kind = key[0]
            if kind not in self.read.setdefault(key[1], set()):
                self._sort(key)
            found = self.by_test.setdefault((*key, line.test), _OneTest())
        return found

    def _sort(self, key: tuple[str, str]) -> None:
        """Read the items of an order number, or of a tube whose orders have none, and sort them by their tests."""
        kind, number = key
        self.read[number].add(kind)
        for one in (
            items.of_specimen(self.batch, number, MOST_OF_TUBE) if kind == "specimen" else self._order_items(key)
        ):
            if _order_keys(one.line)[0] == key and not one.made:
                self.by_test.setdefault((*key, one.line.test), _OneTest()).add(self._one(one))

    def _own(self) -> dict[tuple[int, str], list[Kept]]:
        """The items that this very message has made before, by place and test."""
        if self.own is None:
            self.own = {}
            for one in items.of_message(self.batch, self.message_id):
                self.own.setdefault((one.place, one.line.test), []).append(self._one(one))
        return self.own

    def _order_items(self, key: tuple[str, str]) -> list[Kept]:
        if key not in self.orders:
            read = items.of_placer if key[0] == "placer" else items.of_filler
            self.orders[key] = [self._one(one) for one in read(self.batch, key[1], MOST_OF_TUBE)]
        return self.orders[key]

    def _tube(self, specimen: str) -> _Tube:
        if specimen not in self.tubes:
            found = [self._one(one) for one in items.of_specimen(self.batch, specimen, MOST_OF_TUBE)]
            ordered = [one for one in found if one.state is not ItemState.REJECTED and not one.made]
            tube = _Tube(ordered, PatientsOfTube({}))
            tube.open = sum(one.is_open for one in tube.items)
            for one in tube.items:
                if self._bears(one):
                    tube.patients.add(one.line.patient)
            self.tubes[specimen] = tube
        return self.tubes[specimen]

    def _one(self, one: Kept) -> Kept:
        return self.known.setdefault(one.number, one)

    def _bears(self, one: Kept) -> bool:
        return bears_patient(
            one.state,
            known=one.known,
            ended_us=one.changed_us,
            now_us=self.batch.steady_us,
            reuse_us=self.settings.specimen_reuse_us,
        )


def _is_in_conflict(one: Kept) -> bool:
    """Whether it is held beside another item of its order number and test."""
    return one.state is ItemState.HELD and one.reason is ItemReason.ORDER_CONFLICT


def _order_keys(line: OrderLine) -> list[tuple[str, str]]:
    """What an order is known by; the first is what makes two lines one order."""
    numbers = [("placer", line.placer), ("filler", line.filler)]
    return [one for one in numbers if one[1]] or [("specimen", line.specimen)]


def _no_such_order(place: int) -> LineOutcome:
    return LineOutcome(line_index=place, number=0, state=ItemState.REJECTED, reason=ItemReason.NO_SUCH_ORDER)


def _outcome(
    place: int, one: Kept, *, repeat: bool = False, replaced: int = 0, reason: ItemReason | None = None
) -> LineOutcome:
    return LineOutcome(
        line_index=place, number=one.number, state=one.state, reason=one.reason if reason is None else reason,
        repeat=repeat, replaced=replaced,
    )  # fmt: skip
