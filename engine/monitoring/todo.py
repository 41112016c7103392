"""The to-do list: all that waits for a person now, each once, with its one next step. Pure.

An entry comes from the snapshot of the site and from the journal's counts; it is gone when its cause is. Its key is
the same as long as the cause is the same, also where its count or words change: people's words about it (`TodoState`:
who has it, a note, a snooze) are kept under the key.

A snoozed entry comes back at its time, and before it while it is worse than it was: at a higher level, with a critical
result, or with twice the count. One with a critical result is snoozed until the end of the shift at most. Where an
entry goes and comes back within `FORGET_AFTER_US`, its cause flaps, and nothing is forgotten; after that it is new.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from engine.model.abdm import CONSENT_NOTICE
from engine.model.clock import from_us
from engine.model.phrases import PageText, Phrase, Span, phrase_of
from engine.model.todo import TodoState
from engine.monitoring.snapshot.abdm import AbdmFault
from engine.monitoring.snapshot.channels import ChannelSnapshot, DestinationSnapshot, LaneSnapshot
from engine.monitoring.snapshot.notice import About
from engine.monitoring.snapshot.site import NO_BACKUP, SiteSnapshot, destination_phrase, disk_findings
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Level
from engine.store.operations.alerts import CRITICAL_KEY
from engine.store.operations.dead_letters import Group, by_cause
from engine.store.queries.abdm import RefusedCallbacks, Undecided
from engine.store.queries.alerts import CriticalValue, FailingSink
from engine.store.queries.order_tabs import OrderTrouble
from engine.store.queries.tallies import ChannelGaps
from engine.store.queries.webhooks import FailingWebhook

FORGET_AFTER_US = 86_400_000_000
AHEAD_US = 60_000_000  # a snooze of a clock that was further ahead counts no more once it is set right
SET_UP_BACKUP = "write `backup: {folder: DIR}` into config/labrelay.yaml, then: labrelay reload"
_STEPS = {
    About.DELIVERIES: "labrelay resume deliveries --reason TEXT",
    About.JOURNAL: "labrelay verify",
    About.BACKUP: "labrelay backup list",
    About.ANCHOR: "labrelay doctor",
    About.KEY: "labrelay key status",
    About.REFUSED: "labrelay dlq list",
    About.PAGE: "labrelay doctor",
    About.WORKER: "journalctl -u labrelay",
    About.CLOCK: "timedatectl",
    About.CERTIFICATE: "labrelay doctor",
    About.PERSONS: "labrelay held persons",
    About.ERASURE: "labrelay journal compact",
    About.CONFIGURATION: "labrelay check",
    About.DISK: "labrelay journal stats",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to do.

    Attributes:
        key: the same for the same cause.
        phrase: what is the matter; of a dead letter ``cause`` says more.
        step: the one next step, a command.
        count: its messages, results, codes or sentences.
        since: None where it is not known.
        subject: the channel or destination concerned, or empty.
        destination: of an entry about a channel's results for it.
        code: the reason of dead letters.
        critical: a critical result waits, so it is not put off beyond the shift.
        first: nothing is stored as long as it is there, so it comes before all others.
    """

    key: str
    level: Level
    phrase: Phrase
    step: str
    count: int = 1
    since: datetime | None = None
    subject: str = ""
    destination: str = ""
    code: str = ""
    cause: str = ""
    critical: bool = False
    first: bool = False

    @property
    def tab(self) -> str:
        """The list of orders that an entry about orders is of (`engine.store.queries.order_tabs`)."""
        return self.kind.removeprefix("orders-")

    @property
    def undecided(self) -> str:
        """What a person has to decide of ABDM (`engine.store.queries.abdm.Undecided`)."""
        return self.kind.split("-", 2)[2]

    @property
    def rank(self) -> int:
        """Of its urgency, 0 the worst of `Level`; below that where a critical result waits."""
        return -1 if self.critical else self.level.rank

    @property
    def kind(self) -> str:
        """The first part of the key: a situation, or an `About`."""
        return self.key.partition("/")[0]


class Todo(NamedTuple):
    """An entry with people's words about it."""

    entry: Entry
    state: TodoState
    is_snoozed: bool


class Changes(NamedTuple):
    """Keys whose entries have gone since the last look, have come back, and whose state is to be forgotten."""

    gone: list[str]
    back: list[str]
    forgotten: list[str]


