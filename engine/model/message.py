"""The values that several folders share. Plain data, no behaviour beyond reading it; nothing here does I/O.

From the wire inwards: a *link* turns bytes into events (`engine.model.link_events`), a *format* reads a payload into a
`Parsed` tree of groups and segments, a *mapping* makes `Document`s of it, the outbox hands `Delivery`s to destinations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from engine.model.content.facts import Facts
from engine.model.link_events import Line
from engine.model.texts.reasons import ReasonCode
from engine.model.values import changed, value

# -- parsed messages ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The delimiters of one message, one character each; empty where the message declares none."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


class Segment:
    """One HL7 segment or ASTM record. ``fields[n]`` is field n as the standard numbers it, still escaped.

    ``fields[0]`` is the name. HL7: ``fields[1]`` of MSH is the field separator, ``fields[2]`` the encoding characters.
    ASTM (E1394 numbering): ``fields[1]`` is the type letter again, ``H-2`` the delimiter definition. Trailing fields
    may be missing: never index without a bounds check.

    Attributes:
        position: from 1, among all segments of the message.
        ordinal: from 1, among the segments of the same name in the message (the 3 in ``OBX[3]-5``).
    """

    __slots__ = ("fields", "name", "ordinal", "position")

    def __init__(self, name: str, fields: list[str], position: int, ordinal: int) -> None:
        self.name = name
        self.fields = fields
        self.position = position
        self.ordinal = ordinal

    def get(self, number: int) -> str:
        """A field as sent; empty where the segment ends before it."""
        return self.fields[number] if len(self.fields) > number else ""

    def __repr__(self) -> str:  # never the content
        return f"Segment({self.name}[{self.ordinal}], {len(self.fields) - 1} fields)"


class Group:
    """A group of segments (``PATIENT_RESULT``, ``ORDER``): its own segments, and the groups inside it.

    ``segments`` and ``groups`` keep the order of the message within each name.
    """

    __slots__ = ("groups", "name", "segments")

    def __init__(self, name: str) -> None:
        self.name = name
        self.segments: dict[str, list[Segment]] = {}
        self.groups: dict[str, list[Group]] = {}

    def __repr__(self) -> str:
        return f"Group({self.name})"


@value()
class Header:
    """Values of the first segment; read cheaply from the bytes, before the message is stored.

    Attributes:
        control_id: MSH-10 or H-3, empty if absent.
        message_type: ``ORU^R01``; for ASTM ``R`` (has results), ``Q`` (query), ``O`` (orders) or empty; may be shown.
        version: MSH-12, H-13.
        problem: why the header cannot be read (the message is then UNREADABLE), else empty.
        sent: the time of the message (MSH-7, H-14) as 12 digits or 14, where it is given to the minute.
        measured: the time of its first result (OBX-14, OBR-22; R-13, R-12), likewise; read where ``sent`` is empty.
    """

    control_id: str = ""
    message_type: str = ""
    version: str = ""
    problem: str = ""
    sent: str = ""
    measured: str = ""


@dataclass(slots=True, kw_only=True)
class Parsed:
    """A parsed message: delimiters, the tree of groups, and all segments in the order they came.

    Attributes:
        format: ``hl7v2``, ``astm`` or ``json``.
        structure: ``ORU_R01`` ... as the grammar names it; ``E1394`` for ASTM, ``json``.
        message_type: as in `Header`.
        charset: the Python codec that decoded it.
        warnings: what was tolerated while reading.
        places: where the fields came from, in texts of another kind (``R[3]-4``: ``line 14``); for `explain`.
        repeats: a field of it may have several repetitions.
        tree: of JSON: dicts, lists, texts, True, False, None; numbers are texts of the digits that were sent.
        is_plain: its numbers, names and codes are in their places; known once a mapping has looked.
        is_apart: no two ids of tests have one code; likewise.
        cleared: position of a segment -> names taken out of the place of a tube's or order's number; None: nothing was.
        names: its segments by name; they follow from ``segments`` where they are not given.
    """

    format: str
    structure: str
    message_type: str
    delimiters: Delimiters
    root: Group
    segments: list[Segment]
    charset: str = "utf-8"
    control_id: str = ""
    warnings: list["Issue"] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    repeats: bool = False
    tree: Any = None
    is_plain: bool = False
    is_apart: bool = False
    cleared: dict[int, list[str]] | None = None
    names: dict[str, list[Segment]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.names:
            for segment in self.segments:
                self.names.setdefault(segment.name, []).append(segment)


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """A channel's settings for reading its messages.

    Attributes:
        charsets: tried in this order, strictly, where the message declares none.
        fixes: named repairs that the channel allows (``unescaped_newlines``).
        spm_obx: ``result`` or ``specimen``: how to read an OBX after SPM where its OBR has no other OBX.
    """

    charsets: tuple[str, ...] = ("utf-8",)
    fixes: frozenset[str] = frozenset()
    spm_obx: str = "result"


# -- mapping -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """Something the mapping or the parser wants seen. Never carries patient data.

    Attributes:
        code: a `ReasonCode` code, or a short constant of its own for warnings.
        place: the source place, ``OBX[3]-5``.
        rule: ``lab.yaml:31``, where a rule is concerned.
        severity: ``warning`` or ``dead``.
    """

    code: str
    text: str = ""
    place: str = ""
    rule: str = ""
    severity: str = "warning"


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A code seen and not in its code table; `labrelay gaps` counts these."""

    table: str
    code: str
    unit: str = ""
    display: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reagent:
    """A reagent lot that a message names (`engine.model.content.reagents`). Lots are no patient data.

    Attributes:
        lot: as the analyzer writes it.
        name: the analyzer's name for the reagent; may be empty.
        expires: ``2018-10-30`` or ``2019-07``; empty where the message does not say.
        tests: codes of the tests that the message says were measured with it; empty: of the whole message.
        left: the remaining amount, with its unit if there is one; empty where the message does not say.
    """

    lot: str
    name: str = ""
    expires: str = ""
    tests: tuple[str, ...] = ()
    left: str = ""


