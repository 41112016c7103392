"""How the journal, what is kept of it, and its copies are."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSnapshot:
    """The journal's health.

    Attributes:
        last_id: the number of the newest message.
        fsync_ms_p50, fsync_ms_p99: how long a commit with its sync took lately; None before the first.
        integrity: ``ok``, or what is wrong with which rows, or why none can be read.
        writable: nothing has failed to be kept lately (a full disk); `SiteSnapshot.alarms` says what has.
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
    """How far back the journal reaches.

    Attributes:
        since: when the oldest message that is kept was received; None without one.
        next_at: when the next message is old enough to go, at the earliest.
        largest_bytes: what the journal will take once as much goes as comes; None while that is not known.
        last_at, last_messages: when retention let something go last, and how many messages.
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
        folder: where they go; empty where the site has none.
        verified_at: when the newest copy that was read back and found whole was begun.
        rows_at: up to when rows of the journal are in the folder.
        drill_at: when a copy was last restored for practice; ``drill_s``, how long that took.
        running: what is under way, in words, or empty.
        fault: why the last try failed, or empty.
        same_disk: they lie on the journal's own disk.
    """

    folder: str = ""
    verified_at: datetime | None = None
    rows_at: datetime | None = None
    drill_at: datetime | None = None
    drill_s: float | None = None
    running: str = ""
    fault: str = ""
    same_disk: bool = False
