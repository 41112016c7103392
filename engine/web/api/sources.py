"""What the API reads from, as the running site gives it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any

from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.queries.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """
    Attributes:
        journal: with a deadline for each query.
        site: the snapshot as data; the same object until there is a new one.
        zone: the site's.
        backups: the folder of copies; None: the site has none.
    """

    journal: Reader
    site: Callable[[], Mapping[str, Any]]
    zone: tzinfo
    backups: Callable[[], Path | None]


class Present:
    """The snapshot as data."""

    def __init__(self, snapshot: Callable[[], SiteSnapshot]) -> None:
        self._snapshot = snapshot
        self._last: tuple[SiteSnapshot, Mapping[str, Any]] | None = None

    def __call__(self) -> Mapping[str, Any]:
        now = self._snapshot()
        if self._last is None or self._last[0] is not now:
            self._last = now, now.to_json()
        return self._last[1]
