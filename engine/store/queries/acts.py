"""Read the audit trail: people's actions, and those that have not ended.

The corrections of code tables, of the feature that keeps them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from engine.feature import Hook
from engine.model.errors import IntegrityError
from engine.model.journal.journal_views import Act
from engine.model.site.corrections import Correction
from engine.store.queries.reader import Reader


def acts_page(reader: Reader, *, before_id: int | None = None, limit: int = 50) -> list[Act]:
    """A page of the audit trail, newest first; of a damaged row what is known of it."""
    rows = reader.rows(
        "SELECT id, received_us, body FROM journal WHERE kind = 3 AND id < ? ORDER BY id DESC LIMIT ?",
        (before_id if before_id is not None else 2**62, limit),
    )
    return [_act_if_whole(reader, row) for row in rows]


def open_acts(reader: Reader) -> list[Act]:
    """Actions that were begun and have not ended; damaged rows as of `acts_page`."""
    rows = reader.rows(
        "SELECT j.id, j.received_us, j.body FROM open_act a CROSS JOIN journal j ON j.id = a.id ORDER BY a.id"
    )
    return [_act_if_whole(reader, row) for row in rows]


def is_kept(reader: Reader, key: bytes) -> bool:
    """Whether an act with a key was begun (`engine.store.operations.kept_answers`)."""
    return bool(reader.rows("SELECT 1 FROM kept_answer WHERE key = ?", (key,)))


def _act_if_whole(reader: Reader, row: Sequence[Any]) -> Act:
    try:
        return act_of(reader, row)
    except IntegrityError:
        return Act(id=row[0], at_us=row[1], actor="", verb="", damaged=True)


def act_of(reader: Reader, row: Sequence[Any]) -> Act:
    """An act from its number, time and sealed content. Raises IntegrityError where that is damaged."""
    row_id, at_us, sealed = row
    content = orjson.loads(reader.vault.open(sealed, "body", row_id, ""))
    return Act(
        id=row_id,
        at_us=at_us,
        actor=content.get("actor", ""),
        verb=content.get("verb", ""),
        what=content.get("what", {}),
        ended=content.get("act", 0),
        by=content.get("by", {}),
        config=content.get("config", ""),
    )


CORRECTIONS: Hook[Callable[[Reader, Callable[[int], None] | None], list[Correction]]] = Hook("corrections")


def list_corrections(reader: Reader, lost: Callable[[int], None] | None = None) -> list[Correction]:
    """All, in their order.

    Args:
        lost: called with the version of each that cannot be read; None: `IntegrityError` is raised.
    """
    return [one for of_feature in CORRECTIONS.each() for one in of_feature(reader, lost)]
