"""What the judge is given and what it answers: plain data."""

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from engine.succession.judge.rejected import Content
from engine.succession.steps import Version

# Reasons that only the judge has; all others are of `engine.model.texts.reasons`.
POOL = "POOL"  # of a pool, or of a role that nothing is known of: no one person's result
CLOCK = "CLOCK"  # measured after its receipt, or half a year before

Ref = tuple[int, int]  # of a standing result: the message and the place of its first word
Kind = Literal["new", "echo", "again", "follows", "amends", "finishes", "withdraws", "held", "filtered", "dead"]


class Receipt(NamedTuple):
    """How a message came in.

    Attributes:
        message: its number. received: aware.
        is_hl7: roles are of table 0369; else only O-12 is one.
        of_site: what another channel sends of a test of an order is the same result (`results_of: site`).
        whole: a report lists all results of its order (`report_list: replace`).
        runs_apart: each run of a test is a result of its own (`observation_key: +OBX-14`).
        one_by_one: an instrument sends the isolates of a culture one by one.
        unique: an order's number is never given again (`specimen_ids: unique`) within ``reused``.
        of_a_day: not on the same day (`day`).
        collection: what the sender gives as time of collection is one, whatever it looks like; False: it never is;
            None: the judge has to find out (`samples`).
        clock_told: a person has released a result of the clock that is wrong.
        numbers, orders: patterns of controls (`control_numbers`, `control_orders`).
        later: the messages behind the first and up to the second came after this one, on another machine.
    """

    message: int
    channel: str
    received: datetime
    is_hl7: bool = True
    of_site: bool = False
    whole: bool = False
    runs_apart: bool = False
    one_by_one: bool = False
    unique: bool = False
    reused: timedelta = timedelta(days=30)
    of_a_day: bool = False
    collection: bool | None = None
    clock_told: bool = False
    numbers: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    later: tuple[int, int] = (0, 0)


class Said(NamedTuple):
    """One result of a message, as the judge compares it: all as sent.

    Attributes:
        person: who it is of; empty: the message names no patient.
        number: of the order. numbers: all that its order has, but for the tube's.
        panel: code of the order. organism: of the isolate that it is, or belongs to.
        value: as sent; compared where a withdrawal repeats it.
        tube: number on the specimen, where it is not that of the order; of several, of which one was measured, all.
        collected: FHIR dateTime, whatever it means (`samples`).
        material: kind of its specimen (`reading.material_of`); empty: it names none, or several.
        version: as the table of statuses sees it.
        content: person, order, test, value and time: what a person's no is about.
        stated: when it was measured, as sent.
        isolate: it is one; ``counted``: its number in the message (OBX-4), which the next one gives anew. head: the
            place of the isolate that it belongs to, or is.
        critical: it has the flag of a critical value, and is not withdrawn.
        status_only: it makes final what was sent before, and does not send it again (OBX-11 U).
        unsure: its times are a wrong clock's; it has none of them. behind: by how many days that is; ahead: below 0.
        doubt: why it waits for a person, where it is not known what it is a word of.
        codes: of the test, as meant, each behind its system. name: of the test, in capitals without signs; empty of an
            organism's.
    """

    message: int
    place: int
    channel: str
    person: str
    number: str
    numbers: frozenset[str]
    panel: str
    test: str
    sub: str
    organism: str
    value: str
    tube: str
    collected: str
    material: str
    version: Version
    content: Content
    stated: str = ""
    isolate: bool = False
    counted: str = ""
    head: int = 0
    critical: bool = False
    status_only: bool = False
    unsure: bool = False
    behind: int = 0
    doubt: str = ""
    codes: tuple[str, ...] = ()
    name: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What two results of one sample have in common, but for the channel."""
        return self.person, self.number, self.panel, self.test, self.sub, self.organism


class Standing(NamedTuple):
    """A result, and all that was accepted of it.

    Attributes:
        words: the oldest first; the last that does not wait is what receivers have.
        listed: of a culture, the messages that had it in their list, also as an echo.
    """

    ref: Ref
    words: tuple[Said, ...]
    listed: tuple[int, ...] = ()

    @property
    def last(self) -> Said:
        """The last word that receivers have; of one that no receiver has, the last that waits."""
        newest = self.words[-1]
        if not newest.version.waits:  # nearly always
            return newest
        return next((one for one in reversed(self.words) if not one.version.waits), newest)

    @property
    def versions(self) -> tuple[Version, ...]:
        return tuple(one.version for one in self.words)


class Memory(NamedTuple):
    """What is known of the orders and persons of a message, of all channels, and what persons refused.

    Attributes:
        messages: where only its own tests were looked for, all that had a word about its orders.
    """

    standing: tuple[Standing, ...] = ()
    refused: frozenset[Content] = frozenset()
    messages: frozenset[int] = frozenset()


class Decision(NamedTuple):
    """About the result at a place.

    Attributes:
        kind: `new`, `follows` (unfinished before, or corrected by its sender), `amends` (a finished one, unsaid),
            `finishes` (its status alone, OBX-11 U), `withdraws`,
            `echo`, `again` (it repeats what is held), `dead`: see the table of `engine.succession.judge`.
        status: of FHIR, as it goes out; of a held one, once a person releases it.
        reason: why it is held or filtered; ``words`` name no value.
        meant: what it takes the place of. may_mean: of a held one, what a person has to look at.
        finding: it goes out, and something is said of it (`CLOCK`, or a correction of what is not known).
        beside: others of the order that a receiver takes for it, if it goes by number and test: other samples, other
            channels; and what it takes the place of, under another number or name. A list without ids cannot say
            which of them a correction is about.
    """

    place: int
    kind: Kind
    status: str = ""
    reason: str = ""
    words: str = ""
    meant: Ref | None = None
    may_mean: tuple[Ref, ...] = ()
    finding: str = ""
    beside: tuple[Ref, ...] = ()


class Judgement(NamedTuple):
    """Attributes:
    said: the results that were judged, by place.
    gone: results that a report withdraws because it has them no more: isolates of a culture.
    """

    decisions: tuple[Decision, ...]
    said: dict[int, Said]
    gone: tuple[Ref, ...] = ()
