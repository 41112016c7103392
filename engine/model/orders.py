"""Orders: one test of one specimen that a laboratory system (LIS) asks for, and the life of it here. Plain data; pure.

An `OrderLine` is one such test as the LIS said it. The worklist keeps a `WorkItem` for each. An analyzer asks with a
`Question`; the worklist finds the `Tube` of each specimen; a dialogue (`engine.model.ports`) writes the answer.

    waiting -> offered -> accepted -> in_progress -> resulted
    waiting | offered | accepted | in_progress -> cancel_pending -> cancelled

Sources: IHE Laboratory Technical Framework, LAB-27, -28 and -29 (an item is an AWOS there); HL7 v2.5.1 chapter 4,
tables 0119 and 0038; ASTM E1394-97, records O and Q.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from string import digits
from typing import Literal

from engine.model.values import value

Action = Literal["new", "add", "change", "cancel", "hold", "release", "rerun", "unknown"]
"""``unknown``: the LIS sent no code of an action that is known here. It is never guessed: the worklist rejects such a
line as UNKNOWN_ACTION."""
Origin = Literal["lis", "person", "analyzer"]
Priority = Literal["stat", "asap", "routine", "callback", "timed", "pre-op"]

MOST_LINES = 1_000  # tests of one message: a message with more is dead
MOST_OF_TUBE = 5_000  # items of one specimen or order number that are looked at, newest first
MOST_TUBES = 500  # specimens of one answer; it is marked as cut
OF_CANCEL = frozenset({"CR", "UC"})  # codes with which an analyzer answers that an item is taken back (table 0119)
SPECIMEN_LENGTH = 80  # characters of a specimen number; a longer text is none
UNREAD_MARK = "@"  # how analyzers begin the number of a tube that they could not read


class ItemState(StrEnum):
    """Where an item is. Each change is a row of the worklist, with its cause, its time and the message."""

    WAITING = "waiting"  # it may be offered to an analyzer
    HELD = "held"  # a person, or a second message, decides; the reason says why
    REJECTED = "rejected"  # it can never be offered, and the LIS has the reason
    OFFERED = "offered"  # its bytes were sent, and the link confirmed them
    ACCEPTED = "accepted"  # the analyzer said so
    IN_PROGRESS = "in_progress"  # a preliminary result came, or one that is held
    RESULTED = "resulted"  # its final result came
    REFUSED = "refused"  # the analyzer said no
    CANCEL_PENDING = "cancel_pending"  # cancelled here, and the analyzer may not know
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"  # a newer version of the LIS took its place


OPEN_STATES = frozenset(
    {
        ItemState.WAITING,
        ItemState.HELD,
        ItemState.OFFERED,
        ItemState.ACCEPTED,
        ItemState.IN_PROGRESS,
        ItemState.CANCEL_PENDING,
    }
)
"""States that a later event may still change; all others end an item."""

ANSWERED_STATES = frozenset({ItemState.WAITING, ItemState.OFFERED, ItemState.ACCEPTED, ItemState.IN_PROGRESS})
"""States whose items answer a question: a tube may be loaded twice before its result."""

AT_ANALYZER = frozenset({ItemState.OFFERED, ItemState.ACCEPTED, ItemState.IN_PROGRESS, ItemState.CANCEL_PENDING})
"""States of an item that an analyzer has."""


class ItemReason(StrEnum):
    """Why an item is held, rejected, refused, or still waits."""

    NONE = ""
    ORDER_CONFLICT = "ORDER_CONFLICT"  # the same order and test with other content, and no code of a change
    SPECIMEN_CONFLICT = "SPECIMEN_CONFLICT"  # one specimen number, two patients
    UNKNOWN_ACTION = "UNKNOWN_ACTION"  # the LIS gave no known code for what is to be done (ORC-1)
    UNKNOWN_TEST = "UNKNOWN_TEST"  # no table has the code of the LIS
    UNMAPPED_CODE = "UNMAPPED_CODE"  # the analyzer that asks has no code for it; it waits
    NO_SPECIMEN = "NO_SPECIMEN"  # the LIS gave no specimen number
    UNKNOWN_CHANNEL = "UNKNOWN_CHANNEL"  # the LIS names an analyzer that this site does not have
    CONTROL_NUMBER = "CONTROL_NUMBER"  # the number is one of a control material
    HELD_BY_LIS = "HELD_BY_LIS"
    ANALYZER_REFUSED = "ANALYZER_REFUSED"
    DILUTION_UNSUPPORTED = "DILUTION_UNSUPPORTED"  # the analyzer takes no order with this dilution
    RESULT_HELD = "RESULT_HELD"  # its result is there, and waits for a person
    RESULT_WITHDRAWN = "RESULT_WITHDRAWN"  # it had a result, and the analyzer has taken that back
    MAYBE_KNOWN = "MAYBE_KNOWN"  # sent, and not confirmed: the analyzer may have it
    AFTER_CANCEL = "AFTER_CANCEL"  # it waits until the analyzer has given up the version that it replaces
    TOO_LATE = "TOO_LATE"  # the act came after the result, or the analyzer has the order already
    NO_SUCH_ORDER = "NO_SUCH_ORDER"  # a cancel, hold or release names no order that is here
    TOO_MANY_LINES = "TOO_MANY_LINES"  # more than `MOST_LINES` in one message: none was taken
    TOO_MANY_ITEMS = "TOO_MANY_ITEMS"  # more than `MOST_OF_TUBE` items of one specimen


@value(kw_only=True)
class OrderedPatient:
    """The patient of an order, as the LIS gave it; each part may be empty.

    Attributes:
        number: the patient's number, exact. namespace: who gave it.
        birth_date: ``YYYYMMDD`` or a part of it. sex: of HL7 table 0001 (``M F O U A N``).
    """

    number: str = ""
    namespace: str = ""
    family: str = ""
    given: str = ""
    birth_date: str = ""
    sex: str = ""
    ward: str = ""
    patient_class: str = ""


@value(kw_only=True)
class OrderLine:
    """One test of one specimen, as the LIS ordered it. An empty text is unknown, and never made up from another field.

    Attributes:
        placer, filler, group: ORC-2, ORC-3, ORC-4, first component; ``placer_namespace`` is the second of ORC-2.
        specimen: the number on the tube, exact: leading zeros, case and check digit kept.
        specimen_type: of HL7 table 0487, or as the LIS wrote it.
        test, test_system, test_name: the LIS's code for the test, its code system, its name.
        ordered: the LIS's code of the test, where its channel's table made ``test`` of it; else empty.
        panel, panel_name: the LIS's code and name of the panel that it ordered, where its channel took that apart; else
            empty.
        dilution: as the LIS asked, for example ``1:10``.
        collected, requested: as ISO 8601 with zone.
        targets: channels that may run it; empty: every channel that has a code for the test.
        rack, position, tray, tray_position: the place of the tube, where the LIS names it (SAC-10, 11, 13, 14).
        task: the Task of the LIS that asks for it, ``Task/17``, on a FHIR server that is searched; else empty.
    """

    action: Action = "new"
    placer: str = ""
    placer_namespace: str = ""
    filler: str = ""
    group: str = ""
    specimen: str = ""
    specimen_namespace: str = ""
    specimen_type: str = ""
    rack: str = ""
    position: str = ""
    tray: str = ""
    tray_position: str = ""
    patient: OrderedPatient = OrderedPatient()
    test: str = ""
    test_system: str = ""
    test_name: str = ""
    ordered: str = ""
    panel: str = ""
    panel_name: str = ""
    priority: Priority = "routine"
    dilution: str = ""
    collected: str = ""
    requested: str = ""
    targets: tuple[str, ...] = ()
    comment: str = ""
    task: str = ""

    @property
    def named(self) -> str:
        """The test by the code of the LIS."""
        return self.ordered or self.test


@value(kw_only=True)
class WorkItem:
    """One item of the worklist.

    Attributes:
        number: of the item, gapless from 1, never used again.
        code: the analyzer's code for the test on the channel that asks; empty where that is not asked for.
        message_id: the journal's row of the message or act that ordered it.
        channel: to which it was offered last, or that measures it though it was not; empty: none.
        run: 1, and one more for each rerun. parent: the item of the run before, or of whose result it is a reflex; 0:
            none.
        origin: who ordered it: a laboratory system, a person here, or the analyzer itself.
        given_us: when the analyzer got it that has it, or had it; 0: none has.
        targets: channels and groups of them that may run it; empty: each that has a code for it.
    """

    number: int
    line: OrderLine
    state: ItemState
    reason: ItemReason = ItemReason.NONE
    message_id: int = 0
    channel: str = ""
    code: str = ""
    created_us: int = 0
    changed_us: int = 0
    expires_us: int = 0
    run: int = 1
    parent: int = 0
    origin: Origin = "lis"
    given_us: int = 0
    targets: tuple[str, ...] = ()

    @property
    def item_id(self) -> str:
        return item_id(self.number)


def is_specimen_number(text: str) -> bool:
    """Whether a text can be the number on a tube. An order with another text has no number, and a question with one was
    not read: it would never match, or match another tube whose number was damaged in the same way."""
    return (
        0 < len(text) <= SPECIMEN_LENGTH
        and text.isprintable()
        and "\ufffd" not in text
        and text == text.strip(" ")
        and not text.startswith(UNREAD_MARK)
    )


def counters(since: str, until: str) -> Iterator[str] | None:
    """The numbers from one to another; None: they are no range. Both are equally long, and what differs is a counter at
    their end, which goes up: ``T0098`` to ``T0102``."""
    if since and since == until:
        return iter((since,))
    head = since.rstrip(digits)
    first, last = since[len(head) :], until[len(head) :]
    if not first or first > last or len(first) != len(last) or head != until.rstrip(digits):
        return None
    return (f"{head}{number:0{len(first)}}" for number in range(int(first), int(last) + 1))


def item_id(number: int) -> str:
    """The number of an item as an analyzer and a person see it: ``W`` and digits, at most 20 of `[A-Z0-9]`."""
    return f"W{number}"


def item_number(text: str) -> int | None:
    """The number behind an `item_id`; None: the text is none."""
    digits = text[1:]
    if text[:1] != "W" or not digits.isascii() or not digits.isdigit() or len(text) > 20 or digits[0] == "0":
        return None
    return int(digits)


def code_alone(code: str) -> str:
    """An analyzer's code without the name and the system that an order may have beside it (``658^TSH^99ABT``)."""
    return code.partition("^")[0] or code


