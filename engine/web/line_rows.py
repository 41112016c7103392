"""From a snapshot to the page about one analyzer and the page about one destination, and the rows of reagent lots.

The lanes are what both pages share: the deliveries of one analyzer to one destination.
"""

from collections.abc import Sequence
from datetime import datetime

from engine.model.journal.journal_views import ReagentView
from engine.model.process.clock import from_us
from engine.model.texts.phrases import N_, PageText, Span
from engine.monitoring.snapshot.channels import (
    ChannelSnapshot,
    DestinationSnapshot,
    LaneSnapshot,
    LineStep,
    ReagentSnapshot,
    TeeSnapshot,
)
from engine.monitoring.snapshot.states import DestinationState
from engine.web import verdict
from engine.web.cells import Cells, Fact, Row, iso, quoted, warn
from engine.web.pages.words import shown
from engine.web.rows import Rows

# Counts of today's messages -> words, and urgency for a person.
TODAY: dict[str, tuple[PageText, str]] = {
    "today_delivered": ("delivered", "ok"),
    "today_dead": ("dead", "attention"),
    "today_filtered": ("filtered", "ok"),
    "today_repeat": ("repeated", "ok"),
    "today_same_bytes": ("same bytes", "attention"),
    "today_incomplete": ("incomplete", "attention"),
}
BEFORE = N_(
    "LabRelay started at {time}. The rows below are from before. After a sudden end the last ones may be missing."
)
AWAY = (DestinationState.RETRYING, DestinationState.BREAKER_OPEN, DestinationState.PROBING)
WHO: dict[str, PageText] = {
    "in": "analyzer",
    "out": "LabRelay",
    "about": "note",
    "analyzer": "analyzer",
    "middleware": "middleware",
}


