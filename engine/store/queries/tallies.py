"""Read totals over many messages: the day's counters, unmapped codes, reagents.

Read the hours of channels (`engine.store.operations.hour_counts`).
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.model.content.reagents import lot_key
from engine.model.journal.journal_views import Count, HourCount, ReagentView
from engine.model.journal.records import PossibleOtherPerson
from engine.store.queries.reader import Reader


class Gap(NamedTuple):
    """An unmapped code as `labrelay gaps` prints it. ``id``: of its row, which is never another code's."""

    channel: str
    table: str
    code: str
    unit: str
    display: str
    n: int
    first_us: int
    last_us: int
    id: int


def counters_of(reader: Reader, day: str) -> list[Count]:
    """The counters of ``day`` (``2026-03-01``, in the site's zone)."""
    rows = reader.rows("SELECT channel, destination, name, n FROM counter WHERE day = ?", (day,))
    return [Count._make(row) for row in rows]


def seeming_count(reader: Reader) -> int:
    """The number of unconfirmed records that seem to be of the person who bore their patient number before."""
    return int(reader.row("SELECT count(*) FROM bearer WHERE standing = 2")[0])


def list_seeming(reader: Reader, limit: int = 1000) -> list[PossibleOtherPerson]:
    """These records, newest first: a message with each, and one that it was compared with."""
    rows = reader.rows(
        "SELECT b.message_id, j.channel, j.received_us, (SELECT min(r.message_id) FROM bearer r"
        " WHERE r.number = b.number AND r.standing = 0 AND r.person = b.person) FROM bearer b"
        " JOIN journal j ON j.id = b.message_id WHERE b.standing = 2 ORDER BY b.message_id DESC LIMIT ?",
        (limit,),
    )
    return [
        PossibleOtherPerson(message_id=row[0], channel=row[1], received_us=row[2], before=row[3] or 0) for row in rows
    ]


def newest_unmapped(reader: Reader) -> int:
    """The highest id of `list_unmapped`; 0 where there is none."""
    return int(reader.row("SELECT coalesce(max(id), 0) FROM unmapped_code")[0])


def list_unmapped(reader: Reader, channel: str | None = None, *, after: int = 0) -> list[Gap]:
    """Codes that no code table had when they came, the most frequent first; without the keys only their counts.

    Args:
        after: the id of a code: those that were first seen later.
    """
    rows = reader.rows(
        "SELECT id, channel, text, n, first_us, last_us FROM unmapped_code WHERE id > ? AND (? IS NULL OR channel = ?)",
        (after, channel, channel),
    )
    found = []
    for row_id, owner, sealed, n, first_us, last_us in rows:
        texts = ("", "", "", "")
        if reader.keys is not None:
            texts = json.loads(reader.keys.open(sealed, "unmapped", row_id, owner))
        found.append(Gap(owner, *texts, n=n, first_us=first_us, last_us=last_us, id=row_id))
    return sorted(found, key=lambda gap: (-gap.n, gap.channel, gap.table, gap.code))


class ChannelGaps(NamedTuple):
    """How many different codes of a channel no code table had, and since when."""

    channel: str
    codes: int
    first_us: int


def unmapped_by_channel(reader: Reader) -> list[ChannelGaps]:
    rows = reader.rows("SELECT channel, count(*), min(first_us) FROM unmapped_code GROUP BY channel ORDER BY channel")
    return [ChannelGaps._make(row) for row in rows]


class OfReason(NamedTuple):
    channel: str
    messages: int
    first_us: int


def ended_for(reader: Reader, reason: str, since_us: int) -> list[OfReason]:
    """How many messages of each channel have ended for this reason since then."""
    rows = reader.rows(
        "SELECT j.channel, count(*), min(s.at_us) FROM message_state s JOIN journal j ON j.id = s.id"
        " WHERE s.reason <> '' AND s.reason = ? AND s.at_us >= ? GROUP BY j.channel ORDER BY j.channel",
        (reason, since_us),
    )
    return [OfReason._make(row) for row in rows]


def list_reagents(
    reader: Reader, channel: str | None = None, *, lot: str | None = None, message: int | None = None, limit: int = 100
) -> list[ReagentView]:
    """Reagent lots, the most recently named first.

    Args:
        lot: only this one; only its letters and digits count.
        message: only those that this message names, with its own tests.
    """
    source, tests, where, values = "reagent r", "r.tests", ["r.n > 0"], list[Any]()
    if message is not None:
        source, tests = "reagent_use u CROSS JOIN reagent r ON r.id = u.reagent", "u.tests"
        where.append("u.message_id = ?")
        values.append(message)
    if channel is not None:
        where.append("r.channel = ?" if lot is None else "+r.channel = ?")
        values.append(channel)
    if lot is not None:
        where.append("r.lot_key = ?")
        values.append(lot_key(lot))
    text = (
        f"SELECT r.channel, r.name, r.lot, r.expires, {tests}, r.remains, r.first_us, r.last_us, r.n"  # noqa: S608 - constants
        f" FROM {source} WHERE {' AND '.join(where)} ORDER BY r.last_us DESC, r.id DESC LIMIT ?"
    )
    return [
        ReagentView._make((*row[:4], tuple(filter(None, row[4].split("\n"))), *row[5:]))
        for row in reader.rows(text, (*values, limit))
    ]


_COLUMNS = "channel, begins_us, received, delivered, dead, held, parts, active, age_s"


def hours_between(reader: Reader, since_us: int, before_us: int) -> list[HourCount]:
    """The hours of all channels that begin in this time, oldest first."""
    rows = reader.rows(
        f"SELECT {_COLUMNS} FROM hour_count WHERE begins_us >= ? AND begins_us < ? ORDER BY begins_us, channel",  # noqa: S608 - constants
        (since_us, before_us),
    )
    return [HourCount._make(row) for row in rows]


def hours_of(reader: Reader, channel: str, begins_us: Sequence[int]) -> list[HourCount]:
    """The hours of one channel that begin at these times; few."""
    marks = ", ".join("?" * len(begins_us))
    rows = reader.rows(
        f"SELECT {_COLUMNS} FROM hour_count WHERE begins_us IN ({marks}) AND channel = ?",  # noqa: S608 - question marks
        (*begins_us, channel),
    )
    return [HourCount._make(row) for row in rows]


def received_in(
    reader: Reader, begins_us: Sequence[int], least_parts: int, channel: str | None = None
) -> dict[int, int]:
    """How many messages came in the hours that begin at these times; one that LabRelay watched for less is left out.

    Args:
        least_parts: of `HOUR_PARTS`.
        channel: only of this one; None: of all.
    """
    marks = ", ".join("?" * len(begins_us))
    rows = reader.rows(
        f"SELECT begins_us, sum(received) FROM hour_count WHERE begins_us IN ({marks}) AND parts >= ?"  # noqa: S608 - question marks
        " AND (? IS NULL OR channel = ?) GROUP BY begins_us",
        (*begins_us, least_parts, channel, channel),
    )
    return dict(rows)
