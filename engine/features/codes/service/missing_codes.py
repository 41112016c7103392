"""How many codes of each channel no code table has now, for the strip and the to-do list.

The journal counts what a mapping found missing at the time, and keeps it. The texts are sealed, and there may be
10,000: each is opened once for a configuration, and again when another one, as one with a correction, is in force.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.features.codes.lists import missing_now
from engine.model.errors import IntegrityError
from engine.runtime.build import BuiltSite
from engine.runtime.service import Service
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import ChannelGaps, Gap, list_unmapped, newest_unmapped, unmapped_by_channel

if TYPE_CHECKING:
    from engine.runtime.app import App


class MissingCodes:
    """
    Args:
        built: the configuration in force; another object for each.
    """

    def __init__(self, built: Callable[[], BuiltSite]) -> None:
        self._built = built
        self._seen: tuple[BuiltSite | None, int, Sequence[ChannelGaps]] = None, 0, ()

    def by_channel(self, reader: Reader) -> Sequence[ChannelGaps]:
        """By name. Where a text is damaged, all that were ever counted."""
        built, newest = self._built(), newest_unmapped(reader)
        before, last, found = self._seen
        if before is not built:
            last, found = 0, ()
        elif last == newest:
            return found
        try:
            fresh = list_unmapped(reader, after=last)
        except IntegrityError:
            return unmapped_by_channel(reader)
        routes = {name: channel.routes for name, channel in built.channels.items()}
        found = _added(found, missing_now(fresh, routes))
        self._seen = built, max((newest, *(gap.id for gap in fresh))), found
        return found


def _added(found: Sequence[ChannelGaps], fresh: Sequence[Gap]) -> list[ChannelGaps]:
    by_channel = {one.channel: one for one in found}
    for gap in fresh:
        _, codes, first_us = by_channel.get(gap.channel, (gap.channel, 0, gap.first_us))
        by_channel[gap.channel] = ChannelGaps(gap.channel, codes + 1, min(first_us, gap.first_us))
    return [by_channel[name] for name in sorted(by_channel)]


class CodeService(Service):
    """Of a running site."""

    def __init__(self, app: "App") -> None:
        self.app = app
        self._journal = app.journal
        self.missing = MissingCodes(lambda: app.parts.built)

    def unmapped(self) -> int:
        return sum(one.codes for one in self.missing.by_channel(self._journal))