def entries(
    site: SiteSnapshot,
    letters: Sequence[Group] | None,
    gaps: Sequence[ChannelGaps] | None,
    token: Callable[[str], str],
    orders: Sequence[OrderTrouble] = (),
    callbacks: Sequence[RefusedCallbacks] = (),
    persons: Sequence[Undecided] = (),
    criticals: Sequence[CriticalValue] = (),
    sinks: Sequence[FailingSink] = (),
    webhooks: Sequence[FailingWebhook] = (),
) -> list[Entry]:
    """All entries: a full disk, then the worst first, of equal ones the oldest.

    Args:
        letters, gaps: None: they cannot be read; then one entry has the count of the snapshot.
        token: a keyed hash of the cause of dead letters, for their key.
    """
    found = [*_notices(site), *(_uncounted(site) if letters is None else _dead(letters, token))]
    if site.journal.integrity != "ok":
        words = Phrase("The journal is damaged: {what}", {"what": site.journal.integrity})
        found.append(Entry(key=About.JOURNAL, level=Level.PROBLEM, phrase=words, step=_STEPS[About.JOURNAL]))
    for channel in site.channels:
        found += _channel(channel, site)
    for destination in site.destinations:
        found += _destination(destination, site.now)
    if gaps is None:
        words = Phrase("Codes without a mapping: {n}", {"n": site.unmapped_words})
        found.append(Entry(key="unmapped", level=Level.ATTENTION, phrase=words, step="labrelay gaps -o table"))
    else:
        found += map(_unmapped, gaps)
    if site.abdm is not None:
        found += map(_account, site.abdm.faults)
    found += map(_orders, orders)
    found += map(_callbacks, callbacks)
    found += map(_persons, persons)
    found += map(_critical, criticals)
    found += map(_sink, sinks)
    found += map(_webhook, webhooks)
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
        worst.values(), key=lambda entry: (not entry.first, entry.level.rank, entry.since or site.now, entry.key)
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


def _uncounted(site: SiteSnapshot) -> Iterator[Entry]:
    count = site.dead_total + site.incomplete_total
    words = Phrase("Dead letters: {n}", {"n": count})
    yield Entry(key="dead", level=Level.ATTENTION, phrase=words, step=_STEPS[About.REFUSED], count=count)


def _dead(letters: Sequence[Group], token: Callable[[str], str]) -> Iterator[Entry]:
    for group in by_cause(letters):
        yield Entry(
            key=f"dead/{group.reason}" + (f"/{token(group.cause)}" if group.cause else ""),
            level=Level.ATTENTION,
            phrase=_named(group.reason, Phrase("Dead letters: {n}", {"n": group.count})),
            step=f"labrelay dlq show {group.example}",
            count=group.count,
            since=from_us(group.oldest_us),
            subject=next(iter(group.channels)) if len(group.channels) == 1 else "",
            code=group.reason,
            cause=group.cause,
        )


def _channel(channel: ChannelSnapshot, site: SiteSnapshot) -> Iterator[Entry]:
    name, state = channel.name, channel.state
    key, step = {
        ChannelState.SILENT: ("silent", f"labrelay messages line {name}"),
        ChannelState.WAITING: ("not-connected", "labrelay doctor"),
        ChannelState.FAULTED: ("down", "labrelay doctor"),
        ChannelState.REFUSING: ("not-taking", "labrelay doctor"),
        ChannelState.PAUSED: ("paused", f"labrelay resume channel {name} --reason TEXT"),
    }.get(state, ("", ""))
    if key and not (state is ChannelState.REFUSING and site.alarms and not channel.notice):  # one alarm covers all
        paused = channel.paused
        words = Phrase("{name} {state}", {"name": name, "state": paused.words if paused else channel.words})
        if state is ChannelState.SILENT and channel.last_message_age_s is not None:
            words = Phrase("{name} silent {age}", {"name": name, "age": Span(channel.last_message_age_s)})
        since = paused.since if paused else channel.last_message_at if state is ChannelState.SILENT else None
        yield Entry(key=f"{key}/{name}", level=state.level, phrase=words, step=step, since=since, subject=name)
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
        phrase=_named(name, words),
        step=f"labrelay held list --channel {name} --destination {lane.destination}",
        count=lane.held,
        since=_ago(site.now, age_s),
        subject=name,
        destination=lane.destination,
        critical=bool(lane.held_critical),
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


