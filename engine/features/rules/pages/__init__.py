"""The page of rules: what each one has said, by day, too; and how many results go out untouched."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from engine.features.rules.lists import DAY, UNTOUCHED
from engine.features.rules.rows import reading
from engine.features.rules.rows.reading import RuleView
from engine.model.site.permissions import LOOKING
from engine.store.queries.reader import Reader
from engine.views.text import cell, csv_line
from engine.views.view import View
from engine.web.menu import LABORATORY, LOOKS, Entry
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import Route

PATH, CSV, UNTOUCHED_CSV = "/rules", "/rules.csv", "/rules/untouched.csv"
MENU = (Entry(PATH, "Rules", LOOKS, 20, LABORATORY, "quality"),)
DAYS, MONTHS = 30, 92  # days: of what rules said, and of what went out untouched
MOST = 300  # rows of a table; the file has all


def routes(frame: Frame) -> Sequence[Route]:
    return (
        Route(PATH, partial(frame.show, page=_page, found=_found), LOOKING),
        Route(CSV, partial(_file, frame, view=DAY, read=_days), LOOKING),
        Route(UNTOUCHED_CSV, partial(_file, frame, view=UNTOUCHED, read=_untouched), LOOKING),
    )


def _asked(asking: Asking) -> dict[str, str]:
    return {name: given for name in ("channel", "rule") if (given := asking.query.get(name, ""))}


def _page(asking: Asking) -> Page:
    words, asked = asking.words, _asked(asking)
    title = words.say("Rules of the last {n} days", n=DAYS)
    files = {"days": words.href(CSV, **asked), "untouched": words.href(UNTOUCHED_CSV)}
    return Page("rules", {"asked": asked, "files": files, "title": title})


def _days(reader: Reader, asking: Asking) -> list[RuleView]:
    asked = _asked(asking)
    return reading.list_days(reader, _since(asking.words, DAYS), asked.get("channel"), asked.get("rule"))


def _untouched(reader: Reader, asking: Asking) -> list[reading.UntouchedView]:
    return reading.list_untouched(reader, _since(asking.words, MONTHS))


def _since(words: Words, days: int) -> str:
    return reading.first_day(days, words.now, words.zone)


def _found(reader: Reader, asking: Asking) -> Values:
    words = asking.words
    if _asked(asking):
        return {"rules": [_row(one, words) for one in _days(reader, asking)[:MOST]]}
    rules = [_row(one, words) for one in reading.list_rules(reader, _since(words, DAYS))[:MOST]]
    return {"rules": rules, "tests": [_test(one) for one in _untouched(reader, asking)[:MOST]]}


def _row(one: RuleView, words: Words) -> dict[str, Any]:
    return {
        "rule": shown(one.rule),
        "href": words.href(PATH, channel=one.channel, rule=one.rule),
        "channel": one.channel,
        "mode": words.say("only counts") if one.shadow else words.say("holds"),
        "version": one.version,
        "day": one.day,
        "counts": [grouped(n) for n in (one.seen, one.hit, one.unknown, one.confirmed, one.overturned)],
    }


def _test(one: reading.UntouchedView) -> dict[str, str]:
    return {
        "test": shown(one.test), "channel": one.channel, "month": one.month, "results": grouped(one.results),
        "percent": one.percent,
    }  # fmt: skip


async def _file(
    frame: Frame, request: web.Request, *, view: View[Any], read: Callable[[Reader, Asking], Sequence[Any]]
) -> web.Response:
    """What the page shows, as CSV: the columns of `labrelay rules`."""
    rows = await frame.read(read, frame.asking(request))
    lines = [",".join(field.name for field in view.columns)]
    lines += [csv_line(cell(field.cell(one)) for field in view.columns) for one in rows]
    headers = {hdrs.CONTENT_DISPOSITION: f'attachment; filename="{view.name}.csv"'}
    return web.Response(text="".join(f"{line}\n" for line in lines), content_type="text/csv", headers=headers)
