"""Messages on the page about the site as a whole: paused deliveries, the clock, the key, missing parts.

Notice jumps of the wall clock: by a person, a time server, an empty battery, a sleeping machine.

Nothing waits by that clock: timers and deadlines are monotonic. But the times of messages come from it, and times from
before a jump cannot be compared with those after it. So a jump is logged, and recorded as a row of the journal, between
the messages from before and those from after.

Messages about documents that a destination does not take, although it takes others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from os.path import ismount
from pathlib import Path

from engine.delivery.worker import DestinationWorker
from engine.model.errors import StoreError
from engine.model.journal.records import DELIVERIES, ChannelView, LaneView, Pause, Target
from engine.model.process.clock import Clock, from_us
from engine.model.texts.phrases import Phrase, Said
from engine.runtime.parts import Parts
from engine.store.journal import Journal
from engine.store.lifecycle import key_rotation
from engine.store.queries.letters import corrections_set_aside
from engine.store.queries.reader import Reader

ATTEMPTS_SAID = 10  # at one document, while others are taken
REFUSED_SAID = 5  # so many refusals among a destination's last answers: more than a few bad messages
SET_ASIDE_SAID = 5  # corrections that were set aside, each with an alarm of its own


def refusals(workers: Iterable[DestinationWorker]) -> list[str]:
    """A note for each destination that refuses many documents: a mapping or a server was changed."""
    return [
        Said(
            "{name} refuses documents: {n} of the last {m}",
            name=worker.name,
            n=refused,
            m=len(worker.counts.refused),
        )
        for worker in workers
        if (refused := sum(worker.counts.refused)) >= REFUSED_SAID
    ]


def in_words(workers: Iterable[DestinationWorker]) -> list[str]:
    """A note for each lane that waits for such a document."""
    return [
        Said(
            "{name} takes others, and has not taken message {message} of {channel} in {n} attempts",
            name=worker.name,
            message=failure.message_id,
            channel=lane.channel,
            n=failure.attempt,
        )
        for worker in workers
        for lane in worker.memory.lanes.values()
        if (failure := lane.failure) is not None
        and failure.attempt >= ATTEMPTS_SAID
        and worker.breaker.is_suspect(failure.delivery)
    ]


def set_aside(journal: Reader) -> list[str]:
    """An alarm for each correction or withdrawal that its destination lacks because a person set it aside."""
    letters = corrections_set_aside(journal, SET_ASIDE_SAID + 1)
    said: list[str] = [
        Said(
            "A correction or withdrawal was set aside, and {name} goes on showing what it was to replace: "
            "message {message} of {channel}",
            name=one.destination,
            message=one.message_id,
            channel=one.channel,
        )
        for one in letters[:SET_ASIDE_SAID]
    ]
    if len(letters) > SET_ASIDE_SAID:
        said.append(Said("More corrections or withdrawals were set aside"))
    return said


NOTICED_S = 30.0  # time servers correct smaller differences every day
POLL_S = 5.0


class ClockWatch:
    """Compares the wall clock with the monotonic one.

    Attributes:
        moved: seconds of the last jump, and its time (wall time in microseconds, the new one); None: never.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._distance_s = self._offset_s()
        self.moved: tuple[float, int] | None = None

    def jump(self) -> float | None:
        """Seconds by which the clock jumped since the last call (negative: back); None for a small difference."""
        distance_s = self._offset_s()
        jump_s = distance_s - self._distance_s
        if abs(jump_s) < NOTICED_S:  # many small steps in one direction add up, and are noticed then
            return None
        self._distance_s = distance_s
        self.moved = (jump_s, self._clock.now_us())
        return jump_s

    async def run(self, note: Callable[[float], Awaitable[None]]) -> None:
        """Poll forever and call `note` on every jump."""
        while True:
            await asyncio.sleep(POLL_S)
            if (jump_s := self.jump()) is not None:
                await note(jump_s)

    def _offset_s(self) -> float:
        return self._clock.now_us() / 1e6 - self._clock.monotonic()


CLOCK_NOTE_US = 86_400_000_000  # how long a jump of the clock is reported
MOST_NAMED = 5  # corrections
AHEAD_US = 600_000_000  # by which a message may be younger than the clock
SHEET_AFTER_US = 86_400_000_000  # how long a new key may be without a confirmed recovery sheet


def standstill(pauses: Mapping[Target, Pause]) -> Iterator[str]:
    """The alarm that nothing is delivered at all, and why."""
    if (pause := pauses.get(DELIVERIES)) is not None:
        if pause.by_itself:
            why = Phrase("{text}", {"text": pause.reason})
        else:
            why = Phrase("paused by {name}", {"name": pause.actor}) if pause.actor else Phrase("paused")
        yield Said("Nothing is delivered: {why}", why=why)


