"""The result of a salvage: copied and missing rows, for programs and for people."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.store.core.connecting import JOURNAL_NAME

NAMED = 20  # numbers of messages in the text for people; salvage.json has all


@dataclass(slots=True)
class MissingRows:
    """Missing rows of the journal.

    Attributes:
        first, last: their numbers.
        why: ``missing``, ``unreadable`` (on a damaged page) or ``changed`` (not as stored).
        after, before: ISO 8601, when the rows around them were received; empty at the ends.
        channels: channel -> (first, last) numbers of its messages among them, as far as the rows around show.
    """

    first: int
    last: int
    why: str
    after: str = ""
    before: str = ""
    channels: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class MissingOrders:
    """Missing orders of the worklist.

    Attributes:
        first, last: their numbers.
        states: number (``W17``) -> the last state that its history shows, where that is readable.
        messages: of the journal, that ordered these.
        again: messages that ordered them, or may have, are processed again.
    """

    first: int
    last: int
    states: dict[str, str] = field(default_factory=dict)
    messages: list[int] = field(default_factory=list)
    again: bool = False


@dataclass(slots=True)
class Salvage:
    """The copied rows.

    Attributes:
        rows: of the journal; ``lost``: the number of missing rows, listed in ``missing``.
        mended: rows with a damaged hash whose content is proven by its seal.
        tables: table -> copied rows; ``damaged``: the tables with unreadable rows.
        hidden: frames of the write-ahead log that were unreadable behind a damaged one, and are readable now.
        again: messages that are processed again, because some of their deliveries may be lost.
        unsure: the same, but a person has decided about them: nothing is done again.
        orders: missing ones of the worklist. mended_orders: numbers of those of which a part was damaged, and is known
            from elsewhere. ordered_again: messages of laboratory systems that are processed again for missing ones.
        findings: the findings of `labrelay verify --deep` in the new journal; empty without a problem.
    """

    rows: int = 0
    lost: int = 0
    missing: list[MissingRows] = field(default_factory=list)
    mended: list[int] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    hidden: int = 0
    again: list[int] = field(default_factory=list)
    unsure: list[int] = field(default_factory=list)
    orders: list[MissingOrders] = field(default_factory=list)
    mended_orders: list[int] = field(default_factory=list)
    ordered_again: list[int] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def sentences(saved: Salvage, target: Path) -> Iterator[str]:
    """The same for people."""
    yield f"{target / JOURNAL_NAME}: {saved.rows} rows brought over, {saved.lost} are missing"
    if saved.hidden:
        yield f"  {saved.hidden} pieces of the log could be read that one damaged before them had hidden"
    following = [*(one.channels for one in saved.missing[1:]), {}]
    for one, later in zip(saved.missing, following, strict=False):  # without missing rows there is none that follows
        rows = f"row {one.first}" if one.first == one.last else f"rows {one.first} to {one.last}"
        time = f", received between {one.after or 'the beginning'} and {one.before or 'the end'}"
        yield f"  {rows}: {one.why}{time}"
        for channel, (first, last) in one.channels.items():
            if later.get(channel) == (first, last):  # the same messages: the channel has no row between the two
                continue
            numbers = f"message {first}" if first == last else f"messages {first} to {last}"
            yield f"    {numbers} of channel {channel}: let the analyzer send again what it measured then"
    if saved.damaged:
        yield f"  tables that were read in part: {', '.join(saved.damaged)}"
    if saved.again:
        numbers = _some(saved.again)
        yield f"  processed again, and what they make is sent under the same keys as before: messages {numbers}"
    if saved.unsure:
        numbers = ", ".join(map(str, saved.unsure))
        yield f"  deliveries of messages {numbers} may be lost; a person has decided about these, so look at them"
    yield from _of_orders(saved)
    if saved.findings:
        yield from (f"  {text}" for text in saved.findings)
    else:
        yield "  the new journal was checked as by labrelay verify --deep: nothing is wrong with it"
    yield "now: keep the old data folder elsewhere, put this one in its place, and start LabRelay"


def _of_orders(saved: Salvage) -> Iterator[str]:
    for one in saved.orders:
        numbers = f"order W{one.first} is" if one.first == one.last else f"orders W{one.first} to W{one.last} are"
        known = Counter(one.states.values())
        said = ", ".join(f"{count} {state}" for state, count in known.items())
        yield f"  {numbers} missing" + (f" (last known: {said})" if said else "")
        if not one.again:
            yield "    where they are still wanted, have them ordered again"
    if saved.ordered_again:
        yield f"  processed again: messages {_some(saved.ordered_again)} with orders"
        yield "    what is missing of these waits under new numbers and may be known: cancel what was measured"
    if saved.mended_orders:
        yield f"  damaged in part, and whole again: orders {_some(saved.mended_orders, 'W')}"


def _some(numbers: list[int], sign: str = "") -> str:
    return ", ".join(f"{sign}{number}" for number in numbers[:NAMED]) + (", ..." if len(numbers) > NAMED else "")
