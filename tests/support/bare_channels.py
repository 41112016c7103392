"""Channels that are in the configuration, and have neither routes nor tables: for tests of pages and lists."""

from collections.abc import Mapping

from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.message import FormatOptions, MapContext
from engine.model.routes import ChannelRoutes


def bare_channels(*names: str) -> Mapping[str, ChannelRoutes]:
    return {
        name: ChannelRoutes(
            channel=name,
            message_format=hl7v2,
            media_type="",
            options=FormatOptions(),
            routes=(),
            context=MapContext(channel=name),
        )
        for name in names
    }
