"""From a snapshot to the rows of the overview, in one language: every string of the overview is made here.

A row is a mapping of plain values, and equal to the one before it as long as nothing visible changes: the page renders
and sends rows that differ.

The last 24 hours of a channel as a small picture: a bar for each hour, and below the line those with dead letters.

Pure: the shapes are paths of SVG (SVG 2, 9.3) in a box of `WIDTH` by `HEIGHT` units; a template draws them.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from engine.model.texts.phrases import PageText, Span
from engine.monitoring.snapshot.channels import ChannelSnapshot, DestinationSnapshot, LaneSnapshot
from engine.monitoring.snapshot.site import About, SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Level
from engine.monitoring.usual_gaps import hours_of_day
from engine.views.charts import Chart, by_hour
from engine.web.cells import Badge, Cells, Row, Trouble, iso, meaning, quoted, row_id

LEVEL_WORDS: dict[Level, PageText] = {Level.OK: "In order", Level.ATTENTION: "Attention", Level.PROBLEM: "Problem"}
RANKS = {level: rank for rank, level in enumerate(("problem", "attention", "ok", "calm"))}


def is_full(site: SiteSnapshot) -> bool:
    """Whether the disk is full, so that nothing is stored."""
    return any(one.about is About.DISK for one in site.alarms)


def is_kept(channel: ChannelSnapshot) -> bool:
    """Whether what is not stored now is sent again; a tee lets it pass."""
    return not channel.unheard and channel.tee is None


class Rows:
    """The rows of one snapshot."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells

    def volume(self) -> Chart | None:
        """Messages of this day by hour, before what is usual; None where no hour is known."""
        cells, site = self.cells, self.cells.site
        hours = hours_of_day(site.now, cells.zone)
        days = [one.received_by_hour for one in site.channels if one.received_by_hour]
        if not days:
            return None
        begun, sums = sum(begins <= site.now for begins in hours), [*map(sum, zip(*days, strict=True))]
        known = sums[-begun:]  # of a day of 25 hours the first is not among the last 24
        counts = [*[None] * (begun - len(known)), *known, *[None] * (len(hours) - begun)]
        bands = [*site.usual_by_hour, *[None] * len(hours)][: len(hours)]
        return by_hour([f"{begins.astimezone(cells.zone):%H}" for begins in hours], counts, bands, cells.say)

    def footer(self) -> Row:
        cells, site = self.cells, self.cells.site
        return {
            "as_of": cells.clock_time(site.now),
            "as_of_at": site.now.isoformat(timespec="seconds"),
            "facts": (cells.fact("Version", site.version),),
            "href": cells.href("/system"),
        }

    def summary(self, rows: Sequence[Row]) -> str:
        """A table's caption: the number of rows, and of those in trouble."""
        cells, levels = self.cells, [row["level"] for row in rows]
        said = [str(len(rows))]
        if problems := levels.count("problem"):
            said.append(cells.say("with a problem: {n}", n=problems))
        if attention := levels.count("attention"):
            said.append(cells.say("to look at: {n}", n=attention))
        if waits := sum(bool(row.get("waits_for_room")) for row in rows):
            said.append(cells.say("wait for room on the disk: {n}", n=waits))
        return " · ".join(said)

    def level_of(self, channel: ChannelSnapshot) -> tuple[Badge, str]:
        """What asks for a person first, and more about it: its state, else what waits. A consequence is calm where
        its cause is one entry: a full disk, or a destination that is away.
        """
        cells, tee, state = self.cells, channel.tee, channel.state
        lost = f"{cells.say('Not kept')}: {tee.not_kept}" if tee is not None and tee.not_kept else ""
        unread, gap = (one.say(cells.catalogue) if one is not None else "" for one in (channel.behind, channel.gap))
        held, critical = (sum(getattr(one, what) for one in channel.lanes) for what in ("held", "held_critical"))
        pauses = [channel.paused, *(one.paused for one in channel.lanes)]
        paused = next((one for one in pauses if one is not None), None)
        badge, more = cells.badge(channel), cells.paused(channel.paused) or channel.fault
        if state is ChannelState.WAITING and channel.last_message_at is None:
            badge = badge._replace(word=cells.say("never connected"))
        full = self._waits_for_room(channel)
        found: tuple[tuple[object, Callable[[], Badge]], ...] = (
            (critical, lambda: Badge("problem", "held", cells.say("critical: {n}", n=critical))),
            (lost or gap, lambda: Badge("problem", "problem", lost or cells.say("Attention"))),
            (full, lambda: Badge("calm", "pause", cells.say("keeps its results"))),
            (state.level is Level.PROBLEM, lambda: badge._replace(word=cells.say(state.words))),
            (state.level is Level.ATTENTION, lambda: badge),
            (held, lambda: Badge("attention", "held", cells.say("held back: {n}", n=held))),
            (channel.dead_total, lambda: Badge("attention", "dead", cells.say("Dead letters"))),
            (
                channel.incomplete,
                lambda: Badge("attention", "dead", cells.say("incomplete: {n}", n=channel.incomplete)),
            ),
            (channel.late, lambda: Badge("attention", "retry", cells.say("not mapped yet"))),
            (paused, lambda: Badge("attention", "pause", cells.say("paused"))),
            (channel.notice or unread, lambda: Badge("attention", "attention", cells.say("Attention"))),
            (any(map(self._is_stuck, channel.lanes)), lambda: Badge("attention", "retry", cells.say("retrying"))),
        )
        worst = next((made() for why, made in found if why), badge)
        return worst, more or cells.paused(paused) or gap or channel.notice or unread

    def _waits_for_room(self, channel: ChannelSnapshot) -> bool:
        return channel.state is ChannelState.REFUSING and is_full(self.cells.site) and is_kept(channel)

    def _is_stuck(self, lane: LaneSnapshot) -> bool:
        """One that fails although its destination takes others."""
        if lane.retrying is None or lane.expected:
            return False
        away = {one.name for one in self.cells.site.destinations if one.state is not DestinationState.OK}
        return lane.destination not in away

    def channel(self, channel: ChannelSnapshot) -> Row:
        cells, name = self.cells, quoted(channel.name)
        waiting, held, critical = (
            sum(getattr(one, what) for one in channel.lanes) for what in ("waiting", "held", "held_critical")
        )
        badge, note = self.level_of(channel)
        silent, full = channel.state is ChannelState.SILENT, self._waits_for_room(channel)
        works = badge.level in ("ok", "calm") and not full
        return {
            "id": row_id("c", channel.name),
            "level": "ok" if badge.level == "calm" else badge.level,
            "rank": (RANKS[badge.level], not critical, not full, channel.name),
            "waits_for_room": full,
            "works": None if channel.state is ChannelState.DISABLED else works,
            "name": channel.name,
            "note": note or channel.description,
            "href": f"/analyzer?name={name}{cells.tail}",
            "badge": badge,
            "last": cells.last(channel),
            "last_at": iso(channel.last_message_at),
            "last_level": "problem-text" if silent else "",
            "usual": "" if channel.usual.words is None else channel.usual.words.say(cells.catalogue),
            "received": channel.today_received,
            "received_href": f"/messages?channel={name}&since={cells.today}{cells.tail}",
            "day": sparkline(channel.received_by_hour, channel.dead_by_hour),
            "day_words": cells.last_day(channel),
            "stored": channel.stored_waiting,
            "stored_href": f"/messages?channel={name}&state=stored&since=all{cells.tail}",
            "waiting": waiting,
            "waiting_href": f"/waiting?channel={name}{cells.tail}",
            "held": held,
            "held_level": "critical" if critical else "attention",
            "held_href": f"/held?channel={name}{cells.tail}",
            "dead": channel.dead_total,
            "dead_href": f"/dead-letters/each?channel={name}&state=dead{cells.tail}",
            "incomplete": channel.incomplete,
            "incomplete_href": f"/dead-letters/each?channel={name}&state=incomplete{cells.tail}",
        }

    def destination(self, destination: DestinationSnapshot) -> Row:
        cells = self.cells
        oldest, then = destination.oldest_age_s, ""
        if destination.state is DestinationState.BREAKER_OPEN and destination.breaker_until is not None:
            then = cells.next(destination.breaker_until)
        if destination.state is DestinationState.EXPECTED and destination.expected_until is not None:
            then = cells.say("until {time}", time=cells.short_time(destination.expected_until))
        if destination.retrying is not None and destination.retrying.others_taken:
            then = destination.words.say(cells.catalogue)
        if destination.paused is not None:
            then = cells.paused(destination.paused)
        name = quoted(destination.name)
        return {
            "id": row_id("d", destination.name),
            "level": destination.state.level.value,
            "rank": (destination.state.level.rank, destination.name),
            "name": destination.name,
            "href": f"/destinations/{name}?{cells.tail.removeprefix('&')}".rstrip("?"),
            "kind": destination.kind,
            "where": f"{destination.kind} {destination.address}",
            "badge": cells.badge(destination)._replace(word=cells.say(destination.state.words)),
            "then": then,
            "waiting": destination.waiting,
            "oldest": "" if oldest is None else cells.say("oldest {age}", age=Span(oldest)),
            "delivered": destination.delivered_today,
            "last": cells.ago("last {age} ago", destination.last_delivered_at),
            "trouble": self._trouble(destination),
            "dead_href": f"/dead-letters/each?destination={name}&state=dead{cells.tail}",
            "held_href": f"/held?destination={name}{cells.tail}",
            "waiting_href": f"/waiting?destination={name}{cells.tail}",
        }

    def state_words(self) -> dict[str, str]:
        """Name and state of every row, without ages: a screen reader announces changes of these."""
        cells = self.cells
        return {
            row_id(kind, row.name): f"{row.name}: {row.words.say(cells.catalogue)}"
            for kind, rows in (("c", cells.site.channels), ("d", cells.site.destinations))
            for row in rows
        }

    def _trouble(self, destination: DestinationSnapshot) -> Trouble | None:
        cells = self.cells
        if destination.retrying is not None:
            return cells.retrying(destination.retrying, held_by_breaker=destination.breaker_until is not None)
        if destination.last_error is None:
            return None
        error = destination.last_error
        return Trouble(error.code.value, cells.say(meaning(error.code)), cells.ago("{age} ago", error.at))


WIDTH, BAR, HEIGHT = 24, 8, 10  # what is dead hangs below the bars, so that its place says it, not its colour alone
KEPT = 2048  # pictures: a channel has a new one every five minutes at most


class Sparkline(NamedTuple):
    """Attributes:
    received, dead: paths; empty where there is none.
    """

    received: str
    dead: str


@lru_cache(maxsize=KEPT)
def sparkline(received: Sequence[int], dead: Sequence[int]) -> Sparkline:
    """The picture of these hours, the oldest first."""
    return Sparkline(
        _bars(received, BAR), "".join(f"M{n} {BAR}h1v{HEIGHT - BAR}h-1z" for n, one in enumerate(dead) if one > 0)
    )


def _bars(counts: Sequence[int], height: int) -> str:
    most = max(counts, default=0)
    bars = ((n, max(1, round(height * one / most))) for n, one in enumerate(counts) if one > 0)
    return "".join(f"M{n} {BAR}h1v-{tall}h-1z" for n, tall in bars)
