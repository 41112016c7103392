"""Reading the questions of analyzers, and the downloads: the query log.

The lists of orders, by what harm may come of them, worst first; and what of them waits for a person.

A list and its count are one query (`engine.features.orders.rows.reading`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.features.orders.rows import reading as worklist
from engine.features.orders.rows.items import specimen_token
from engine.features.orders.rows.reading import ItemFilter
from engine.model.orders import AT_ANALYZER, ItemReason, ItemState, NoOrder
from engine.model.worklist import DAY_US
from engine.store.core.connecting import Execute
from engine.store.queries.reader import Reader

PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFilter:
    """Which questions. An empty part is no condition.

    Attributes:
        since_us: asked then or later.
        unanswered: the analyzer got no answer, or no order for another reason than that all is done, and it has not
            asked for that tube since.
        specimen: a number, exact; those that had it.
    """

    channel: str = ""
    since_us: int = 0
    unanswered: bool = False
    specimen: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuery:
    """A question of an analyzer, or a download (``message_id`` 0).

    Attributes:
        received_us: when the question was there; 0 where its message is not kept any more.
        at_us: when it was looked up. ended_us: when it was known of all items whether they arrived; 0: not yet.
        asked: specimens. items: numbers of the items of the answer; codes: of their tests at the analyzer.
        open: items of which it is not known yet whether they arrived.
        outcome: of the last that was known: ``sent``, ``accepted``, ``refused``, or why not; without items ``sent``
            once the link has confirmed that there are none, or why it has not. Empty: not known yet.
        none: why there was no order, of those specimens whose number was read.
    """

    number: int
    message_id: int
    channel: str
    received_us: int
    at_us: int
    kind: str
    asked: int
    items: tuple[int, ...]
    codes: tuple[str, ...]
    cut: bool
    open: int
    ended_us: int
    outcome: str
    none: tuple[str, ...] = ()

    @property
    def took_ms(self) -> int | None:
        """From the question to the end of its answer; None: not known, or not yet."""
        return (self.ended_us - self.received_us) // 1000 if self.ended_us and self.received_us else None


_EVERY = QueryFilter()
_QUERY = (
    "SELECT q.number, q.message_id, q.channel, coalesce(j.received_us, 0), q.at_us, q.kind, q.asked, q.items, q.cut,"
    " q.open, q.ended_us, q.outcome, coalesce((SELECT group_concat(DISTINCT a.none) FROM order_asked a"
    " WHERE a.query = q.number AND a.none <> ''), '')"
    " FROM order_query q LEFT JOIN journal j ON j.id = q.message_id WHERE q.number"
)
# Outcomes after which nothing is missing: it was sent, or the analyzer did not want it any more.
_SETTLED = "'sent', 'accepted', 'refused', 'cancel', 'erased'"
_MISSED = ", ".join(
    f"'{one}'" for one in (NoOrder.UNKNOWN, NoOrder.CONFLICT, NoOrder.HELD, NoOrder.UNMAPPED, NoOrder.EXPIRED)
)
_UNANSWERED = (
    "EXISTS (SELECT 1 FROM order_asked a WHERE a.query = order_query.number"  # noqa: S608 - constants
    f" AND (a.none IN ({_MISSED}) OR (a.none = '' AND ended_us > 0 AND outcome NOT IN ({_SETTLED})))"
    " AND NOT EXISTS (SELECT 1 FROM order_asked b WHERE b.specimen = a.specimen AND b.query > a.query))"
)
MOST_CODES = 20  # of one answer that are read


def queries(reader: Reader, wanted: QueryFilter = _EVERY, *, after: int = 0, limit: int = PAGE) -> list[AskedQuery]:
    """Questions and downloads, newest first.

    Args:
        after: only those with a smaller number; 0: from the newest on.
    """
    found, values = _asked(reader, wanted, after)
    with reader.snapshot() as execute:
        rows = execute(
            f"{_QUERY} IN ({found} ORDER BY number DESC LIMIT ?) ORDER BY q.number DESC", (*values, limit)
        ).fetchall()
        return [_query(execute, row) for row in rows]


def count_queries(reader: Reader, wanted: QueryFilter, *, most: int) -> int:
    """How many `queries` are in all, up to ``most``."""
    found, values = _asked(reader, wanted, 0)
    (count,) = reader.row(f"SELECT count(*) FROM ({found} LIMIT ?)", (*values, most))  # noqa: S608 - constants
    return int(count)


def _asked(reader: Reader, wanted: QueryFilter, after: int) -> tuple[str, list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    if wanted.since_us:  # numbers and times grow together
        terms.append(
            "number > coalesce((SELECT o.number FROM order_query o WHERE o.at_us < ?"
            " ORDER BY o.number DESC LIMIT 1), 0)"
        )
        values.append(wanted.since_us)
    if wanted.channel:
        terms.append("channel = ?")
        values.append(wanted.channel)
    if wanted.unanswered:
        terms.append(_UNANSWERED)
    if wanted.specimen:
        terms.append("number IN (SELECT query FROM order_asked WHERE specimen = ?)")
        values.append(specimen_token(reader.vault, wanted.specimen))
    if after:
        terms.append("number < ?")
        values.append(after)
    return f"SELECT number FROM order_query WHERE {' AND '.join(terms) or '1'}", values  # noqa: S608 - constants


def _query(execute: Execute, row: tuple[Any, ...]) -> AskedQuery:
    number, message_id, channel, received_us, at_us, kind, asked, named, cut, still_open, ended_us, outcome, none = row
    numbers = tuple(int(one) for one in named.split(",") if one)
    marks = ", ".join("?" * len(numbers[:MOST_CODES]))
    codes = execute(
        f"SELECT code FROM order_item WHERE number IN ({marks}) AND code <> ''",  # noqa: S608 - question marks
        numbers[:MOST_CODES],
    ).fetchall()
    return AskedQuery(
        number=number, message_id=message_id, channel=channel, received_us=received_us, at_us=at_us, kind=kind,
        asked=asked, items=numbers, codes=tuple(code for (code,) in codes), cut=bool(cut), open=still_open,
        ended_us=ended_us, outcome=outcome, none=tuple(sorted(filter(None, none.split(",")))),
    )  # fmt: skip


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
    found.insert(1, OrderTrouble("questions", count_queries(reader, unanswered(now_us), most=MOST)))
    return [one for one in found if one.count]


_FOR_A_PERSON = ("refused", "after_all", "late", "unsent", "urgent", "held")