def _unmapped(one: ChannelGaps) -> Entry:
    return Entry(
        key=f"unmapped/{one.channel}",
        level=Level.ATTENTION,
        phrase=_named(one.channel, Phrase("Codes without a mapping: {n}", {"n": one.codes})),
        step=f"labrelay gaps --channel {one.channel} -o table",
        count=one.codes,
        since=from_us(one.first_us),
        subject=one.channel,
    )


# Kind of trouble -> words. A test that is refused or never sent is a result that does not come.
_ORDERS: dict[str, tuple[Level, PageText]] = {
    "refused": (Level.PROBLEM, "Orders that an analyzer refused: {n}"),
    "questions": (Level.ATTENTION, "Questions of analyzers without an answer: {n}"),
    "after_all": (Level.ATTENTION, "Orders that were given up, and measured all the same: {n}"),
    "late": (Level.ATTENTION, "Orders without a result for longer than usual: {n}"),
    "unsent": (Level.PROBLEM, "Orders that did not reach the analyzer: {n}"),
    "urgent": (Level.ATTENTION, "Urgent orders that no analyzer has: {n}"),  # the tube may be on its way
    "held": (Level.ATTENTION, "Orders that are held back: {n}"),
}


def _orders(one: OrderTrouble) -> Entry:
    level, text = _ORDERS[one.kind]
    step = f"labrelay orders list --tab {one.kind}"
    if one.kind == "questions":
        step = "labrelay orders log --unanswered"
    return Entry(
        key=f"orders-{one.kind}",
        level=level,
        phrase=Phrase(text, {"n": one.count}),
        step=step,
        count=one.count,
        since=from_us(one.oldest_us) if one.oldest_us else None,
    )


def _account(fault: AbdmFault) -> Entry:
    return Entry(
        key=f"abdm-account/{fault.code}" + (f"/{fault.facility}" if fault.facility else ""),
        level=fault.level,
        phrase=fault.words,
        step="labrelay abdm preflight",
        since=fault.since,
    )


# A word on a consent that could not be used may have been its revocation.
CONSENTS = CONSENT_NOTICE


def _callbacks(one: RefusedCallbacks) -> Entry:
    said: dict[str, str | int | Span | Phrase] = {"n": one.count, "path": one.path, "reasons": ", ".join(one.reasons)}
    words = Phrase("Callbacks of ABDM that could not be used: {n} ({path}: {reasons})", said)
    if one.path == CONSENTS:
        words = Phrase(
            "Notices of consents that could not be used: {n} ({path}: {reasons}). One may be a revocation.", said
        )
    return Entry(
        key=f"abdm-callbacks{one.path}",
        level=Level.PROBLEM if one.path == CONSENTS else Level.ATTENTION,
        phrase=words,
        step="labrelay doctor",
        count=one.count,
        since=from_us(one.oldest_us),
    )


