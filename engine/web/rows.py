"""From a snapshot to the rows of the overview, in one language: every string of the overview is made here.

A row is a mapping of plain values, and equal to the one before it as long as nothing visible changes: the page renders
and sends rows that differ.

The last 24 hours of a channel as a small picture: a bar for each hour, and below the line those with dead letters.

Pure: the shapes are paths of SVG (SVG 2, 9.3) in a box of `WIDTH` by `HEIGHT` units; a template draws them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from engine.model.texts.phrases import PageText, Span
from engine.monitoring.snapshot.channels import ChannelSnapshot, DestinationSnapshot, LaneSnapshot
from engine.monitoring.snapshot.states import DestinationState, Level
from engine.web.cells import Badge, Cells, Fact, Row, Trouble, iso, meaning, quoted, row_id, warn

Item = TypeVar("Item", ChannelSnapshot, DestinationSnapshot)
LANES_SHOWN = 8

# Counts of today's messages -> words, and urgency for a person.
TODAY: dict[str, tuple[PageText, str]] = {
    "today_delivered": ("delivered", "ok"),
    "today_dead": ("dead", "attention"),
    "today_filtered": ("filtered", "ok"),
    "today_repeat": ("repeated", "ok"),
    "today_same_bytes": ("same bytes", "attention"),
    "today_incomplete": ("incomplete", "attention"),
}
LEVEL_WORDS: dict[Level, PageText] = {Level.OK: "In order", Level.ATTENTION: "Attention", Level.PROBLEM: "Problem"}


class Rows:
    """The rows of one snapshot."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def strip(self) -> Row:
        cells, site = self._cells, self._cells.site
        found = site.findings()
        worst = found[0] if found else site.overall()
        waiting = sum(lane.waiting for channel in site.channels for lane in channel.lanes)
        stored = sum(channel.stored_waiting for channel in site.channels)
        unmapped_yet = cells.href("/messages", state="stored", since="all")
        facts = [
            cells.fact("Waiting", waiting, href=cells.href("/waiting")),
            *([cells.fact("Not mapped yet", stored, href=unmapped_yet)] if stored else []),
            cells.fact("Dead letters", site.dead_total, warn(site.dead_total), cells.letters("dead")),
            *([self._incomplete(site.incomplete_total)] if site.incomplete_total else []),
            cells.fact(
                "Unmapped codes",
                site.unmapped_words.say(cells.catalogue),
                warn(site.unmapped_total),
                cells.href("/codes"),
            ),
            cells.fact("Disk", self._disk()),
        ]
        return {
            "badge": Badge(worst.level.value, worst.level.value, cells.say(LEVEL_WORDS[worst.level])),
            "headline": worst.phrase.say(cells.catalogue),
            "facts": tuple(facts),
        }

    def footer(self) -> Row:
        cells, site = self._cells, self._cells.site
        facts = [
            cells.fact("Running for", Span((site.now - site.started_at).total_seconds()).say(cells.catalogue)),
            cells.fact("Version", site.version),
            cells.fact("Configuration", site.config_hash or "-"),
            cells.fact("Last message number", site.journal.last_id),
        ]
        if site.journal.fsync_ms_p50 is not None:
            facts.append(cells.fact("Commit", f"{site.journal.fsync_ms_p50:.1f} ms"))
        if site.kept.since is not None:
            facts.append(cells.fact("Kept since", cells.day(site.kept.since)))
        if site.kept.next_at is not None:
            facts.append(cells.fact("Next to go", cells.day(site.kept.next_at)))
        verified = site.backup.verified_at
        said = cells.say("none yet") if verified is None else cells.clock_time(verified)
        if site.backup.same_disk:
            said = cells.say("{when}, on the disk of the journal", when=said)
        said = said if site.backup.folder else cells.say("no folder set")
        facts.append(cells.fact("Last verified backup", said))
        return {
            "as_of": cells.clock_time(site.now),
            "as_of_at": site.now.isoformat(timespec="seconds"),
            "facts": tuple(facts),
        }

    def summary(self, items: Sequence[ChannelSnapshot] | Sequence[DestinationSnapshot]) -> str:
        """A table's caption: the number of rows, and of those in trouble."""
        cells = self._cells
        problems = sum(item.level is Level.PROBLEM for item in items)
        attention = sum(item.level is Level.ATTENTION for item in items)
        said = [str(len(items))]
        if problems:
            said.append(cells.say("with a problem: {n}", n=problems))
        if attention:
            said.append(cells.say("to look at: {n}", n=attention))
        return " · ".join(said)

    def channel(self, channel: ChannelSnapshot) -> Row:
        cells = self._cells
        tee = channel.tee
        name = quoted(channel.name)
        busy = [lane for lane in channel.lanes if lane.waiting or lane.retrying or lane.held or lane.paused]
        return {
            "id": row_id("c", channel.name),
            "level": channel.level.value,
            "name": channel.name,
            "description": channel.description,
            "href": f"/analyzer?name={name}{cells.tail}",
            "where": f"{channel.kind} {channel.address}",
            "line": cells.line(channel),
            "tee": cells.say("tee: seen {n}, acknowledged by the middleware {m}", n=tee.seen, m=tee.acknowledged)
            if tee
            else "",
            "tee_lost": cells.say("tee: {n} messages not kept", n=tee.not_kept) if tee and tee.not_kept else "",
            "badge": cells.badge(channel),
            "paused": cells.paused(channel.paused),
            "last": cells.last(channel),
            "last_at": iso(channel.last_message_at),
            "usual": "" if channel.usual.words is None else channel.usual.words.say(cells.catalogue),
            "received": channel.today_received,
            "received_href": f"/messages?channel={name}&since={cells.today}{cells.tail}",
            "day": sparkline(channel.received_by_hour, channel.dead_by_hour),
            "day_words": cells.last_day(channel),
            "today": tuple(
                cells.fact(word, count, level)
                for name, (word, level) in TODAY.items()
                if (count := getattr(channel, name))
            ),
            "link_faults": cells.link_faults(channel.link.faults),
            "stored": cells.say("not mapped yet: {n}", n=channel.stored_waiting) if channel.stored_waiting else "",
            "stored_href": f"/messages?channel={name}&state=stored&since=all{cells.tail}",
            "lanes": tuple(self.lane(lane, name) for lane in busy[:LANES_SHOWN]),
            "lanes_idle": len(channel.lanes) - len(busy),
            "dead": channel.dead_total,
            "dead_href": f"/dead-letters/each?channel={name}&state=dead{cells.tail}",
            "incomplete_href": f"/dead-letters/each?channel={name}&state=incomplete{cells.tail}",
            "incomplete": cells.say("incomplete: {n}", n=channel.incomplete) if channel.incomplete else "",
        }

    def destination(self, destination: DestinationSnapshot) -> Row:
        cells = self._cells
        last_at, oldest = destination.last_delivered_at, destination.oldest_age_s
        then = ""
        if destination.state is DestinationState.BREAKER_OPEN and destination.breaker_until is not None:
            then = cells.next(destination.breaker_until)
        if destination.state is DestinationState.EXPECTED and destination.expected_until is not None:
            then = cells.say("until {time}", time=cells.short_time(destination.expected_until))
        if destination.paused is not None:
            then = cells.paused(destination.paused)
        name = quoted(destination.name)
        return {
            "id": row_id("d", destination.name),
            "level": destination.level.value,
            "name": destination.name,
            "href": f"/destinations/{name}?{cells.tail.removeprefix('&')}".rstrip("?"),
            "where": f"{destination.kind} {destination.address}",
            "badge": cells.badge(destination),
            "then": then,
            "waiting": destination.waiting,
            "oldest": "" if oldest is None else cells.say("oldest {age}", age=Span(oldest)),
            "in_flight": cells.say("under way: {n}", n=destination.in_flight) if destination.in_flight else "",
            "delivered": destination.delivered_today,
            "rate": cells.say("{n} a minute", n=f"{destination.rate_per_min:.0f}") if destination.rate_per_min else "",
            "last": cells.ago("last {age} ago", last_at),
            "last_at": iso(last_at),
            "trouble": self._trouble(destination),
            "dead": destination.dead,
            "dead_href": f"/dead-letters/each?destination={name}&state=dead{cells.tail}",
            "held": cells.held(destination),
            "held_href": f"/held?destination={name}{cells.tail}",
            "waiting_href": f"/waiting?destination={name}{cells.tail}",
        }

    def state_words(self) -> dict[str, str]:
        """Name and state of every row, without ages: a screen reader announces changes of these."""
        cells = self._cells
        return {
            row_id(kind, row.name): f"{row.name}: {row.words.say(cells.catalogue)}"
            for kind, rows in (("c", cells.site.channels), ("d", cells.site.destinations))
            for row in rows
        }

    def lane(self, lane: LaneSnapshot, channel: str) -> Row:
        """``channel``: its name as an address has it."""
        cells = self._cells
        return {
            "words": cells.say("{n} for {destination}", n=lane.waiting, destination=lane.destination),
            "waits": lane.waiting > 0,
            "oldest": "" if lane.oldest_age_s is None else cells.say("oldest {age}", age=Span(lane.oldest_age_s)),
            "trouble": None if lane.retrying is None else cells.retrying(lane.retrying),
            "held": cells.held(lane),
            "href": f"/waiting?channel={channel}&destination={quoted(lane.destination)}{cells.tail}",
            "held_href": f"/held?channel={channel}&destination={quoted(lane.destination)}{cells.tail}",
            "paused": "" if lane.paused is None else f"{cells.say('paused')} {cells.paused(lane.paused)}".strip(),
        }

    def _trouble(self, destination: DestinationSnapshot) -> Trouble | None:
        cells = self._cells
        if destination.retrying is not None:
            return cells.retrying(destination.retrying, held_by_breaker=destination.breaker_until is not None)
        if destination.last_error is None:
            return None
        error = destination.last_error
        return Trouble(error.code.value, cells.say(meaning(error.code)), cells.ago("{age} ago", error.at))

    def _disk(self) -> str:
        cells = self._cells
        free, days = cells.site.disk_free_bytes, cells.site.disk_days_left
        if free is None:
            return "-"
        said = cells.say("{gib} GiB free", gib=f"{free / (1 << 30):.1f}")
        return said if days is None else f"{said}, {cells.say('{n} days', n=int(days))}"

    def _incomplete(self, count: int) -> Fact:
        cells = self._cells
        return cells.fact("Incomplete messages", count, "attention", cells.letters("incomplete"))


def worst_first(rows: Sequence[Item]) -> list[Item]:
    """Rows in reading order: worst level first, then by name."""
    return sorted(rows, key=lambda row: (row.level.rank, row.name))


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
