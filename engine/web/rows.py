"""From a snapshot to the cells of the page, in one language: every string of the overview is made here.

A row is a mapping of plain values, and equal to the one before it as long as nothing visible changes: the page renders
and sends rows that differ. Nothing here knows HTML; the names are those that the templates read.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote_plus, urlencode
from zoneinfo import ZoneInfo

from engine.model.clock import from_us
from engine.model.phrases import Catalogue, Phrase, Span
from engine.model.reasons import ReasonCode
from engine.model.records import ReagentView
from engine.monitoring.snapshot.channels import (
    ChannelSnapshot,
    DestinationSnapshot,
    LaneSnapshot,
    PendingRetry,
    ReagentSnapshot,
)
from engine.monitoring.snapshot.links import LineStep, LinkFaults, LinkState
from engine.monitoring.snapshot.site import Finding, SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Level, Paused
from engine.web.sparkline import sparkline

Row = dict[str, Any]
Item = TypeVar("Item", ChannelSnapshot, DestinationSnapshot)
PEERS_SHOWN = 3
FAULTS_SHOWN = 3
FINDINGS_SHOWN = 5
LANES_SHOWN = 8

# Counts of today's messages -> words, and urgency for a person.
TODAY = {
    "today_delivered": ("delivered", "ok"),
    "today_dead": ("dead", "attention"),
    "today_filtered": ("filtered", "ok"),
    "today_repeat": ("repeated", "ok"),
    "today_same_bytes": ("same bytes", "attention"),
    "today_incomplete": ("incomplete", "attention"),
}
_LEVEL_WORDS = {Level.OK: "In order", Level.ATTENTION: "Attention", Level.PROBLEM: "Problem"}
_ICONS: dict[ChannelState | DestinationState, str] = {
    ChannelState.RECEIVING: "ok",
    ChannelState.QUIET: "quiet",
    ChannelState.SILENT: "silent",
    ChannelState.WAITING: "unplugged",
    ChannelState.FAULTED: "problem",
    ChannelState.REFUSING: "problem",
    ChannelState.PAUSED: "pause",
    ChannelState.DISABLED: "off",
    DestinationState.OK: "ok",
    DestinationState.IDLE: "quiet",
    DestinationState.RETRYING: "retry",
    DestinationState.BREAKER_OPEN: "unplugged",
    DestinationState.PROBING: "retry",
    DestinationState.EXPECTED: "quiet",
    DestinationState.PAUSED: "pause",
}
_WHO = {"in": "analyzer", "out": "LabRelay", "about": "note", "analyzer": "analyzer", "middleware": "middleware"}


class Badge(NamedTuple):
    """A state: icon, word and colour together, never colour alone.

    Attributes:
        level: a `Level`'s value, or ``calm``.
    """

    level: str
    icon: str
    word: str


class Fact(NamedTuple):
    """A labelled value of the top strip or of a cell's small print."""

    label: str
    value: str
    level: str = "ok"
    href: str = ""  # of the list that is counted


class Trouble(NamedTuple):
    """A reason code, its meaning in one sentence, and what happens next."""

    code: str
    meaning: str
    then: str


# Neither good nor bad: no colour. Green is for states that demonstrably work.
_CALM = {ChannelState.QUIET, ChannelState.DISABLED, DestinationState.IDLE, DestinationState.EXPECTED}


