"""Keys of a site that contradict each other, where they are written in several files."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from engine.config.channel import ChannelConfig
from engine.config.destinations.destination import DestinationConfig
from engine.config.reading.yaml_nodes import KeyPath
from engine.feature import Hook

Channels = Mapping[str, ChannelConfig]
Destinations = Mapping[str, DestinationConfig] | None
"""None: the site's file cannot be used, and it is unknown which there are."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One of them.

    Attributes:
        channel: whose file it is in; empty: the site's.
        path: of the key there; ``shown``: how many of its steps are shown.
        is_warning: the site can run with it.
    """

    channel: str
    path: KeyPath
    shown: int
    text: str
    is_warning: bool = False


AGREEMENTS: Hook[Callable[[Channels, Destinations], Iterator[Disagreement]]] = Hook("agreement")


def disagreements(channels: Channels, destinations: Destinations) -> Iterator[Disagreement]:
    """All of them, among the keys of features."""
    for found in AGREEMENTS.each():
        yield from found(channels, destinations)
