"""The writers of answers to orders, by the format of their messages; the texts are the codecs' (`ORDER_ANSWERS`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

from engine.config import registry
from engine.features.orders.exchange.lis import Writer
from engine.model.errors import ContentError
from engine.model.message import FormatOptions
from engine.model.orders import LineAnswer
from engine.model.ports import Format


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
