"""The state of the journal, its retention, and its copies."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSnapshot:
    """The journal's health.

    Attributes:
        last_id: the number of the newest message.
        fsync_ms_p50, fsync_ms_p99: how long a commit with its sync took lately; None before the first.
        integrity: ``ok``, or the damage and its rows, or why none can be read.
        writable: no recent write has failed (a full disk); `SiteSnapshot.alarms` has the details.
    """

    last_id: int = 0
    size_bytes: int = 0
    wal_bytes: int = 0
    fsync_ms_p50: float | None = None
    fsync_ms_p99: float | None = None
    integrity: str = "ok"
    writable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSnapshot:
    """The age of the journal's content.

    Attributes:
        since: when the oldest remaining message was received; None without one.
        next_at: when the next message is old enough to be deleted, at the earliest.
        largest_bytes: the size of the journal once as much is deleted as comes in; None while that is not known.
        last_at, last_messages: when retention last deleted rows, and how many messages.
    """

    since: datetime | None = None
    next_at: datetime | None = None
    largest_bytes: int | None = None
    last_at: datetime | None = None
    last_messages: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSnapshot:
    """Copies of the journal.

    Attributes:
        folder: where they are; empty where the site has none.
        missing: the site has none, and gives no reason for that.
        verified_at: when the newest verified copy was begun.
        rows_at: the time up to which the folder has rows of the journal.
        drill_at: the time of the last restore test; ``drill_s``: its duration.
        running: the work under way, as text, or empty.
        fault: why the last attempt failed, or empty.
        same_disk: they are on the journal's own disk.
    """

    folder: str = ""
    missing: bool = False
    verified_at: datetime | None = None
    rows_at: datetime | None = None
    drill_at: datetime | None = None
    drill_s: float | None = None
    running: str = ""
    fault: str = ""
    same_disk: bool = False
