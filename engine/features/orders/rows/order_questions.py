"""Reading the questions of analyzers, and the downloads: the query log."""

from dataclasses import dataclass
from typing import Any

from engine.features.orders.rows.items import specimen_token
from engine.model.orders import NoOrder
from engine.store.core.rows import Execute
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
