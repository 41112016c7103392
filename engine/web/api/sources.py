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
        present: the snapshot.
        zone: the site's.
        backups: the folder of copies; None: the site has none.
    """

    journal: Reader
    present: "Present"
    zone: tzinfo
    backups: Callable[[], Path | None]


class Present:
    """The snapshot as data, made once for each: of 500 channels in some 50 ms, so in a thread.

    Args:
        snapshot: the same object until there is a new one.
    """

    def __init__(self, snapshot: Callable[[], SiteSnapshot]) -> None:
        self.snapshot = snapshot
        self._made: tuple[SiteSnapshot, Mapping[str, Any]] | None = None

    def data(self, of: SiteSnapshot) -> Mapping[str, Any]:
        if self._made is None or self._made[0] is not of:
            self._made = of, of.to_json()
        return self._made[1]
