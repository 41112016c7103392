"""What a salvage has brought over, and what is missing: for programs and for people."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.store.core.connecting import JOURNAL_NAME

NAMED = 20  # numbers of messages that are said to people; salvage.json has all


@dataclass(slots=True)
class Missing:
    """Rows of the journal that are gone.

    Attributes:
        first, last: their numbers.
        why: ``missing``, ``unreadable`` (on a damaged page) or ``changed`` (not what was stored).
        after, before: ISO 8601, when the rows around them were received; empty at the ends.
        channels: channel -> (first, last) numbers of its messages among them, as far as the rows around tell.
    """

    first: int
    last: int
    why: str
    after: str = ""
    before: str = ""
    channels: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Salvage:
    """What was brought over.

    Attributes:
        rows: of the journal; ``lost`` the rows that are missing, in ``missing``.
        mended: rows whose hash was hit and whose content is proven by its seal.
        tables: table -> rows taken; ``damaged`` the tables of which some rows could not be read.
        hidden: pieces of the write-ahead log that could not be read for one damaged before them, and are now.
        again: messages that are processed again, because deliveries of theirs may be lost.
        unsure: the same, but a person has decided about them: nothing is done again.
        findings: what `labrelay verify --deep` says about the new journal; empty where nothing is wrong.
    """

    rows: int = 0
    lost: int = 0
    missing: list[Missing] = field(default_factory=list)
    mended: list[int] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    hidden: int = 0
    again: list[int] = field(default_factory=list)
    unsure: list[int] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def sentences(saved: Salvage, target: Path) -> Iterator[str]:
    """The same for people."""
    yield f"{target / JOURNAL_NAME}: {saved.rows} rows brought over, {saved.lost} are missing"
    if saved.hidden:
        yield f"  {saved.hidden} pieces of the log could be read that one damaged before them had hidden"
    following = [*(one.channels for one in saved.missing[1:]), {}]
    for one, later in zip(saved.missing, following, strict=False):  # of nothing missing there is nothing that follows
        rows = f"row {one.first}" if one.first == one.last else f"rows {one.first} to {one.last}"
        time = f", received between {one.after or 'the beginning'} and {one.before or 'the end'}"
        yield f"  {rows}: {one.why}{time}"
        for channel, (first, last) in one.channels.items():
            if later.get(channel) == (first, last):  # the same messages: no row of the channel is between the two
                continue
            numbers = f"message {first}" if first == last else f"messages {first} to {last}"
            yield f"    {numbers} of channel {channel}: let the analyzer send again what it measured then"
    if saved.damaged:
        yield f"  tables that were read in part: {', '.join(saved.damaged)}"
    if saved.again:
        numbers = ", ".join(map(str, saved.again[:NAMED])) + (", ..." if len(saved.again) > NAMED else "")
        yield f"  processed again, and what they make is sent under the same keys as before: messages {numbers}"
    if saved.unsure:
        numbers = ", ".join(map(str, saved.unsure))
        yield f"  deliveries of messages {numbers} may be lost; a person has decided about these, so look at them"
    if saved.findings:
        yield from (f"  {text}" for text in saved.findings)
    else:
        yield "  the new journal was checked as by labrelay verify --deep: nothing is wrong with it"
    yield "now: keep the old data folder elsewhere, put this one in its place, and start LabRelay"