def analyzer(cells: Cells, channel: ChannelSnapshot) -> Row:
    """The parts of the page about one channel that the snapshot has."""
    link = channel.link
    row = Rows(cells).channel(channel)
    return {
        "name": channel.name,
        "description": channel.description,
        "badge": row["badge"],
        "facts": (*_line(cells, channel), *_counts(cells, channel, row), *_tee(cells, channel.tee)),
        "lanes": [
            lane_row(cells, lane, channel.name, name=lane.destination, href=destination_href(cells, lane.destination))
            for lane in channel.lanes
        ],
        "steps": steps(cells, link.steps),
        "faults": tuple(
            {"what": one.words.say(cells.catalogue), "n": one.n, "share": 100 * one.n // link.faults[0].n}
            for one in link.faults
        ),
        **_findings(cells, channel.name),
        "advice": None,
        "last_fault": cells.ago("last {age} ago", link.last_fault_at),
        "lots": tuple(_lot(cells, lot) for lot in channel.reagents),
    }


def _line(cells: Cells, channel: ChannelSnapshot) -> list[Fact]:
    facts = [
        cells.fact("Line", channel.link.words.say(cells.catalogue)),
        cells.fact("Address", f"{channel.kind} {channel.address}"),
    ]
    pauses = [("", channel.paused), *((lane.destination, lane.paused) for lane in channel.lanes)]
    facts += [
        cells.fact("Paused", f"{where} {cells.paused(paused)}".strip(), "attention")
        for where, paused in pauses
        if paused is not None
    ]
    if channel.fault and all(one.subject != channel.name for one in cells.site.findings()):
        facts.append(cells.fact("Trouble", channel.fault, "problem"))
    if channel.connections:
        facts.append(cells.fact("Connected", ", ".join(channel.connections)))
    facts.append(cells.fact("Last message", cells.last(channel)))
    if channel.link.stray_bytes:
        facts.append(cells.fact("Bytes outside a session", channel.link.stray_bytes))
    return facts


def _counts(cells: Cells, channel: ChannelSnapshot, row: Row) -> list[Fact]:
    """Counts, each a link to the list of just these."""
    named = quoted(channel.name)
    stored, dead, incomplete = channel.stored_waiting, channel.dead_total, channel.incomplete
    waiting, held = (sum(getattr(lane, count) for lane in channel.lanes) for count in ("waiting", "held"))
    return [
        cells.fact("Received today", channel.today_received, href=row["received_href"]),
        cells.fact("Waiting", waiting, href=f"/waiting?channel={named}{cells.tail}"),
        *_if_any(*(cells.fact(word, getattr(channel, name), level) for name, (word, level) in TODAY.items())),
        *_if_any(
            cells.fact("Not mapped yet", stored, "attention", row["stored_href"]),
            cells.fact("Held back", held, "attention", f"/held?channel={named}{cells.tail}"),
            cells.fact("Dead letters", dead, "attention", row["dead_href"]),
            cells.fact("Incomplete messages", incomplete, "attention", row["incomplete_href"]),
        ),
    ]


def _if_any(*counts: Fact) -> list[Fact]:
    return [one for one in counts if one.value != "0"]


def _tee(cells: Cells, tee: TeeSnapshot | None) -> list[Fact]:
    if tee is None:
        return []
    return [
        cells.fact("Results seen", tee.seen),
        cells.fact("acknowledged by the middleware", tee.acknowledged),
        cells.fact("refused by the middleware", tee.refused, warn(tee.refused)),
        cells.fact("Orders seen", tee.middleware_seen),
        cells.fact("acknowledged by the analyzer", tee.middleware_acknowledged),
        cells.fact("Not kept", tee.not_kept, "problem" if tee.not_kept else "ok"),
    ]


def destination(cells: Cells, one: DestinationSnapshot) -> Row:
    """The parts of the page about one destination that the snapshot has."""
    row = Rows(cells).destination(one)
    facts = [
        cells.fact("Address", row["where"]),
        cells.fact("Waiting", one.waiting, href=row["waiting_href"]),
        cells.fact("Under way", one.in_flight),
        cells.fact("Delivered today", one.delivered_today),
        cells.fact("Last delivered", row["last"] or cells.say("never")),
    ]
    if row["oldest"]:
        facts.insert(2, cells.fact("Oldest that waits", row["oldest"]))
    if one.breaker_until is not None:
        facts.append(cells.fact("Next try", row["then"], "attention"))
    if one.expected_until is not None:
        facts.append(cells.fact("Expected downtime until", cells.short_time(one.expected_until)))
    if one.paused is not None:
        facts.append(cells.fact("Paused", cells.paused(one.paused), "attention"))
    facts += _if_any(
        cells.fact("Held back", one.held, "attention", row["held_href"]),
        cells.fact("Dead letters", one.dead, "attention", row["dead_href"]),
    )
    return {
        "name": one.name,
        "description": "",
        "badge": row["badge"],
        "facts": tuple(facts),
        "trouble": row["trouble"],
        **_findings(cells, one.name),
        "advice": _advice(cells, one),
        "lanes": [
            lane_row(cells, lane, channel.name, name=channel.name, href=analyzer_href(cells, channel.name))
            for channel in cells.site.channels
            for lane in channel.lanes
            if lane.destination == one.name
        ],
    }


def _advice(cells: Cells, one: DestinationSnapshot) -> Row | None:
    if one.state not in AWAY:
        return None
    card = verdict.trouble(cells, "away", one.name) or {}
    return card | {"facts": (), "more": verdict.goes_out_by_itself(cells, one.name)}


def _findings(cells: Cells, name: str) -> Row:
    """What is wrong with it, in sentences."""
    return {"findings": [one for one in cells.site.findings() if one.subject == name], "catalogue": cells.catalogue}


def lane_row(cells: Cells, lane: LaneSnapshot, channel: str, *, name: str, href: str) -> Row:
    """A lane, named by its other end.

    Args:
        name: of the other end.
        href: of the page about it.
    """
    named = f"channel={quoted(channel)}&destination={quoted(lane.destination)}"
    troubled = lane.retrying is not None and not lane.expected
    return {
        "oldest": "" if lane.oldest_age_s is None else cells.say("oldest {age}", age=Span(lane.oldest_age_s)),
        "trouble": None if lane.retrying is None else cells.retrying(lane.retrying),
        "held": cells.held(lane),
        "href": f"/waiting?{named}{cells.tail}",
        "held_href": f"/held?{named}{cells.tail}",
        "paused": "" if lane.paused is None else f"{cells.say('paused')} {cells.paused(lane.paused)}".strip(),
        "name": name,
        "page": href,
        "channel": channel,
        "destination": lane.destination,
        "level": "attention" if troubled or lane.held or lane.paused or lane.dead else "ok",
        "waiting": lane.waiting,
        "delivered": lane.delivered_today,
        "dead": lane.dead,
        "dead_href": f"/dead-letters/each?{named}&state=dead{cells.tail}",
        "offers": (),
    }


def analyzer_href(cells: Cells, name: str) -> str:
    return f"/analyzer?name={quoted(name)}{cells.tail}"


def destination_href(cells: Cells, name: str) -> str:
    return f"/destinations/{quoted(name)}?{cells.tail.removeprefix('&')}".rstrip("?")


def steps(cells: Cells, found: Sequence[LineStep]) -> list[Row]:
    """Things that passed on a line, the newest first; where the program was started in between, a row says so."""
    started = cells.site.started_at
    rows = [_step(cells, one) for one in reversed(found)]
    since = sum(one.at >= started for one in found)
    if since < len(found):
        said = cells.say(BEFORE, time=cells.clock_time(started))
        rows.insert(since, {"started": said, "level": "calm"})
    return rows


def _step(cells: Cells, one: LineStep) -> Row:
    who = WHO[one.way]
    return {
        "started": "",
        "at": cells.line_time(one.at),
        "at_iso": one.at.isoformat(timespec="milliseconds"),
        "who": "LabRelay" if who == "LabRelay" else cells.say(who),
        "what": one.words.say(cells.catalogue),
        "level": "calm" if one.good is None else "ok" if one.good else "attention",
        "verdict": "" if one.verdict is None else one.verdict.say(cells.catalogue),
    }


def lots(cells: Cells, found: Sequence[ReagentView]) -> tuple[Row, ...]:
    """Rows of a search over all analyzers."""
    return tuple(
        _lot(cells, ReagentSnapshot.of(view))
        | {"channel": view.channel, "messages": str(view.messages), "first": cells.clock_time(from_us(view.first_us))}
        for view in found
    )


def _lot(cells: Cells, reagent: ReagentSnapshot) -> Row:
    over = reagent.expires and reagent.expires < cells.today[: len(reagent.expires)]
    last: datetime | None = reagent.last_at
    return {
        "name": shown(reagent.name) or "-",
        "lot": shown(reagent.lot),
        "href": cells.href("/reagents", lot=reagent.lot),
        "expires": shown(reagent.expires) or "-",
        "expired": cells.say("expired") if over else "",
        "tests": ", ".join(map(shown, reagent.tests)) or "-",
        "left": shown(reagent.left) or "-",
        "last": cells.ago("{age} ago", last),
        "last_at": iso(last),
    }
