"""The pages of this feature.

An entry of the to-do list as the page shows it, in the reader's language, with its one next step.

A step leads to the page where it is done. What is done at the computer of LabRelay is a command; a wall screen has
neither.

One entry of the to-do list with all that can be said about it: take it, give it back, leave a note, put it off.

The list itself is on the overview (`engine.web.render`), whose buttons are given here, too. The verbs are those of the
control socket, under the person's name.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from aiohttp import web

from engine.features.todo.rules import causes
from engine.model.errors import LabRelayError, RefusedError
from engine.model.process.clock import from_us
from engine.model.site.permissions import ACTING, LOOKING
from engine.model.site.todo import Mark, Since
from engine.model.texts.phrases import N_, R_, PageText
from engine.monitoring.todo import Entry, Todo, Way, without_notes
from engine.store.queries.reader import Reader
from engine.views.shifts import ends
from engine.web.asked import NO_CAUSE, counted
from engine.web.cells import Badge, Fact, Row, row_id
from engine.web.forms import Form
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values
from engine.web.pages.words import Words, grouped, shown
from engine.web.render import Strip
from engine.web.routes import PRINCIPAL, Route
from engine.web.rows import LEVEL_WORDS

TODO = "/todo"
LONGEST_CAUSE, LONGEST_NOTE = 200, 500
COMMAND = N_("At the computer of LabRelay:")


_ANALYZER = (
    *("silent", "not-connected", "down", "not-taking", "notice", "tee"),
    *("late", "behind", "gap", "paused", "same-bytes"),
)


def _way(entry: Entry) -> Way | None:
    """Of an entry that is read from the snapshot; others name their own."""
    if entry.kind in _ANALYZER:
        return Way("Look at the analyzer", "/analyzer", {"name": entry.subject})
    match entry.kind:
        case "away" | "paused-destination":
            return Way("Look at the destination", f"/destinations/{quote(entry.subject, safe='')}")
        case "held":
            return Way("Decide: {n}", "/held", {"channel": entry.subject, "destination": entry.destination})
        case "persons":
            return Way("Say whose results these are", "/held")
        case "refused-by-receivers":
            return Way("Look at the dead letters", "/dead-letters")
    return entry.way


def todo_row(todo: Todo, words: Words) -> Row:
    """All that a reader sees of an entry; equal to the one before it as long as nothing of it changes."""
    entry, state = todo.entry, todo.state
    since = entry.since
    snooze = state.snooze if todo.is_snoozed else None
    return {
        "id": row_id("t", entry.key),
        "ids": [row_id("t", entry.key)],
        "members": [],
        "kind": entry.kind,
        "subject": entry.subject,
        "key": entry.key,
        "href": words.href(TODO, key=entry.key),
        "badge": Badge(entry.level.value, entry.level.value, words.say(LEVEL_WORDS[entry.level])),
        "said": {
            "id": f"{row_id('t', entry.key)}-said",
            "words": entry.phrase.say(words.catalogue),
            "meaning": words.reason(entry.code),
            "cause": shown(entry.cause, LONGEST_CAUSE),
            "since": words.say("since {time}", time=short_time(since, words)) if since is not None else "",
            "since_iso": since.isoformat(timespec="seconds") if since is not None else "",
        },
        "step": _step(entry, words),
        "taken": _by("taken by {who}", state.taken, words),
        "is_taken": state.taken is not None,
        "note": _by("note by {who}", state.note, words),
        "note_text": shown(state.note.text, LONGEST_NOTE) if state.note is not None else "",
        "snoozed": _by("put off by {who}", snooze, words),
        "until": words.say("until {time}", time=short_time(from_us(snooze.until_us), words)) if snooze else "",
        "why": shown(snooze.text, LONGEST_NOTE) if snooze is not None else "",
    }


def _step(entry: Entry, words: Words) -> Row:
    """The words of a link and its address; without an address: the words before a command, and the command."""
    way = _way(entry)
    if way is None:
        return {"words": words.say(COMMAND), "href": "", "command": entry.step}
    filters = dict(way.filters)
    if "cause" in filters and entry.code:
        filters["cause"] = filters["cause"] or NO_CAUSE
    return {"words": words.say(way.words, n=entry.count), "href": words.href(way.path, **filters), "command": ""}


def _by(text: str, mark: Mark | None, words: Words) -> str:
    """Who and when, as far as it is known."""
    if mark is None:
        return ""
    said = words.say(text, who=shown(mark.by) or "?")
    return f"{said}, {short_time(from_us(mark.at_us), words)}" if mark.at_us else said


def short_time(at: datetime, words: Words) -> str:
    """As short as it stays unambiguous: of the day of ``words.now`` without the day."""
    local = at.astimezone(words.zone)
    return local.strftime("%H:%M" if local.date() == words.now.astimezone(words.zone).date() else "%Y-%m-%d %H:%M")


def looked_row(since: Since, words: Words) -> Row:
    """What came and went since a person last looked, with links to the lists."""
    from_then = words.time(since.at_us).replace(" ", "T")
    facts = []
    if since.new:
        facts.append(
            Fact(words.say("New to do"), grouped(len(since.new)), "attention", f"#{row_id('t', since.new[0])}")
        )
    if since.messages is not None:
        href = words.href("/messages", **{"from": from_then})
        facts.append(Fact(words.say("Messages received"), counted(since.messages), "ok", href))
    if since.letters is not None:
        href = words.href("/dead-letters/each", since=from_then, state="dead")
        level = "attention" if since.letters else "ok"
        facts.append(Fact(words.say("New dead letters"), grouped(since.letters), level, href))
    return {
        "when": words.say("Since you last looked: {time}", time=short_time(from_us(since.at_us), words)),
        "facts": facts,
        "gone": [shown(key, LONGEST_CAUSE) for key in since.gone],
        "gone_count": grouped(len(since.gone)),
    }


def _listed_rows(todos: Sequence[Todo], words: Words, notes: bool) -> list[Row]:
    return [_cause(found if notes else list(map(without_notes, found)), words) for found in causes(todos)]


def _cause(found: Sequence[Todo], words: Words) -> Row:
    """Entries of one cause: the words of all of them, the names, the time of the first."""
    first, *more = found
    rows = [todo_row(one, words) for one in found]
    if not more:
        return rows[0]
    entry = first.entry
    is_alone = sum(one.entry.kind == entry.kind for one in found) == 1
    together = entry.together
    assert together is not None  # of `causes`
    count = sum(one.entry.count for one in found if one.entry.kind == entry.kind) if together.sums else len(found)
    key = f"{entry.kind}-{entry.level.value}-{'critical' if entry.critical else 'all'}"
    since = min((row["said"] for row in rows), key=lambda said: said["since_iso"] or "~")
    told = rows[0]["said"]["words"] if is_alone else words.say(together.words, n=count)
    said = {"id": f"{row_id('t', key)}-said", "words": told, "meaning": "", "cause": ""}
    href = words.href(together.way.path) + together.way.fragment
    step = {"words": words.say(together.way.words, n=count), "href": href, "command": ""}
    return rows[0] | {
        "id": row_id("t", key),
        "said": said | {name: since[name] for name in ("since", "since_iso")},
        "step": rows[0]["step"] if is_alone else step,
        "ids": [row["id"] for row in rows],
        "members": [
            (row["id"], name or row["said"]["words"], row["href"])
            for row, name in zip(rows, _names([one.entry for one in found], entry.kind), strict=True)
        ],
    }


def _names(found: Sequence[Entry], kind: str) -> list[str]:
    """Of those of this kind, an analyzer with several destinations with each; of another kind: empty."""
    times = Counter(one.subject for one in found if one.kind == kind)
    return [
        ("" if one.kind != kind else one.subject if times[one.subject] == 1 else f"{one.subject} → {one.destination}")
        for one in found
    ]


STRIP = Strip(_listed_rows, looked_row)


PARTS = {"give-back": "taken", "no-note": "note", "wake": "snooze"}  # an act -> what is forgotten
UNTIL: dict[str, PageText] = {
    "hour": "For an hour",
    "shift": "Until the end of the shift",
    "morning": "Until the morning",
}
MORNING = time(8)
FEW_WORDS = R_("write a few words first")
GONE = N_("This is not on the list any more.")


def routes(frame: Frame) -> Sequence[Route]:
    return (
        Route(TODO, partial(_show, frame), LOOKING, todo=True),
        Route(TODO, partial(_take, frame), ACTING, method="POST"),
    )


async def _show(frame: Frame, request: web.Request) -> web.Response:
    todo = await _found(frame, request, request.query.get("key", ""))
    return await frame.show(request, partial(_page, todo), partial(_there, todo))


async def _found(frame: Frame, request: web.Request, key: str) -> Todo | None:
    found = next((one for one in await frame.running.todo() if isinstance(one, Todo) and one.entry.key == key), None)
    return found if found is None or request[PRINCIPAL].reads_notes else without_notes(found)


def _page(todo: Todo | None, asking: Asking) -> Page:
    return Page("todo", _values(todo, asking))


def _there(todo: Todo | None, reader: Reader, asking: Asking) -> Values | Gone:
    return Gone(asking.words.say(GONE)) if todo is None else {}


def _values(todo: Todo | None, asking: Asking) -> dict[str, Any]:
    words = asking.words
    until = _until(asking)
    critical = todo is not None and todo.entry.critical
    return {
        "row": todo_row(todo, words) if todo is not None else None,
        "may_act": asking.principal.permissions >= ACTING,
        "until": [
            (name, words.say(text), short_time(until[name], words))
            for name, text in UNTIL.items()
            if not critical or until[name] <= until["shift"]
        ],
    }


def _until(asking: Asking) -> Mapping[str, datetime]:
    return until(asking.words.now, asking.shifts, asking.words.zone)


def until(now: datetime, shifts: Sequence[time], zone: ZoneInfo) -> Mapping[str, datetime]:
    """The end of each time that an entry can be put off for."""
    today = now.astimezone(zone).date()
    days = [today, today + timedelta(days=1)]
    mornings = (datetime.combine(day, MORNING, zone) for day in days)
    return {
        "hour": now + timedelta(hours=1),
        "shift": ends(now, shifts, zone),
        "morning": next(at for at in mornings if at > now),
    }


async def _take(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)

    async def act(form: Form) -> web.Response:
        try:
            await frame.once(request, form, *_asked(asking, form))
        except LabRelayError as error:
            status, trouble = frame.desk.refused(request, error)
            values = _values(await _found(frame, request, form["act"].partition(" ")[2]), asking)
            return await frame.desk.page(request, "todo", status, words=asking.words, trouble=trouble, **values)
        return frame.desk.go(request, "/")

    return await frame.desk.answer(request, act)


def _asked(asking: Asking, form: Form) -> tuple[str, dict[str, Any]]:
    """The verb and its arguments.

    Raises:
        RefusedError: a text is missing.
        web.HTTPBadRequest: it is no act of this page.
    """
    what, _, key = form["act"].partition(" ")
    verb, args = _verb(what, form, asking)
    if not all(args.values()):
        raise RefusedError(FEW_WORDS)
    return verb, {**args, "key": key}


def _verb(what: str, form: Form, asking: Asking) -> tuple[str, dict[str, Any]]:
    if what == "take":
        return "todo_take", {}
    if what in PARTS:
        return "todo_drop", {"only": PARTS[what]}
    if what == "note":
        return "todo_note", {"text": form["text"]}
    if what in UNTIL:
        seconds = (_until(asking)[what] - asking.words.now).total_seconds()
        return "todo_snooze", {"seconds": seconds, "reason": form["reason"]}
    raise web.HTTPBadRequest
