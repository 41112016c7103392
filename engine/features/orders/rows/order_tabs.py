"""The lists of orders, by what harm may come of them, worst first; and what of them waits for a person.

A list and its count are one query (`engine.features.orders.rows.reading`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from engine.features.orders.rows import order_questions
from engine.features.orders.rows import reading as worklist
from engine.features.orders.rows.order_questions import QueryFilter
from engine.features.orders.rows.reading import ItemFilter
from engine.model.orders import AT_ANALYZER, ItemReason, ItemState
from engine.model.worklist import DAY_US
from engine.store.queries.reader import Reader

MINUTE_US = 60_000_000
REFUSED_US = 7 * DAY_US  # how long a refused or rejected order is listed
UNANSWERED_US = DAY_US  # how long a question without an answer is listed, and a result without an order
AFTER_ALL_US = 7 * DAY_US  # how long an order is listed that was given up, and measured all the same
# So long an order may wait for which the analyzer has asked in vain, unless its channel says another time; the second:
# a stat order, also one for which no analyzer has asked.
UNSENT_AFTER_US = (30 * MINUTE_US, 5 * MINUTE_US)
MOST = 10_000  # that are counted for a person

_AT_ANALYZER = tuple(sorted(AT_ANALYZER))
IN_VAIN = (ItemReason.UNMAPPED_CODE, ItemReason.MAYBE_KNOWN, ItemReason.AFTER_CANCEL)
DONE = (ItemState.RESULTED, ItemState.CANCELLED, ItemState.EXPIRED, ItemState.SUPERSEDED)

TABS: Mapping[str, Callable[[int], ItemFilter]] = {
    "refused": lambda now_us: ItemFilter(states=(ItemState.REFUSED,), since_us=max(now_us - REFUSED_US, 1)),
    "after_all": lambda now_us: ItemFilter(after_all_us=max(now_us - AFTER_ALL_US, 1)),
    "late": lambda now_us: ItemFilter(open=True, late_us=now_us),
    "unsent": lambda now_us: ItemFilter(
        states=(ItemState.WAITING,), reasons=IN_VAIN, still_us=_before(now_us, UNSENT_AFTER_US)
    ),
    "urgent": lambda now_us: ItemFilter(
        states=(ItemState.WAITING,), reasons=(ItemReason.NONE,), stat=True, still_us=_before(now_us, UNSENT_AFTER_US)
    ),
    "held": lambda now_us: ItemFilter(states=(ItemState.HELD,)),
    "waiting": lambda now_us: ItemFilter(states=(ItemState.WAITING,)),
    "analyzer": lambda now_us: ItemFilter(states=_AT_ANALYZER),
    "rejected": lambda now_us: ItemFilter(states=(ItemState.REJECTED,), since_us=max(now_us - REFUSED_US, 1)),
    "done": lambda now_us: ItemFilter(states=DONE),
}


def filter_of(name: str, now_us: int, unsent_after_s: Mapping[str, float]) -> ItemFilter:
    """The filter of a list.

    Args:
        unsent_after_s: of the analyzers that have a time of their own (``unsent_after``); of a stat order a sixth.
    """
    wanted = TABS[name](now_us)
    if name != "unsent":
        return wanted
    own = {channel: _before(now_us, (round(s * 1e6), round(s * 1e6 / 6))) for channel, s in unsent_after_s.items()}
    return replace(wanted, still_of=own)


def _before(now_us: int, ages_us: tuple[int, int]) -> tuple[int, int]:
    usual, stat = ages_us
    return now_us - usual, now_us - stat


def unanswered(now_us: int) -> QueryFilter:
    """The questions that wait for a person."""
    return QueryFilter(since_us=max(now_us - UNANSWERED_US, 1), unanswered=True)


@dataclass(frozen=True, slots=True)
class OrderTrouble:
    """Orders or questions that wait for a person.

    Attributes:
        kind: a name of `TABS`, or ``questions``.
        oldest_us: the oldest change of them; 0: not known.
    """

    kind: str
    count: int
    oldest_us: int = 0


def troubles(reader: Reader, now_us: int, unsent_after_s: Mapping[str, float]) -> list[OrderTrouble]:
    """Those that there are, worst first. ``unsent_after_s``: as of `filter_of`."""
    found = [
        OrderTrouble(name, *worklist.count_items(reader, filter_of(name, now_us, unsent_after_s), most=MOST))
        for name in _FOR_A_PERSON
    ]
    found.insert(1, OrderTrouble("questions", order_questions.count_queries(reader, unanswered(now_us), most=MOST)))
    return [one for one in found if one.count]


_FOR_A_PERSON = ("refused", "after_all", "late", "unsent", "urgent", "held")
