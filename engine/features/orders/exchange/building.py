"""How orders are spoken of with the peers of channels: made of the configuration, and of the tables of results.

The writers of answers to orders, by the format of their messages; the texts are the codecs' (`ORDER_ANSWERS`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from engine.config import registry
from engine.config.channel import ChannelConfig
from engine.config.load import Site
from engine.features.orders.config.orders import OrdersConfig, orders_of, taken_of
from engine.features.orders.exchange.asking import Asking, LisAnswers, Writer
from engine.features.orders.exchange.listening import answers_later
from engine.features.orders.exchange.taking import take_settings
from engine.features.orders.rules.order_rules import codes_of
from engine.mapping.code_tables.tables import Table
from engine.model.errors import ConfigError, ContentError
from engine.model.message import FormatOptions
from engine.model.orders import LineAnswer
from engine.model.ports import Dialogue, Format
from engine.model.worklist import AskSettings
from engine.runtime.build import UNANSWERED, Speech, Talk


class OrderTalk:
    """`engine.runtime.build.Talking`."""

    def completed(self, site: Site, tables: Callable[[ChannelConfig], Iterable[Table]]) -> tuple[Site, list[str]]:
        """The site with the codes of each analyzer that gets orders, and what is wrong with them."""
        problems: list[str] = []
        channels = dict(site.channels)
        for name, config in site.channels.items():
            if (orders := orders_of(config)) is None or orders.codes:
                continue
            codes, wrong = codes_of(tables(config), orders)
            node = site.node(name, "orders")
            problems += [node.problem(f"orders: {text}") for text in wrong]
            channels[name] = config.model_copy(update={"orders": orders.model_copy(update={"codes": codes})})
        return replace(site, channels=channels), problems

    def dialogue(self, site: Site, config: ChannelConfig) -> Dialogue | None:
        """How the channel's analyzer asks for orders; None where it gets none.

        Raises:
            ConfigError: the dialect has no dialogue.
        """
        if (orders := orders_of(config)) is None:
            return None
        made: Dialogue | None = registry.load(registry.DIALOGUES, config.source.format).dialogue(
            config.dialect, **orders.habits
        )
        if made is None:
            node = site.node(config.channel, "orders")
            text = f"analyzers of dialect {config.dialect} send results only, as far as is known; take orders out"
            raise ConfigError(node.problem(f"orders: {text}"))
        return made

    def talk(self, site: Site, config: ChannelConfig, speech: Speech) -> Talk:
        asked = Talk()
        if (orders := orders_of(config)) is not None:
            asking = None
            if speech.dialogue is not None:
                asking = _asking(config, orders, speech.message_format, speech.options, speech.dialogue)
            asked = Talk(asking=asking, tests=orders.tests, groups=orders.groups, redundant=orders.redundant)
        if (taken := taken_of(config)) is None:
            return asked
        answering = None
        if config.source.transport not in UNANSWERED:
            ack_code = "aa" if config.ack_code == "aa" else ""
            later = answers_later(site.channels, config.channel)
            answering = LisAnswers(
                writer=writer(
                    config.source.format, speech.message_format, speech.options, ack_code=ack_code, later=later
                ),
                usual=speech.usual,
                timezone=config.timezone,
                deadline_s=taken.deadline,
            )
        takes = take_settings(site.channels, taken, config.channel)
        return replace(asked, answering=answering, takes=takes)


def _asking(
    config: ChannelConfig, orders: OrdersConfig, message_format: Format, options: FormatOptions, dialogue: Dialogue
) -> Asking:
    if getattr(config.source, "bytesize", 8) == 7:  # bit 7 is lost on the way: ASCII alone arrives as it is
        options = replace(options, charsets=("ascii",))
    return Asking(
        message_format=message_format,
        options=options,
        dialogue=dialogue,
        settings=AskSettings(
            channel=config.channel,
            codes=orders.codes,
            names=frozenset(orders.groups),
            limit=orders.all_limit,
            dilutions=getattr(dialogue, "dilutions", None),
        ),
        timezone=config.timezone,
        demographics=orders.demographics,
        deadline_s=orders.deadline,
        closes=config.source.link == "mllp",
        ends=config.source.transport != "serial",
        commits=config.ack_code == "standard",
        own_line=orders.connect is not None,
        host=orders.host,
        download=orders.download,
        download_every_s=orders.download_every,
        cancels=getattr(dialogue, "cancels", False),
        texts=(("charset", options.charsets[0]), *sorted(orders.settings.items())),
    )


TALK = OrderTalk()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hl7Writer:
    """ORR^O02 and ORL; a sender that asks for a commit accept gets it first.

    Attributes:
        later: where it asks so (MSH-15, MSH-16), the rest goes out as a message of another channel.
    """

    codec: ModuleType
    message_format: Format
    options: FormatOptions
    ack_code: str
    later: bool

    def said(self, payload: bytes, told: Sequence[LineAnswer], *, control_id: str, now: str) -> Sequence[bytes] | None:
        parsed = self.message_format.parse(payload, self.options)
        if parsed.structure not in self.codec.EVENTS:
            return None
        found: list[bytes] = self.codec.said(
            payload, parsed, told, control_id=control_id, now=now, ack_code=self.ack_code, later=self.later
        )
        return found

    def refused(self, payload: bytes, text: str, *, control_id: str, now: str) -> Sequence[bytes] | None:
        try:
            if self.message_format.parse(payload, self.options).structure not in self.codec.EVENTS:
                return None
        except ContentError:  # it may have been one
            pass
        found: list[bytes] = self.codec.refused(payload, text, control_id=control_id, now=now, ack_code=self.ack_code)
        return found

    def late(self, payload: bytes, *, control_id: str, now: str) -> bytes | None:
        found: bytes | None = self.codec.commit_accept(payload, control_id=control_id, now=now)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonWriter:
    """The body of an answer over HTTP; what is late has none, and the sender posts it again."""

    orders: Callable[[Sequence[LineAnswer]], bytes]
    problem: Callable[[str], bytes]

    def said(self, payload: bytes, told: Sequence[LineAnswer], *, control_id: str, now: str) -> Sequence[bytes] | None:
        return [self.orders(told)]

    def refused(self, payload: bytes, text: str, *, control_id: str, now: str) -> Sequence[bytes] | None:
        return [self.problem(text)]

    def late(self, payload: bytes, *, control_id: str, now: str) -> bytes | None:
        return None


def writer(kind: str, message_format: Format, options: FormatOptions, *, ack_code: str, later: bool = False) -> Writer:
    """``kind``: the format of the channel's source: hl7v2, json or fhir."""
    codec = registry.load(registry.ORDER_ANSWERS, kind)
    if kind == "hl7v2":
        return Hl7Writer(codec=codec, message_format=message_format, options=options, ack_code=ack_code, later=later)
    if kind == "fhir":
        return JsonWriter(orders=codec.fhir_said, problem=codec.fhir_refused)
    return JsonWriter(orders=codec.said, problem=codec.refused)
