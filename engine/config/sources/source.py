"""The ``source:`` block of a channel: transport, link and format of one analyzer or system.

``kind`` is a preset of all three, as ``mllp`` of ``tcp``, ``mllp`` and ``hl7v2``; each can be given beside it or in its
place. A model is put together of a transport's part and a link's part, and names its preset; `AnySource` lists them.
"""

from collections.abc import Mapping, Sequence
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from engine.config.destinations.destination_auth import HttpServer
from engine.config.kafka_servers import KafkaServers
from engine.config.reading.values import Address, Duration, Flag, HttpUrl, Model, Networks, Size, Whole
from engine.config.sources.source_fhir import FhirSearchPart
from engine.config.sources.source_folder import FolderPart, JsonPart, TextPart
from engine.config.sources.source_http import HttpPart
from engine.config.sources.source_kafka import KafkaPart
from engine.config.sources.source_serial import SerialPart
from engine.config.sources.source_tee import TeePart
from engine.config.tls import ServerTls
from engine.feature import Hook
from engine.model.texts.units import HostPort

KiB = 1024
MiB = 1024 * KiB


class Source(Model):
    """Settings of every source, for any transport and link.

    The fields `transport`, `link` and `format` are of the models below; `kind` fills them in.

    Attributes:
        preset: the `kind` that means the transport, link and format of this model; empty where they must be named.
    """

    preset: ClassVar[str] = ""

    kind: str = "mllp"
    """Preset of transport, link and format: `mllp` is HL7 v2 in MLLP blocks, `astm` is E1394 records in E1381
    frames, both on TCP; `hl7-serial` and `astm-serial` are the same on a serial line. `auto` and `auto-serial` take
    either, as it comes. `text` and `text-serial` are texts that a `layout` describes; `folder` is files in a folder;
    `http` is requests that other systems post; `fhir-search` is orders that a FHIR server is asked for;
    `kafka` is records of a topic;
    `order-status` is changes of orders, for their laboratory system; `abdm-share` is patients who share their profile
    at a counter (`docs/abdm.md`)."""

    idle_timeout: Duration | None = Field(default=None, gt=0)
    """Close a connection after this time without a byte. By default never: analyzers keep one connection for days,
    and TCP keep-alive finds a peer that is gone within 90 s."""

    max_message: Size = Field(default=16 * MiB, ge=1 * KiB, le=256 * MiB)
    """Largest message; a report with an embedded PDF has room to spare in the default."""

    @property
    def place(self) -> str:
        """The address that it listens on or connects to, or the device or folder that it reads: for people and logs."""
        return ""

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of this machine that it reads files from, or puts them into."""
        return ()

    @property
    def reads_as(self) -> str:
        """The format that mappings and conditions see: several formats are read into the records of one."""
        return str(getattr(self, "format", ""))

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("kind"), str) and given["kind"] in presets():
            return dict(zip(("transport", "link", "format"), presets()[given["kind"]], strict=True)) | given
        return given


class TcpPart(Model):
    """A source on TCP. Exactly one of ``listen`` and ``connect`` is set."""

    transport: Literal["tcp"] = "tcp"
    """How bytes come: `tcp`."""

    listen: Address | None = None
    """Address to listen on; port 0 takes any free one. Either this or `connect`."""

    connect: Address | None = None
    """Address of an analyzer that is itself the TCP server; we connect, and reconnect without limit."""

    allow: Networks = ()
    """Addresses and networks that may connect, as `10.1.2.3` or `10.1.2.0/24`; others are ended at once and counted.
    By default any."""

    tls: ServerTls | None = None
    """TLS for `listen`; with `client_ca`, mutual TLS."""

    max_connections: Whole = Field(default=32, ge=1, le=10_000)
    """Connections at once; one more takes the place of the one that has been quiet longest."""

    @property
    def address(self) -> HostPort:
        """Where it listens, or what it connects to."""
        address = self.listen or self.connect
        assert address is not None
        return address

    @property
    def place(self) -> str:
        return str(self.address)

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.listen is None) == (self.connect is None):
            raise PydanticCustomError("one_address", "give either listen (the analyzer connects to us) or connect")
        if self.connect is not None and self.connect.port == 0:
            raise PydanticCustomError("one_address", "connect needs the analyzer's port, not 0")
        if self.connect is not None and self.tls is not None:
            raise PydanticCustomError("one_address", "tls is for listen; take tls out, or listen instead")
        if self.connect is not None and self.allow:
            raise PydanticCustomError("one_address", "allow is for listen; take allow out, or listen instead")
        return self


class MllpOptions(Model):
    """How MLLP blocks are read."""

    start_without_vt: Flag = False
    """`true`: a message header starts a message where the analyzer sends no VT before it."""

    end_by_idle: Duration | None = Field(default=None, gt=0)
    """A message ends after this time without a byte, for analyzers that send no FS. A message that is cut short
    looks whole then, so only for those."""

    block_timeout: Duration = Field(default=60.0, gt=0)
    """Longest time from VT to FS; then what came is put aside as incomplete."""


class MllpLink(Model):
    """MLLP blocks."""

    link: Literal["mllp"] = "mllp"
    """Framing and link acknowledgement: `mllp`."""

    format: Literal["hl7v2", "astm"] = "hl7v2"
    """Content: `hl7v2` (or `astm`)."""


class E1381Options(Model):
    """How frames of ASTM E1381 are read."""

    framing: Literal["e1381", "enq-less", "none"] = "e1381"
    """`e1381`: ENQ, frames, EOT. `enq-less`: frames or an H record may start without ENQ. `none`: bare records from
    H to L, nothing acknowledged."""

    checksum: Literal["required", "warn", "ignore"] = "required"
    """A frame with a wrong checksum: `required` answers NAK, `warn` takes and counts it, `ignore` does not look."""

    frame_numbers: Literal["strict", "warn", "ignore"] = "strict"
    """A frame with an unexpected number: `strict` answers NAK, `warn` takes and counts it, `ignore` does not look
    (some analyzers start at 0)."""

    acks: Literal["frame", "session", "none"] = "frame"
    """The answers that the analyzer expects: an answer to each frame, one at the end of the session, or none."""

    answer_stx: Flag = False
    """`true`: an STX that comes alone is acknowledged, and EOT as well, for analyzers that wait for it (Snibe). Such a
    frame has neither a number nor a checksum."""

    commit: Literal["frame", "message"] = "frame"
    """`frame`: each frame is durable before its ACK. `message`: only the ACK of the frame that ends the message
    waits; faster, for instruments that always send an L record."""

    record_end: Literal["cr", "etx"] = "cr"
    """The end of a record: its CR, or the ETX of its frame as well where an analyzer sends no CR. A record behind ETB
    goes on in the next frame."""

    end: Literal["record", "eot"] = "record"
    """The end of a message: its L record, or EOT as well where an analyzer sends no L."""

    max_frame: Size = Field(default=64_000, ge=64, le=1 * MiB)
    """Largest frame; a longer one gets NAK."""

    receive_timeout: Duration = Field(default=30.0, gt=0)
    """Time within a session without a whole frame or EOT, after which what came is put aside as incomplete."""


class E1381Link(Model):
    """Frames of ASTM E1381."""

    link: Literal["e1381"] = "e1381"
    """Framing and link acknowledgement: `e1381`."""

    format: Literal["astm", "hl7v2"] = "astm"
    """Content: `astm` (or `hl7v2`)."""


class AutoLink(Model):
    """MLLP or ASTM E1381, with the options of both: the first bytes decide, for each connection. The first segment or
    record of each message decides its format.
    """

    link: Literal["auto"] = "auto"
    """`auto`: ENQ, STX or an H record begins ASTM E1381, VT or MSH begins MLLP. The options of both are known here."""

    format: Literal["auto"] = "auto"
    """`auto`: each message is HL7 v2 or ASTM E1394."""


class AutoOptions(Model):
    """The options of both links whose defaults differ where either may come."""

    framing: Literal["e1381", "enq-less", "none"] = "enq-less"
    """As for ASTM E1381."""

    start_without_vt: Flag = True
    """As for MLLP."""


class MllpSource(MllpOptions, MllpLink, TcpPart, Source):
    """HL7 v2 in MLLP blocks over TCP."""

    preset = "mllp"


class AstmSource(E1381Options, E1381Link, TcpPart, Source):
    """ASTM E1394 records in E1381 frames over TCP."""

    preset = "astm"


class MllpSerialSource(MllpOptions, MllpLink, SerialPart, Source):
    """HL7 v2 in MLLP blocks on a serial line."""

    preset = "hl7-serial"


class AstmSerialSource(E1381Options, E1381Link, SerialPart, Source):
    """ASTM E1394 records in E1381 frames on a serial line."""

    preset = "astm-serial"


class AutoSource(AutoOptions, MllpOptions, E1381Options, AutoLink, TcpPart, Source):
    """HL7 v2 or ASTM over TCP, as it comes."""

    preset = "auto"


class AutoSerialSource(AutoOptions, MllpOptions, E1381Options, AutoLink, SerialPart, Source):
    """HL7 v2 or ASTM on a serial line, as it comes."""

    preset = "auto-serial"


class MllpTeeSource(MllpOptions, MllpLink, TeePart, Source):
    """HL7 v2 in MLLP blocks, heard as they pass."""


class AstmTeeSource(E1381Options, E1381Link, TeePart, Source):
    """ASTM E1394 records in E1381 frames, heard as they pass."""


class TextSource(TextPart, TcpPart, Source):
    """Texts that a layout describes, over TCP."""

    preset = "text"


class TextSerialSource(TextPart, SerialPart, Source):
    """Texts that a layout describes, on a serial line."""

    preset = "text-serial"


class FolderSource(FolderPart, JsonPart, Source):
    """Files in a folder."""

    preset = "folder"


class HttpSource(HttpPart, JsonPart, Source):
    """Messages posted over HTTP."""

    preset = "http"


class FhirSearchSource(FhirSearchPart, HttpServer, Source):
    """Orders of a FHIR server, which is searched."""

    preset = "fhir-search"

    url: HttpUrl
    """Base address of the server, as `https://emr.example.org/fhir`."""


class KafkaSource(KafkaPart, JsonPart, KafkaServers, Source):
    """Records of a topic of Kafka."""

    preset = "kafka"

    @property
    def place(self) -> str:
        return self.at


def _parts(value: Any) -> str | None:
    """Which model reads a ``source:`` block, as ``transport/link``; an unknown kind or link is returned as it is, for
    the error."""
    if isinstance(value, Source):
        return f"{getattr(value, 'transport', '')}/{getattr(value, 'link', '')}"
    if not isinstance(value, dict):
        return None
    kind = value.get("kind")
    if kind is not None and not (isinstance(kind, str) and kind in presets()):
        return str(kind)
    transport, link, _ = presets().get(str(kind), ("tcp", None, None))
    link = value.get("link", link)
    if "tee" in value:
        transport = "tee"
    return f"{value.get('transport', transport)}/{link}" if link is not None else None


def _parts_of(model: type[Source]) -> tuple[str, str, str]:
    """Its transport, link and format, where the YAML names none."""
    transport, link, content = (model.model_fields[name].default for name in ("transport", "link", "format"))
    return transport, link, content


AnySource = (
    MllpSource
    | AstmSource
    | MllpSerialSource
    | AstmSerialSource
    | AutoSource
    | AutoSerialSource
    | MllpTeeSource
    | AstmTeeSource
    | TextSource
    | TextSerialSource
    | FolderSource
    | HttpSource
    | FhirSearchSource
    | KafkaSource
)
OF_FEATURES: Hook[type[Source]] = Hook("source")


@cache
def models() -> Mapping[str, type[Source]]:
    """The models by ``transport/link``, those of features behind the core's."""
    return {"/".join(_parts_of(model)[:2]): model for model in (*get_args(AnySource), *OF_FEATURES.each())}


@cache
def presets() -> Mapping[str, tuple[str, str, str]]:
    """The kinds, each with its transport, link and format."""
    return {model.preset: _parts_of(model) for model in models().values() if model.preset}


def transports() -> Sequence[str]:
    return tuple(dict.fromkeys(tag.partition("/")[0] for tag in models()))


def links() -> Sequence[str]:
    return tuple(dict.fromkeys(tag.partition("/")[2] for tag in models()))


def kind_over(transport: str, link: str) -> str | None:
    """The kind that means this link over this transport."""
    return next((kind for kind, parts in presets().items() if parts[:2] == (transport, link)), None)


def source_type() -> Any:
    """The type of a ``source:`` block."""
    tagged: list[Any] = [Annotated[model, Tag(tag)] for tag, model in models().items()]
    return Annotated[reduce(or_, tagged), Discriminator(_parts)]
