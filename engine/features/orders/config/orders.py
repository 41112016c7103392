"""The ``orders:`` block of a channel: the analyzer asks, and its questions are answered from the worklist.

The part of a ``source:`` block for all that a laboratory system hears of its orders, but not on their connection.

source: {kind: order-status, of: his}

The ``lis:`` block of a channel with ``role: orders``: how the orders of a laboratory system are taken.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from engine.config.channel import ChannelConfig, FeatureKeys, own_line
from engine.config.mapping_settings import number_patterns
from engine.config.reading import values
from engine.config.reading.joining import Behind, part
from engine.config.reading.values import Duration, Flag, Model, Names, NotEmpty, Text, Words, distinct, listed
from engine.config.sources.source import AnySource, Source
from engine.config.tls import ConnectTls
from engine.model.orders import code_alone
from engine.model.texts.units import HostPort

DAY = 86_400.0
LIS_DEADLINE_S = 10.0

Texts = Annotated[
    tuple[Text, ...], BeforeValidator(listed), NotEmpty, AfterValidator(distinct), Words("text or list of texts")
]


class LisConfig(Model):
    """How the orders of a channel with `role: orders` are taken ([orders](questions.md)). Each key may be left out."""

    targets: Names | None = None
    """Channels, or groups of them, that may run the orders of this laboratory system (LIS); an order that names
    another one is rejected. By default each channel that has a code for the test."""

    codes: Annotated[dict[Text, Text], NotEmpty, Words("block of `code of the LIS: code of the worklist`")] | None = (
        None
    )
    """The LIS's own codes, each with the code that `orders: codes:` of the analyzers' channels has for it, as
    `{"1001": GLU}`. A test that is not here is then rejected. By default the codes are the same."""

    panels: Annotated[dict[Text, Texts], NotEmpty, Words("block of `code of a panel: [codes of its tests]`")] | None = (
        None
    )
    """Panels, each with the LIS's codes of its tests, as `{LIPID: [CHOL, HDL]}`. A panel that an analyzer has a code
    for goes to it as it is."""

    cancel: Literal["order", "specimen"] = "order"
    """What a cancel names: an `order` by its number; or `specimen`: without a number, all orders of its specimen."""

    expires: Duration = Field(default=7 * DAY, ge=60.0, le=366 * DAY)
    """How long an order waits for an analyzer that asks."""

    specimen_reuse: Duration = Field(default=30 * DAY, ge=0.0, le=366 * DAY)
    """How long after its result a specimen number may not be another patient's. Within this time the orders of both
    are held."""

    control_numbers: Annotated[Texts, AfterValidator(number_patterns)] | None = None
    """Specimen numbers of control materials, `*` for any text, as `["QC*"]`. An order for one is rejected."""

    deadline: Duration = Field(default=LIS_DEADLINE_S, ge=0.5, le=60.0)
    """How long the LIS may wait for its answer. Later than that it gets a commit accept (CA), where it asked for one;
    else the connection is closed, and it sends the order again."""


def why_no_orders(source: AnySource) -> str:
    """Why no orders can be taken from this source; empty where they can."""
    if hasattr(source, "tee"):
        return "a tee only listens, and the orders that pass are the other system's"
    if source.link not in ("mllp", "whole"):
        return "orders come over mllp or http, as files of a folder, or of a FHIR server; change the source"
    if source.format not in ("hl7v2", "json", "fhir"):
        return f"orders come as HL7, JSON or FHIR, and this source reads {source.format}; change the source"
    return ""


DEADLINE_S = 8.0  # the shortest time that an analyzer is known to wait over ASTM is 10 s; a dialogue may know better


def _each_once(codes: dict[str, str]) -> dict[str, str]:
    """Read backwards, a code of the analyzer must say one test: its result would close another test's order."""
    tests: dict[str, str] = {}
    for test, code in codes.items():
        if not code.isprintable() or code != code.strip():
            raise ValueError(
                f"the code of {test} has a control character, or a blank around it; no result has such a code"
            )
        if (other := tests.setdefault(code_alone(code), test)) != test:
            text = f"{other} and {test} have one code of the analyzer, '{code_alone(code)}'"
            raise ValueError(f"{text}; take one of them out")
    return codes


