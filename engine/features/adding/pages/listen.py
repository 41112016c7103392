"""Step 1: how the analyzer is connected. A draft listens there."""

import asyncio
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fcntl import ioctl
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from engine.config import registry
from engine.features.adding.pages.shared import NEW, OF_ONE, PATH, around, closed, href, look
from engine.model.errors import LabRelayError
from engine.model.site.permissions import CHANGING
from engine.model.texts.phrases import PageText
from engine.model.texts.units import HostPort
from engine.web.forms import Form
from engine.web.pages.frame import Frame
from engine.web.routes import Route

FIRST_PORT = 2580
EVERY = "0.0.0.0"  # noqa: S104 - every address of this machine
ADDRESS_OF = 0x8915  # SIOCGIFADDR of Linux
HOWS: dict[str, PageText] = {
    "listen": "calls this computer over the network",
    "connect": "waits for a call of this computer",
    "device": "is on a serial cable",
}
ALL: PageText = "all of this computer"
BAUDS = ("1200", "2400", "4800", "9600", "19200", "38400", "57600", "115200")
EMPTY = {
    **dict.fromkeys(("called", "version", "port", "address", "host", "device"), ""),
    "how": "listen",
    "baud": "9600",
    "bytesize": "8",
    "parity": "none",
    "stopbits": "1",
}
PARITIES = ("none", "even", "odd", "mark", "space")


def routes(frame: Frame) -> Sequence[Route]:
    one = f"{OF_ONE}/listen"
    return (
        Route(NEW, partial(_ask, frame), CHANGING),
        Route(NEW, partial(_take, frame), CHANGING, method=hdrs.METH_POST),
        Route(one, partial(_again, frame), CHANGING),
        Route(one, partial(_take, frame), CHANGING, method=hdrs.METH_POST),
    )


async def _ask(frame: Frame, request: web.Request) -> web.Response:
    return await _page(frame, request, {"port": str(_free_port(frame, request))})


async def _again(frame: Frame, request: web.Request) -> web.Response:
    try:
        seen = await look(frame, request, "listen")
    except LabRelayError as error:
        return await _page(frame, request, {}, *frame.refused(request, error))
    host, _, port = seen["place"].rpartition(":")
    given = {**seen["line"], "called": seen["called"], "how": seen["how"], "version": seen["version"]}
    given |= {"device": seen["place"]} if seen["how"] == "device" else {"host": host, "address": host, "port": port}
    return await _page(frame, request, given)


async def _take(frame: Frame, request: web.Request) -> web.Response:
    async def act(request: web.Request, form: Form) -> web.Response:
        name = request.match_info.get("name", "")
        args = {"name": name, "version": form["version"], **_asked(form)}
        made = await frame.once(request, form, "draft_listen", args)
        return frame.desk.go(request, href(frame.asking(request).words, made["name"], "recognise").partition("?")[0])

    async def remove(request: web.Request, form: Form) -> web.Response:
        args = {"name": request.match_info.get("name", ""), "version": form["version"]}
        await frame.once(request, form, "draft_remove", args)
        return frame.desk.go(request, PATH)

    async def redraw(request: web.Request, status: int, trouble: str, form: Form) -> web.Response:
        return await _page(frame, request, form.fields, status, trouble)

    return await frame.desk.take(request, {"listen": act, "remove": remove}, redraw)


def _asked(form: Form) -> dict[str, Any]:
    how = form["how"] if form["how"] in HOWS else "listen"
    if how == "device":
        line = {key: form[key] for key in ("baud", "bytesize", "parity", "stopbits") if form[key]}
        return {"called": form["called"], "how": how, "where": form["device"], "line": line}
    host = form["host" if how == "connect" else "address"]
    return {"called": form["called"], "how": how, "where": f"{host}:{form['port']}"}


async def _page(
    frame: Frame, request: web.Request, given: Mapping[str, str], status: int = 200, trouble: str = ""
) -> web.Response:
    words = frame.asking(request).words
    name = request.match_info.get("name", "")
    ports = await asyncio.to_thread(_ports)
    values = {
        **around(words, "listen"),
        "closed": await closed(frame, request),
        "action": href(words, name, "listen") if name else words.href(NEW),
        "is_there": bool(name),
        "given": {**EMPTY, **given},
        "hows": [(how, words.say(text)) for how, text in HOWS.items()],
        "addresses": [*((one, one) for one in _addresses(given.get("address", ""))), (EVERY, words.say(ALL))],
        "ports": ports,
        "bauds": BAUDS,
        "parities": PARITIES,
    }
    return await frame.desk.page(request, "add_listen", status, **values, trouble=trouble)


def _free_port(frame: Frame, request: web.Request) -> int:
    """The next port that no analyzer of the site has; whether another program has it is asked when it is taken."""
    taken = {one.address.rpartition(":")[2] for one in frame.asking(request).site.channels}
    return next(port for port in range(FIRST_PORT, 65536) if str(port) not in taken)


def _addresses(present: str) -> list[str]:
    """The IPv4 addresses of this machine, those of networks first, and the present one of a draft."""
    found = [present] if present not in ("", EVERY) else []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = ioctl(asked, ADDRESS_OF, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    return sorted(dict.fromkeys(found), key=lambda one: HostPort(one, 0).is_loopback)


def _ports() -> list[str]:
    """The names of the serial ports of this machine: those that stay the same first."""
    names: list[str] = []
    with suppress(OSError):
        for port in registry.transport("serial").ports():
            names.append(next(iter(port.names), port.device))
    return names
