"""Deliveries that wait for their destination, the oldest first: the last failure, how often, and the next try."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from aiohttp import web

from engine.model.journal.journal_views import DeliveryView
from engine.model.site.permissions import LOOKING
from engine.store.queries.messages import count_waiting, waiting_deliveries
from engine.store.queries.reader import Reader
from engine.web.asked import PAGE, Asked, number
from engine.web.pages.filters import page_of
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.panels import PANELS, Link
from engine.web.pages.words import Words, grouped
from engine.web.routes import Route

PATH = "/waiting"
NAMES = ("channel", "destination")


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(_list, frame), LOOKING),)


async def _list(frame: Frame, request: web.Request) -> web.Response:
    return await frame.show(request, _page, _found)


def _page(asking: Asking) -> Page:
    return page_of("waiting", PATH, NAMES, asking)


def _found(reader: Reader, asking: Asking) -> Values:
    words = asking.words
    asked = Asked.of(PATH, words.language, asking.query, NAMES)
    channel, destination = asked.get("channel"), asked.get("destination")
    after = number(asking.query.get("after", ""))  # the last delivery of the page before
    found = waiting_deliveries(reader, channel=channel, destination=destination, after_id=after, limit=PAGE + 1)
    more, found = len(found) > PAGE, found[:PAGE]
    return {
        "rows": [_row(one, words) | {"offers": _offers(asking, one)} for one in found],
        "count": grouped(count_waiting(reader, channel=channel, destination=destination)),
        "further": asked.href(after=found[-1].id) if more else "",
    }


def _offers(asking: Asking, one: DeliveryView) -> list[Link]:
    return [link for panels in PANELS.each() for link in panels.offers_of_delivery(asking, one)]


def _row(one: DeliveryView, words: Words) -> dict[str, Any]:
    return {
        "id": f"d-{one.id}",
        "number": one.message_id,
        "href": words.href(f"{MESSAGES}/{one.message_id}"),
        "channel": one.channel,
        "destination": one.destination,
        "attempts": grouped(one.attempt),
        "code": one.cause if one.attempt else "",
        "meaning": words.reason(one.cause) if one.attempt else "",
        "next": words.time(one.not_before_us) if one.attempt and not one.claimed else "",
    }