class Report(NamedTuple):
    """A report in the journal's short memory: who owns an order or specimen number on a day.

    Attributes:
        key: 16 bytes, keyed hash over (channel, order or specimen number, local day).
        patient: 16 bytes, keyed hash of the patient's identifier; empty where the message names none.
        person: 16 bytes, keyed hash of all that the message says of the person (`Bearer.whole`); empty: nothing.
    """

    key: bytes
    patient: bytes = b""
    person: bytes = b""


class UsedNumber(NamedTuple):
    """An order or specimen number that the site calls unique, as one message uses it.

    Attributes:
        key: of its reports (`Report.key`). day: of measurement, as `date.toordinal`; 0 where the message has none.
        within: after so many days without a use, the number may belong to another specimen.
        reports: ids of the DiagnosticReports that are made of it.
    """

    key: bytes
    day: int
    within: int
    reports: tuple[str, ...] = ()


class Bearer(NamedTuple):
    """A patient number in a message, and the message's data on the person behind it.

    Attributes:
        number: 16 bytes, keyed hash: `Report.patient` of a number that lasts; of a counter, with its order and day.
        whole: 16 bytes, keyed hash of the record.
        record: `engine.model.persons.Person`, packed. Patient data: it is kept sealed.
        lasting: the number is one person's for good.
        person: 1, or which of the persons of this number the documents were made for (`MapContext.others`).
        master: the message is of who keeps the record of this person, and says who bears the number from now on.
    """

    number: bytes
    whole: bytes
    record: bytes
    lasting: bool
    person: int = 1
    master: bool = False


@value(kw_only=True)
class Document:
    """The document that one mapping made of one message.

    Attributes:
        body: the serialised document. packed: it is compressed (`engine.model.packing`), and kept as it is.
        conditional: 16-byte keyed hashes of the conditional-create keys in it (shared Patient, Organization ...).
        bearers: persons behind its patient numbers. used: its unique numbers. Both are not kept with the document.
        entries: of the Bundle; 0: not counted. facts: for hold rules (`engine.mapping.hold_rules.rules`), if any.
        places: number of a result among those of its message, and of its OBX or row, its path, or its Observation's id.
    """

    body: bytes
    packed: bool = False
    media_type: str = "application/fhir+json"
    conditional: tuple[bytes, ...] = ()
    reports: tuple[Report, ...] = ()
    bearers: tuple[Bearer, ...] = ()
    used: tuple[UsedNumber, ...] = ()
    entries: int = 0
    facts: bytes = b""
    places: tuple[tuple[int, str], ...] = field(default=(), repr=False)