class Rows:
    """The rows of one snapshot in one language. ``language``: for links, where the reader has chosen one."""

    def __init__(self, site: SiteSnapshot, catalogue: Catalogue, language: str = "") -> None:
        self._site = site
        self._language = language
        self._tail = f"&lang={language}" if language else ""  # of an address
        self._catalogue = catalogue
        self._zone = ZoneInfo(site.timezone)
        self._today = self._day(site.now)

    def strip(self) -> Row:
        site = self._site
        found = site.findings()
        worst = found[0] if found else site.overall()
        shown, rest = found[1 : 1 + FINDINGS_SHOWN], len(found) - 1 - FINDINGS_SHOWN
        waiting = sum(channel.waiting for channel in site.channels)
        facts = [
            self._fact("Waiting", waiting),
            self._fact("Dead letters", site.dead_total, _warn(site.dead_total), self._letters("dead")),
            *([self._incomplete(site.incomplete_total)] if site.incomplete_total else []),
            self._fact(
                "Unmapped codes",
                site.unmapped_words.say(self._catalogue),
                _warn(site.unmapped_total),
                self._href("/codes"),
            ),
            self._fact("Disk", self._disk()),
        ]
        return {
            "badge": Badge(worst.level.value, worst.level.value, self._say(_LEVEL_WORDS[worst.level])),
            "headline": worst.phrase.say(self._catalogue),
            "more": tuple(self._finding(finding) for finding in shown),
            "rest": self._say("and {n} more", n=rest) if rest > 0 else "",
            "facts": tuple(facts),
        }

    def footer(self) -> Row:
        site = self._site
        facts = [
            self._fact("Running for", Span((site.now - site.started_at).total_seconds()).say(self._catalogue)),
            self._fact("Version", site.version),
            self._fact("Configuration", site.config_hash or "-"),
            self._fact("Last message number", site.journal.last_id),
        ]
        if site.journal.fsync_ms_p50 is not None:
            facts.append(self._fact("Commit", f"{site.journal.fsync_ms_p50:.1f} ms"))
        if site.kept.since is not None:
            facts.append(self._fact("Kept since", self._day(site.kept.since)))
        if site.kept.next_at is not None:
            facts.append(self._fact("Next to go", self._day(site.kept.next_at)))
        verified = site.backup.verified_at
        said = self._say("none yet") if verified is None else self._clock_time(verified)
        if site.backup.same_disk:
            said = self._say("{when}, on the disk of the journal", when=said)
        said = said if site.backup.folder else self._say("no folder set")
        facts.append(self._fact("Last verified backup", said))
        return {
            "as_of": self._clock_time(site.now),
            "as_of_at": site.now.isoformat(timespec="seconds"),
            "facts": tuple(facts),
        }

    def summary(self, items: Sequence[ChannelSnapshot] | Sequence[DestinationSnapshot]) -> str:
        """A table's caption: the number of rows, and of those in trouble."""
        problems = sum(item.level is Level.PROBLEM for item in items)
        attention = sum(item.level is Level.ATTENTION for item in items)
        said = [str(len(items))]
        if problems:
            said.append(self._say("with a problem: {n}", n=problems))
        if attention:
            said.append(self._say("to look at: {n}", n=attention))
        return " · ".join(said)

    def channel(self, channel: ChannelSnapshot) -> Row:
        tee = channel.tee
        name = _quoted(channel.name)
        busy = [lane for lane in channel.lanes if lane.waiting or lane.retrying or lane.held or lane.paused]
        return {
            "id": row_id("c", channel.name),
            "level": channel.level.value,
            "name": channel.name,
            "description": channel.description,
            "href": f"/analyzer?name={name}{self._tail}",
            "where": f"{channel.kind} {channel.address}",
            "line": self._line(channel),
            "tee": self._say("tee: seen {n}, acknowledged by the middleware {m}", n=tee.seen, m=tee.acknowledged)
            if tee
            else "",
            "tee_lost": self._say("tee: {n} messages not kept", n=tee.not_kept) if tee and tee.not_kept else "",
            "badge": self._badge(channel),
            "paused": self._paused(channel.paused),
            "last": self._last(channel),
            "last_at": _iso(channel.last_message_at),
            "usual": "" if channel.usual.words is None else channel.usual.words.say(self._catalogue),
            "received": channel.today_received,
            "received_href": f"/messages?channel={name}&since={self._today}{self._tail}",
            "day": sparkline(channel.received_by_hour, channel.dead_by_hour),
            "day_words": self._last_day(channel),
            "today": tuple(
                self._fact(word, count, level)
                for name, (word, level) in TODAY.items()
                if (count := getattr(channel, name))
            ),
            "link_faults": self._link_faults(channel.link.faults),
            "stored": self._say("not mapped yet: {n}", n=channel.stored_waiting) if channel.stored_waiting else "",
            "stored_href": f"/messages?channel={name}&state=stored&since=all{self._tail}",
            "lanes": tuple(self._lane(lane, name) for lane in busy[:LANES_SHOWN]),
            "lanes_idle": len(channel.lanes) - len(busy),
            "dead": channel.dead_total,
            "dead_href": f"/dead-letters/each?channel={name}&state=dead{self._tail}",
            "incomplete_href": f"/dead-letters/each?channel={name}&state=incomplete{self._tail}",
            "incomplete": self._say("incomplete: {n}", n=channel.incomplete) if channel.incomplete else "",
        }

    def analyzer(self, channel: ChannelSnapshot) -> Row:
        link, tee = channel.link, channel.tee
        row = self.channel(channel)
        facts = [
            self._fact("Line", link.words.say(self._catalogue)),
            self._fact("Address", f"{channel.kind} {channel.address}"),
        ]
        pauses = [("", channel.paused), *((lane.destination, lane.paused) for lane in channel.lanes)]
        troubles = ((channel.fault, "problem"), (channel.notice, "attention"))
        facts += [
            self._fact("Paused", f"{where} {self._paused(paused)}".strip(), "attention")
            for where, paused in pauses
            if paused is not None
        ]
        facts += [self._fact("Trouble", text, level) for text, level in troubles if text]
        if channel.connections:
            facts.append(self._fact("Connected", ", ".join(channel.connections)))
        facts.append(self._fact("Last message", self._last(channel)))
        facts.append(self._fact("Received today", channel.today_received, href=row["received_href"]))
        if channel.dead_total:
            href = row["dead_href"]
            facts.append(self._fact("Dead letters", channel.dead_total, "attention", href))
        if link.stray_bytes:
            facts.append(self._fact("Bytes outside a session", link.stray_bytes))
        if tee is not None:
            facts += [
                self._fact("Results seen", tee.seen),
                self._fact("acknowledged by the middleware", tee.acknowledged),
                self._fact("refused by the middleware", tee.refused, _warn(tee.refused)),
                self._fact("Orders seen", tee.middleware_seen),
                self._fact("acknowledged by the analyzer", tee.middleware_acknowledged),
                self._fact("Not kept", tee.not_kept, "problem" if tee.not_kept else "ok"),
            ]
        return {
            "name": channel.name,
            "description": channel.description,
            "badge": self._badge(channel),
            "line": self._line(channel),
            "facts": tuple(facts),
            "steps": tuple(self._step(step) for step in reversed(link.steps)),
            "faults": tuple(
                {"kind": one.kind, "what": one.words.say(self._catalogue), "n": one.n} for one in link.faults
            ),
            "last_fault": self._ago("last {age} ago", link.last_fault_at),
            "lots": tuple(self._lot(lot) for lot in channel.reagents),
        }

    def lots(self, found: Sequence[ReagentView]) -> tuple[Row, ...]:
        """Rows of a search over all analyzers."""
        rows = []
        for view in found:
            first = self._clock_time(from_us(view.first_us))
            lot = self._lot(ReagentSnapshot.of(view))
            rows.append(lot | {"channel": view.channel, "messages": str(view.messages), "first": first})
        return tuple(rows)

    def destination(self, destination: DestinationSnapshot) -> Row:
        last_at, oldest = destination.last_delivered_at, destination.oldest_age_s
        then = ""
        if destination.state is DestinationState.BREAKER_OPEN and destination.breaker_until is not None:
            then = self._next(destination.breaker_until)
        if destination.state is DestinationState.EXPECTED and destination.expected_until is not None:
            then = self._say("until {time}", time=self._short_time(destination.expected_until))
        if destination.paused is not None:
            then = self._paused(destination.paused)
        name = _quoted(destination.name)
        return {
            "id": row_id("d", destination.name),
            "level": destination.level.value,
            "name": destination.name,
            "where": f"{destination.kind} {destination.address}",
            "badge": self._badge(destination),
            "then": then,
            "waiting": destination.waiting,
            "oldest": "" if oldest is None else self._say("oldest {age}", age=Span(oldest)),
            "in_flight": self._say("under way: {n}", n=destination.in_flight) if destination.in_flight else "",
            "delivered": destination.delivered_today,
            "rate": self._say("{n} a minute", n=f"{destination.rate_per_min:.0f}") if destination.rate_per_min else "",
            "last": self._ago("last {age} ago", last_at),
            "last_at": _iso(last_at),
            "trouble": self._destination_trouble(destination),
            "dead": destination.dead,
            "dead_href": f"/dead-letters/each?destination={name}&state=dead{self._tail}",
            "held": self._held(destination),
            "held_href": f"/held?destination={name}{self._tail}",
            "waiting_href": f"/waiting?destination={name}{self._tail}",
        }

    def state_words(self) -> dict[str, str]:
        """Name and state of every row, without ages: a screen reader announces changes of these."""
        return {
            row_id(kind, row.name): f"{row.name}: {row.words.say(self._catalogue)}"
            for kind, rows in (("c", self._site.channels), ("d", self._site.destinations))
            for row in rows
        }

    def _badge(self, row: ChannelSnapshot | DestinationSnapshot) -> Badge:
        level = "calm" if row.state in _CALM else row.state.level.value
        return Badge(level, _ICONS[row.state], row.words.say(self._catalogue))

    def _finding(self, finding: Finding) -> Badge:
        return Badge(finding.level.value, finding.level.value, finding.phrase.say(self._catalogue))

    def _lane(self, lane: LaneSnapshot, channel: str) -> Row:
        """``channel``: its name as an address has it."""
        return {
            "words": self._say("{n} for {destination}", n=lane.waiting, destination=lane.destination),
            "oldest": "" if lane.oldest_age_s is None else self._say("oldest {age}", age=Span(lane.oldest_age_s)),
            "trouble": None if lane.retrying is None else self._retrying(lane.retrying),
            "held": self._held(lane),
            "href": f"/waiting?channel={channel}&destination={_quoted(lane.destination)}{self._tail}",
            "held_href": f"/held?channel={channel}&destination={_quoted(lane.destination)}{self._tail}",
            "paused": "" if lane.paused is None else f"{self._say('paused')} {self._paused(lane.paused)}".strip(),
        }

    def _paused(self, paused: Paused | None) -> str:
        """The person, time and reason of a pause, as far as known."""
        if paused is None:
            return ""
        said = []
        if paused.by:
            said.append(self._say("by {who}", who=paused.by))
        if paused.since is not None:
            said.append(self._say("since {time}", time=self._short_time(paused.since)))
        return " ".join(said) + (f": {paused.reason}" if paused.reason else "")

    def _held(self, row: LaneSnapshot | DestinationSnapshot) -> str:
        if not row.held:
            return ""
        if row.held_age_s is None:
            said = self._say("held back: {n}", n=row.held)
        else:
            said = self._say("held back: {n}, for {age}", n=row.held, age=Span(row.held_age_s))
        return f"{said}; {self._say('critical: {n}', n=row.held_critical)}" if row.held_critical else said

    def _destination_trouble(self, destination: DestinationSnapshot) -> Trouble | None:
        if destination.retrying is not None:
            return self._retrying(destination.retrying, held_by_breaker=destination.breaker_until is not None)
        if destination.last_error is None:
            return None
        error = destination.last_error
        return Trouble(error.code.value, self._say(meaning(error.code)), self._ago("{age} ago", error.at))

    def _retrying(self, retrying: PendingRetry, *, held_by_breaker: bool = False) -> Trouble:
        """``held_by_breaker``: the time of the next attempt is shown with the state, and only there."""
        said = self._say("attempts failed: {n}", n=retrying.attempt)
        if retrying.message is not None:
            said = f"{self._say('message {n} of {channel}', n=retrying.message, channel=retrying.channel)}, {said}"
        if retrying.next_at is not None and not held_by_breaker:
            said = f"{said}, {self._next(retrying.next_at)}"
        return Trouble(retrying.code.value, self._say(meaning(retrying.code)), said)

    def _next(self, at: datetime) -> str:
        seconds = (at - self._site.now).total_seconds()
        return self._say("next try in {age}", age=Span(seconds)) if seconds >= 1 else self._say("next try now")

    def _line(self, channel: ChannelSnapshot) -> str:
        """The state of the line, and its peers; empty where the state of the channel shows it already."""
        link = channel.link
        said = []
        if link.state not in (LinkState.OFF, LinkState.DOWN) and (channel.connections or not channel.last_message_at):
            said.append(link.words.say(self._catalogue))
        if channel.connections:
            said.append(self._peers(channel.connections))
        if link.stray_bytes:
            said.append(self._say("bytes outside a session: {n}", n=link.stray_bytes))
        return " · ".join(said)

    def _link_faults(self, faults: Sequence[LinkFaults]) -> str:
        return self._first("; ", [f"{one.words.say(self._catalogue)}: {one.n}" for one in faults], FAULTS_SHOWN)

    def _step(self, step: LineStep) -> Row:
        who = _WHO[step.way]
        level = "calm" if step.good is None else "ok" if step.good else "attention"
        return {
            "at": step.at.astimezone(self._zone).strftime("%H:%M:%S.%f")[:-3],
            "at_iso": step.at.isoformat(timespec="milliseconds"),
            "who": "LabRelay" if who == "LabRelay" else self._say(who),
            "what": step.words.say(self._catalogue),
            "level": level,
            "verdict": "" if step.verdict is None else step.verdict.say(self._catalogue),
        }

    def _lot(self, reagent: ReagentSnapshot) -> Row:
        over = reagent.expires and reagent.expires < self._day(self._site.now)[: len(reagent.expires)]
        return {
            "name": reagent.name or "-",
            "lot": reagent.lot,
            "href": self._href("/reagents", lot=reagent.lot),
            "expires": reagent.expires or "-",
            "expired": self._say("expired") if over else "",
            "tests": ", ".join(reagent.tests) or "-",
            "left": reagent.left or "-",
            "last": self._ago("{age} ago", reagent.last_at),
            "last_at": _iso(reagent.last_at),
        }

    def _href(self, path: str, **query: str) -> str:
        if self._language:
            query["lang"] = self._language
        return f"{path}?{urlencode(query)}"

    def _peers(self, peers: Sequence[str]) -> str:
        return self._say("connected: {peers}", peers=self._first(", ", peers, PEERS_SHOWN))

    def _first(self, between: str, texts: Sequence[str], most: int) -> str:
        """The first ``most`` of some texts, and how many more there are."""
        more = [self._say("and {n} more", n=len(texts) - most)] if len(texts) > most else []
        return between.join([*texts[:most], *more])

    def _disk(self) -> str:
        free, days = self._site.disk_free_bytes, self._site.disk_days_left
        if free is None:
            return "-"
        said = self._say("{gib} GiB free", gib=f"{free / (1 << 30):.1f}")
        return said if days is None else f"{said}, {self._say('{n} days', n=int(days))}"

    def _day(self, at: datetime) -> str:
        return at.astimezone(self._zone).strftime("%Y-%m-%d")

    def _short_time(self, at: datetime) -> str:
        """As short as it stays unambiguous: today's without the day."""
        local, today = at.astimezone(self._zone), self._site.now.astimezone(self._zone).date()
        return local.strftime("%H:%M" if local.date() == today else "%Y-%m-%d %H:%M")

    def _clock_time(self, at: datetime) -> str:
        return at.astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S")

    def _fact(self, label: str, value: str | int, level: str = "ok", href: str = "") -> Fact:
        return Fact(self._say(label), str(value), level, href)

    def _incomplete(self, count: int) -> Fact:
        return self._fact("Incomplete messages", count, "attention", self._letters("incomplete"))

    def _letters(self, state: str, **names: str) -> str:
        return self._href("/dead-letters/each", **names, state=state)

    def _last(self, channel: ChannelSnapshot) -> str:
        age = channel.last_message_age_s
        return self._say("never") if age is None else self._say("{age} ago", age=Span(age))

    def _last_day(self, channel: ChannelSnapshot) -> str:
        """What the picture of the last 24 hours shows, for those who do not see it."""
        received, dead = channel.received_by_hour, sum(channel.dead_by_hour)
        if not received:
            return ""
        said = self._say("last 24 hours: {n} received, at most {m} in an hour", n=sum(received), m=max(received))
        return f"{said}, {self._say('{n} dead', n=dead)}" if dead else said

    def _ago(self, text: str, at: datetime | None) -> str:
        return "" if at is None else self._say(text, age=Span((self._site.now - at).total_seconds()))

    def _say(self, text: str, **values: str | int | Span | Phrase) -> str:
        return Phrase(text, values).say(self._catalogue)


@lru_cache(4096)
def _quoted(name: str) -> str:
    """A name of a channel or destination as addresses have it; there are a thousand on each page."""
    return quote_plus(name)


def meaning(reason: ReasonCode) -> str:
    """The first sentence of the help text; the rest (what to do) is in docs/reason-codes.md."""
    return reason.help.partition(". ")[0].rstrip(".") + "."


def _iso(at: datetime | None) -> str:
    return "" if at is None else at.isoformat(timespec="seconds")


def worst_first(rows: Sequence[Item]) -> list[Item]:
    """Rows in reading order: worst level first, then by name."""
    return sorted(rows, key=lambda row: (row.level.rank, row.name))


def row_id(kind: str, name: str) -> str:
    """An element id that no channel's or destination's name can break."""
    return f"{kind}-" + "".join(char if char.isalnum() or char in "-_." else f"~{ord(char):x}" for char in name)


def _warn(count: int) -> str:
    return "attention" if count else "ok"
