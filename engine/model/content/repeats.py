"""Decide whether the same bytes are a repeat of a message, or another result. Pure.

A repeat is answered and not delivered, so a result that is taken for one is lost. Qualitative analyzers send the same
text for two patients: NEG, with no time, and a control id that is constant, absent or counted anew each day. So the
same bytes are a repeat only where something else says so, within a day:

    the control id   changes on this channel, was never seen to be used for other content or to count back,
                     and is the newest of the channel, or none that counts
    the time         of the message or of its first result, to the minute: changes on this channel
    our answer       to the first copy was not written, or the connection had ended before it; the same peer

Else it is delivered, and flagged: a double is seen, a loss is not.
"""

import re
from dataclasses import dataclass

MINUTE_US = 60_000_000
DAY_US = 24 * 60 * MINUTE_US
UNANSWERED_US = 10 * MINUTE_US  # for so long after a missing answer a sender is expected to send again
CHANGES = 2  # so often a control id, or a time, was another one than before: then it changes on the channel
STANDS_US = 5 * MINUTE_US  # other content with the same time so much later: the clock has stopped
BACK_MINUTES = 15  # a clock that was set back by less is taken for several senders that do not agree

_COUNTED = re.compile(r"(.*?)([0-9]{1,18})").fullmatch


@dataclass(slots=True)
class Habit:
    """Behaviour seen in the messages of a channel; unknown counts as not seen. Columns of table ``channel``.

    Attributes:
        id_changes: how often the control id changed, `CHANGES` at most.
        id_faults: 1: a control id was used for other content, or counted back; never reset.
        time_changes: as ``id_changes``, for the time; 0 again once the clock has stopped.
        time_back_us: when the time of a message was last seen to go back: an earlier copy may be another's. 0: never.
        last_message: the newest message that is no repeat; 0: none, or not known.
        control_id, time, since_us: of that message, and when this time came first. In memory only.
        known: whether these are.
    """

    id_changes: int = 0
    id_faults: int = 0
    time_changes: int = 0
    time_back_us: int = 0
    last_message: int = 0
    control_id: str = ""
    time: str = ""
    since_us: int = 0
    known: bool = False

    def copied(self) -> "Habit":
        """As `dataclasses.replace`, at an eighth of the price."""
        return Habit(
            self.id_changes, self.id_faults, self.time_changes, self.time_back_us, self.last_message,
            self.control_id, self.time, self.since_us, self.known,
        )  # fmt: skip


def counts(before: str, now: str) -> int:
    """How far a control id has counted since the one before it; 0 where the two are equal or do not count."""
    if before == now:
        return 0
    first, second = _COUNTED(before), _COUNTED(now)
    if first is None or second is None or first[1] != second[1]:
        return 0
    return int(second[2]) - int(first[2])


def learn(habit: Habit, control_id: str, sent: str, measured: str, received_us: int, *, other_bytes: bool) -> None:
    """Take in a message that is no repeat.

    Args:
        other_bytes: its control id came before, with other content.
    """
    if other_bytes:
        habit.id_faults = 1
    before = habit.control_id
    if control_id and before and control_id != before and not habit.id_faults:
        # Of two texts of one length the lesser has the lesser number at its end, or another beginning.
        if (control_id < before or len(control_id) != len(before)) and counts(before, control_id) < 0:
            habit.id_faults = 1
        elif habit.id_changes < CHANGES:
            habit.id_changes += 1
    time = sent or measured
    if time and habit.time:
        if time != habit.time:
            if habit.time_changes < CHANGES:
                habit.time_changes += 1
            if sent and sent < habit.time and _minutes(habit.time) - _minutes(sent) > BACK_MINUTES:
                habit.time_back_us = received_us
            habit.since_us = received_us
        elif received_us - habit.since_us > STANDS_US:
            habit.time_changes = 0
    else:
        habit.since_us = received_us
    habit.control_id, habit.time, habit.known = control_id, time, True


@dataclass(frozen=True, slots=True)
class EarlierCopy:
    """An earlier copy of a message: when it came, and whether its sender may still be without an answer."""

    received_us: int
    unanswered: bool


def is_repeat(habit: Habit, control_id: str, time: str, received_us: int, earlier: EarlierCopy, window_us: int) -> bool:
    """Whether a message with the bytes of ``earlier`` is that message once more.

    Args:
        time: of the message or of its first result, to the minute; empty where there is none.
        window_us: so long at most after the earlier copy.
    """
    if abs(received_us - earlier.received_us) > window_us:
        return False
    return (
        earlier.unanswered
        or _by_control_id(habit, control_id)
        or _by_time(habit, time, received_us, earlier.received_us)
    )


def _by_control_id(habit: Habit, control_id: str) -> bool:
    if not control_id or not habit.known or habit.id_faults or habit.id_changes < CHANGES:
        return False
    # An older number that comes again is a restarted counter, or an analyzer's memory: nothing shows which.
    return counts(habit.control_id, control_id) == 0


def _by_time(habit: Habit, time: str, received_us: int, earlier_us: int) -> bool:
    if not time or habit.time_changes < CHANGES or earlier_us <= habit.time_back_us:
        return False
    # A clock without a battery begins anew in the same year at each start, so that its minutes come again.
    year = 1970 + received_us // (365 * DAY_US + DAY_US // 4)
    return abs(int(time[:4]) - year) <= 1


def _minutes(time: str) -> int:
    """Minutes, in months that are all of 31 days: enough to find the earlier of two times."""
    year, month, day, hour, minute = int(time[:4]), int(time[4:6]), int(time[6:8]), int(time[8:10]), int(time[10:12])
    return (((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute
