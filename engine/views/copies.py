"""Copies of the journal."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from engine.model.texts.units import duration_text, size_words
from engine.views.view import Field, View

if TYPE_CHECKING:
    from engine.store.recovery.backups.catalog import Copy

COPY: "View[Copy]" = View(
    "copies",
    Field("copy", "COPY", of="name"),
    Field("path", of=lambda copy: str(copy.path)),
    Field("made", "MADE", of="made_at"),
    Field("age", "AGE", of=lambda copy: duration_text(_age_s(copy))),
    Field("age_s", of=lambda copy: _age_s(copy)),
    Field("size", "SIZE", of=lambda copy: size_words(copy.bytes()), right=True),
    Field("bytes", of=lambda copy: copy.bytes()),
    Field("last", of=lambda copy: copy.last_id()),
    Field("pieces", of=lambda copy: len(copy.pieces())),
    Field("rows_until", "ROWS UNTIL", of=lambda copy: copy.rows_at()),
    Field(
        "verified",
        "VERIFIED",
        of=lambda copy: "; ".join(_findings(copy)) or _verified(copy),
        shown=lambda copy: "not whole: see below" if _findings(copy) else _verified(copy),
    ),
    Field("findings", of=lambda copy: _findings(copy)),
    Field("whole", of="is_whole"),
    Field("key", of=lambda copy: copy.manifest.key),
)


def _age_s(copy: "Copy") -> int:
    return round((datetime.now(UTC) - copy.made_at).total_seconds())


def _findings(copy: "Copy") -> list[str]:
    return [] if copy.verified is None else list(copy.verified.findings)


def _verified(copy: "Copy") -> datetime | str:
    return "not yet" if copy.verified is None else datetime.fromisoformat(copy.verified.at)
