"""The parts of the page's rows, in one language: badges, labelled values, and sentences about pauses, retries and ages.

Nothing here knows HTML; the names are those that the templates read.
"""

from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode
from zoneinfo import ZoneInfo

from engine.model.texts.phrases import Catalogue, Phrase, Span
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.channels import ChannelSnapshot, DestinationSnapshot, LaneSnapshot, PendingRetry
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Paused

Row = dict[str, Any]

ICONS: dict[ChannelState | DestinationState, str] = {
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
# Neither good nor bad: no colour. Green is for states that demonstrably work.
_CALM = {ChannelState.QUIET, ChannelState.DISABLED, DestinationState.IDLE, DestinationState.EXPECTED}


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
    more: str = ""  # small print beside it


class Trouble(NamedTuple):
    """A reason code, its meaning in one sentence, and what happens next."""

    code: str
    meaning: str
    then: str


class Cells:
    """The parts of one snapshot's rows.

    Args:
        language: for links, where the reader has chosen one.

    Attributes:
        tail: of an address that has a query.
        today: the day of the snapshot on the site's clock, as ``2026-03-01``.
    """

    def __init__(self, site: SiteSnapshot, catalogue: Catalogue, language: str = "") -> None:
        self.site = site
        self.catalogue = catalogue
        self.tail = f"&lang={language}" if language else ""
        self._language = language
        self.zone = ZoneInfo(site.timezone)
        self.today = self.day(site.now)

    def badge(self, row: ChannelSnapshot | DestinationSnapshot) -> Badge:
        level = "calm" if row.state in _CALM else row.state.level.value
        return Badge(level, ICONS[row.state], row.words.say(self.catalogue))

    def paused(self, paused: Paused | None) -> str:
        """The person, time and reason of a pause, as far as known."""
        if paused is None:
            return ""
        said = []
        if paused.by:
            said.append(self.say("by {who}", who=paused.by))
        if paused.since is not None:
            said.append(self.say("since {time}", time=self.short_time(paused.since)))
        return " ".join(said) + (f": {paused.reason}" if paused.reason else "")

    def held(self, row: LaneSnapshot | DestinationSnapshot) -> str:
        if not row.held:
            return ""
        if row.held_age_s is None:
            said = self.say("held back: {n}", n=row.held)
        else:
            said = self.say("held back: {n}, for {age}", n=row.held, age=Span(row.held_age_s))
        return f"{said}; {self.say('critical: {n}', n=row.held_critical)}" if row.held_critical else said

    def retrying(self, retrying: PendingRetry, *, held_by_breaker: bool = False) -> Trouble:
        """``held_by_breaker``: the time of the next attempt is shown with the state, and only there."""
        said = self.say("attempts failed: {n}", n=retrying.attempt)
        if retrying.message is not None:
            said = f"{self.say('message {n} of {channel}', n=retrying.message, channel=retrying.channel)}, {said}"
        if retrying.next_at is not None and not held_by_breaker:
            said = f"{said}, {self.next(retrying.next_at)}"
        return Trouble(retrying.code.value, self.say(meaning(retrying.code)), said)

    def next(self, at: datetime) -> str:
        seconds = (at - self.site.now).total_seconds()
        return self.say("next try in {age}", age=Span(seconds)) if seconds >= 1 else self.say("next try now")

    def href(self, path: str, **query: str) -> str:
        if self._language:
            query["lang"] = self._language
        return f"{path}?{urlencode(query)}"

    def day(self, at: datetime) -> str:
        return at.astimezone(self.zone).strftime("%Y-%m-%d")

    def short_time(self, at: datetime) -> str:
        """As short as it stays unambiguous: today's without the day."""
        local, today = at.astimezone(self.zone), self.site.now.astimezone(self.zone).date()
        return local.strftime("%H:%M" if local.date() == today else "%Y-%m-%d %H:%M")

    def clock_time(self, at: datetime) -> str:
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S")

    def line_time(self, at: datetime) -> str:
        """Of something on a line: with milliseconds; today's without the day."""
        local, today = at.astimezone(self.zone), self.site.now.astimezone(self.zone).date()
        day = "" if local.date() == today else f"{local:%Y-%m-%d} "
        return day + local.strftime("%H:%M:%S.%f")[:-3]

    def fact(self, label: str, value: str | int, level: str = "ok", href: str = "", more: str = "") -> Fact:
        return Fact(self.say(label), str(value), level, href, more)

    def letters(self, state: str, **names: str) -> str:
        return self.href("/dead-letters/each", **names, state=state)

    def last(self, channel: ChannelSnapshot) -> str:
        age = channel.last_message_age_s
        return self.say("never") if age is None else self.say("{age} ago", age=Span(age))

    def last_day(self, channel: ChannelSnapshot) -> str:
        """What the picture of the last 24 hours shows, for those who do not see it."""
        received, dead = channel.received_by_hour, sum(channel.dead_by_hour)
        if not received:
            return ""
        said = self.say("last 24 hours: {n} received, at most {m} in an hour", n=sum(received), m=max(received))
        return f"{said}, {self.say('{n} dead', n=dead)}" if dead else said

    def ago(self, text: str, at: datetime | None) -> str:
        return "" if at is None else self.say(text, age=Span((self.site.now - at).total_seconds()))

    def say(self, text: str, **values: str | int | Span | Phrase) -> str:
        return Phrase(text, values).say(self.catalogue)


@lru_cache(4096)
def quoted(name: str) -> str:
    """A name of a channel or destination as addresses have it; there are a thousand on each page."""
    return quote_plus(name)


def meaning(reason: ReasonCode) -> str:
    """The first sentence of the help text; the rest (what to do) is in `labrelay help reasons`."""
    return reason.help.partition(". ")[0].rstrip(".") + "."


def iso(at: datetime | None) -> str:
    return "" if at is None else at.isoformat(timespec="seconds")


@lru_cache(4096)
def row_id(kind: str, name: str) -> str:
    """An element id that no channel's or destination's name can break."""
    return f"{kind}-" + "".join(char if char.isalnum() or char in "-_." else f"~{ord(char):x}" for char in name)


def warn(count: int) -> str:
    """The level of a count that should be zero."""
    return "attention" if count else "ok"
