"""What each patient's app may show of a laboratory's reports, and must show in the end. Written from the tables of
docs/abdm.md alone ("Care contexts"), before the program was asked.

    Issue     one message of the laboratory: a number, a day, a patient, a time of issue, and what it says of ABHA
    Slot      the report of one number, day and patient in one laboratory: its newest issue, and whether it is open
    Model     all slots, and who has left

``may`` is strict: the newest issue of an open report, to the patient whose number and name it has. No ABHA that a
message says by mistake makes a report another person's. ``must`` is the part of it of which nothing is in doubt.
"""

import copy
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

NEAR = timedelta(days=7)  # so long a correction may be meant for a number of another day


class Abha(StrEnum):
    """What a message says of ABHA."""

    BOTH = "both"  # address, and number where there is one
    ADDRESS = "address"
    NUMBER = "number"
    NONE = "none"
    COUNTED = "counted"  # none, and a patient number that is given again
    DOUBTFUL = "doubtful"  # a number whose check digit does not fit
    OTHER = "other"  # that of another person, by mistake


NAMED = frozenset({Abha.BOTH, Abha.ADDRESS})
PLAIN = NAMED | {Abha.NONE, Abha.COUNTED}


@dataclass(frozen=True)
class Issue:
    """Attributes:
    value: the result; each issue has its own.
    who: number of the person whose patient number, name and mobile it has.
    minute: of the time of issue on that day; None: the day alone.
    other: whose ABHA it has by mistake.
    """

    value: int
    facility: str
    accession: str
    day: date
    who: int
    abha: Abha
    minute: int | None
    corrects: bool = False
    other: int = -1

    @property
    def key(self) -> tuple[str, str, date, int]:
        return self.facility, self.accession, self.day, self.who


class Life(StrEnum):
    OPEN = "open"
    HELD = "held"  # a person has to decide
    MOVED = "moved"  # a correction has made it another patient's
    WITHDRAWN = "withdrawn"  # by a person


@dataclass
class Slot:
    """Attributes:
    best: the newest minute of issue; -1: only the day is known.
    bound: its patient at the network was known once.
    plain: no message was wrong or in doubt about ABHA.
    """

    newest: Issue
    best: int
    seen: set[Issue]
    life: Life = Life.OPEN
    bound: bool = False
    plain: bool = True

    def age(self, issue: Issue) -> int:
        """-1: issued before the newest; 1: after it; 0: the times do not say it."""
        minute = -1 if issue.minute is None else issue.minute
        if issue.minute is None or (self.newest.minute is None and minute >= self.best):
            return 0
        return (minute > self.best) - (minute < self.best)

    def take(self, issue: Issue) -> None:
        self.seen.add(issue)
        self.newest = issue
        self.best = max(self.best, -1 if issue.minute is None else issue.minute)
        self.plain = self.plain and issue.abha in PLAIN