def _form_of_a_test(form: str) -> str:
    """No delimiter of fields or tests, so that a form makes no second field, and no second test."""
    if form.count("{}") != 1 or not re.fullmatch(r"(?:\{n?\}|[A-Za-z0-9^./ -])+", form, re.ASCII):
        raise ValueError("a form has {} once, {n} where a count belongs, and besides these letters, digits and ^")
    return form


Codes = Annotated[
    dict[values.Text, values.Text],
    values.NotEmpty,
    AfterValidator(_each_once),
    values.Words("block of `code of the LIS: code of the analyzer`"),
]


class ReflexRow(values.Model):
    """A row of `reflex:`: where the rule says yes of a final result of the test, one more test of its tube is proposed
    to a person (`labrelay orders reflexes`)."""

    test: values.Text
    """By its code of the laboratory system, as the order has it."""

    rule: values.Text
    """The `name` of a `shadow: true` rule of a route's `hold:` of this channel."""

    add: values.Text
    """The test that is proposed."""

    auto: values.Flag = False
    """`true`: it is ordered without a person."""


class OrdersConfig(values.Model):
    """Makes the channel of an analyzer two-way: its questions are answered from the worklist
    ([questions](questions.md)). It needs HL7 v2 over MLLP, or ASTM with an ACK for each frame."""

    answer: Literal["query"] = "query"
    """`query`: the analyzer asks for the orders of a tube, and gets them."""

    download: Literal["on_order", "on_connect", "batch"] | None = None
    """When waiting orders go to the analyzer unasked: `on_order`, as soon as the line is free; `on_connect`, when the
    analyzer connects; `batch`, when it connects and then each `download_every`. Without it an analyzer gets only what
    it asks for."""

    download_every: values.Duration = Field(default=600.0, ge=5.0, le=86_400.0)
    """With `download: batch`: the time between two batches."""

    codes: Codes = Field(default_factory=dict)
    """The tests that this analyzer runs, each with the code that it knows it by: `{TSH: "10", FT4: "40"}`, the code of
    the laboratory system (LIS) first. A test that is not here is never offered to this analyzer. Over HL7 v2 a code may
    have the name and the system that the analyzer wants beside it: `72828-7^CT/NG^LN`.
    Without it the LIS orders in LOINC, and the table that maps the channel's results is read backwards."""

    preferred: values.Texts | None = None
    """Without `codes`: where the table has two codes for one LOINC code, the one that is ordered."""

    reflex: Annotated[tuple[ReflexRow, ...], Field(max_length=200)] = Field(default=(), strict=False)
    """Tests that a result proposes."""

    group: values.Name | None = None
    """Name of the group of analyzers that this one is of. An order for the group may be run by each of them; it is
    offered to the one that asks first."""

    demographics: values.Flag = False
    """`true`: the patient's number, name, birth date and sex go to the analyzer, too. By default none of them does."""

    all_limit: values.Whole = Field(default=200, ge=1, le=1000)
    """The most orders that an answer holds to a question for all of them; the most urgent ones first."""

    deadline: values.Duration = Field(default=DEADLINE_S, ge=0.5, le=60.0)
    """How long after its question an answer may still begin. Later than that nothing is sent, and the analyzer asks
    again. Where an analyzer is known to wait for a shorter time (Mindray BC: 2 s), that counts."""

    orders_on: Literal["query", "own"] = "query"
    """The connection on which orders go to an analyzer of IHE LAW: that of its question, or LabRelay's `own` one to the
    address of `connect`."""

    connect: values.Address | None = None
    """With `orders_on: own`: the address on which the analyzer takes orders. LabRelay connects, and reconnects without
    limit. Orders that are cancelled after the analyzer has them are taken back there."""

    tls: ConnectTls | None = None
    """TLS of the connection to `connect`: `{}` trusts the authorities of the system."""

    unsent_after: values.Duration = Field(default=1800.0, ge=60.0, le=7 * 86_400.0)
    """How long an order may wait that this analyzer has asked for in vain: it has no code for the test, or may have the
    order already. After that the order is on the list `unsent` and on the to-do list; a stat order after a sixth of
    it."""

    redundant: values.Flag = False
    """`true`: another analyzer may have been asked for the same test of the same tube, by an order of its own. The
    first final result from here takes that order back."""

    host: values.Text = "LabRelay"
    """The name of this side in messages to the analyzer, where the analyzer's own message does not name it."""

    settings: dict[values.Text, values.Text] = Field(default_factory=dict)
    """Texts for answers over HL7 v2: `form` (Mindray BS: `mindray`, `cyanvision`), `accept` (Mindray BS: MSH-15 of
    orders that no question asked for; some models want `P`), `take_mode` and `blood_mode` (Mindray BC), `none: error`
    (a patient who is not known is answered AE), `analyzer` (MSH-5 of orders that no question asked for)."""

    @model_validator(mode="after")
    def _own_line(self) -> Self:
        if (self.orders_on == "own") != (self.connect is not None):
            raise PydanticCustomError("own_line", "orders_on: own and connect go together; give both, or none")
        if self.tls is not None and self.connect is None:
            raise PydanticCustomError("own_line", "tls is for the connection of orders_on: own; take tls out")
        if self.connect is not None and self.connect.port == 0:
            raise PydanticCustomError("own_line", "connect needs the analyzer's port, not 0")
        if self.connect is not None and self.download is not None:
            raise PydanticCustomError("own_line", "orders_on: own answers questions alone; take download out")
        return self

    q13_a: Literal["query", "cancel", "barcode-only"] | None = None
    """ASTM alone: the meaning of `A` in Q-13 of this analyzer. `query`: it asks, as with `O`. `cancel`: it takes its
    question back. `barcode-only`: it asks where Q-3 names a tube, and takes its question back where it names none. An
    analyzer that ends with `L|1|T` beside it takes its question back in any case. Without the key as its maker does."""

    none_end: Literal["I", "F", "N"] | None = None
    """ASTM alone: the code in the L record of an answer without orders, where the analyzer needs another one than its
    maker's usual: for a GeneXpert `I` or `F`."""

    test: Annotated[values.Text, AfterValidator(_form_of_a_test)] | None = None
    """ASTM alone: the form of a test in O-5, where this analyzer wants another one than its maker's usual. `{}` is the
    place of the code, `{n}` that of a count from 1, as in `{n}^{}^2^1` or `{}^^2^1` (Mindray). Orders with a dilution
    are then refused."""

    @property
    def habits(self) -> dict[str, str]:
        """The habits in which this analyzer departs from its dialect."""
        return {name: said for name in ("q13_a", "none_end", "test") if (said := getattr(self, name)) is not None}

    @property
    def groups(self) -> tuple[str, ...]:
        return () if self.group is None else (self.group,)

    @property
    def tests(self) -> dict[str, str]:
        """The analyzer's code, as its results have it -> the LIS's."""
        return {code_alone(code): test for test, code in self.codes.items()}