@value(kw_only=True)
class MapContext:
    """Everything a mapping may know beside the message: the same context and bytes give the same document.

    Attributes:
        channel: its name. timezone: IANA zone. key: the site's identity key, 32 bytes: ids are keyed hashes under it.
        received_at: the journal's receive time, for Provenance.recorded; None where it is not known.
        payload_hash: SHA-256 of the raw payload, hexadecimal, for Provenance. settings: the channel's ``settings:``.
        namespaces: the site's ``namespaces:``, HD.1 or assigner name -> system URI.
        specimen_ids: ``restart``, ``day`` or ``unique``. reuse_days: unused, a unique number may be another's.
        results_of: ``channel``: results of one order from two channels are separate resources; or ``site``.
        apart: differs from that of an earlier one with the same bytes, where it may be another result; else empty.
        clock_offset: seconds by which the clock of the analyzer is wrong, ahead or behind; 0: no person has stated it.
        impossible: times of the message that cannot be, as sent: no event has one.
        others: `Bearer.number` and `Bearer.whole` -> which person of the number it is, where a user has decided that
            the number has several. Shared by all channels, and filled while the site runs.
        patient_numbers: ``lasting``, or ``counter`` where they may restart: then they name a person in one order only.
        packs: a large document may come packed: it is never in memory as a whole.
        names_subjects: hold rules ask facts for `engine.model.content.facts.Person.subject`.
    """

    channel: str = ""
    key: bytes = bytes(32)
    timezone: str = "UTC"
    received_at: datetime | None = None
    payload_hash: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    namespaces: dict[str, str] = field(default_factory=dict)
    specimen_ids: str = "restart"
    reuse_days: int = 30
    results_of: str = "channel"
    apart: str = ""
    clock_offset: float = 0.0
    impossible: frozenset[str] = frozenset()
    patient_numbers: str = "counter"
    others: Mapping[bytes, int] = field(default_factory=dict)
    packs: bool = False
    names_subjects: bool = True


