"""Tell laboratory systems of patients who share their profile: channels of kind ``abdm-share`` get a message for each.

The token is given in the transaction that folds the callback. Here it becomes a message of the journal, which is handed
to intake as a received one is: with a lane, retries and an explanation. Where it cannot be stored now, it is tried
again.
"""

from collections.abc import Callable, Mapping
from functools import partial
from zoneinfo import ZoneInfo

from engine.config import registry
from engine.config.channel import ChannelConfig
from engine.features.abdm.config.adapters import ABDM
from engine.features.abdm.config.share import share_of
from engine.features.abdm.rows.shares import Listener, announce
from engine.features.abdm.rows.shares_read import has_shares
from engine.features.abdm.rules.shares import Shared
from engine.model.message import Received, Stored
from engine.model.process.clock import from_us
from engine.receiving import made_here
from engine.store.journal import Journal


def listeners(channels: Mapping[str, ChannelConfig]) -> list[Listener]:
    """The channels that want such messages."""
    return [
        Listener(channel=one.channel, facilities=source.facilities, write=partial(_written, one))
        for one in channels.values()
        if (source := share_of(one)) is not None and one.enabled
    ]


async def run(
    journal: Journal, channels: Callable[[], Mapping[str, ChannelConfig]], stored: Callable[[Stored], None]
) -> None:
    """Until cancelled.

    Args:
        channels: of the configuration in force.
        stored: as of `engine.receiving.channel.Channel`.
    """
    await made_here.run(journal, has_shares, lambda: journal.run(announce, listeners(channels())), stored)


def _written(channel: ChannelConfig, shared: Shared) -> Received:
    """The message of a token, as if it had come over the channel."""
    codec = registry.load(ABDM, "shared_profile")
    at = from_us(shared.at_us).astimezone(ZoneInfo(channel.timezone)).strftime("%Y%m%d%H%M%S%z")
    return Received(
        channel=channel.channel,
        payload=codec.message(shared, at=at, settings=channel.settings),
        received_us=shared.at_us,
        control_id=codec.control_id(shared),
        message_type=codec.TYPE,
        sent=at,
    )
