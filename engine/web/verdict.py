"""The top of the overview: the worst of all in one sentence with its step, its cause, and figures."""

from collections.abc import Iterator, Sequence

from engine.model.texts.phrases import N_, Span
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.units import size_words
from engine.monitoring.snapshot.channels import DestinationSnapshot
from engine.monitoring.snapshot.site import About, SiteSnapshot, disk_findings
from engine.web.cells import Badge, Cells, Fact, Row, meaning, quoted, warn
from engine.web.rows import LEVEL_WORDS, RANKS, is_full, is_kept

DISK_FULL = N_("The disk is full: nothing is stored")
STORED = N_("All that came is stored.")
FULL = N_("Analyzers keep their results, and send them again. Free room: then messages are taken by themselves.")
AWAY = N_("Waiting results go out by themselves, in order, once the server answers.")
WORKS = N_("Analyzers that receive or rest as usual: {n} of {m}.")
OF_JOURNAL = (About.DISK, About.JOURNAL, About.ANCHOR, About.KEY)
# What a person can do: a question or an act, more about it, and the words of a link.
Advice = tuple[str, str, str]
MAINTAINED: Advice = N_(("Is it being maintained?", "Then silence its alerts until it is back.", "Alerts"))
CALL: Advice = N_(("Call {who}", "Say what the cause is, and since when.", ""))
URGENT: Advice = N_(("Urgent results", "Phone those that cannot wait.", "Waiting"))
ROOM: Advice = N_(("Free room on this disk", "Begin with files of other programs, such as logs.", ""))
COPIES: Advice = N_(("Put the copies on another disk", "They are on the disk of the journal.", ""))
OLDER: Advice = N_(("Let old messages go earlier", "A shorter time to keep them is a setting.", "Help"))


def strip(cells: Cells, todos: Sequence[Row], channels: Sequence[Row]) -> Row:
    """The verdict, with the step of the worst cause on the to-do list, and figures.

    Args:
        todos: all causes; what is not on the list has no step.
    """
    finding = cells.site.overall()
    row = min(todos, key=lambda row: RANKS[row["badge"].level], default=None)
    step: Row | None = None
    if row is None or RANKS[finding.level.value] < RANKS[row["badge"].level]:
        badge = Badge(finding.level.value, finding.level.value, cells.say(LEVEL_WORDS[finding.level]))
        headline, row = finding.phrase.say(cells.catalogue), {"kind": "", "subject": ""}
    else:
        badge, headline, step = row["badge"], row["said"]["words"], row["step"]
        if row["kind"] == About.DISK and is_full(cells.site):  # how much, and where, is on the to-do list
            headline = cells.say(DISK_FULL)
    card = trouble(cells, row["kind"], row["subject"])
    if card is not None:
        card["badge"] = Badge(badge.level, badge.icon, card["badge"].word)
        if not row["step"]["href"]:
            step = {"words": cells.say(ROOM[0]), "href": "#trouble"}
    return {
        "trouble": card,
        "badge": badge,
        "headline": headline,
        "step": step,
        "more": _more(cells, row["kind"], row["subject"], channels),
        "facts": tuple(_figures(cells)),
    }


def _more(cells: Cells, kind: str, subject: str, channels: Sequence[Row]) -> str:
    """What a person asks next: whether results are lost, and how much works."""
    site = cells.site
    if is_full(site) and all(map(is_kept, site.channels)):
        return cells.say(FULL)
    if kind == "away" and (said := goes_out_by_itself(cells, subject)):
        return said
    on = [one["works"] for one in channels if one["works"] is not None]
    works = cells.say(WORKS, n=sum(on), m=len(on))
    return f"{cells.say(STORED)} {works}" if _is_whole(site) else works


def goes_out_by_itself(cells: Cells, name: str) -> str:
    """That what waits needs no person: the destination does not answer, and no lane to it is paused. Else empty."""
    site = cells.site
    lanes = [lane for one in site.channels for lane in one.lanes if lane.destination == name]
    causes = [one.last_error.code for one in site.destinations if one.name == name and one.last_error is not None]
    is_so = causes == [ReasonCode.NO_ANSWER] and all(lane.paused is None for lane in lanes)
    return cells.say(AWAY) if is_so else ""


def _is_whole(site: SiteSnapshot) -> bool:
    """Whether nothing speaks against it that all that came is stored."""
    lost = (
        one.notice or one.lost or one.incomplete or one.link.stray_bytes or (one.tee is not None and one.tee.not_kept)
        for one in site.channels
    )
    of_journal = (one.about in OF_JOURNAL for one in site.alarms)
    return site.journal.writable and site.journal.integrity == "ok" and not any(of_journal) and not any(lost)