@value(kw_only=True)
class Mapped:
    """The outcome of a mapping. It raises `ContentError` instead where the whole message is dead.

    Attributes:
        documents: usually one; none if everything was filtered. facts: of a mapping to facts.
        filtered: why nothing is sent (FILTERED, QUALITY_CONTROL), else None.
        counts: results in, observations out, declared drops ... (``results_in``, ``observations``, ``dropped``).
        without_row: positions of the result segments whose code no code table had.
        controls: positions of the result segments that are a control's, not a patient's.
        places: position of a result segment -> the reference, segment, row or record that it became; None: it is none.
    """

    documents: tuple[Document, ...] = ()
    filtered: ReasonCode | None = None
    issues: tuple[Issue, ...] = ()
    unmapped: tuple[Unmapped, ...] = ()
    without_row: tuple[int, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    controls: tuple[int, ...] = ()
    places: Mapping[int, Any] = field(default_factory=dict, compare=False, repr=False)
    facts: Facts | None = field(default=None, compare=False, repr=False)


# -- journal and outbox ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """Size and hash of the whole of which the payload is the beginning.

    Attributes:
        size: bytes that came before the link took no more.
        digest: SHA-256 of them.
    """

    size: int
    digest: bytes


class Given:
    """Bytes that are handed on and not kept: of a large message each copy counts."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content: bytes | None = content

    def take(self) -> bytes | None:
        """They, the first time; then None."""
        content, self._content = self._content, None
        return content


@value(kw_only=True)
class Received:
    """A message on its way into the journal.

    Attributes:
        sent, measured: as in `Header`.
        line: where an answer is given or was to be given; None where no sender waits for one.
        peer: where it came from (``127.0.0.1:50213``, ``/dev/ttyUSB0``).
        notes: tolerated departures.
        filtered: it is for the record only, for this reason: filtered on arrival, never mapped.
        cut: of an incomplete message, where ``payload`` is the beginning of what came.
        payload_hash: SHA-256 of the payload, where it was computed already (`engine.receiving.large`).
        packed: the payload compressed, where that was done already; given away once (`Given.take`).
    """

    channel: str
    payload: bytes
    received_us: int
    peer: str = ""
    control_id: str = ""
    message_type: str = ""
    notes: tuple[str, ...] = ()
    filtered: ReasonCode | None = None
    cut: Truncation | None = None
    sent: str = ""
    measured: str = ""
    line: Line | None = field(default=None, compare=False)
    payload_hash: bytes = field(default=b"", compare=False)
    packed: "Given | None" = field(default=None, compare=False, repr=False)


@value(kw_only=True)
class Stored:
    """A message in the journal.

    Attributes:
        id: the global row number, "message 4711" for people and in logs.
        seq: its number within its channel, from 1 without gaps.
        repeat_of: the id of the first message with the same bytes, where this one is a repeat.
        equal_to: the id of the first message with the same bytes, if nothing shows a repeat: this one is flagged.
        rejected_before: the id of the first message with the same bytes, where a person has rejected or dismissed it.
        same_id_other_bytes: the control id was seen before with other bytes; both are delivered, this one is flagged.
        filtered: as in `Received`; it stays so, also where a person has it processed again.
        payload_hash: SHA-256 of the payload, where it was just computed; empty for a message that was read back.
    """

    id: int
    channel: str
    seq: int
    payload: bytes
    received_us: int
    control_id: str = ""
    message_type: str = ""
    repeat_of: int | None = None
    equal_to: int | None = None
    rejected_before: int = 0
    same_id_other_bytes: bool = False
    filtered: ReasonCode | None = None
    payload_hash: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class LateRefusal:
    """A destination refuses a delivery that it has accepted before.

    Attributes:
        detail: the kind of its answer, never content. answer: its own words.
    """

    delivery_id: int
    channel: str
    detail: str
    answer: bytes = b""


@value(kw_only=True)
class Delivery:
    """One document for one destination.

    Attributes:
        id: row number in the outbox.
        seq: number within its lane, from 1 without gaps.
        packed: ``body`` is compressed (`engine.model.packing`); a destination never sees it so.
        key: stable over a sender's resend, retries, replays and restarts; the destination may spot a repeat by it.
        attempt: how many attempts have failed so far.
        joins: its reports list results of other messages, too (`engine.features.results.rows.report_lists`).
        known_order: there were such messages when it was queued.
        earlier: how many were made before a restart: a person retried a dead letter, or replayed the message.
        maybe_delivered: an earlier process may have sent it; sent again with the same key.
        manual: a person retried or replayed it: the `superseded` guard looks before it is sent.
        conditional: `Document.conditional`; deliveries that share an unconfirmed one are never in flight together.
        reports: the keys of `Document.reports`; with ``order: specimen`` those that share one keep their order.
        entries: `Document.entries`, as long as the document has not been in the store.
        unconditional: a person has decided that it takes the place of what the server had (`engine.model.versions`).
        message_type: of the message that it came from, as in `Header`: safe to be shown.
        traceparent: W3C Trace Context for the requests of this attempt; empty: they go without one.
    """

    id: int
    message_id: int
    channel: str
    destination: str
    seq: int
    key: str
    body: bytes
    media_type: str
    received_us: int
    attempt: int = 0
    not_before_us: int = 0
    maybe_delivered: bool = False
    manual: bool = False
    conditional: tuple[bytes, ...] = ()
    reports: tuple[bytes, ...] = ()
    packed: bool = False
    entries: int = 0
    unconditional: bool = False
    message_type: str = ""
    joins: bool = False
    known_order: bool = False
    earlier: int = 0
    traceparent: str = ""

    @property
    def request_id(self) -> str:
        """Another one for each attempt that the journal knows of: no peer takes one for the repeat of another."""
        return f"{self.key[:32]}.{self.earlier + self.attempt}"

    def with_body(self, body: bytes) -> "Delivery":
        """The same delivery of this document, which is not packed."""
        return changed(self, body=body, packed=False)
