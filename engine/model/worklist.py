"""What the worklist is asked, and its answers. Plain data; `engine.features.orders.rows` does the work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from engine.model.orders import ItemReason, ItemState, LineAnswer, OrderLine, Tube
from engine.model.values import value

DAY_US = 86_400_000_000
EXPIRES_US = 7 * DAY_US
SPECIMEN_REUSE_US = 30 * DAY_US
ALL_LIMIT = 200  # items of an answer to a question for all


@value(kw_only=True)
class TakeSettings:
    """How orders of one channel are taken.

    Attributes:
        known_channels: channel -> codes of the LIS that it can run.
        groups: name of a group of channels -> these; an order may name one as its target.
        targets: the channels that may run these orders; empty: all. An order that names others is rejected.
        codes: code of the LIS -> code of the worklist; a test that is not in it is rejected. None: they are the same.
        panels: code of a panel -> codes of its tests, as the LIS has them. A panel is taken apart where no channel has
            a code for it.
        specimen_reuse_us: how long after its result a specimen number may not be another patient's.
        expires_us: how long an item waits.
        is_control: whether a specimen number is one of a control material; None: there are none.
        cancel_by_specimen: a cancel without an order number cancels all orders of its specimen.
        answers_later: the answers are messages of another channel (kind `order-status`, `answers: true`).
    """

    known_channels: Mapping[str, frozenset[str]]
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    codes: Mapping[str, str] | None = None
    panels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    specimen_reuse_us: int = SPECIMEN_REUSE_US
    expires_us: int = EXPIRES_US
    is_control: Callable[[str], bool] | None = None
    cancel_by_specimen: bool = False
    answers_later: bool = False


@value(kw_only=True)
class LineOutcome:
    """What became of one line, or of one test of a panel in it, or of one order that it cancels.

    Attributes:
        line_index: place of the line in the message, from 0. Several outcomes may have the same.
        number: of the item; 0: there is none.
        state, reason: of the item now. TOO_LATE and NO_SUCH_ORDER: the line changed nothing.
        repeat: the item was here before, and the line changed nothing.
        replaced: the item that this one takes the place of; 0: none.
    """

    line_index: int
    number: int
    state: ItemState
    reason: ItemReason = ItemReason.NONE
    repeat: bool = False
    replaced: int = 0


@value(kw_only=True)
class Ordered:
    """The orders of one message.

    Attributes:
        settings: of its channel.
    """

    lines: tuple[OrderLine, ...]
    settings: TakeSettings


def answers(lines: Sequence[OrderLine], outcomes: Sequence[LineOutcome]) -> tuple[LineAnswer, ...]:
    """The answer to each line. A line with several outcomes is done where each of them is."""
    found: dict[int, list[LineOutcome]] = {}
    for one in outcomes:
        found.setdefault(one.line_index, []).append(one)
    return tuple(_answer(line, found.get(place, [])) for place, line in enumerate(lines))


def _answer(line: OrderLine, outcomes: Sequence[LineOutcome]) -> LineAnswer:
    failed = next((one for one in outcomes if _why_not_done(one)), None)
    reason = ItemReason.NONE if failed is None else failed.reason
    return LineAnswer(
        placer=line.placer,
        filler=line.filler,
        test=line.test,
        action=line.action,
        done=reason is ItemReason.NONE,
        reason=reason,
        text="" if failed is None else _words(line, failed),
        state=_state_of(outcomes) if reason is ItemReason.TOO_LATE else None,
        items=tuple(one.number for one in outcomes if one.number),
    )


def _state_of(outcomes: Sequence[LineOutcome]) -> ItemState | None:
    """The state that the items of a line share."""
    states = {one.state for one in outcomes}
    return states.pop() if len(states) == 1 else None


def _why_not_done(one: LineOutcome) -> ItemReason:
    if one.reason in _CHANGED_NOTHING or one.state is ItemState.REJECTED or one.reason in _CONFLICTS:
        return one.reason
    return ItemReason.NONE


def _words(line: OrderLine, one: LineOutcome) -> str:
    if one.reason is not ItemReason.TOO_LATE:
        return _WORDS.get(one.reason, "")
    return _TOO_LATE.get(one.state, "too late: an analyzer has it, or may have it")


_CHANGED_NOTHING = frozenset({ItemReason.TOO_LATE, ItemReason.NO_SUCH_ORDER, ItemReason.TOO_MANY_LINES})
_CONFLICTS = frozenset({ItemReason.ORDER_CONFLICT, ItemReason.SPECIMEN_CONFLICT})
_PERSON = "held until a person of the laboratory decides"
_WORDS = {
    ItemReason.ORDER_CONFLICT: f"{_PERSON}: this order number and test are there with other content",
    ItemReason.SPECIMEN_CONFLICT: f"{_PERSON}: this specimen number has orders of another patient",
    ItemReason.UNKNOWN_ACTION: "no known code of what is to be done",
    ItemReason.UNKNOWN_TEST: "no analyzer here runs this test",
    ItemReason.NO_SPECIMEN: "there is no specimen number that can be on a tube",
    ItemReason.UNKNOWN_CHANNEL: "there is no such analyzer here",
    ItemReason.CONTROL_NUMBER: "the specimen number is one of a control",
    ItemReason.NO_SUCH_ORDER: "there is no such order here",
    ItemReason.TOO_MANY_LINES: "the message has too many tests; none was taken",
    ItemReason.TOO_MANY_ITEMS: "the specimen number has too many orders",
}
_TOO_LATE = {
    ItemState.RESULTED: "too late: its result is there",
    ItemState.REFUSED: "too late: the analyzer has refused it",
    ItemState.EXPIRED: "too late: its time is over",
    ItemState.CANCELLED: "too late: it is cancelled",
    ItemState.CANCEL_PENDING: "too late: it is being cancelled",
}


@value(kw_only=True)
class AskSettings:
    """The orders that an analyzer may get.

    Attributes:
        channel: the analyzer's.
        codes: code of the LIS -> code of the analyzer.
        names: the groups that the channel is of; an order for one of them is for this channel, too.
        limit: items of an answer to a question for all.
        again: orders that were offered to this channel before are part of the answer, too.
        dilutions: those for which the analyzer has a form, "" for none; None: any.
        today_us: when the day began in the channel's zone: a place in a rack or on a tray is one of today.
        between_us: for a question by time: the first and the last microsecond; None: no such time is in the question.
    """

    channel: str
    codes: Mapping[str, str]
    names: frozenset[str] = frozenset()
    limit: int = ALL_LIMIT
    again: bool = True
    dilutions: frozenset[str] | None = None
    today_us: int = 0
    between_us: tuple[int, int] | None = None


@value(kw_only=True)
class Answered:
    """The answer to a question.

    Attributes:
        query: number of its row; 0: there is none, for nothing was found and no specimen was named.
        tubes: in the order of the question.
        cut: there is more than this answer may hold.
    """

    query: int
    tubes: tuple[Tube, ...] = ()
    cut: bool = False


@value(kw_only=True)
class ResultOf:
    """One result of a message, as far as an order is concerned.

    Attributes:
        test: the LIS's code; empty: not known.
        code: the analyzer's code; empty: not known.
        final: the result is final; False: preliminary.
        item_id: as `engine.model.orders.item_id`, where the analyzer sent it; another text counts as none.
        measured_us: when it was measured at the latest; 0: not known.
        own_us: the same, as the result itself says, and not the order around it.
        repeats: it was accepted before, unchanged: an analyzer sends its memory.
        corrects: it takes the place of a result that was sent before, or takes that back.
        withdrawn: no value is left. With ``corrects``: the one before was wrong; else none can be obtained.
        made: the analyzer says that it ordered the test itself.
        parent, parent_test: of a reflex, the item, and the analyzer's code of the test, whose result was its cause;
            empty: not said.
    """

    test: str = ""
    code: str = ""
    final: bool = True
    item_id: str = ""
    measured_us: int = 0
    own_us: int = 0
    repeats: bool = False
    corrects: bool = False
    withdrawn: bool = False
    made: bool = False
    parent: str = ""
    parent_test: str = ""