@value(kw_only=True)
class Asked:
    """One specimen in a question.

    Attributes:
        specimen: the number to look up, after the dialect took its padding away; empty: unread, and never matched.
        echo: named texts of the question that the answer repeats, as ``("rack", "12")`` or ``("raw", "  123")``.
    """

    specimen: str
    echo: tuple[tuple[str, str], ...] = ()


@value(kw_only=True)
class Question:
    """An analyzer asks for its orders, or takes an earlier question back.

    Attributes:
        kind: ``specimens``; ``all`` open orders of this analyzer; ``numbers``, the specimens from one number to another
            (`counters`); ``range`` of times; ``patients``, by number; ``demographics`` of a patient alone, by number,
            which offers no order; ``rack`` and ``tray``, by a place there; ``cancel`` takes back the question before.
        asked: for ``specimens``, in the order of the question.
        patients: for ``patients``. since, until: for ``range``, ``YYYYMMDDHHMMSS`` in the zone of the channel; for
            ``numbers`` these.
        carrier, position: of the rack or tray.
        tag: the question's own number, which the answer repeats.
        echo: as that of `Asked`, of the question as a whole.
        within_s: the analyzer waits no longer than this for the answer to begin; 0: not known.
        takes_back: an analyzer that asks so gives up orders that were cancelled, by a message that it answers
            (`Dialogue.download`).
    """

    kind: Literal["specimens", "all", "numbers", "range", "patients", "demographics", "rack", "tray", "cancel"]
    asked: tuple[Asked, ...] = ()
    patients: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    carrier: str = ""
    position: str = ""
    tag: str = ""
    echo: tuple[tuple[str, str], ...] = ()
    within_s: float = 0.0
    takes_back: bool = False


