"""The page about one analyzer: its line, what waits and what failed on it, and the orders that a person may give.

*Lately on the line* beyond the snapshot: steps from before the start, and messages of a line without frames.

Nothing is written for it. A line with frames has a trace in the journal, session by session
(`engine.store.operations.line_trace`); of any other line the messages are shown. So an end without a stop costs the
session that was under way, and half a second of what was over.

Both ends of a line as a page shows them: connections with their addresses, a serial line, a destination's server.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

import orjson
from aiohttp import web

from engine.model.errors import ConfigError, StoreError
from engine.model.journal.journal_views import Filter, MessageView
from engine.model.journal.records import DELIVERIES, Target
from engine.model.process.clock import from_us
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import Phrase
from engine.monitoring.ends import ChannelEnds, DestinationEnds, DeviceEnd
from engine.monitoring.hours import day_of
from engine.monitoring.snapshot.channels import STEPS, ChannelSnapshot, DestinationSnapshot, LineStep, line_steps
from engine.monitoring.snapshot.states import ChannelState, DestinationState
from engine.store.queries.lanes import list_pauses
from engine.store.queries.line import line_of
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader
from engine.views.charts import by_hour
from engine.web import line_rows
from engine.web.bodies import Body, answer
from engine.web.cells import Cells, Fact, row_id
from engine.web.feed import everything
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.panels import PANELS
from engine.web.pages.switching import Offers, offers
from engine.web.pages.words import Words, shown
from engine.web.render import Live
from engine.web.routes import Route

CERTIFICATE_WARN_DAYS = 30


def of_channel(seen: ChannelEnds, words: Words) -> dict[str, Any]:
    """Values of the template."""
    return {
        "transport": seen.transport,
        "device": [] if seen.device is None else _device(seen.device, words),
        "connections": [
            {
                "own": one.own or "-",
                "peer": shown(one.peer),
                "since": one.since.astimezone(words.zone).strftime("%Y-%m-%d %H:%M:%S"),
                "iso": one.since.isoformat(timespec="seconds"),
                "ago": words.ago(int(one.since.timestamp() * 1e6)),
            }
            for one in seen.connections
        ],
    }


def _device(device: DeviceEnd, words: Words) -> list[Fact]:
    facts = [Fact(words.say("Device"), device.device), Fact(words.say("Settings"), device.settings)]
    if device.is_remote:
        return [*facts[: 1 + bool(device.settings)], Fact(words.say("Place"), words.say("at a device server"))]
    if device.fault:
        return [*facts, Fact(words.say("Plugged in"), f"{words.say('no')}: {shown(device.fault, 200)}", "problem")]
    named = (
        Fact(words.say("Plugged in"), words.say("yes")),
        Fact(words.say("Port"), device.path),
        Fact(words.say("Lasting name"), next(iter(device.names), "")),
        Fact(words.say("Adapter"), shown(device.description)),
        Fact(words.say("USB"), " ".join(part for part in (device.usb, shown(device.serial_number)) if part)),
        Fact(words.say("Driver"), device.driver),
    )
    return [*facts, *(one for one in named if one.value)]


def of_destination(seen: DestinationEnds, one: DestinationSnapshot, words: Words) -> list[Fact]:
    """Values of the template; the circuit is the breaker that spares a server which is down."""
    facts = [_circuit(one, words)]
    if seen.windows:
        facts.append(Fact(words.say("Expected downtime"), ", ".join(seen.windows)))
    if seen.host:
        facts.append(Fact(words.say("Host"), f"{seen.host}:{seen.port}"))
    if seen.far is None:
        facts.append(Fact(words.say("Addresses"), words.say("being looked up: open the page again"), "attention"))
    elif seen.far.addresses:
        facts.append(Fact(words.say("Addresses"), ", ".join(seen.far.addresses)))
    if seen.far is not None and seen.far.certificate_until is not None:
        until = seen.far.certificate_until
        days = (until - words.now).days
        level = "problem" if days < 0 else "attention" if days < CERTIFICATE_WARN_DAYS else "ok"
        facts.append(Fact(words.say("Its certificate ends"), f"{until:%Y-%m-%d}", level))
    if seen.far is not None and seen.far.trouble:
        facts.append(Fact(words.say("Trouble"), shown(seen.far.trouble, 200), "problem"))
    if seen.own_certificate:
        facts.append(Fact(words.say("Our certificate"), seen.own_certificate))
    return facts


def _circuit(one: DestinationSnapshot, words: Words) -> Fact:
    if one.state is DestinationState.PROBING:
        return Fact(words.say("Circuit"), words.say("half-open: one attempt is under way"), "attention")
    if one.breaker_until is not None:
        time = words.time(int(one.breaker_until.timestamp() * 1e6))
        return Fact(words.say("Circuit"), words.say("no attempt until {time}", time=time), "problem")
    return Fact(words.say("Circuit"), words.say("closed: attempts are made"))


SESSIONS = 6  # that are opened for so many steps


class Lately:
    """The steps of each channel from before the start: read once, since they change no more."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[LineStep, ...]] = {}

    def steps(self, reader: Reader, channel: ChannelSnapshot, started_us: int) -> tuple[LineStep, ...]:
        """The latest steps on a line, oldest first.

        Args:
            channel: of the site; so there are no more names than channels.

        Raises:
            StoreError, ConfigError: the journal cannot be read.
        """
        since = channel.link.steps
        if len(since) >= STEPS:
            return since
        before = self._before.get(channel.name)
        if before is None:
            before = self._before[channel.name] = _traced(reader, channel.name, started_us)
        if not before:
            wanted = Filter(channel=channel.name, before_us=started_us if since else None)
            found = messages_page(reader, wanted, limit=STEPS - len(since))
            before = tuple(_message(one) for one in reversed(found))
        return (*before, *since)[-STEPS:]


