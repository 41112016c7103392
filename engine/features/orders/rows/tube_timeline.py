"""Reading one tube: its orders, the questions for it, and its results that no order is there for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.features.orders.rows import items as rows_of
from engine.features.orders.rows.reading import ItemDetails, with_history
from engine.model.orders import MOST_OF_TUBE
from engine.store.queries.reader import Reader, Rows

PAGE = 200
_WITHOUT = "SELECT message_id, channel, at_us, results - matched, codes, older"


@dataclass(frozen=True, slots=True)
class TubeQuestion:
    """One time that an analyzer asked for a tube. ``none``: why it got no order; empty: it got ``items`` of them."""

    query: int
    message_id: int
    channel: str
    at_us: int
    items: int
    none: str
    outcome: str
    ended_us: int


@dataclass(frozen=True, slots=True)
class WithoutOrder:
    """Results of one specimen in a message that no order is there for: ``results`` of them, and no match.

    Attributes:
        codes: of their tests, as the analyzer names these; with those that a person has matched since.
        older: there is an order, and it came after a result was measured.
    """

    message_id: int
    channel: str
    at_us: int
    results: int
    codes: str
    older: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeTimeline:
    """All that is known of one specimen number: its items, the questions for it, and results without an order, oldest
    first.
    """

    items: tuple[ItemDetails, ...]
    questions: tuple[TubeQuestion, ...]
    without: tuple[WithoutOrder, ...] = ()


def without_order(
    reader: Reader, *, channel: str = "", since_us: int = 0, after: int = 0, limit: int = PAGE
) -> list[WithoutOrder]:
    """Newest first; ``after``: only of messages with a smaller number."""
    found, values = _without(channel, since_us)
    rows = reader.rows(
        f"{_WITHOUT} {found} AND (? = 0 OR message_id < ?) ORDER BY message_id DESC LIMIT ?",
        (*values, after, after, limit),
    )
    return [_without_order(row) for row in rows]


def _without_order(row: tuple[Any, ...]) -> WithoutOrder:
    *values, older = row
    return WithoutOrder(*[*values, bool(older)])


def count_without(reader: Reader, *, channel: str = "", since_us: int = 0, most: int) -> int:
    """How many `without_order` has in all, up to ``most``."""
    found, values = _without(channel, since_us)
    (count,) = reader.row(f"SELECT count(*) FROM (SELECT 1 {found} LIMIT ?)", (*values, most))  # noqa: S608 - constants
    return int(count)


def _without(channel: str, since_us: int) -> tuple[str, list[Any]]:
    return "FROM order_without WHERE results > matched AND at_us >= ? AND (? = '' OR channel = ?)", [
        since_us,
        channel,
        channel,
    ]


def tube(reader: Reader, specimen: str, *, limit: int = PAGE) -> TubeTimeline:
    """All that is known of a specimen number, compared exactly: its items, and the newest questions for it."""
    return tube_of(reader, rows_of.specimen_token(reader.vault, specimen), limit=limit, specimen=specimen)


def tube_of_item(reader: Reader, number: int) -> bytes:
    """The keyed hash of an item's specimen number; empty: there is no such item, or it has no number."""
    row = reader.row("SELECT specimen FROM order_item WHERE number = ?", (number,))
    return b"" if row is None else bytes(row[0])


def tubes_of_query(reader: Reader, number: int) -> Sequence[bytes]:
    """The keyed hashes of the specimen numbers that a question had."""
    rows = reader.rows("SELECT specimen FROM order_asked WHERE query = ? ORDER BY specimen", (number,))
    return [bytes(token) for (token,) in rows]


def place_in_query(reader: Reader, number: int, specimen: str) -> int:
    """The place of a specimen number among those of a question, from 1; 0: it is none of them."""
    token, tokens = rows_of.specimen_token(reader.vault, specimen), tubes_of_query(reader, number)
    return tokens.index(token) + 1 if token in tokens else 0


def tubes_of_message(reader: Reader, message_id: int) -> Sequence[bytes]:
    """The keyed hashes of the specimen numbers whose results in this message are without an order."""
    rows = reader.rows("SELECT specimen FROM order_without WHERE message_id = ? ORDER BY specimen", (message_id,))
    return [bytes(token) for (token,) in rows]


def tube_of(reader: Reader, token: bytes, *, limit: int = PAGE, specimen: str = "") -> TubeTimeline:
    """All that is known of the specimen number with this keyed hash; its newest items alone have their number compared.

    Args:
        specimen: its number; empty: that of its newest item.
    """
    if not token:
        return TubeTimeline(items=(), questions=())
    with reader.snapshot() as execute:
        at_hand = Rows(execute, reader.vault)
        found = rows_of.with_token(at_hand, token, MOST_OF_TUBE)
        number = specimen or (found[-1].line.specimen if found else "")
        same = [one for one in found if one.line.specimen == number]
        details = tuple(with_history(execute, reader.vault, one) for one in same[-limit:])
        asked = execute(
            "SELECT a.query, q.message_id, q.channel, q.at_us, a.items, a.none, q.outcome, q.ended_us"
            " FROM order_asked a JOIN order_query q ON q.number = a.query WHERE a.specimen = ?"
            " ORDER BY a.query DESC LIMIT ?",
            (token, limit),
        ).fetchall()
        without = execute(
            f"{_WITHOUT} FROM order_without WHERE results > matched AND specimen = ? ORDER BY message_id DESC LIMIT ?",
            (token, limit),
        ).fetchall()
    return TubeTimeline(
        items=details,
        questions=tuple(TubeQuestion(*row) for row in reversed(asked)),
        without=tuple(map(_without_order, reversed(without))),
    )
