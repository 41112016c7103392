"""The machine and the program: versions, copies, disk, journal, and the warnings that name no analyzer. No secrets."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial

from aiohttp import web

from engine.model.errors import ConfigError, ElsewhereError
from engine.model.journal.records import DELIVERIES
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_, PageText, Span, phrase_of
from engine.model.texts.units import size_words
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.queries.lanes import list_pauses
from engine.store.queries.reader import Reader
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.switching import offers
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import Route

PATH = "/system"
RELOAD = "reload"
MOST_FILES = 20  # named on the page
KINDS: dict[str, PageText] = {"channel": "Analyzer", "destination": "Destination", "key": "Setting"}
Facts = Iterator[tuple[str, str]]


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(_show, frame), LOOKING, whole=True),)


async def _show(frame: Frame, request: web.Request) -> web.Response:
    return await frame.show(request, _page, partial(_found, await _files(frame, request)))


def _page(asking: Asking) -> Page:
    words, site = asking.words, asking.site
    parts = ((N_("Program"), _program), (N_("Journal"), _journal), (N_("Copies"), _copies))
    values = {
        "parts": [(words.say(title), [fact for fact in facts(site, words) if fact[1]]) for title, facts in parts],
        "alarms": [phrase_of(text).say(words.catalogue) for text in site.alarms],
        "notes": [phrase_of(text).say(words.catalogue) for text in site.notes],
        "pauses": [],
        "offers": [],
        "changed": (),
        "plan": None,
        "wrong": (),
    }
    return Page("system", values)


async def _files(frame: Frame, request: web.Request) -> Values:
    """Files that were changed, and, for those who may reload, what a reload of them does."""
    asking = frame.asking(request)
    try:
        changed = await asyncio.to_thread(frame.loaded.changed_files)
    except OSError as error:
        changed = [str(error.strerror)]
    return {
        "changed": [shown(name, 300) for name in changed[:MOST_FILES]],
        "more_changed": grouped(len(changed) - MOST_FILES) if len(changed) > MOST_FILES else "",
        **(await _plan(frame, request, asking.words) if changed and RELOAD in asking.may else {}),
    }


def _found(files: Values, reader: Reader, asking: Asking) -> Values:
    words, pauses, reads = asking.words, list_pauses(reader), asking.principal.reads_notes
    return {
        **files,
        "pauses": [
            {
                "what": one.target.words,
                "who": shown(one.actor),
                "since": words.time(one.since_us),
                "why": shown(one.reason, 300) if reads else "",
                "offers": offers(asking, one.target, True),
            }
            for one in pauses
        ],
        "offers": []
        if DELIVERIES in {one.target for one in pauses}
        else offers(asking, DELIVERIES, False, restarts=False),
    }


async def _plan(frame: Frame, request: web.Request, words: Words) -> Values:
    """As `labrelay reload --dry-run`; where the reload is refused, the places in files, without values."""
    try:
        found = (await frame.give(request, RELOAD, {"dry_run": True}))["changes"]
    except ConfigError as error:
        return {"wrong": [shown(": ".join(one.split(": ")[:2]), 300) for one in error.problems[:MOST_FILES]]}
    except ElsewhereError:
        raise
    except OSError:
        return {}
    return {"plan": [(words.say(KINDS[one["kind"]]), one["name"], words.say(one["then"])) for one in found]}


def _program(site: SiteSnapshot, words: Words) -> Facts:
    yield words.say("Version"), site.version
    yield words.say("Configuration"), site.config_hash
    yield words.say("Started"), _time(site.started_at, words)
    yield words.say("Time zone"), site.timezone
    restarts = sum(site.task_restarts.values())
    yield words.say("Parts that fell over and were restarted"), grouped(restarts)


def _journal(site: SiteSnapshot, words: Words) -> Facts:
    journal, kept = site.journal, site.kept
    yield words.say("Integrity"), words.say("in order") if journal.integrity == "ok" else journal.integrity
    yield words.say("Takes messages"), words.say("yes") if journal.writable else words.say("no: see the warnings")
    yield words.say("Last message number"), grouped(journal.last_id)
    yield words.say("Size"), size_words(journal.size_bytes + journal.wal_bytes)
    yield words.say("Grows to"), size_words(kept.largest_bytes) if kept.largest_bytes else ""
    yield words.say("Kept since"), _time(kept.since, words)
    free = site.disk_free_bytes
    yield words.say("Free on the disk"), "" if free is None else size_words(free)
    days = site.disk_days_left
    yield words.say("Disk is full in"), "" if days is None else words.say("{n} days", n=int(days))


def _copies(site: SiteSnapshot, words: Words) -> Facts:
    backup = site.backup
    yield words.say("Folder"), backup.folder or words.say("no folder set")
    yield words.say("Last verified backup"), _time(backup.verified_at, words) or words.say("none yet")
    yield words.say("Has new rows up to"), _time(backup.rows_at, words)
    if backup.spare_behind_s is not None:
        behind = Span(backup.spare_behind_s).say(words.catalogue)
        yield words.say("Spare machine"), words.say("{name}, {time} behind", name=backup.spare, time=behind)
    yield words.say("Last restore for practice"), _time(backup.drill_at, words)
    yield words.say("It took"), "" if backup.drill_s is None else Span(backup.drill_s).say(words.catalogue)
    yield words.say("Under way"), backup.running
    yield words.say("Fault"), backup.fault
    yield (
        words.say("Place"),
        words.say("on the disk of the journal: a broken disk takes both") if backup.same_disk else "",
    )


def _time(at: datetime | None, words: Words) -> str:
    return "" if at is None else at.astimezone(words.zone).strftime("%Y-%m-%d %H:%M")