_UNDECIDED: dict[str, tuple[Level, PageText, str]] = {
    "moved": (
        Level.PROBLEM,
        "Reports that a correction took away from a patient at ABDM: {n}. The patient's app may have one: tell the"
        " patient.",
        "labrelay abdm contexts --reason moved",
    ),
    "same_number": (
        Level.ATTENTION,
        "Reports of two patients with one number, which ABDM does not get: {n}. Look whose each one is.",
        "labrelay abdm contexts --reason same_number",
    ),
    "other_name": (
        Level.ATTENTION,
        "Reports with the ABHA of a patient of another name, which ABDM does not get: {n}. Look whose each one is.",
        "labrelay abdm contexts --reason other_name",
    ),
    "failed": (
        Level.ATTENTION,
        "Reports that ABDM has not linked with their patient: {n}. Look why, then link or try again.",
        "labrelay abdm contexts --state failed",
    ),
    "not-notified": (
        Level.ATTENTION,
        "Linked reports of which the patient's app does not know the newest version: {n}. Try again.",
        "labrelay abdm contexts --reason not-notified",
    ),
    "blocked": (
        Level.ATTENTION,
        "Reports of patients whom ABDM blocks for a day, for name, gender or year of birth did not fit: {n}. Look at"
        " the card, then link or try again.",
        "labrelay abdm contexts --reason blocked",
    ),
    "ABDM-1092": (
        Level.ATTENTION,
        "Reports of patients of whom ABDM gave a link token that is not here, as after a restore: {n}. Let the patients"
        " search for them in the app.",
        "labrelay abdm contexts --reason ABDM-1092",
    ),
    "bad_signature": (
        Level.ATTENTION,
        "Consents whose signature no key of ABDM proves, under which nothing goes out: {n}. If it is so of each new"
        " one, set consent_signatures: keep.",
        "labrelay abdm consents --reason bad_signature",
    ),
    "other_patient": (
        Level.ATTENTION,
        "Consents of an ABHA address that is not known as the report's, under which nothing goes out: {n}. If it is"
        " the same person, let the person scan the code at the counter, then grant it again.",
        "labrelay abdm consents --reason other_patient",
    ),
    "suspended": (
        Level.ATTENTION,
        "Consents under which nothing goes out, since they may have been revoked: {n}. Look at the network's own list.",
        "labrelay abdm consents --reason suspended",
    ),
    "leaving": (
        Level.PROBLEM,
        "Patients who have left ABDM by a notice of which the gateway has not taken our answer: {n}. Withdraw the"
        " reports of each, or link one again with the patient's card.",
        "labrelay abdm contexts --reason leaving",
    ),
    "unshared": (
        Level.ATTENTION,
        "Profiles of patients at a counter that do not count, for the gateway has not taken our answer: {n}. Let the"
        " patients scan the code again.",
        "labrelay abdm status",
    ),
    "doubtful": (
        Level.ATTENTION,
        "Consents of which the gateway has not taken our answer, under which nothing goes out: {n}. Look at the"
        " network's own list.",
        "labrelay abdm consents --reason doubtful",
    ),
    "damaged": (
        Level.PROBLEM,
        "Requests for records (ABDM) that ended because a row of the journal cannot be opened: {n}",
        "labrelay verify",
    ),
}
"""What a person has to decide of ABDM: how urgent it is, words, and the command that lists it."""


_OF = {
    **dict.fromkeys(("suspended", "bad_signature", "other_patient", "doubtful"), "consents"),
    "leaving": "patients",
    "damaged": "transfers",
    "unshared": "shares",
}


def _persons(one: Undecided) -> Entry:
    level, text, step = _UNDECIDED[one.what]
    return Entry(
        key=f"abdm-{_OF.get(one.what, 'reports')}-{one.what}",
        level=level,
        phrase=Phrase(text, {"n": one.count}),
        step=step,
        count=one.count,
        since=from_us(one.oldest_us),
    )


def _critical(one: CriticalValue) -> Entry:
    key = CRITICAL_KEY.format(one.message)
    return Entry(
        key=key,
        level=Level.PROBLEM,
        phrase=Phrase("{name}: message {n} has a critical value", {"name": one.channel, "n": one.message}),
        step=f"labrelay alert acknowledge {key}",
        since=from_us(one.seen_us),
        subject=one.channel,
        critical=True,
    )


def _sink(one: FailingSink) -> Entry:
    return Entry(
        key=f"alert-sink/{one.name}",
        level=Level.PROBLEM,
        phrase=Phrase("Alerts do not reach {name}", {"name": one.name}),
        step="labrelay alert sent",
        count=max(1, one.waiting),
        since=from_us(one.since_us),
        subject=one.name,
    )


def _webhook(one: FailingWebhook) -> Entry:
    return Entry(
        key=f"webhook/{one.name}",
        level=Level.PROBLEM,
        phrase=Phrase("Events do not reach {name}", {"name": one.name}),
        step="journalctl -u labrelay",
        count=max(1, one.count),
        since=from_us(one.since_us),
        subject=one.name,
    )


def _named(name: str, words: Phrase) -> Phrase:
    return Phrase("{name}: {notice}", {"name": name, "notice": words})


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


def without_notes(todo: Todo) -> Todo:
    """The same without people's words, for those who do not read them (`Principal.reads_notes`)."""
    state = todo.state
    note = replace(state.note, text="") if state.note is not None else None
    snooze = replace(state.snooze, text="") if state.snooze is not None else None
    return todo._replace(state=replace(state, note=note, snooze=snooze))


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
