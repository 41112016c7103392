"""The pages about codes.

Codes that no code table has: how often each was seen, and its line for a table, ready to be copied.
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from aiohttp import hdrs, web

from engine.features.codes.lists import counted, missing_now, tables_now
from engine.features.codes.pages import correct
from engine.mapping.code_tables.gaps import ColumnsOf, MissingCode, columns_in, csv_lines
from engine.mapping.code_tables.suggestions import Suggestion
from engine.model.site.permissions import LOOKING
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import Gap, list_unmapped
from engine.web.asked import Asked
from engine.web.menu import LOOKS, SET_UP, Entry
from engine.web.pages.filters import page_of
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import grouped, iso, shown
from engine.web.routes import Route

PATH, CSV = "/codes", "/codes.csv"
NAMES = ("channel",)
MENU = (Entry("/codes", "Unmapped codes", LOOKS, 20, SET_UP, "codes"),)
MOST = 200  # rows of a page; the file has all


def routes(frame: Frame) -> Sequence[Route]:
    return (
        Route(PATH, partial(frame.show, page=_page, found=partial(_found, frame)), LOOKING),
        Route(CSV, partial(_file, frame), LOOKING),
        *correct.routes(frame),
    )


async def _file(frame: Frame, request: web.Request) -> web.Response:
    """The rows for code tables, to be completed."""
    asking = frame.asking(request)
    channel = _asked(asking).get("channel")
    routes = frame.channels()
    gaps: list[Gap] = missing_now(await frame.read(list_unmapped, channel), routes)
    lines = csv_lines(_by_table(map(counted, gaps)), columns_in(tables_now(gaps, routes)))
    headers = {hdrs.CONTENT_DISPOSITION: 'attachment; filename="codes.csv"'}
    return web.Response(text="".join(f"{line}\n" for line in lines), content_type="text/csv", headers=headers)


def _by_table(gaps: Any) -> list[MissingCode]:
    return sorted(gaps, key=lambda one: (one.where, one.table, -one.count, one.code, one.unit))


def _asked(asking: Asking) -> Asked:
    return Asked.of(PATH, asking.words.language, asking.query, NAMES)


def _page(asking: Asking) -> Page:
    page = page_of("codes", PATH, NAMES, asking)
    words = asking.words
    more = {
        "file": _asked(asking).href(path=CSV),
        "corrections": words.href(correct.MADE),
        "other": correct.PATH if correct.VERB in asking.may else "",
    }
    return page._replace(values={**page.values, **more})


def _found(frame: Frame, reader: Reader, asking: Asking) -> Values:
    routes = frame.channels()
    gaps = missing_now(list_unmapped(reader, _asked(asking).get("channel")), routes)
    columns = columns_in(tables_now(gaps, routes))
    suggestions = cache(partial(correct.of_channel, frame))
    return {
        "rows": [_row(one, columns, asking, suggestions(one.channel) or ()) for one in gaps[:MOST]],
        "count": grouped(len(gaps)),
        "cut": grouped(MOST) if len(gaps) > MOST else "",
    }


def _row(one: Gap, columns: ColumnsOf, asking: Asking, suggestions: Sequence[Suggestion]) -> dict[str, Any]:
    words = asking.words
    *_, line = csv_lines([counted(one)], columns)
    is_writable = f"{one.code}{one.unit}".isprintable()
    return {
        "href": words.href(correct.PATH, gap=one.id) if is_writable and correct.VERB in asking.may else "",
        "suggested": any(row.is_for(one.code, one.unit) for row in suggestions),
        "channel": one.channel,
        "table": one.table,
        "code": shown(one.code),
        "unit": shown(one.unit),
        "display": shown(one.display),
        "n": grouped(one.n),
        "first": words.time(one.first_us),
        "last": words.ago(one.last_us),
        "last_iso": iso(one.last_us),
        "line": line if line.isprintable() else "",  # the file has it with its signs that a page must not show
    }
