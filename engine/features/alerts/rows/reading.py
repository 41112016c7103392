"""Read alerts, what was sent of them, silences, and critical values that no person has taken."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.features.alerts.rows import changes
from engine.features.todo.rows import mark_of
from engine.model.site.alerts import MOST_CRITICAL, Alert, Line, Silence
from engine.model.site.todo import Mark
from engine.model.texts.phrases import Phrase, Span
from engine.store.queries.listing import NO_LIMIT
from engine.store.queries.reader import Reader

GIVEN_UP_FOR_US = 3_600_000_000  # how long a sink counts as failing after a message for it was given up
FAILING = (
    "SELECT sink, min(failing_us), sum(ended_us = 0) FROM (SELECT * FROM alert_line WHERE ended_us = 0 UNION ALL"
    " SELECT * FROM alert_line WHERE ended_us > 0 AND ended_us > ? AND NOT is_sent)"
    " WHERE failing_us > 0 GROUP BY sink ORDER BY sink"
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A line with what came of it.

    Attributes:
        number: of the line; a later one has a higher number.
        ended_us: 0: it waits.
        is_sent: the sink has taken it.
        repeat: it waits, and may have been sent.
        refused: addresses that the sink has not taken it for, each with the reason.
    """

    number: int
    line: Line
    attempt: int
    ended_us: int
    is_sent: bool
    repeat: bool = False
    refused: str = ""


@dataclass(frozen=True, slots=True)
class CriticalValue:
    """A message with a critical value that no person has taken.

    Attributes:
        over_us: since when it is so no more; 0: it is.
        over_by: the message that says so; 0: a person does. is_replaced: what that says is critical, too.
        held: a person is to decide whether it goes out.
    """

    message: int
    channel: str
    seen_us: int
    over_us: int = 0
    over_by: int = 0
    held: bool = False
    is_replaced: bool = False

    @property
    def phrase(self) -> Phrase:
        named: dict[str, str | int | Span | Phrase] = {"name": self.channel, "n": self.message}
        if self.over_by:
            named["other"] = self.over_by
            if self.is_replaced:
                return Phrase(
                    "{name}: the value of message {n} is replaced: message {other} has another critical value", named
                )
            return Phrase("{name}: message {n} is critical no more: message {other} says another", named)
        if self.over_us:
            return Phrase("{name}: message {n} is critical no more: a person has rejected it", named)
        return Phrase("{name}: message {n} has a critical value", named)


@dataclass(frozen=True, slots=True)
class FailingSink:
    """Attempts fail there since then; ``waiting``: lines."""

    name: str
    since_us: int
    waiting: int


def kept(reader: Reader, now_us: int) -> tuple[dict[str, Alert], list[Silence]]:
    """The alerts by key, and the silences that are in force, without people's words."""
    with reader.snapshot() as execute:
        return changes.kept_alerts(execute), changes.kept_silences(execute, now_us)


def anything_kept(reader: Reader) -> bool:
    """Whether an alert is kept, or a line waits."""
    return bool(
        reader.rows(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM alert) OR EXISTS (SELECT 1 FROM alert_line WHERE ended_us = 0)"
        )
    )


def takers(reader: Reader, found: dict[str, Alert]) -> dict[str, Mark]:
    """Who has taken these alerts, by key."""
    marks = {key: mark_of(reader, alert.taken) for key, alert in found.items() if alert.taken}
    return {key: mark for key, mark in marks.items() if mark is not None}


def silences(reader: Reader, now_us: int) -> list[Silence]:
    """Those that are in force; without the journal's key they lack owners and reasons."""
    with reader.snapshot() as execute:
        found = changes.kept_silences(execute, now_us)
    owned = []
    for one in found:
        mark = mark_of(reader, one.act)
        owned.append(replace(one, by=mark.by, reason=mark.text, at_us=mark.at_us) if mark is not None else one)
    return owned


def sent(reader: Reader, *, key: str = "", before: int | None = None, limit: int = 100) -> list[Sent]:
    """What was sent, or waits to be, the newest first.

    Args:
        before: only lines with a lower number.
    """
    rows = reader.rows(
        f"SELECT {changes.LINE}, id, attempt, ended_us, is_sent, unsure, refused FROM alert_line"  # noqa: S608 - constants
        " WHERE (? = '' OR key = ?) AND id < ? ORDER BY id DESC LIMIT ?",
        (key, key, NO_LIMIT if before is None else before, limit),
    )
    return [
        Sent(number, changes.line_of(row), attempt, ended_us, bool(is_sent), bool(unsure and not ended_us), refused)
        for row in rows
        for number, attempt, ended_us, is_sent, unsure, refused in (row[-6:],)
    ]


def next_due_us(reader: Reader, sink: str, held: bool, now_us: int) -> int | None:
    """When the next line for a sink is due; None: none waits.

    Args:
        held: urgent lines only.
    """
    at = "CASE WHEN due_us > ? THEN 0 ELSE due_us END"
    urgent = reader.rows(
        f"SELECT min({at}) FROM alert_line l WHERE {changes.URGENT}",  # noqa: S608 - constants
        (now_us + changes.URGENT_WAIT_US, sink),
    )
    others = reader.rows(
        f"SELECT {at} FROM alert_line WHERE sink = ? AND ended_us = 0 AND NOT urgent ORDER BY id LIMIT 1",  # noqa: S608 - constant
        (now_us + changes.LONGEST_WAIT_US, sink),
    )
    found = [row[0] for row in (*urgent, *(() if held else others)) if row[0] is not None]
    return min(found, default=None)


def failing_sinks(reader: Reader, now_us: int) -> list[FailingSink]:
    """Sinks that take nothing, or that messages were given up for within the last hour."""
    rows = reader.rows(FAILING, (now_us - GIVEN_UP_FOR_US,))
    return [FailingSink(*row) for row in rows]


def unsent_since(reader: Reader, quiet: Sequence[str]) -> dict[str, int]:
    """When the oldest line was queued that a sink has not taken, microseconds since 1970, by sink; none waits: absent.

    Args:
        quiet: sinks of which only urgent lines count.
    """
    held = ", ".join("?" * len(quiet))
    rows = reader.rows(
        f"SELECT sink, min(at_us) FROM alert_line WHERE ended_us = 0 AND (urgent OR sink NOT IN ({held}))"  # noqa: S608 - question marks
        " GROUP BY sink",
        tuple(quiet),
    )
    return dict(rows)


def critical_values(reader: Reader) -> list[CriticalValue]:
    """Those that no person has taken, the oldest first; of more than `MOST_CRITICAL` the newest."""
    rows = reader.rows(
        "SELECT message_id, channel, seen_us, over_us, over_by, EXISTS (SELECT 1 FROM delivery d"
        " WHERE d.message_id = c.message_id AND d.state = 'held'), EXISTS (SELECT 1 FROM critical_result a"
        " JOIN critical_result b USING (of_message, of_place) WHERE a.alert = c.message_id"
        " AND b.message_id = c.over_by AND b.alert > 0) FROM critical_value c WHERE taken_us = 0"
        " ORDER BY message_id DESC LIMIT ?",
        (MOST_CRITICAL,),
    )
    return [CriticalValue(*row) for row in reversed(rows)]
