"""Add an analyzer in the browser: where to begin, and four steps that each show what was found, and from what."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from aiohttp import web

from engine.features.adding.pages import codes, first, listen, recognise
from engine.features.adding.pages.shared import NEW, PATH, VERBS, closed
from engine.model.site.permissions import CHANGING
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.web.menu import CHANGES, SET_UP, Entry
from engine.web.pages.frame import Asking, Frame
from engine.web.pages.words import Words, shown
from engine.web.routes import Route

MENU = (Entry(PATH, "Add an analyzer", CHANGES, 10, SET_UP, "next"),)


def routes(frame: Frame) -> Sequence[Route]:
    if not frame.verbs.keys() >= VERBS:
        return ()
    steps = [route for step in (listen, recognise, codes, first) for route in step.routes(frame)]
    return (Route(PATH, partial(_begin, frame), CHANGING), *steps)


async def _begin(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    shut = await closed(frame, request)
    return await frame.desk.page(request, "add", **_page(frame, asking, asking.words), closed=shut)


def _page(frame: Frame, asking: Asking, words: Words) -> dict[str, Any]:
    site, started = asking.site, asking.query.get("started", "")
    known = {one.name for one in site.channels}
    drafts = {name for name, routes in frame.channels().items() if routes.is_draft}
    return {
        "new": words.href(NEW),
        "is_first": not site.channels,
        "destinations": [
            (one.name, shown(one.address), words.href(f"/destinations/{quote(one.name, safe='')}"))
            for one in site.destinations
        ],
        "drafts": [
            (one.name, shown(one.description), words.href(f"{PATH}/{quote(one.name, safe='')}/recognise"))
            for one in site.channels
            if one.name in drafts
        ],
        "alerts": "" if site.notifies else words.href("/alerts"),
        "backup": words.href("/system") if _needs_backup(site) else "",
        "started": shown(started) if started in known else "",
        "before": words.href("/affected", channel=started, since="all") if started in known else "",
        "analyzer": words.href("/analyzer", name=started) if started in known else "",
    }


def _needs_backup(site: SiteSnapshot) -> bool:
    return bool(site.backup.missing)
