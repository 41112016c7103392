"""Which channels have messages of changes of orders, and of answers to them, and how these are written; made of the
configuration.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from types import ModuleType
from zoneinfo import ZoneInfo

from engine.config import registry
from engine.config.channel import ChannelConfig
from engine.features.orders.config.orders import status_of
from engine.features.orders.rows.announcing import Listener
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Received
from engine.model.orders import AnsweredOrders, StatusChange
from engine.model.process.clock import from_us
from engine.processing.formats import format_of


def listeners(channels: Mapping[str, ChannelConfig]) -> dict[str, Sequence[Listener]]:
    """The listeners of the orders of each channel."""
    found: dict[str, list[Listener]] = defaultdict(list)
    for channel in channels.values():
        if (source := status_of(channel)) is not None and channel.enabled:
            for name in source.of:
                of = channels.get(name)
                answer = partial(_answer, channel, of) if source.answers and of is not None else None
                one = Listener(
                    channel=channel.channel, updates=source.updates, write=partial(_written, channel), answer=answer
                )
                found[name].append(one)
    return dict(found)


def answers_later(channels: Mapping[str, ChannelConfig], name: str) -> bool:
    """Whether the answers to the orders of a channel are messages of another one."""
    return any(
        (source := status_of(one)) is not None and one.enabled and source.answers and name in source.of
        for one in channels.values()
    )


def _answer(channel: ChannelConfig, of: ChannelConfig, asked: AnsweredOrders) -> Received | None:
    """The answer to a message of orders of the channel ``of``, as if it had come over ``channel``."""
    codec = registry.load(registry.ORDER_ANSWERS, channel.source.format)
    at = _at(channel, asked.at_us)
    control_id = f"A{asked.message_id}"
    if of.source.format == "hl7v2":
        payload = _hl7_answer(codec, of, asked, control_id, at)
    elif not asked.answers and not asked.refused:
        return None  # it asked for nothing, as a Task that only says how far its work is
    else:
        payload = codec.plain(
            asked, control_id=control_id, now=at, settings=channel.settings, names_task=_names_task(channel)
        )
    if payload is None:
        return None
    header = registry.load(registry.FORMATS, channel.source.format).header(payload)
    return Received(
        channel=channel.channel,
        payload=payload,
        received_us=asked.at_us,
        control_id=control_id,
        message_type=header.message_type,
        sent=at,
    )


def _names_task(channel: ChannelConfig) -> bool:
    return (source := status_of(channel)) is not None and source.tasks == "update"


def _hl7_answer(codec: ModuleType, of: ChannelConfig, asked: AnsweredOrders, control_id: str, at: str) -> bytes | None:
    has_line = of.source.transport == "tcp"
    options = FormatOptions(charsets=tuple(of.charset), fixes=frozenset(of.fix), spm_obx=of.spm_obx)
    try:
        parsed = None if asked.refused else format_of(of.source, of.dialect).parse(asked.payload, options)
    except ContentError:
        parsed = None
    found: bytes | None = codec.later(asked, parsed, control_id=control_id, now=at, has_line=has_line)
    return found


def _at(channel: ChannelConfig, at_us: int) -> str:
    return from_us(at_us).astimezone(ZoneInfo(channel.timezone)).strftime("%Y%m%d%H%M%S%z")


def _written(channel: ChannelConfig, change: StatusChange) -> Received:
    """The message of a change, as if it had come over the channel."""
    codec = registry.load(registry.ORDER_STATUS, channel.source.format)
    at = _at(channel, change.at_us)
    return Received(
        channel=channel.channel,
        payload=codec.message(change, at=at, settings=channel.settings, names_task=_names_task(channel)),
        received_us=change.at_us,
        control_id=codec.control_id(change),
        message_type=codec.TYPE,
        sent=at,
    )