class NoOrder(StrEnum):
    """Why the answer for a specimen is "none"; for people, never for the analyzer."""

    UNKNOWN = "unknown"  # no order has this number
    UNREAD = "unread"  # the analyzer could not read the number
    CONFLICT = "conflict"  # one number, two patients
    HELD = "held"
    DONE = "done"  # all of its orders have ended
    EXPIRED = "expired"
    UNMAPPED = "unmapped"  # the analyzer has no code for any of its tests
    ELSEWHERE = "elsewhere"  # its orders are another channel's
    NOT_SUPPORTED = (
        "not_supported"  # a place or time is not complete; or the analyzer takes no order with this dilution
    )


@value(kw_only=True)
class Tube:
    """The answer for one specimen: its items, or why there are none. All items are of one patient.

    Attributes:
        asked: the specimen as the question named it.
        items: each with its `code`; empty: `none` says why.
        known: of a download: the analyzer has other orders of this specimen already, so these are added to them.
    """

    asked: Asked
    items: tuple[WorkItem, ...] = ()
    none: NoOrder | None = None
    known: bool = False


@value(kw_only=True)
class AnswerContext:
    """Where an answer goes, and what it may say.

    Attributes:
        now: ``YYYYMMDDHHMMSS`` in the channel's zone.
        control_id: of the first message of the answer; further ones append ``.2``, ``.3``.
        host: the name of this side, where the analyzer gave none.
        demographics: whether number, name, birth date and sex of the patient go to the analyzer.
        unasked: a download that no question asked for.
        settings: of the channel's ``orders:`` block, for the dialect: names and texts.
    """

    now: str
    control_id: str
    host: str = "LabRelay"
    demographics: bool = False
    unasked: bool = False
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """One message of an answer.

    Attributes:
        payload: the whole message; HL7: with CR after each segment; ASTM: records with CR, H through L.
        items: the numbers of items that are ``offered`` once the other side has confirmed this message.
        control_id: under which the other side confirms it, and before that it takes no further message of this answer;
            empty: the link alone confirms it (ASTM).
    """

    payload: bytes
    items: tuple[int, ...] = ()
    control_id: str = ""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What an analyzer said of items that it was sent (ACK^Q03, ORL^O34, ORU^R32, ASTM O-26 ``X``).

    Attributes:
        of: the control id of the message that it answers; empty: it names the items by `items` alone.
        accepted: the answer holds for all items of that message where `items` is empty.
        items: item id, whether it is accepted, the analyzer's code and words for a refusal. An empty id is for the
            item in the same place of the message that was sent (`of_items`).
        tests: as `items`, of an analyzer that names specimen and test instead: specimen, the analyzer's code, ...; an
            empty code is for each of its tests.
    """

    of: str
    accepted: bool
    code: str = ""
    text: str = ""
    items: tuple[tuple[str, bool, str, str], ...] = ()
    tests: tuple[tuple[str, str, bool, str, str], ...] = ()

    def of_items(
        self, sent: Sequence[int], again: Collection[int] = (), *, cancels: bool = False
    ) -> dict[int, tuple[bool, str, str]]:
        """What it says of each item: whether it is accepted, code, words. It says nothing of items that it does not
        name, of those that the message it answers did not have, and of those that it both accepts and refuses.

        Args:
            sent: the items of the message that it answers, in their order. Ids are given by place only where the answer
                has as many places; else it says nothing of them.
            again: items that had been sent before: an analyzer that has one refuses it as UA, which changes nothing.
            cancels: that message took items back. Then only `OF_CANCEL` answers it, and a yes to all of it is none: the
                analyzer may have taken the message, and measure all the same.
        """
        said: dict[int, tuple[bool, str, str]] = {}
        if not self.items and not self.tests and not (cancels and self.accepted):
            said = dict.fromkeys(sent, (self.accepted, self.code, self.text))
        named = any(one[0] for one in self.items)
        both: set[int] = set()
        for at, (name, accepted, code, text) in enumerate(self.items if named or len(self.items) == len(sent) else ()):
            number = item_number(name) if named else sent[at]
            if number is None or (self.of and number not in sent) or (code in OF_CANCEL) != cancels:
                continue
            if said.setdefault(number, (accepted, code, text))[0] is not accepted:
                both.add(number)
        return {
            number: one
            for number, one in said.items()
            if number not in both and (number not in again or one[1] != "UA")
        }


@value(kw_only=True)
class LineAnswer:
    """The answer to one order line.

    Attributes:
        placer, filler, test: as the LIS has them; by these its order is found in the message.
        action: of the line.
        done: it is on the worklist, or the cancellation, change, hold or release was carried out.
        reason: why it was not. text: the same for a person of the LIS; no patient data.
        state: of its order, where an act on that came too late (`TOO_LATE`); else None.
        items: the numbers of its items.
    """

    placer: str = ""
    filler: str = ""
    test: str = ""
    action: Action = "new"
    done: bool = True
    reason: ItemReason = ItemReason.NONE
    text: str = ""
    state: ItemState | None = None
    items: tuple[int, ...] = ()


class Status(StrEnum):
    """What a LIS hears of an order later, unasked."""

    ACCEPTED = "accepted"  # an analyzer said that it will run it
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"  # its final result came
    REFUSED = "refused"  # by the analyzer
    CANCELLED = "cancelled"  # by a person here
    EXPIRED = "expired"
    RELEASED = "released"  # it is open again: its hold has ended, or its result was rejected or taken back


STATUS_UPDATES = frozenset({Status.ACCEPTED, Status.IN_PROGRESS})
"""Changes that do not end an order; the LIS hears of them only where the site says so."""


@value(kw_only=True)
class StatusChange:
    """One change of an item that its LIS hears of.

    Attributes:
        item, n: the item and the row of its history. at_us: when.
        channel: of the analyzer concerned; empty: of none. text: the analyzer's words; may hold anything.
        of_panel: it is of the whole panel that the item is a test of, not of that test alone.
        without: of a complete panel, its tests that have ended without a result.
        parent: the order that made the analyzer order this one itself; None: it was ordered.
    """

    status: Status
    item: int
    n: int
    at_us: int
    line: OrderLine
    reason: ItemReason = ItemReason.NONE
    channel: str = ""
    text: str = ""
    of_panel: bool = False
    without: tuple[str, ...] = ()
    parent: OrderLine | None = None

    @property
    def test(self) -> str:
        """The code of the LIS for the test or panel that has changed."""
        return self.line.panel if self.of_panel else self.line.named

    @property
    def test_name(self) -> str:
        """The name that the LIS gave it; empty: none."""
        return self.line.panel_name if self.of_panel else self.line.test_name


@value(kw_only=True)
class AnsweredOrders:
    """A message of orders whose answer does not go out on its connection.

    Attributes:
        message_id, payload, control_id: of the message. at_us: when it was processed.
        refused: why no order of it was taken, for a person; empty: ``answers`` has what became of each.
    """

    message_id: int
    payload: bytes
    control_id: str
    at_us: int
    refused: str = ""
    answers: tuple[LineAnswer, ...] = ()