def no_room(journal: Journal) -> Iterator[str]:
    """The alarm that the disk is full, and what helps."""
    upkeep = journal.upkeep
    if upkeep.full:
        folder = journal.path.parent.absolute()
        kept = Phrase("the rest of it is kept for acts of people")
        if upkeep.spent:
            kept = Phrase("the room for acts of people is used up, too: pauses and decisions may fail")
        yield Said(
            "The disk is full: nothing is stored, so nothing is acknowledged; free {n} MiB on the disk of {folder}, "
            "mounted at {mount}: delete old logs, downloads, images and backups there, and no file of {folder} "
            "({kept})",
            n=max(1, -(-upkeep.lacking >> 20)),
            folder=str(folder),
            mount=str(next(one for one in (folder, *folder.parents) if ismount(one))),
            kept=kept,
        )


def lost_corrections(versions: Sequence[int]) -> Iterator[str]:
    """The alarm that corrections of code tables cannot be read, so that what they superseded decides again."""
    if versions:
        more = f" + {len(versions) - MOST_NAMED}" if len(versions) > MOST_NAMED else ""
        yield Said(
            "Corrections of code tables cannot be read: {versions}. They are "
            "not in force, and older rows of the same codes may decide again, also wrong ones: compare the codes "
            "that are sent with the analyzers' test lists, and pause deliveries until then",
            versions=", ".join(map(str, versions[:MOST_NAMED])) + more,
        )


def clock_moved(watch: ClockWatch, now_us: int) -> Iterator[str]:
    """For a day after a jump of the clock: the warning that times of messages may be wrong."""
    if watch.moved is not None and abs(now_us - watch.moved[1]) <= CLOCK_NOTE_US:
        seconds, at_us = watch.moved
        yield Said(
            "the clock of this machine was moved forward by {n} s, to {time} UTC: times of "
            "messages before and after cannot be compared"
            if seconds > 0
            else "the clock of this machine was moved back by {n} s, to {time} UTC: times of "
            "messages before and after cannot be compared",
            n=f"{abs(seconds):,.0f}",
            time=f"{from_us(at_us):%Y-%m-%d %H:%M}",
        )


def newer_than_the_clock(channels: Collection[ChannelView], now_us: int) -> Iterator[str]:
    """Messages younger than the present time: the clock was wrong then, or it is now."""
    newest = max(channels, key=lambda one: one.last_us, default=None)
    if newest is not None and newest.last_us > now_us + AHEAD_US:
        yield Said(
            "the clock of this machine says {now} UTC, and {name} has a message of "
            "{time}: one of the two is wrong. Set the clock, and do not trust "
            "the times of messages from between",
            now=f"{from_us(now_us):%Y-%m-%d %H:%M}",
            name=newest.name,
            time=f"{from_us(newest.last_us):%Y-%m-%d %H:%M}",
        )


def not_configured(channels: Collection[ChannelView], lanes: Collection[LaneView], parts: Parts) -> Iterator[str]:
    """Work of the journal whose channel or destination the configuration lacks."""
    for lane in lanes:
        if lane.open and lane.destination not in parts.delivery_workers:
            yield Said(
                "{n} deliveries of {name} wait for {destination}, which is not configured",
                n=lane.open,
                name=lane.channel,
                destination=lane.destination,
            )
    for view in channels:
        if view.stored and view.name not in parts.sources:
            yield Said(
                "{n} messages of channel {name} wait, because it is not configured", n=view.stored, name=view.name
            )


class KeyNotices:
    """Messages about the key of one journal.

    Args:
        file: the place of the key, if it is in a file.
    """

    def __init__(self, journal: Journal, clock: Clock, file: Path) -> None:
        self._journal = journal
        self._clock = clock
        self._file = file
        self._seen = False

    def alarms(self) -> Iterator[str]:
        """The alarm that the key's file is gone: this process has the key in memory, the next one needs the file."""
        exists = self._file.exists()
        self._seen = self._seen or exists
        if self._seen and not exists:
            yield Said(
                "{file} is gone: LabRelay runs on, and does not start again without the key. Put your copy "
                "back, or take the recovery sheet (if the key is a credential now: restart)",
                file=str(self._file),
            )

    def notes(self, *, practice: bool) -> Iterator[str]:
        """A person's tasks about the key; a day after it was made, so that set-up comes first.

        Args:
            practice: the site's patients are invented, so nothing is to be done.
        """
        if practice:
            return
        try:
            with self._journal.snapshot() as execute:
                facts = key_rotation.facts(execute)
        except StoreError:
            return  # reported elsewhere
        if not facts.sheet_us and self._clock.now_us() - facts.made_us >= SHEET_AFTER_US:
            yield Said(
                "The recovery sheet of the key is not confirmed: if the key is lost, so is everything stored here."
            )