def why_one_way(source: AnySource) -> str:
    """Why no question can be answered on this source; empty where one can."""
    if hasattr(source, "tee"):
        return "a tee answers nothing"
    if source.transport in ("folder", "http", "fhir_search"):
        return f"a source of kind {source.kind} has no line to the analyzer"
    if (source.link, source.format) == ("mllp", "hl7v2"):
        return ""
    if source.link != "e1381" or source.format != "astm":
        return "questions are answered over MLLP and ASTM E1381 alone; name the kind (mllp, astm, astm-serial)"
    if source.framing != "e1381":
        return f"framing: {source.framing} has no ENQ, and without it nothing can be sent to the analyzer"
    if source.acks != "frame":
        return f"acks: {source.acks} answers no frames, and an analyzer on such a line takes none"
    if source.answer_stx:
        return "answer_stx: the frames of such an analyzer have no number and no checksum, and ours have both"
    return ""


class OrdersKeys(FeatureKeys):
    """Keys of a channel's file."""

    of_link = ("two_way", "downloads", "own_line")
    connections = ("orders",)

    orders: Annotated[OrdersConfig | None, Behind("settings")] = None
    """Answers the analyzer's questions for orders."""

    lis: Annotated[LisConfig | None, Behind("role")] = None
    """How the orders of a channel with `role: orders` are taken."""

    @field_validator("orders")
    @classmethod
    def _questions_can_be_answered(cls, value: OrdersConfig | None, info: ValidationInfo) -> OrdersConfig | None:
        source = info.data.get("source")
        if value is not None and source is not None and (why := why_one_way(source)):
            raise ValueError(f"{why}; take orders out, or change the source")
        if value is not None:
            rules = {one.name for route in info.data.get("routes", ()) for one in route.hold or () if one.shadow}
            if wrong := [one.rule for one in value.reflex if one.rule not in rules]:
                raise ValueError(f"reflex: no rule of hold: with shadow: true has the name '{wrong[0]}'")
            rows = [(one.test, one.add) for one in value.reflex]
            if len(set(rows)) < len(rows) or any(test == add for test, add in rows):
                raise ValueError("reflex: a row adds another test, and no two rows add the same one to a test")
        if value is not None and value.habits and source is not None and source.format != "astm":
            raise ValueError(f"{next(iter(value.habits))} is for ASTM alone; take it out")
        if value is not None and source is not None and value.connect is not None and source.format != "hl7v2":
            raise ValueError("orders_on: own is for IHE LAW over MLLP; take orders_on and connect out")
        return value

    @field_validator("role", check_fields=False)
    @classmethod
    def _orders_can_come(cls, value: str, info: ValidationInfo) -> str:
        source = info.data.get("source")
        if value == "orders" and source is not None and (why := why_no_orders(source)):
            raise ValueError(f"{why}")
        if value == "orders" and info.data.get("orders") is not None:
            raise ValueError("orders: is for the channel of an analyzer; take orders out, or role")
        return value

    @field_validator("lis")
    @classmethod
    def _is_of_orders(cls, value: LisConfig | None, info: ValidationInfo) -> LisConfig | None:
        if value is not None and info.data.get("role") == "results":
            raise ValueError("is for a channel that brings orders; say role: orders as well, or take it out")
        return value

    @property
    def two_way(self) -> bool:
        """Whether its analyzer's questions are answered."""
        return self.orders is not None

    @property
    def taken(self) -> LisConfig | None:
        """How its orders are taken; None where it brings none."""
        return (self.lis or LisConfig()) if part(self, ChannelConfig).role == "orders" else None

    @property
    def downloads(self) -> tuple[str | None, float]:
        """When waiting orders go to its analyzer unasked."""
        return (None, 0.0) if self.orders is None else (self.orders.download, self.orders.download_every)

    @property
    def own_line(self) -> tuple[HostPort, ConnectTls | None] | None:
        """The address to which orders go on a connection of ours, and its TLS; None: there is none."""
        return own_line(part(self, ChannelConfig))


