"""The to-do list: all that waits for a person now, each once, with its one next step. Pure.

The page shows entries by cause (`causes`): of one kind and urgency they are one, with the names.

An entry comes from the snapshot of the site and from the journal's counts; it is gone when its cause is. Its key is
the same as long as the cause is the same, also where its count or words change: people's words about it (`TodoState`:
who has it, a note, a snooze) are kept under the key.

A snoozed entry comes back at its time, and before it while it is worse than it was: at a higher level, with a critical
result, or with twice the count. One with a critical result is snoozed until the end of the shift at most. Where an
entry goes and comes back within `FORGET_AFTER_US`, its cause flaps, and nothing is forgotten; after that it is new.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from engine.model.site.todo import TodoState
from engine.model.texts.phrases import Phrase, Span, phrase_of
from engine.monitoring.snapshot.channels import ChannelSnapshot, DestinationSnapshot, LaneSnapshot
from engine.monitoring.snapshot.site import NO_BACKUP, About, SiteSnapshot, destination_phrase, disk_findings
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Level
from engine.monitoring.todo import Entry, Todo, Together, Way, named

FORGET_AFTER_US = 86_400_000_000
AHEAD_US = 60_000_000  # a snooze of a clock that was further ahead counts no more once it is set right
SET_UP_BACKUP = "write `backup: {folder: DIR}` into config/labrelay.yaml, then: labrelay reload"
_LOOK = Way("Look at the analyzers", "/", fragment="#analyzers")
_STATES = {  # of a channel: the kind of its entry, the command, how those of several channels are one
    ChannelState.SILENT: ("silent", "labrelay messages line {}", Together("Analyzers that are silent: {n}", _LOOK)),
    ChannelState.WAITING: (
        "not-connected",
        "labrelay doctor",
        Together("Analyzers that are not connected: {n}", _LOOK),
    ),
    ChannelState.FAULTED: ("down", "labrelay doctor", Together("Analyzers whose line is down: {n}", _LOOK)),
    ChannelState.REFUSING: ("not-taking", "labrelay doctor", None),
    ChannelState.PAUSED: ("paused", "labrelay resume channel {} --reason TEXT", None),
}
_HELD = Together("Held back: {n}", Way("Decide: {n}", "/held"), sums=True)
_HELD_CRITICAL = Together("Critical results held back: {n}", Way("Decide: {n}", "/held"), sums=True)
_STEPS = {
    About.DELIVERIES: "labrelay resume deliveries --reason TEXT",
    About.JOURNAL: "labrelay verify",
    About.BACKUP: "labrelay backup list",
    About.ANCHOR: "labrelay doctor",
    About.KEY: "labrelay key status",
    About.REFUSED: "labrelay dlq list",
    About.PAGE: "labrelay doctor",
    About.CLOCK: "timedatectl",
    About.CERTIFICATE: "labrelay doctor",
    About.PERSONS: "labrelay held persons",
    About.ERASURE: "labrelay journal compact",
    About.CONFIGURATION: "labrelay check",
    About.DISK: "labrelay journal stats",
}


class Changes(NamedTuple):
    """Keys whose entries have gone since the last look, have come back, and whose state is to be forgotten."""

    gone: list[str]
    back: list[str]
    forgotten: list[str]


def entries(site: SiteSnapshot, more: Iterable[Entry]) -> list[Entry]:
    """All entries: a full disk, critical results, then the worst first, of equal ones the oldest.

    Args:
        more: those that are not read from the snapshot alone (`engine.monitoring.todo.ENTRIES`).
    """
    found = [*_notices(site), *more]
    if site.journal.integrity != "ok":
        words = Phrase("The journal is damaged: {what}", {"what": site.journal.integrity})
        found.append(Entry(key=About.JOURNAL, level=Level.PROBLEM, phrase=words, step=_STEPS[About.JOURNAL]))
    for channel in site.channels:
        found += _channel(channel, site)
    for destination in site.destinations:
        found += _destination(destination, site.now)
    found += [
        Entry(key=About.DISK, level=finding.level, phrase=finding.phrase, step=_STEPS[About.DISK])
        for finding in disk_findings(site.disk_free_bytes, site.disk_days_left)
    ]
    if site.backup.missing:
        found.append(Entry(key=About.BACKUP, level=Level.PROBLEM, phrase=NO_BACKUP, step=SET_UP_BACKUP))
    worst: dict[str, Entry] = {}  # of each key
    for entry in found:
        if entry.key not in worst or entry.level.rank < worst[entry.key].level.rank:
            worst[entry.key] = entry
    return sorted(
        worst.values(), key=lambda one: (not one.first, one.rank, not one.leads, one.since or site.now, one.key)
    )


def _notices(site: SiteSnapshot) -> Iterator[Entry]:
    """One entry for each part of the site that has notices; its words are the first and worst of them."""
    said = [(text, Level.PROBLEM) for text in site.alarms] + [(text, Level.ATTENTION) for text in site.notes]
    for about, group in groupby(sorted(said, key=lambda one: one[0].about), key=lambda one: one[0].about):
        (text, level), *more = group
        yield Entry(
            key=about.value,
            level=level,
            phrase=phrase_of(text),
            step=_STEPS[about],
            count=1 + len(more),
            first=about is About.DISK and level is Level.PROBLEM,  # the disk is full
        )


def _channel(channel: ChannelSnapshot, site: SiteSnapshot) -> Iterator[Entry]:
    name, state = channel.name, channel.state
    key, step, together = _STATES.get(state, ("", "", None))
    if key and not (state is ChannelState.REFUSING and site.alarms and not channel.notice):  # one alarm covers all
        paused = channel.paused
        words = Phrase("{name} {state}", {"name": name, "state": paused.words if paused else channel.words})
        if state is ChannelState.SILENT and channel.last_message_age_s is not None:
            words = Phrase("{name} silent {age}", {"name": name, "age": Span(channel.last_message_age_s)})
        since = paused.since if paused else channel.last_message_at if state is ChannelState.SILENT else None
        key, step = f"{key}/{name}", step.format(name)
        yield Entry(key=key, level=state.level, phrase=words, step=step, since=since, subject=name, together=together)
    if channel.notice:
        words = Phrase("{name}: {notice}", {"name": name, "notice": channel.notice})
        yield Entry(key=f"notice/{name}", level=Level.ATTENTION, phrase=words, step="labrelay status", subject=name)
    if channel.late is not None:
        yield Entry(
            key=f"late/{name}",
            level=Level.ATTENTION,
            phrase=channel.late,
            step=f"labrelay messages list --channel {name} --state stored",
            count=max(1, channel.stored_waiting),
            since=_ago(site.now, channel.stored_age_s),
            subject=name,
        )
    for key, level, found, count in (
        ("behind", Level.ATTENTION, channel.behind, channel.unread),
        ("gap", Level.PROBLEM, channel.gap, channel.lost),
    ):
        if found is not None:
            yield Entry(
                key=f"{key}/{name}",
                level=level,
                phrase=named(name, found),
                step="labrelay status",
                count=count or 1,
                subject=name,
            )
    if channel.tee is not None and (lost := channel.tee.not_kept):
        words = Phrase("{name} tee: {n} messages not kept", {"name": name, "n": lost})
        step = f"labrelay messages list --channel {name}"
        yield Entry(key=f"tee/{name}", level=Level.PROBLEM, phrase=words, step=step, count=lost, subject=name)
    if same := channel.today_same_bytes:
        words = Phrase(
            "{name}: messages with the bytes of an earlier one, and nothing says whether they are repeats: {n} today."
            " They were delivered",
            {"name": name, "n": same},
        )
        step = f"labrelay messages list --channel {name}"
        yield Entry(key=f"same-bytes/{name}", level=Level.ATTENTION, phrase=words, step=step, count=same, subject=name)
    for lane in channel.lanes:
        if lane.paused is not None:
            place = f"{name}/{lane.destination}"
            yield Entry(
                key=f"paused/{place}",
                level=Level.ATTENTION,
                phrase=Phrase("{name} {state}", {"name": place, "state": lane.paused.words}),
                step=f"labrelay resume lane {place} --reason TEXT",
                count=max(1, lane.waiting),
                since=lane.paused.since,
                subject=name,
                destination=lane.destination,
            )
        if lane.held:
            yield _held(name, lane, site)


def _held(name: str, lane: LaneSnapshot, site: SiteSnapshot) -> Entry:
    age_s = lane.held_age_s
    words = Phrase("Held back: {n}", {"n": lane.held})
    if lane.held_critical:
        words = Phrase("Critical results held back: {n}", {"n": lane.held_critical})
    elif age_s is not None:
        words = Phrase("Held back: {n}, the oldest for {age}", {"n": lane.held, "age": Span(age_s)})
    late = age_s is not None and age_s > site.held_alarm_s
    return Entry(
        key=f"held/{name}/{lane.destination}",
        level=Level.PROBLEM if lane.held_critical or late else Level.ATTENTION,
        phrase=named(name, words),
        step=f"labrelay held list --channel {name} --destination {lane.destination}",
        count=lane.held_critical or lane.held,
        since=_ago(site.now, age_s),
        subject=name,
        destination=lane.destination,
        critical=bool(lane.held_critical),
        together=_HELD_CRITICAL if lane.held_critical else _HELD,
    )


def _destination(one: DestinationSnapshot, now: datetime) -> Iterator[Entry]:
    """Not reachable, trying and failing are one cause, so that an entry does not change while they alternate."""
    if one.state.level is Level.OK:
        return
    key, since = "away", _ago(now, one.oldest_age_s)
    step = "labrelay check --online"
    if one.state is DestinationState.PAUSED and one.paused is not None:
        key, since = "paused-destination", one.paused.since
        step = f"labrelay resume destination {one.name} --reason TEXT"
    yield Entry(
        key=f"{key}/{one.name}",
        level=one.state.level,
        phrase=destination_phrase(one),
        step=step,
        count=max(1, one.waiting),
        since=since,
        subject=one.name,
    )


def _ago(now: datetime, age_s: float | None) -> datetime | None:
    return now - timedelta(seconds=age_s) if age_s is not None else None


# -- with people's words ---------------------------------------------------------------------------------------------


def listed(found: Sequence[Entry], states: Mapping[str, TodoState], now_us: int) -> list[Todo]:
    """The entries in their order, snoozed ones at the end."""
    todos = []
    for entry in found:
        state = states.get(entry.key)
        if state is None or _is_forgotten(state, now_us):
            state = TodoState(key=entry.key)
        todos.append(Todo(entry, state, _is_snoozed(entry, state, now_us)))
    return sorted(todos, key=lambda todo: todo.is_snoozed)


def causes(todos: Iterable[Todo]) -> list[list[Todo]]:
    """Entries by cause, in their order. One that a person has taken, put off or noted is alone."""
    listed = [(todo, todo.entry, bool(todo.state.taken or todo.state.note or todo.is_snoozed)) for todo in todos]
    held = {one.subject for _, one, is_alone in listed if one.kind == "held" and one.critical and not is_alone}
    found: dict[tuple[str, bool, Level] | str, list[Todo]] = {}
    for todo, entry, is_alone in listed:
        kind = "held" if entry.with_held and entry.subject in held else entry.kind
        alone = is_alone or (entry.together is None and kind == entry.kind)
        found.setdefault(entry.key if alone else (kind, entry.critical, entry.level), []).append(todo)
    # What is held is the cause.
    return [sorted(one, key=lambda todo: todo.entry.with_held) for one in found.values()]


def _is_snoozed(entry: Entry, state: TodoState, now_us: int) -> bool:
    snooze = state.snooze
    if snooze is None or not snooze.at_us - AHEAD_US <= now_us < snooze.until_us:
        return False
    return entry.rank >= snooze.rank and entry.count < 2 * snooze.count


def _is_forgotten(state: TodoState, now_us: int) -> bool:
    return bool(state.gone_us) and now_us - state.gone_us >= FORGET_AFTER_US


def changes(present: Collection[str], states: Mapping[str, TodoState], now_us: int) -> Changes:
    """The differences between the list and what is kept about it; ``present``: the keys on the list."""
    found = Changes([], [], [])
    for key, state in states.items():
        if _is_forgotten(state, now_us):
            found.forgotten.append(key)
        elif state.gone_us and key in present:
            found.back.append(key)
        elif not state.gone_us and key not in present:
            found.gone.append(key)
    return found
