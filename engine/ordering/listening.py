"""Which channels have messages of changes of orders, and how these are written; made of the configuration."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from zoneinfo import ZoneInfo

from engine.config import registry
from engine.config.channel import ChannelConfig
from engine.config.source_status import StatusPart
from engine.model.clock import from_us
from engine.model.message import Received
from engine.model.orders import StatusChange
from engine.store.operations.worklist.announcing import Listener


def listeners(channels: Mapping[str, ChannelConfig]) -> dict[str, Sequence[Listener]]:
    """The listeners of the orders of each channel."""
    found: dict[str, list[Listener]] = defaultdict(list)
    for channel in channels.values():
        if isinstance(channel.source, StatusPart) and channel.enabled:
            one = Listener(updates=channel.source.updates, write=partial(_written, channel))
            for name in channel.source.of:
                found[name].append(one)
    return dict(found)


def _written(channel: ChannelConfig, change: StatusChange) -> Received:
    """The message of a change, as if it had come over the channel."""
    codec = registry.load(registry.ORDER_STATUS, channel.source.format)
    at = from_us(change.at_us).astimezone(ZoneInfo(channel.timezone)).strftime("%Y%m%d%H%M%S%z")
    return Received(
        channel=channel.channel,
        payload=codec.message(change, at=at, settings=channel.settings),
        received_us=change.at_us,
        control_id=codec.control_id(change),
        message_type=codec.TYPE,
        sent=at,
    )
