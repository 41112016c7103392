"""Examine the line of an analyzer that gets orders, by its mode: from what the journal says of its last questions and
downloads. The line itself is the daemon's, and half duplex: nothing is sent to the analyzer for this.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from engine.config.load import Site
from engine.config.sources.source import TcpPart
from engine.config.sources.source_serial import SerialPart
from engine.features.orders.config.orders import orders_of
from engine.features.orders.rows import reading
from engine.features.orders.rows.order_questions import AskedQuery, QueryFilter, queries
from engine.model.orders import ItemState
from engine.model.site.health import Health, Line
from engine.store.queries.reader import Reader

SUBJECT = "orders"
LOOKED_AT = 20  # questions and downloads of one channel, the newest first
ARRIVED = frozenset({"sent", "accepted"})
SAID_NONE = frozenset({"", "taken_back"})  # outcomes of a question without an order whose answer is not missed
UNASKED = frozenset({"download", "cancel"})


def lines(site: Site, reader: Callable[[], AbstractContextManager[Reader]], daemon_runs: bool) -> Iterator[Line]:
    """Whether analyzers that get orders have taken them.

    Raises:
        StoreError: the journal cannot be read.
    """
    channels = {
        name: (one.source, orders)
        for name, one in site.channels.items()
        if one.enabled and (orders := orders_of(one)) is not None
    }
    if not channels:
        return
    with reader() as journal:
        waiting = reading.items(journal, reading.ItemFilter(states=(ItemState.WAITING,)))
        asked = {name: queries(journal, QueryFilter(channel=name), limit=LOOKED_AT) for name in channels}
    for name, (source, orders) in channels.items():
        clear = "a serial line is in the clear" if isinstance(source, SerialPart) else ""
        if isinstance(source, TcpPart) and source.tls is None:
            clear = "without TLS it is in the clear"
        count = sum(one.line.test in orders.codes for one in waiting)
        yield two_way(name, orders.download or "", clear, asked[name], count, daemon_runs=daemon_runs)


def two_way(
    channel: str, mode: str, clear: str, found: Sequence[AskedQuery], waiting: int, *, daemon_runs: bool
) -> Line:
    """One line for a channel with ``orders:``.

    Args:
        mode: empty: its analyzer asks; else when orders go to it unasked.
        clear: why other people on its line can read orders, in a few words; empty: they cannot.
        found: its last questions and downloads, the newest first.
        waiting: open orders that this channel has a code for and no analyzer has.
    """
    text = f"{channel}: {'orders go to it unasked, ' + mode if mode else 'it asks for its orders'}"
    if clear:
        text += f"; {clear}"
    unasked, asked = ([one for one in found if (one.kind in UNASKED) is so] for so in (True, False))
    if mode and (unasked or waiting or not asked):
        return _downloads(text, unasked, waiting, daemon_runs=daemon_runs)
    return _questions(f"{text}, and it asks for them" if mode else text, asked)


def _questions(text: str, asked: Sequence[AskedQuery]) -> Line:
    if not asked:
        advice = (
            "switch its host query on, and load a tube: labrelay orders log shows the question; labrelay simulate "
            "--ask plays an analyzer that asks"
        )
        return Line(Health.WARN, SUBJECT, f"{text}; it has asked for none so far", advice)
    last = asked[0]
    if not last.items and last.outcome in ARRIVED | SAID_NONE:
        return Line(Health.OK, SUBJECT, f"{text}; there was no order for the last question ({_nones(last)})")
    if last.outcome in ARRIVED or last.open:
        return Line(Health.OK, SUBJECT, f"{text}; it took the last answer")
    advice = "compare its host settings (port, direction, time to wait) with the pack: labrelay analyzers show NAME"
    return Line(Health.WARN, SUBJECT, f"{text}; the last answer did not arrive ({last.outcome})", advice)


def _downloads(text: str, sent: Sequence[AskedQuery], waiting: int, *, daemon_runs: bool) -> Line:
    last = next((one for one in sent if not one.open), None)
    if last is not None and last.outcome not in ARRIVED:
        advice = (
            "let it receive from the host (its manual: download, bidirectional); labrelay orders log shows each try"
        )
        return Line(Health.FAIL, SUBJECT, f"{text}; it did not take the last one ({last.outcome})", advice)
    if last is None and waiting and daemon_runs:
        advice = "labrelay status says whether it is connected"
        return Line(Health.WARN, SUBJECT, f"{text}; {waiting} wait, and none was sent so far", advice)
    return Line(
        Health.OK, SUBJECT, f"{text}; it took the last one" if last is not None else f"{text}; none was sent so far"
    )


def _nones(one: AskedQuery) -> str:
    return ", ".join(one.none) or "none"