def _figures(cells: Cells) -> Iterator[Fact]:
    site = cells.site
    received, delivered, stored = (
        sum(getattr(one, what) for one in site.channels)
        for what in ("today_received", "today_delivered", "stored_waiting")
    )
    waiting, held, critical = (
        sum(getattr(one, what) for one in site.destinations) for what in ("waiting", "held", "held_critical")
    )
    oldest = max((one.oldest_age_s for one in site.destinations if one.oldest_age_s is not None), default=None)
    yield cells.fact("Received today", received, href=cells.href("/messages", since=cells.today))
    yield cells.fact("Delivered", delivered, "calm", more=f"{100 * delivered / received:.1f} %" if received else "")
    old = "" if oldest is None else cells.say("oldest {age}", age=Span(oldest))
    yield cells.fact("Waiting", waiting, href=cells.href("/waiting"), more=old)
    if stored:
        yield cells.fact("Not mapped yet", stored, href=cells.href("/messages", state="stored", since="all"))
    more = cells.say("critical: {n}", n=critical) if critical else ""
    yield cells.fact("Held back", held, "problem" if critical else warn(held), cells.href("/held"), more)
    yield cells.fact("Dead letters", site.dead_total, warn(site.dead_total), cells.letters("dead"))
    if site.incomplete_total:
        yield cells.fact("Incomplete messages", site.incomplete_total, "attention", cells.letters("incomplete"))
    full = disk_findings(site.disk_free_bytes, site.disk_days_left)
    yield _room(cells, full[0].level.value if full else "calm")
    copied = site.backup.verified_at
    yield cells.fact("Last copy", cells.say("none yet") if copied is None else cells.short_time(copied), "calm")


def trouble(cells: Cells, kind: str, subject: str) -> Row | None:
    """A full disk, or a server that does not answer: its cause, what can be done, and how long there is room."""
    if kind == About.DISK:
        return _disk(cells)
    away = [one for one in cells.site.destinations if kind == "away" and one.name == subject]
    return _away(cells, away[0]) if away else None


def _away(cells: Cells, one: DestinationSnapshot) -> Row:
    last, error, retrying = one.last_delivered_at, one.last_error, one.retrying
    waits = f"/waiting?destination={quoted(one.name)}{cells.tail}"
    return {
        "badge": cells.badge(one)._replace(word=cells.say(one.state.words)),
        "name": one.name,
        "where": one.address,
        "more": "",
        "advice": (
            _advice(cells, MAINTAINED, cells.href("/alerts")),
            _advice(cells, CALL, who=one.contact or one.name),
            _advice(cells, URGENT, waits),
        ),
        "facts": _known(
            cells.fact("Cause", "" if error is None else cells.say(error.away or meaning(error.code))),
            cells.fact("Last delivered", cells.say("never") if last is None else cells.short_time(last)),
            cells.fact("Failed attempts", "" if retrying is None else retrying.attempt),
            cells.fact("Next try", "" if one.breaker_until is None else cells.short_time(one.breaker_until)),
            cells.fact("Waiting", one.waiting, href=waits),
            _room(cells),
        ),
    }


def _disk(cells: Cells) -> Row:
    site, kept = cells.site, cells.site.kept
    return {
        "badge": Badge("problem", "problem", cells.say("Disk")),
        "name": cells.say("Free on the disk") + f": {_free(cells)}",
        "where": "",
        "more": "",
        "advice": (
            _advice(cells, ROOM),
            *((_advice(cells, COPIES),) if site.backup.same_disk else ()),
            _advice(cells, OLDER, cells.href("/help")),
        ),
        "facts": _known(
            cells.fact("Journal", size_words(site.journal.size_bytes + site.journal.wal_bytes)),
            cells.fact("Kept since", "" if kept.since is None else cells.day(kept.since)),
            cells.fact("Next to go", "" if kept.next_at is None else cells.day(kept.next_at)),
        ),
    }


def _advice(cells: Cells, advice: Advice, href: str = "", **values: str) -> tuple[str, ...]:
    what, more, link = advice
    said = ("", cells.say(what, **values), cells.say(more))
    return (*said, cells.say(link), href) if href else said


def _known(*facts: Fact) -> tuple[Fact, ...]:
    return tuple(one for one in facts if one.value)


def _room(cells: Cells, level: str = "ok") -> Fact:
    days = cells.site.disk_days_left
    if days is not None:
        return cells.fact("Disk", cells.say("{n} days", n=int(days)), level)
    return cells.fact("Free on the disk", _free(cells), level)


def _free(cells: Cells) -> str:
    free = cells.site.disk_free_bytes
    return "-" if free is None else size_words(free)