def orders_of(channel: ChannelConfig) -> OrdersConfig | None:
    return part(channel, OrdersKeys).orders


def taken_of(channel: ChannelConfig) -> LisConfig | None:
    """How a channel's orders are taken; None where it brings none."""
    return part(channel, OrdersKeys).taken


def lis_of(channel: ChannelConfig) -> LisConfig | None:
    return part(channel, OrdersKeys).lis


class StatusPart(Model):
    """Changes of orders, and answers to them: each is an HL7 v2 message (ORM^O01; ORR^O02, ORL), which the routes of
    the channel send on."""

    transport: Literal["worklist"] = "worklist"
    """How messages come: from the `worklist`."""

    link: Literal["whole"] = "whole"
    """`whole`: a message is written at once."""

    format: Literal["hl7v2"] = "hl7v2"
    """Content: `hl7v2`."""

    of: Names
    """The channels with `role: orders` whose orders are meant."""

    updates: Flag = False
    """`true`: a message also where an analyzer has accepted an order, or has begun it. By default the end of an order
    alone makes one."""

    answers: Flag = False
    """`true`: the answers to these orders as well, before their changes: for a system that cannot be answered on the
    connection that its orders came by (files, a server that is searched), or that wants the application's answer on
    another one (MSH-15, MSH-16 over MLLP)."""

    tasks: Literal["keep", "update"] = "keep"
    """For orders that are Tasks on a FHIR server that is searched. `keep`: a Task that the laboratory system wrote
    stays as it is, and LabRelay writes Tasks of its own. `update`: that Task gets the status of its order, too. It
    needs `answers: true`, a server that keeps versions and looks at `If-Match`, and a route to a `fhir` destination
    with the `url` of that server."""

    @model_validator(mode="after")
    def _versions(self) -> Self:
        if self.tasks == "update" and not self.answers:
            raise PydanticCustomError(
                "tasks", "tasks: update needs answers: true: a Task is changed once it is answered"
            )
        return self

    @property
    def place(self) -> str:
        return "the worklist"


class StatusSource(StatusPart, Source):
    """Changes of orders of the worklist."""

    preset = "order-status"


def status_of(channel: ChannelConfig) -> StatusPart | None:
    """The source of a channel of changes of orders; None: it has another one."""
    source: object = channel.source
    return source if isinstance(source, StatusPart) else None
