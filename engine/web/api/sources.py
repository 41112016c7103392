"""What the API reads from, as the running site gives it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any

from engine.mapping.suggestions import Suggestion
from engine.model.routes import ChannelRoutes
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
        routes: the compiled routes in force, by channel.
        suggestions: what the pack of a channel suggests for codes, or each pack that a channel names; reads files, or
            raises ConfigError.
        reached: another object, or number, once the journal has anything new; by default each time.
    """

    journal: Reader
    present: "Present"
    zone: tzinfo
    backups: Callable[[], Path | None]
    routes: Callable[[], Mapping[str, ChannelRoutes]]
    suggestions: Callable[[str | None], Sequence[Suggestion]] = lambda channel: ()
    reached: Callable[[], object] = object


class Present:
    """The snapshot as data, made once for each: of 500 channels in some 50 ms, so in a thread.

    Args:
        snapshot: the same object until there is a new one.
    """

    def __init__(self, snapshot: Callable[[], SiteSnapshot]) -> None:
        self.snapshot = snapshot
        self._made: dict[bool, tuple[SiteSnapshot, Mapping[str, Any]]] = {}

    def data(self, of: SiteSnapshot, *, notes: bool) -> Mapping[str, Any]:
        """``notes``: with people's words about pauses (`Principal.reads_notes`)."""
        made = self._made.get(notes)
        if made is None or made[0] is not of:
            made = self._made[notes] = of, (of if notes else of.without_notes()).to_json()
        return made[1]
