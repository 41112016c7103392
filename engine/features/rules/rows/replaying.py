"""Stored results as rules are asked about them once more: their sealed facts, and what was known when they came.

Values of patients and runs of controls are those that the journal still has, from before the message. Whether a test
was closed by a failed control is taken as it was then; where that is not known any more, the answer is unknown.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

import orjson

from engine.feature import Hook
from engine.model.content import facts as packing
from engine.model.content.facts import Facts
from engine.model.content.quality_controls import spellings
from engine.model.content.results import EarlierResults, Result
from engine.model.errors import IntegrityError
from engine.store.core.connecting import Rows
from engine.store.core.notes import opened_note
from engine.store.queries.reader import Reader
from engine.store.queries.reader import Rows as Snapshot

EARLIER: Hook[Callable[[Rows, int, str, int], EarlierResults]] = Hook("earlier")
AT_ONCE = 100  # messages of one read transaction
_NEXT = (
    "SELECT f.message_id, j.received_us, f.content, j.body, s.detail FROM fact f JOIN journal j ON j.id = f.message_id"
    " JOIN message_state s ON s.id = f.message_id WHERE j.channel = ? AND f.message_id > ? AND j.received_us >= ?"
    " AND s.state = 'mapped' ORDER BY f.message_id LIMIT ?"
)


class Replayed(NamedTuple):
    """One stored message.

    Attributes:
        facts: None where they, or the message, cannot be opened, or were erased.
        warnings: codes of those of its mapping.
        past: what was known when it came; for the time that the caller looks at it.
    """

    message: int
    received_us: int
    payload: bytes
    facts: Facts | None
    warnings: Sequence[str]
    past: "Past"


class Past:
    """`EarlierResults`, of a message from some time ago."""

    def __init__(self, rows: Rows, message_id: int, channel: str, received_us: int) -> None:
        (earlier,) = EARLIER.each()
        self._known = earlier(rows, message_id, channel, received_us)
        self._rows, self._channel, self._at_us = rows, channel, received_us

    def value(self, result: Result, within_us: int) -> Decimal | None:
        return self._known.value(result, within_us)

    def days(self, result: Result, within_us: int) -> Decimal | None:
        return self._known.days(result, within_us)

    def control_failed(self, codes: tuple[str, ...], within_us: int) -> bool | None:
        written = [spelled for code in codes for spelled in spellings(code)]
        then, now = self._rows.execute(
            "SELECT max(c.from_us <= ?1 AND (c.until_us = 0 OR c.until_us > ?1)), max(c.until_us = 0) FROM qc_closed c"  # noqa: S608
            " JOIN qc_code k ON k.channel = c.channel AND k.test = c.test WHERE c.channel = ?2 AND k.code IN"
            f" ({','.join('?' * len(written))})",
            (self._at_us, self._channel, *written),
        ).fetchone()
        if then:
            return True
        return None if now else self._known.control_failed(codes, within_us)


def replay(reader: Reader, channel: str, controls_of: str, since_us: int, look: Callable[[Replayed], None]) -> None:
    """Give each message of a channel, received since then, to ``look``, the oldest first. ``controls_of``: the channel
    whose controls count.

    Raises:
        StoreError, ConfigError: the journal cannot be read, or its key was not found.
    """
    after = 0
    while True:
        with reader.snapshot() as execute:
            found = list(_opened(Snapshot(execute, reader.vault), channel, controls_of, after, since_us))
            for one in found:
                look(one)
        if len(found) < AT_ONCE:
            return
        after = found[-1].message


def _opened(rows: Snapshot, channel: str, controls_of: str, after: int, since_us: int) -> Iterator[Replayed]:
    vault = rows.vault
    for message, received_us, content, body, detail in rows.execute(
        _NEXT, (channel, after, since_us, AT_ONCE)
    ).fetchall():
        past, payload = Past(rows, message, controls_of, received_us), b""
        facts: Facts | None = None
        warnings: Sequence[str] = ()
        try:
            payload = vault.open(body, "body", message, channel)
            _, said, *_ = orjson.loads(vault.open(content, "fact", message, ""))
            issues = opened_note(vault, detail, "message_state", message, channel).get("issues", ())
            warnings = [one["code"] for one in issues if one["severity"] == "warning"]
            facts = packing.stored(said) if payload else None
        except (IntegrityError, ValueError, TypeError, KeyError):
            facts = None
        yield Replayed(message, received_us, payload, facts, warnings, past)
