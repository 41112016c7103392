"""The journal at one moment: its health, its growth, and the age of its content."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from engine.config.sitewide import RetentionConfig
from engine.model.errors import StoreError
from engine.model.process.clock import Clock, from_us
from engine.model.texts.phrases import Phrase, Said
from engine.model.texts.units import size_words
from engine.monitoring.snapshot.site import JournalSnapshot, KeptSnapshot
from engine.store.core.growth import Growth
from engine.store.journal import Journal
from engine.store.queries.extent import RetainedSpan, growth_of, kept_of

GROWTH_EVERY_S = 600.0  # the growth is read seldom: it is an average over days


class JournalView:
    """Observes the journal of one running site."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._growth: Growth | None = None
        self._kept: RetainedSpan | None = None
        self._growth_due = 0.0

    def read_growth(self) -> None:
        """Read growth and age again, where that is due."""
        now_s = self._clock.monotonic()
        if self._growth is None or now_s >= self._growth_due:
            self._growth_due = now_s + GROWTH_EVERY_S
            with suppress(StoreError):  # reported elsewhere
                self._growth = growth_of(self._journal, self._clock.now_us())
                self._kept = kept_of(self._journal)

    def days_left(self, free: int, config: RetentionConfig) -> float | None:
        """Days until ``free`` bytes are used up; None where they suffice, or that is not known."""
        return None if self._growth is None else self._growth.days_left(free, config.delivered)

    def health(self, data: Path, *, unreadable: str, writable: bool) -> JournalSnapshot:
        """
        Args:
            data: the data folder.
            unreadable: why it cannot be read, or "".
        """
        stats = self._journal.writer.stats
        return JournalSnapshot(
            last_id=self._journal.last_id,
            size_bytes=_size(data / "journal.db"),
            wal_bytes=_size(data / "journal.db-wal"),
            fsync_ms_p50=stats.commit_ms(0.5),
            fsync_ms_p99=stats.commit_ms(0.99),
            integrity="; ".join([*filter(None, [unreadable]), *self._journal.damage]) or "ok",
            writable=writable,
        )

    def kept(self, config: RetentionConfig) -> KeptSnapshot:
        kept, growth = self._kept, self._growth
        if kept is None or growth is None or not kept.oldest_us:
            return KeptSnapshot()
        shortest = min(config.delivered, config.filtered, config.dismissed)
        return KeptSnapshot(
            since=from_us(kept.oldest_us),
            next_at=from_us(kept.oldest_us) + timedelta(seconds=shortest),
            largest_bytes=growth.largest_bytes(config.delivered),
            last_at=from_us(kept.last_us) if kept.last_us else None,
            last_messages=kept.last_messages,
        )

    def size_notes(self, config: RetentionConfig) -> list[str]:
        """A note where the journal exceeds the size that the site allows, or where messages were deleted for it."""
        kept = self._kept
        if kept is None or config.size is None:
            return []
        if kept.used_bytes > config.size and self._growth is not None:
            young = self._clock.now_us() - kept.oldest_us < config.least * 1e6
            return [
                Said(
                    "The journal takes {used}, more than retention.size ({size}): {what}. "
                    "Give it more room, or messages less time",
                    used=size_words(kept.used_bytes),
                    size=size_words(config.size),
                    what=Phrase(
                        "nothing may go, for nothing is older than retention.minimum"
                        if young
                        else "the oldest messages go"
                    ),
                )
            ]
        if kept.last_early:
            return [
                Said(
                    "Retention let {n} messages go before their time, because the journal had reached "
                    "retention.size ({size})",
                    n=kept.last_early,
                    size=size_words(config.size),
                )
            ]
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
