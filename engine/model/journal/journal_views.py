"""What the journal's readers return, row by row, and the filter that they take. Plain data.

Rows are named tuples, as those of `engine.model.journal.records`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.model.journal.records import DeliveryState, MessageState

if TYPE_CHECKING:
    from engine.model.journal.document_facts import DocumentFacts


class Count(NamedTuple):
    """How often something happened on one day; ``destination`` is empty for counts of the channel itself."""

    channel: str
    destination: str
    name: str
    n: int


class HourCount(NamedTuple):
    """One hour of a channel.

    Attributes:
        begins_us: its start on the wall clock of the site's zone.
        received, delivered, dead, held: how often that happened in it.
        parts, active: of its `HOUR_PARTS` parts, those in which LabRelay ran, and those with a message.
        age_s: how old the last message became in it.
    """

    channel: str
    begins_us: int
    received: int
    delivered: int
    dead: int
    held: int
    parts: int
    active: int
    age_s: int


class MessageView(NamedTuple):
    """One line of a message list. ``control_id`` and ``peer`` are empty where the keys are not at hand; ``end``, what
    became of the deliveries, where `Reader.ends` was not asked."""

    id: int
    channel: str
    seq: int
    received_us: int
    message_type: str
    size: int
    state: MessageState
    reason: str = ""
    control_id: str = ""
    peer: str = ""
    notes: tuple[str, ...] = ()
    repeat_of: int | None = None
    equal_to: int | None = None
    same_id_other_bytes: bool = False
    end: str = ""


class AttemptView(NamedTuple):
    """A failed attempt. ``answer``: the destination's own words, which may name a patient."""

    n: int
    at_us: int
    cause: str
    detail: str = ""
    answer: bytes = b""


class DeliveryView(NamedTuple):
    id: int
    channel: str
    destination: str
    seq: int
    message_id: int
    document_id: int
    key: str
    state: DeliveryState
    attempt: int
    not_before_us: int
    cause: str
    maybe_delivered: bool
    manual: bool
    settled_us: int
    detail: str = ""
    answer: bytes = b""
    attempts: tuple[AttemptView, ...] = ()

    @property
    def claimed(self) -> bool:
        """The daemon has it: it waits there in memory, or an attempt is under way; no row says which."""
        return self.state == "sending"

    @property
    def shown_state(self) -> str:
        """The state as people and scripts see it: a claimed delivery is shown and counted as waiting everywhere."""
        return "waiting" if self.claimed else self.state


class DocumentView(NamedTuple):
    id: int
    ordinal: int
    media_type: str
    stored_bytes: int


class Trace(NamedTuple):
    """Everything that is known of one message except its payload.

    Attributes:
        mapping: names and hashes of the mappings, ``name@hash,...``.
        config: the first digits of the hash of the configuration that they were in; empty where it is not known.
        edited_from, edited_as: the message that a person made it of, or made of it; 0 without one.
        facts: place of a document among those that its mapping makes, from 1 -> what was decided about it.
        times, last_us: how often it came, and when last, where repeats are only counted
        (`engine.store.operations.incomplete`).
    """

    message: MessageView
    session: int
    frames: tuple[int, ...]
    mapping: str
    processed_us: int
    detail: str
    issues: tuple[dict[str, Any], ...]
    documents: tuple[DocumentView, ...]
    deliveries: tuple[DeliveryView, ...]
    edited_from: int = 0
    edited_as: int = 0
    facts: "Mapping[int, DocumentFacts]" = MappingProxyType({})
    times: int = 1
    last_us: int = 0
    config: str = ""


class DeadLetter(NamedTuple):
    """A message or a delivery that needs a person.

    Attributes:
        delivery_id: 0 where the whole message is dead.
        state: one of `LETTER_STATES`; of what `held_deliveries` finds, ``held`` or ``rejected``.
        detail: why it is held, in words; empty of dead letters.
        critical: it contains a critical value; set for held deliveries only.
        says: ``detail`` in other languages, where the rule that holds it has words in them.
    """

    message_id: int
    delivery_id: int
    channel: str
    destination: str
    state: str
    reason: str
    at_us: int
    message_type: str
    detail: str = ""
    critical: bool = False
    says: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One audit row: who did what.

    Attributes:
        ended: the id of the action that this row ends, else 0.
        by: other facts about the actor: ``role``, ``account``, ``from``, ``given``.
        config: the first digits of the hash of the configuration in force.
        damaged: the row cannot be read: only its number and time are known.
    """

    id: int
    at_us: int
    actor: str
    verb: str
    what: dict[str, Any] = field(default_factory=dict)
    ended: int = 0
    by: dict[str, str] = field(default_factory=dict)
    config: str = ""
    damaged: bool = False


class ReagentView(NamedTuple):
    """A reagent lot that messages of a channel name.

    Attributes:
        tests: codes of the tests it was named for; empty: messages name it as a whole.
        left: the remaining amount when it was named last, or empty.
        messages: how many name it.
        first_us, last_us: receive times of the first and last of them.
    """

    channel: str
    name: str
    lot: str
    expires: str
    tests: tuple[str, ...]
    left: str
    first_us: int
    last_us: int
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which messages or dead letters; every field that is set must fit.

    Attributes:
        channels: one of these.
        state: of a message, or ``waiting``, ``held``, ``delivered`` of its deliveries.
        destination: with a delivery to it; in this state, where the state is one of deliveries. Of dead letters, empty:
            messages alone.
        after_us, before_us: received within.
        control_id: exact; needs ``channel``.
        lot: of a reagent that the message names; letters and digits count.
        patient, specimen, number: that bear exactly this number of a patient, of a specimen or order, of the message
            itself (`engine.store.operations.search_index`).
        bears: that have this number in any of these three places, or as their number here.
        bears_other: as `bears`, but not as a patient's number.
        code: a reason code (`engine.model.texts.reasons`).
        cause: of dead letters: the text that all of one group share (`engine.store.operations.dead_letters`).
        test_code, loinc: with a document that has a result under this code of a test, or this LOINC. Each document is
            opened for it.
    """

    channel: str | None = None
    channels: tuple[str, ...] | None = None
    state: str | None = None
    code: str | None = None
    destination: str | None = None
    message_type: str | None = None
    control_id: str | None = None
    after_us: int | None = None
    before_us: int | None = None
    lot: str | None = None
    patient: str | None = None
    specimen: str | None = None
    number: str | None = None
    bears: str | None = None
    bears_other: str | None = None
    cause: str | None = None
    test_code: str | None = None
    loinc: str | None = None
