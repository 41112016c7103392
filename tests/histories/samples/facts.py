"""What is true of samples, and what was said of them: plain data."""

from dataclasses import dataclass, field

OUTPUTS = ("fhir", "hl7", "csv", "json", "raw", "abdm")
PATIENTS, POOL, CONTROL = "P", "L", "Q"  # roles of table 0369


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One tube of one person, taken at one time.

    Attributes:
        order: number of the order; several samples may have it.
        tube: its own number; empty: that of the order.
        placer: number of who ordered, where the worklist knows it.
        at: minutes from the first morning to its collection.
    """

    id: int
    person: int
    order: str
    at: int
    tube: str = ""
    placer: str = ""
    role: str = PATIENTS

    @property
    def numbers(self) -> frozenset[str]:
        return frozenset({self.order, self.tube, self.placer} - {""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a message shows of a statement, and how.

    Attributes:
        code: how the test is spelled.
        typed: the collection is said to be on another day; so many days later.
        clock: so many days the analyzer's clock is ahead, in all times.
        panel: OBR-4.
        named: the patient is.
        tube: the specimen is, with its role.
        shape: one of `shapes`; empty: that of the standard.
        material: its word of it (SPM-4, O-16); empty: ``SER`` where it shows the specimen, else none.
        kind: of the message: ``ORU``, ``OUL``, or ``Q``, whose header says that all of it is of controls.
    """

    channel: int = 0
    code: str
    typed: int = 0
    clock: int = 0
    panel: str = "CHEM"
    named: bool = True
    tube: bool = False
    kind: str = "ORU"
    shape: str = ""
    material: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One statement about a sample, as a message says it.

    Attributes:
        about: what was measured: a later statement about it takes the place of this one.
        status: ``P``, ``F``, ``C``, or ``D``: what was said is not true.
        value: no other statement of the history has it.
        control: MSH-10 or H-3.
        at, sent: minutes of the measurement and of the message.
        flag: OBX-8.
        of: of what the analyzer sends once more from its memory, the first message that said it; else its own id.
        refused: the server refuses it.
        carrier: the statement that its message begins with; else its own id.
        passed: whether a control shows that its test is good.
    """

    id: int
    control: str
    sample: Sample
    about: str
    value: str
    status: str
    at: int
    sent: int
    shown: Shown
    flag: str = ""
    of: int
    refused: bool = False
    unit: str = "mmol/L"
    carrier: int
    passed: bool = False

    @property
    def critical(self) -> bool:
        return self.flag in ("HH", "LL") and self.sample.role == PATIENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person does to a message: ``reject``, ``release`` or ``dismiss``; ``take``: its alert; ``close``: failures
    of controls on its channel whose repeat was accepted."""

    act: str
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A laboratory system orders a test of a tube."""

    sample: Sample
    test: str


Step = Message | Decision | Ordered


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Attributes:
    name: of its trap; ``plain``: it has none, and nothing may be held.
    fault: number of the fault that the trap is for; 0: of none.
    protocols: of the analyzers, by channel.
    holds: results are held after a control that failed.
    joined: two channels that send one test of an order mean one result.
    beside: further outputs, which get the same.
    targets: tests that have a target for their controls.
    settings: of its channels, further ones.
    """

    seed: int
    name: str
    fault: int
    output: str
    protocols: tuple[str, ...]
    steps: tuple[Step, ...] = field(default=())
    holds: bool = False
    joined: bool = False
    beside: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.output, *self.beside

    def carried(self, message: Message) -> tuple[Message, ...]:
        """All statements of a message, by the first of them."""
        return tuple(one for one in self.messages if one.carrier == message.id)

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(step for step in self.steps if isinstance(step, Message))

    @property
    def has_orders(self) -> bool:
        return any(isinstance(step, Ordered) for step in self.steps)
