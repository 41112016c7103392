"""The search for reagent lots, as a page and as data."""

import shlex
from collections.abc import Sequence
from functools import partial

import orjson
from aiohttp import web

from engine.features.reagents.lists import LOT
from engine.model.errors import StoreError
from engine.model.journal.journal_views import ReagentView
from engine.model.site.permissions import LOOKING
from engine.monitoring.snapshot.site import SCHEMA_VERSION
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import list_reagents
from engine.web.bodies import Body, answer
from engine.web.cells import Cells
from engine.web.line_rows import lots
from engine.web.menu import LABORATORY, LOOKS, Entry
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.routes import Route

PATH, DATA = "/reagents", "/reagents.json"
MAX_WORD = 64  # of a search
MOST = 200  # lots
MENU = (Entry("/reagents", "Reagent lots", LOOKS, 50, LABORATORY, "lots"),)


def routes(frame: Frame) -> Sequence[Route]:
    return (
        Route(PATH, partial(frame.show, page=_page, found=_rows), LOOKING),
        Route(DATA, partial(_data, frame), LOOKING),
    )


async def _data(frame: Frame, request: web.Request) -> web.Response:
    try:
        found = await frame.read(_found, frame.asking(request))
    except StoreError as error:
        raise web.HTTPServiceUnavailable from error
    told = {"schema_version": SCHEMA_VERSION, LOT.name: LOT.rows(found)}
    return answer(request, Body(orjson.dumps(told, option=orjson.OPT_INDENT_2)), tagged=False)


def _page(asking: Asking) -> Page:
    lot, channel = _asked(asking)
    channels = sorted(one.name for one in asking.site.channels)
    return Page("reagents", {"lot": lot, "shown_lot": shlex.quote(lot), "channel": channel, "channels": channels})


def _rows(reader: Reader, asking: Asking) -> Values:
    cells = Cells(asking.site, asking.words.catalogue, asking.words.language)
    return {"rows": lots(cells, _found(reader, asking))}


def _found(reader: Reader, asking: Asking) -> Sequence[ReagentView]:
    lot, channel = _asked(asking)
    return list_reagents(reader, channel or None, lot=lot or None, limit=MOST)


def _asked(asking: Asking) -> tuple[str, str]:
    """The lot and the channel of a search; either may be empty."""
    return asking.query.get("lot", "").strip()[:MAX_WORD], asking.query.get("channel", "").strip()[:MAX_WORD]
