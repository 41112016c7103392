"""How orders are taken: which analyzer runs which test, as the configuration in force says it."""

from collections import defaultdict
from collections.abc import Mapping

from engine.config.channel import ChannelConfig
from engine.model.worklist import TakeSettings


def take_settings(channels: Mapping[str, ChannelConfig]) -> TakeSettings:
    """For orders that a person enters; those of a LIS have the times of their own channel."""
    groups: dict[str, set[str]] = defaultdict(set)
    known: dict[str, frozenset[str]] = {}
    for name, channel in channels.items():
        if channel.orders is not None:
            known[name] = frozenset(channel.orders.codes)
            for group in channel.orders.groups:
                groups[group].add(name)
    return TakeSettings(known_channels=known, groups={name: frozenset(members) for name, members in groups.items()})