def _traced(reader: Reader, channel: str, started_us: int) -> tuple[LineStep, ...]:
    sessions = line_of(reader, channel, before_us=started_us, limit=SESSIONS)
    return tuple(step for one in reversed(sessions) for step in line_steps(one.entries))[-STEPS:]


def _message(one: MessageView) -> LineStep:
    whole = one.state != "incomplete"
    numbers: dict[str, str | int] = {"n": one.id, "size": one.size}
    words = (
        Phrase("message {n}, {size} bytes", {**numbers})
        if whole
        else Phrase("unfinished message {n}, {size} bytes", {**numbers})
    )
    return LineStep(at=from_us(one.received_us), way="in", words=words, verdict=Phrase("stored"), good=whole or None)


PATH, DATA = "/analyzer", "/analyzer.json"
PARTS = ("line_head", "line_lanes", "line_steps", "line_faults", "line_lots")
COMES_AND_GOES = (
    "http",
    "folder",
    "worklist",
)  # transports without a lasting connection: the last message says who sends


def routes(frame: Frame) -> Sequence[Route]:
    lately = Lately()
    return (
        Route(PATH, partial(_show, frame, lately), LOOKING),
        Route(DATA, partial(_data, frame, lately), LOOKING),
    )


async def _show(frame: Frame, lately: Lately, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    seen = await frame.running.ends.channel(_channel(asking).name)
    found = partial(_found, frame, lately, shows_last=seen.transport in COMES_AND_GOES)
    return await frame.show(request, partial(_page, of_channel(seen, asking.words)), found)


async def _data(frame: Frame, lately: Lately, request: web.Request) -> web.Response:
    """The parts that change, for the script."""
    asking = frame.asking(request)
    _channel(asking)
    live = await frame.read(partial(_live, frame, lately), asking)
    return answer(request, Body(orjson.dumps(everything(live))))


def _channel(asking: Asking) -> ChannelSnapshot:
    """
    Raises:
        web.HTTPNotFound: there is none with this name.
    """
    name = asking.query.get("name", "")
    found = next((one for one in asking.site.channels if one.name == name), None)
    if found is None:
        raise web.HTTPNotFound
    return found


def _page(ends: Values, asking: Asking) -> Page:
    name, language = _channel(asking).name, asking.words.language
    query = urlencode({"name": name})
    values = {
        **ends,
        "title": f"{name} · {asking.site.site_name} · LabRelay",
        "poll": f"{DATA}?{query}&lang={language}",
        "again": f"{PATH}?{query}&lang={language}&auto",
    }
    return Page("analyzer", values)


def _found(frame: Frame, lately: Lately, reader: Reader, asking: Asking, *, shows_last: bool) -> Values:
    channel, words = _channel(asking), asking.words
    live = _live(frame, lately, reader, asking)
    try:
        sections = [one for panels in PANELS.each() for one in panels.sections(reader, asking, channel.name)]
        last, unread = _last(reader, channel.name, words) if shows_last else [], ""
        day = day_of(reader, channel.name, words.now, words.zone)
    except (StoreError, ConfigError) as error:
        sections, last, (_, unread) = [], [], frame.why_not(error, words)
        day = None
    volume = None if day is None else by_hour(*day, words.say)
    found = {"sections": sections, "unread": unread, "last": last, "volume": volume}
    return {"title": live.title, "parts": live.parts, **found}


def _last(reader: Reader, channel: str, words: Words) -> list[Fact]:
    """When its last message came, and from where."""
    return [
        fact
        for one in messages_page(reader, Filter(channel=channel), limit=1)
        for fact in (
            Fact(words.say("Last message"), f"{words.time(one.received_us)}, {words.ago(one.received_us)}"),
            Fact(words.say("From"), shown(one.peer)),
        )
    ]


def _live(frame: Frame, lately: Lately, reader: Reader, asking: Asking) -> Live:
    """The parts that change; without what only the journal has, where that cannot be read."""
    channel, site, words = _channel(asking), asking.site, asking.words
    cells = Cells(site, words.catalogue, words.language)
    row = line_rows.analyzer(cells, channel) | {
        "lanes_title": words.say("Deliveries"),
        "lanes_of": words.say("Destination"),
        "trouble": None,
        "may_switch": "pause" in asking.may,
        "offers": (),
    }
    try:
        row["steps"] = line_rows.steps(cells, lately.steps(reader, channel, int(site.started_at.timestamp() * 1e6)))
        paused = {one.target for one in list_pauses(reader)}
    except (StoreError, ConfigError):
        paused = None
    if paused is not None:
        mine = Target(channel=channel.name)
        if channel.state is not ChannelState.DISABLED:
            row["offers"] = offers(asking, mine, mine in paused, pauses=channel.tee is None)
        for lane in row["lanes"]:
            lane["offers"] = lane_offers(asking, channel.name, lane["destination"], paused)
    title = f"{channel.name} {row['badge'].word} · {site.site_name} · LabRelay"
    state = {row_id("c", channel.name): f"{channel.name}: {row['badge'].word}"}
    return Live(title, frame.parts(asking, cells, PARTS, row), {}, state)


def lane_offers(asking: Asking, channel: str, destination: str, paused: Collection[Target]) -> Offers:
    """The orders about one lane. It cannot be tried where its destination is paused as a whole, or not reachable."""
    target = Target(channel=channel, destination=destination)
    away = {one.name for one in asking.site.destinations if one.breaker_until is not None}
    above = Target(destination=destination) in paused or DELIVERIES in paused
    return offers(asking, target, target in paused, restarts=not above and destination not in away)
