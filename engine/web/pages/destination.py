"""The page about one destination: its state, what waits for it, its last failed attempts, and orders about it."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import quote_plus, urlencode

import orjson
from aiohttp import web

from engine.model.errors import ConfigError, StoreError
from engine.model.journal.records import DELIVERIES, Target
from engine.model.site.permissions import LOOKING
from engine.monitoring.hours import STEPS, queue_of
from engine.monitoring.snapshot.channels import DestinationSnapshot
from engine.store.queries.lanes import Tried, last_attempts, list_pauses
from engine.store.queries.reader import Reader
from engine.views.charts import Chart, bars
from engine.web import line_rows
from engine.web.bodies import Body, answer
from engine.web.cells import Cells, Fact, row_id
from engine.web.feed import everything
from engine.web.pages import states
from engine.web.pages.analyzer import lane_offers, of_destination
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.switching import offers
from engine.web.pages.words import Words
from engine.web.render import Live
from engine.web.routes import Route

PATH, DATA = "/destinations/{name}", "/destination.json"
PARTS = ("line_head", "line_lanes")
ATTEMPTS = 12


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(_show, frame), LOOKING), Route(DATA, partial(_data, frame), LOOKING))


async def _show(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    one = _destination(asking)
    ends = of_destination(await frame.running.ends.destination(one.name), one, asking.words)
    return await frame.show(request, partial(_page, ends), partial(_found, frame))


async def _data(frame: Frame, request: web.Request) -> web.Response:
    """The parts that change, for the script."""
    asking = frame.asking(request)
    _destination(asking)
    live = await frame.read(partial(_live, frame), asking)
    return answer(request, Body(orjson.dumps(everything(live))))


def _destination(asking: Asking) -> DestinationSnapshot:
    """
    Raises:
        web.HTTPNotFound: there is none with this name.
    """
    name = asking.found.get("name") or asking.query.get("name", "")
    found = next((one for one in asking.site.destinations if one.name == name), None)
    if found is None:
        raise web.HTTPNotFound
    return found


def _page(ends: Sequence[Fact], asking: Asking) -> Page:
    name, language = _destination(asking).name, asking.words.language
    return Page(
        "destination",
        {
            "ends": ends,
            "title": f"{name} · {asking.site.site_name} · LabRelay",
            "poll": f"{DATA}?{urlencode({'name': name, 'lang': language})}",
            "again": f"/destinations/{quote_plus(name)}?lang={language}&auto",
        },
    )


def _found(frame: Frame, reader: Reader, asking: Asking) -> Values:
    live = _live(frame, reader, asking)
    try:
        tried, unread = last_attempts(reader, _destination(asking).name, limit=ATTEMPTS), ""
        queue = _queue(reader, _destination(asking), asking.words)
    except (StoreError, ConfigError) as error:
        tried, (_, unread) = [], frame.why_not(error, asking.words)
        queue = None
    attempts = [_attempt(one, asking.words) for one in tried]
    return {"title": live.title, "parts": live.parts, "attempts": attempts, "unread": unread, "queue": queue}


def _queue(reader: Reader, one: DestinationSnapshot, words: Words) -> Chart | None:
    """What waits over an outage; None where none waits long enough."""
    age_s = one.oldest_age_s or 0.0
    found = queue_of(reader, one.name, age_s, words.now, words.zone) if age_s >= STEPS else {}
    if not found:
        return None
    times = [at[:11] for at in found]  # without the day where it is of one
    names = [at[6:] for at in times] if times[0][:5] == times[-1][:5] else times
    said = words.say("How much waits since {time}: {n} now.", time=names[0], n=[*found.values()][-1])
    return bars(said, (words.say("Time"), words.say("Waiting")), names, [*found.values()], every=6)


def _attempt(one: Tried, words: Words) -> dict[str, Any]:
    return {
        **words.when(one.at_us),
        "number": one.message_id,
        "href": words.href(f"{MESSAGES}/{one.message_id}"),
        "channel": one.channel,
        "n": one.n,
        "code": one.cause,
        "meaning": words.reason(one.cause),
        "state": states.delivery("waiting" if one.state == "sending" else one.state, words),
    }


def _live(frame: Frame, reader: Reader, asking: Asking) -> Live:
    """The parts that change; without orders where the journal cannot be read."""
    one, site, words = _destination(asking), asking.site, asking.words
    cells = Cells(site, words.catalogue, words.language)
    row = line_rows.destination(cells, one) | {
        "lanes_title": words.say("Waiting, by analyzer"),
        "lanes_of": words.say("Analyzer"),
        "may_switch": "pause" in asking.may,
        "offers": (),
    }
    try:
        paused = {pause.target for pause in list_pauses(reader)}
    except (StoreError, ConfigError):
        paused = None
    if paused is not None:
        mine = Target(destination=one.name)
        row["offers"] = offers(asking, mine, mine in paused, restarts=DELIVERIES not in paused)
        for lane in row["lanes"]:
            lane["offers"] = lane_offers(asking, lane["channel"], one.name, paused)
    title = f"{one.name} {row['badge'].word} · {site.site_name} · LabRelay"
    state = {row_id("d", one.name): f"{one.name}: {row['badge'].word}"}
    return Live(title, frame.parts(asking, cells, PARTS, row), {}, state)
