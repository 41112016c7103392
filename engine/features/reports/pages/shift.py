"""The report of a shift, to read and to print: what each analyzer sent, what is still open, who did what. No patient.

Counts are those of whole hours (`engine.store.operations.hour_counts`). Without a time in its address the report begins
with the shift, for all people the same, and says so: on a computer that several share, no look of one hides anything
from the next.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from engine.features.reports.lists import Shift, by_channel, hour_us, received_by_hour, shift_of
from engine.model.journal.journal_views import Act, HourCount
from engine.model.process.clock import from_us
from engine.model.site.permissions import ADMINISTERING, LOOKING
from engine.model.texts.phrases import N_, Span
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import hours_between
from engine.views.charts import Chart, bars
from engine.views.shifts import began
from engine.web.asked import Asked
from engine.web.cells import Badge
from engine.web.pages.columns import COLUMNS, Column, choice
from engine.web.pages.filters import moments
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import Words, grouped, iso, shown
from engine.web.routes import Route

PATH = "/shift"
NAMES = ("from", "until", COLUMNS)
CHOICE = {
    "received": Column("Received"),
    "delivered": Column("Delivered"),
    "dead": Column("Dead"),
    "held": Column("Held back"),
    "longest": Column("Longest without a message"),
}
BEGINS = N_("It begins with the shift.")
BEGINS_BEFORE = N_("It begins with the shift before: this one has just begun.")
MOST_ACTS, MOST_HOURS = 200, 50
HOUR_US = 3_600_000_000
ACTS_AT_ONCE = 200


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(frame.show, page=_page, found=_found), LOOKING),)


def _shift(asking: Asking) -> tuple[Shift, str]:
    """The shift, and why it begins where it does, in English; empty: the address says so.

    Raises:
        ValueError: the address has no such time; with the sentence for people.
    """
    words = asking.words
    asked = Asked.of(PATH, words.language, asking.query, NAMES)
    after_us, before_us = moments(asked, words, since="from")
    now_us = int(words.now.timestamp() * 1e6)
    until_us = now_us if before_us is None else min(before_us, now_us)
    shift = shift_of(after_us, until_us, asking.shifts, words.zone)
    if after_us is not None:
        return shift, ""
    this_us = round(began(from_us(until_us), asking.shifts, words.zone).timestamp() * 1e6)
    return shift, BEGINS_BEFORE if shift.since_us < hour_us(this_us, words.zone) else BEGINS


def _page(asking: Asking) -> Page:
    words, site = asking.words, asking.site
    asked = Asked.of(PATH, words.language, asking.query, NAMES)
    chosen = choice(CHOICE, asked, asking)
    wrong, period, why = chosen.wrong, "", ""
    try:
        shift, why = _shift(asking)
        period = f"{words.time(shift.since_us)[:-3]} - {words.time(shift.until_us)[:-3]}"
    except ValueError as error:
        wrong = words.say(str(error))
    values = {
        "asked": asked,
        "columns": chosen,
        "period": period,
        "begins": words.say(why) if why else "",
        "drawn": words.time(int(site.now.timestamp() * 1e6)),
        "shifts": _shifts(asking),
        "open": [Badge(one.level.value, one.level.value, one.phrase.say(words.catalogue)) for one in site.findings()],
        "rows": [],
        "volume": None,
        "acts": None,
        "more_acts": "",
    }
    return Page("shift", values, wrong)


def _shifts(asking: Asking) -> list[tuple[str, str]]:
    """The shift that is under way, and the one before it: words and address."""
    words, now = asking.words, asking.words.now
    this = began(now, asking.shifts, words.zone)
    before = began(this - timedelta(seconds=1), asking.shifts, words.zone)
    this_at, before_at = (_local(round(at.timestamp() * 1e6), words) for at in (this, before))
    return [
        (words.say("This shift"), words.href(PATH, **{"from": this_at})),
        (words.say("The shift before"), words.href(PATH, **{"from": before_at, "until": this_at})),
    ]


def _found(reader: Reader, asking: Asking) -> Values:
    (shift, _), words = _shift(asking), asking.words
    hours = hours_between(reader, shift.since_us, shift.until_us)
    states = {one.name: one for one in asking.site.channels}
    rows = [
        {
            "name": one.channel,
            "description": states[one.channel].description if one.channel in states else "",
            "href": _messages(shift, words, one.channel),
            **{count: grouped(getattr(one, count)) for count in ("received", "delivered", "dead", "held")},
            "level": "attention" if one.dead or one.held else "ok",
            "longest": "-" if one.longest_s is None else Span(one.longest_s).say(words.catalogue),
        }
        for one in by_channel(hours, states)
    ]
    values: dict[str, Any] = {"rows": rows, "volume": _volume(hours, words)}
    if asking.principal.may(ADMINISTERING):
        acts = _acts(reader, shift)
        values["acts"] = [_act(one, words) for one in acts[:MOST_ACTS]]
        if len(acts) > MOST_ACTS:
            values["more_acts"] = words.href(
                "/acts", since=_local(shift.since_us, words), until=_local(shift.until_us, words)
            )
    return values


def _volume(hours: Sequence[HourCount], words: Words) -> Chart | None:
    """Messages of all analyzers by hour; None where the hours would be too many to see."""
    sums = received_by_hour(hours)
    each = sorted({*sums, *range(min(sums), max(sums), HOUR_US)}) if sums else []  # LabRelay did not run in all of them
    if not 0 < len(each) <= MOST_HOURS:
        return None
    times = [words.time(begins_us)[5:-3] for begins_us in each]
    names = [at if at.endswith("00:00") or not n else at[6:] for n, at in enumerate(times)]  # a day where it begins
    heads = (words.say("Hour"), words.say("Received"))
    return bars(words.say("Messages by hour"), heads, names, [*map(sums.get, each)], every=max(1, len(names) // 6))


def _acts(reader: Reader, shift: Shift) -> list[Act]:
    """Acts of the shift, the latest first; at most one more than are shown."""
    found, before = list[Act](), None
    while True:
        rows = acts_page(reader, before_id=before, limit=ACTS_AT_ONCE)
        found += [one for one in rows if shift.since_us <= one.at_us < shift.until_us and not one.ended]
        if len(rows) < ACTS_AT_ONCE or rows[-1].at_us < shift.since_us or len(found) > MOST_ACTS:
            return found[: MOST_ACTS + 1]
        before = rows[-1].id


def _act(one: Act, words: Words) -> dict[str, Any]:
    return {"at": words.time(one.at_us), "iso": iso(one.at_us), "actor": shown(one.actor), "act": one.verb}


def _messages(shift: Shift, words: Words, channel: str) -> str:
    """The address of the messages of a shift."""
    times = {"from": _local(shift.since_us, words), "until": _local(shift.until_us, words)}
    return words.href("/messages", channel=channel, **times)


def _local(at_us: int, words: Words) -> str:
    """A moment as addresses have it, in the site's zone."""
    return words.time(at_us).replace(" ", "T")
