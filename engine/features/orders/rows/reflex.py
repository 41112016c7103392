"""Reflex: a result of an order proposes one more test of its tube, and a person confirms or declines.

Where its row says ``auto``, it is ordered without a person, unless a restore brought it back, it cannot be ordered, or
the order of the result was cancelled or replaced meanwhile.

    waits      the rule says yes, and the result is held
    proposed   the result is on its way
    unsure     the rule cannot say, or not of which tube: a person looks at the message
    withdrawn  a correction made it untrue, or its result does not go out
    confirmed  it is an order (``item``)
    untrue     the same, and a correction made it untrue since: a person decides about that order
    declined   by a person; it is never proposed again

One order has one row for a test, so the same result sent again, a correction and a restart propose nothing twice; of
several orders of a tube one proposes it, that no person wants to end, and none where a person has ordered it. The
rule is one of the ``hold:`` of its route, asked once more about the results of this order alone. Only a final result of
an order with tube and patient counts; controls, and messages that are dead or filtered, have no such order.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from engine.feature import Hook
from engine.features.orders.rows import holding, items, reading
from engine.features.orders.rows.items import Kept
from engine.features.orders.rows.taking import take_orders
from engine.model.content.results import EarlierResults
from engine.model.errors import RefusedError
from engine.model.journal.records import Routed
from engine.model.orders import MOST_OF_TUBE, ItemState, OrderLine, code_alone, item_id
from engine.model.values import changed
from engine.model.worklist import ResultOf, TakeSettings
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit
from engine.store.operations.recording import Recording
from engine.store.queries.reader import Reader

WAITS, PROPOSED, UNSURE, WITHDRAWN = "waits", "proposed", "unsure", "withdrawn"
CONFIRMED, UNTRUE, DECLINED = "confirmed", "untrue", "declined"
OPEN = frozenset({PROPOSED, UNSURE})
_UNDECIDED = OPEN | {WAITS}
_GONE = frozenset({ItemState.CANCELLED, ItemState.EXPIRED, ItemState.SUPERSEDED, ItemState.REJECTED, ItemState.REFUSED})
EARLIER: Hook[Callable[[Rows, int, str, int], EarlierResults]] = Hook("earlier")


class RuleRow(NamedTuple):
    """A row of ``reflex:``."""

    channel: str
    test: str
    adds: str
    rule: str
    auto: bool = False


class ReflexView(NamedTuple):
    """A proposal.

    Attributes:
        version: of the rule that said yes last; empty: none did.
        restored: a restore brought it back, and a person may have decided since the copy.
        auto: no person decides.
    """

    id: int
    parent: int
    test: str
    adds: str
    rule: str
    channel: str
    message: int
    state: str
    restored: bool
    at_us: int
    item: int
    version: str
    auto: bool


_ENDS = "event IN ('cancel', 'close', 'replace')"
_IS_DUE = (
    "auto AND state = 'proposed' AND EXISTS (SELECT 1 FROM order_reflex_rule AS r"  # noqa: S608 - constants
    " WHERE r.channel = order_reflex.channel AND r.adds = order_reflex.adds AND r.rule = order_reflex.rule AND r.auto)"
    f" AND NOT EXISTS (SELECT 1 FROM order_event WHERE item = order_reflex.parent AND {_ENDS})"
)


@operation(priority=Priority.SETTLE)
def in_force(batch: Batch, rules: Sequence[RuleRow]) -> None:
    """The configuration that comes into force has these rows."""
    if [*map(tuple, rules)] != batch.execute("SELECT * FROM order_reflex_rule ORDER BY channel, test, adds").fetchall():
        batch.execute("DELETE FROM order_reflex_rule")
        batch.executemany("INSERT INTO order_reflex_rule VALUES (?, ?, ?, ?, ?)", [tuple(one) for one in rules])


def follow(batch: Batch, now: Recording, meant: Collection[int]) -> None:
    """What results of a message say to the proposals of their orders (``meant``)."""
    rows = batch.execute("SELECT * FROM order_reflex_rule WHERE channel = ?", (now.channel,)).fetchall()
    ended = _ended(batch, meant) if rows and len(meant) > 1 else ()
    for row in map(RuleRow._make, rows):
        for number in sorted(meant, key=lambda number: (number in ended, number)):
            one = items.by_number(batch, number)
            if one is not None and one.line.test == row.test and not one.made and _has_tube(one):
                said = [(tube, each) for tube in now.tubes for each in tube.tests if _is_of(each, one)]
                mine = [each for tube, each in said if tube.specimen == one.line.specimen]
                if not mine or all(each.repeats for each in mine):
                    continue
                answer: bool | None = False
                version, is_withdrawn = "", any(each.withdrawn for each in mine)
                if not (is_withdrawn or all(each.final for each in mine)):
                    continue
                if not is_withdrawn:
                    earlier = EARLIER.each()[0](batch, now.id, now.controls_of, now.received_us)
                    answer, version = _answer(now.routes, earlier, now.received_us, row.rule, _codes(one, mine))
                    if len({tube.specimen for tube, _ in said}) > 1:
                        answer = None
                is_known = any(each.test == row.adds for tube in now.tubes for each in tube.tests)
                _say(batch, one, row, now.id, answer, version, is_known=is_known)


def _ended(batch: Batch, meant: Collection[int]) -> set[int]:
    """Orders that a person wants to end: another one of their tube goes before them."""
    sql = f"SELECT item FROM order_event WHERE {_ENDS} AND item IN (SELECT value FROM json_each(?))"  # noqa: S608
    return {number for (number,) in batch.execute(sql, (str([*meant]),)).fetchall()}


def _has_tube(one: Kept) -> bool:
    return bool(one.line.specimen and one.line.patient.number)


def _is_of(each: ResultOf, one: Kept) -> bool:
    return each.test == one.line.test or bool(one.code and each.code == code_alone(one.code))


def _codes(one: Kept, results: Iterable[ResultOf]) -> frozenset[str]:
    said = {text for each in results for text in (each.test, each.code)}
    return frozenset({one.line.test, one.line.ordered, code_alone(one.code), *said} - {""})


def _answer(
    routes: Sequence[Routed], earlier: EarlierResults, now_us: int, rule: str, codes: frozenset[str]
) -> tuple[bool | None, str]:
    """What a rule says of the results with these codes, and its version; None: it cannot say, or not one thing."""
    found: set[tuple[bool | None, str]] = set()
    for routed in routes:
        if routed.hold is None or not routed.destinations or routed.echo:
            continue
        part = routed.hold.among(lambda result: not codes.isdisjoint(code for _, code in result.codes))
        if part.tests:
            part.decide(earlier, now_us)
            for one in part.answers:
                if one.rule == rule:
                    said = None if one.unknown or 0 < len(one.hit) < one.seen else bool(one.hit)
                    found.add((said, one.version))
    return found.pop() if len(found) == 1 else (None, "")


def _say(
    batch: Batch, one: Kept, row: RuleRow, message_id: int, answer: bool | None, version: str, *, is_known: bool
) -> None:
    known = batch.execute(
        "SELECT id, state FROM order_reflex WHERE parent = ? AND adds = ?", (one.number, row.adds)
    ).fetchone()
    is_ready = one.state is ItemState.RESULTED and holding.standing(batch, message_id) != "held"
    if known is None:
        if answer is False or is_known or _is_elsewhere(batch, one, row.adds):
            return
        state = UNSURE if answer is None else PROPOSED if is_ready else WAITS
        (number,) = batch.execute(
            "INSERT INTO order_reflex (parent, adds, rule, version, channel, message_id, state, auto, restored, at_us,"
            " act, item) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, 0) RETURNING id",
            (one.number, row.adds, row.rule, version, row.channel, message_id, state, row.auto, batch.now_us),
        ).fetchone()
        _tell(batch, number, one.number, row.adds, state)
        return
    number, state = known
    if answer and state in _UNDECIDED | {WITHDRAWN}:
        batch.execute("UPDATE order_reflex SET rule = ?, version = ? WHERE id = ?", (row.rule, version, number))
    to = _next(state, answer, is_ready=is_ready)
    move(batch, number, WITHDRAWN if to in _UNDECIDED and _is_elsewhere(batch, one, row.adds) else to, message_id)


def _next(state: str, answer: bool | None, *, is_ready: bool) -> str:
    """The state of a proposal after one more result of its order."""
    if state in (CONFIRMED, UNTRUE):
        return state if answer is None or not is_ready else CONFIRMED if answer else UNTRUE
    if state == DECLINED:
        return state
    if answer is None or (answer is False and not is_ready and state in OPEN):
        return UNSURE
    if answer is False:
        return WITHDRAWN
    return PROPOSED if is_ready or state == PROPOSED else WAITS


def move(batch: Batch, number: int, to: str, message_id: int) -> None:
    parent, adds, state = batch.execute(
        "SELECT parent, adds, state FROM order_reflex WHERE id = ?", (number,)
    ).fetchone()
    batch.execute(
        "UPDATE order_reflex SET state = ?, message_id = ?, at_us = iif(state = ?, at_us, ?) WHERE id = ?",
        (to, message_id, to, batch.now_us, number),
    )
    if to != state:
        _tell(batch, number, parent, adds, to)


def _tell(batch: Batch, number: int, parent: int, adds: str, state: str) -> None:
    if state in (PROPOSED, UNSURE, WITHDRAWN, UNTRUE):
        (channel,) = batch.execute("SELECT channel FROM order_reflex WHERE id = ?", (number,)).fetchone()
        batch.tell(f"reflex.{state}", proposal=number, channel=channel, order=item_id(parent), test=adds)


def moved(batch: Batch, message_id: int) -> None:
    """A person, or a newer result, has decided about a delivery of this message: so of what waits for it."""
    rows = batch.execute(
        "SELECT id, parent, adds, state FROM order_reflex WHERE message_id = ? AND state IN ('waits', 'proposed',"
        " 'unsure')",
        (message_id,),
    ).fetchall()
    standing = holding.standing(batch, message_id) if rows else ""
    for number, parent, adds, state in rows:
        one = items.by_number(batch, parent)
        if standing == "gone":
            move(batch, number, WITHDRAWN, message_id)
        elif standing == "on its way" and state == WAITS and one is not None and one.state is ItemState.RESULTED:
            move(batch, number, WITHDRAWN if is_there(batch, one, adds) else PROPOSED, message_id)


def is_there(batch: Batch, one: Kept, adds: str) -> bool:
    """Whether a test is ordered for the tube of an order, or has a result there."""
    of_tube = items.of_specimen(batch, one.line.specimen, MOST_OF_TUBE)
    return any(other.line.test == adds and other.state not in _GONE for other in of_tube)


def _is_elsewhere(batch: Batch, order: Kept, adds: str) -> bool:
    """Whether a test is there, or another order of the tube proposes it."""
    others = [other.number for other in items.of_specimen(batch, order.line.specimen, MOST_OF_TUBE)]
    sql = (
        "SELECT 1 FROM order_reflex WHERE adds = ? AND parent <> ? AND state IN ('waits', 'proposed', 'unsure')"
        " AND parent IN (SELECT value FROM json_each(?))"
    )
    return is_there(batch, order, adds) or bool(batch.execute(sql, (adds, order.number, str(others))).fetchone())


@operation(priority=Priority.SETTLE)
def confirm(batch: Batch, number: int, settings: TakeSettings, *, actor: str, reason: str) -> tuple[int, int]:
    """Make a proposal an order of the same tube and patient; the row of the act, and the number of the order.

    Raises:
        RefusedError: it is not proposed, its tube is not known any more, the test is there, or no analyzer runs it.
    """
    return _order(batch, number, settings, actor, {"reason": reason})


@operation(priority=Priority.SETTLE)
def order_due(batch: Batch, number: int, settings: TakeSettings) -> None:
    """Make a proposal an order, as its rule says, where no person decides.

    Raises:
        RefusedError: as `confirm`.
    """
    mine = f"SELECT rule, version FROM order_reflex WHERE id = ? AND {_IS_DUE}"  # noqa: S608 - a constant
    row = batch.execute(mine, (number,)).fetchone()
    if row is not None:
        _order(batch, number, settings, "labrelay", {"rule": row[0], "version": row[1]})


@operation(priority=Priority.SETTLE)
def leave(batch: Batch, number: int) -> None:
    """A proposal cannot be ordered as it is: a person decides."""
    batch.execute("UPDATE order_reflex SET auto = 0 WHERE id = ?", (number,))


def _order(batch: Batch, number: int, settings: TakeSettings, actor: str, why: dict[str, str]) -> tuple[int, int]:
    parent, adds = _open(batch, number)
    one = items.by_number(batch, parent)
    if one is None or not _has_tube(one) or one.state is not ItemState.RESULTED:
        raise RefusedError(f"order {item_id(parent)} has no result any more: nothing is added to its tube")
    if one.changed_us + one.reuse_us < batch.now_us:
        raise RefusedError(f"the tube of {item_id(parent)} is old: its number may be another patient's by now")
    if is_there(batch, one, adds):
        raise RefusedError(f"{adds} is ordered for the tube of {item_id(parent)}, or has its result: decline it")
    act = audit.note(batch, actor, "reflex-confirm", {"proposal": number, "order": parent, "test": adds, **why})
    of = one.line
    line = OrderLine(
        specimen=of.specimen, specimen_namespace=of.specimen_namespace, specimen_type=of.specimen_type,
        patient=of.patient, test=adds, priority=of.priority, collected=of.collected,
    )  # fmt: skip
    (made,) = take_orders(batch, act, "", [line], changed(settings, panels={}))
    if made.state is ItemState.REJECTED:
        raise RefusedError(f"{adds} cannot be ordered: {made.reason.value}")
    items.set_parent(batch, made.number, parent)
    batch.execute(
        "UPDATE order_reflex SET state = 'confirmed', act = ?, item = ?, at_us = ? WHERE id = ?",
        (act, made.number, batch.now_us, number),
    )
    return act, made.number


@operation(priority=Priority.SETTLE)
def decline(batch: Batch, number: int, *, actor: str, reason: str) -> int:
    """
    Raises:
        RefusedError: it is not proposed.
    """
    parent, adds = _open(batch, number)
    what = {"proposal": number, "order": parent, "test": adds, "reason": reason}
    act = audit.note(batch, actor, "reflex-decline", what)
    batch.execute(
        "UPDATE order_reflex SET state = 'declined', act = ?, at_us = ? WHERE id = ?", (act, batch.now_us, number)
    )
    return act


def _open(batch: Batch, number: int) -> tuple[int, str]:
    row = batch.execute("SELECT parent, adds, state FROM order_reflex WHERE id = ?", (number,)).fetchone()
    if row is None or row[2] not in OPEN:
        raise RefusedError(f"there is no proposal {number}" if row is None else f"proposal {number} is {row[2]}")
    return row[0], row[1]


def proposals(reader: Reader, *, all_of_them: bool = False, after: int = 0, limit: int = 100) -> list[ReflexView]:
    """Those that a person is to decide about, newest first."""
    rows = reader.rows(
        "SELECT id, parent, adds, rule, channel, message_id, state, restored, at_us, item, version, auto"  # noqa: S608
        f" FROM order_reflex WHERE (? OR (state IN ('proposed', 'unsure', 'untrue') AND NOT ({_IS_DUE})))"
        " AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?",
        (all_of_them, after, after, limit),
    )
    found = []
    for number, parent, adds, rule, channel, message, state, restored, at_us, item, version, auto in rows:
        one = reading.item(reader, parent)
        test = "" if one is None else one.item.line.test
        asked = number, parent, test, adds, rule, channel, message, state
        found.append(ReflexView(*asked, bool(restored), at_us, item, version, bool(auto)))
    return found


def due(reader: Reader) -> list[int]:
    """Proposals that become orders without a person."""
    rows = reader.rows(f"SELECT id FROM order_reflex WHERE {_IS_DUE} ORDER BY id LIMIT 100")  # noqa: S608 - a constant
    return [number for (number,) in rows]