@dataclass
class Model:
    """Attributes:
    left: person and laboratory that must not be joined by a report.
    dirty: person and laboratory with a mistake about ABHA: there nothing is certain.
    """

    slots: dict[tuple[str, str, date, int], Slot] = field(default_factory=dict)
    left: set[tuple[int, str]] = field(default_factory=set)
    dirty: set[tuple[int, str]] = field(default_factory=set)

    def copy(self) -> "Model":
        return copy.deepcopy(self)

    # -- what happens ----------------------------------------------------------------------------------------------

    def arrive(self, issue: Issue) -> bool:
        """An issue was acknowledged; whether it is a new one, or a new version."""
        if issue.abha not in PLAIN:
            self.dirty |= {(who, issue.facility) for who in (issue.who, issue.other)}
        slot = self.slots.get(issue.key)
        if issue.abha not in PLAIN or (slot is not None and not slot.plain):
            for other in self.slots.values():  # who is whose is not certain with this number any more
                if (other.newest.facility, other.newest.accession) == (issue.facility, issue.accession):
                    other.plain = False
        if slot is None:
            slot = self.slots[issue.key] = Slot(issue, -1, set())
        else:
            age = slot.age(issue)
            if age < 0 or (age == 0 and issue in slot.seen) or issue == slot.newest:
                return False
            if slot.life is not Life.MOVED:
                slot.take(issue)
                self._bind(slot)
                return True
            slot.life = Life.OPEN
        slot.take(issue)
        self._claim(slot, issue)
        self._bind(slot)
        return True

    def _claim(self, slot: Slot, issue: Issue) -> None:
        """Another patient's report, or another day's, has the number of this one."""
        held = False
        for other in self.slots.values():
            one = other.newest
            if other is slot or (one.facility, one.accession) != (issue.facility, issue.accession):
                continue
            if one.who == issue.who:
                continue
            if Abha.OTHER in (one.abha, issue.abha) or not (other.plain and slot.plain):
                other.plain = slot.plain = False  # the two may seem one person's
                continue
            if other.life in (Life.MOVED, Life.WITHDRAWN):
                continue
            if one.day != issue.day:
                if abs(one.day - issue.day) > NEAR:
                    continue
                if one.corrects and issue.day < one.day:
                    held = True
                elif issue.corrects:
                    other.life, held = Life.HELD, True
            elif other.age(issue) < 0 and one.corrects:
                held = True
            elif other.age(issue) >= 0 and issue.corrects:
                other.life = Life.MOVED
            else:
                other.life, held = Life.HELD, True
        if held:
            slot.life = Life.HELD

    def _bind(self, slot: Slot) -> None:
        one = slot.newest
        if one.abha is Abha.COUNTED:
            slot.bound = False  # no link is ever made of it
        elif one.abha in NAMED and slot.life is Life.OPEN and (one.who, one.facility) not in self.left:
            slot.bound = True

    def linked(self, key: tuple[str, str, date, int]) -> None:
        """By a person of the laboratory, or by the patient with a code."""
        slot = self.slots.get(key)
        if slot is not None:
            slot.life, slot.bound = Life.OPEN, True
            self.left.discard((slot.newest.who, slot.newest.facility))

    def withdrawn(self, key: tuple[str, str, date, int]) -> None:
        if key in self.slots:
            self.slots[key].life = Life.WITHDRAWN

    def leave(self, who: int, facilities: tuple[str, ...]) -> None:
        """Reports whose patient at the network is known go for good: a later issue is another report's first."""
        self.left |= {(who, facility) for facility in facilities}
        self.slots = {key: one for key, one in self.slots.items() if one.newest.who != who or not one.bound}

    def pruned(self, key: tuple[str, str, date, int]) -> None:
        """Retention has deleted the message of its newest issue."""
        self.slots.pop(key, None)

    def erased(self, who: int) -> None:
        """All that names him here is gone, also that he has left."""
        self.slots = {key: one for key, one in self.slots.items() if one.newest.who != who}
        had_left = {one for one in self.left if one[0] == who}
        self.left -= had_left
        self.dirty |= had_left  # where his row had no number of the laboratory any more, it stays

    def came_back(self, who: int, facility: str) -> None:
        """The network has verified him there; reports that name him and wait are his."""
        self.left.discard((who, facility))
        for slot in self.slots.values():
            if (slot.newest.who, slot.newest.facility) == (who, facility):
                self._bind(slot)

    # -- what may be seen ------------------------------------------------------------------------------------------

    def may(self, who: int, facility: str) -> set[Issue]:
        """What the person's app may show of a laboratory."""
        return {
            slot.newest
            for slot in self.slots.values()
            if (slot.newest.who, slot.newest.facility) == (who, facility)
            and slot.life is Life.OPEN
            and slot.newest.abha is not Abha.COUNTED
            and (who, facility) not in self.left
        }

    def must(self, who: int, facility: str) -> set[Issue]:
        """What it must show once all is quiet, and he has granted all that is linked."""
        if (who, facility) in self.dirty:
            return set()
        return {one for one in self.may(who, facility) if self.slots[one.key].plain and self.slots[one.key].bound}
