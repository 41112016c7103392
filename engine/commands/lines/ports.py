"""List serial ports: each with its kind, its stable name, its permissions, and the channel that uses it.

Missing ports that a channel names are listed too, and lines at device servers. Nothing is opened.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_rows
from engine.commands.shared.session import Session, pass_session
from engine.config import registry
from engine.model.errors import ConfigError
from engine.views.view import Field, Row, View, picked, plural

if TYPE_CHECKING:
    from engine.config.sources.source_serial import SerialPart

GROUP = "when something is wrong"
RARE = True

PORTS = View[Row](
    "ports",
    Field("device", "DEVICE"),
    Field("channels", "CHANNEL"),
    Field("", "STATE", of=lambda row: _state(row)),
    Field("description", "WHAT"),
    Field("usb", "USB"),
    Field("serial_number", "SERIAL"),
    Field("", "ACCESS", of=lambda row: _access(row)),
    Field("", "NAME FOR device:", of=lambda row: _best(row)),
)


@click.command(help=__doc__)
@form_option()
@pass_session
def command(session: Session, form: Form) -> ExitCode:
    rows = list(_rows(_lines(session)))
    show_rows(form, PORTS, rows, _NONE)
    if form is Form.TABLE and any(row["present"] and not row["permitted"] for row in rows):
        groups = sorted({row["group"] for row in rows if row["present"] and not row["permitted"] and row["group"]})
        say(f"this user may not open every port; it needs the group {' or '.join(groups) or 'of the device'}")
    return ExitCode.OK


_NONE = "no serial port; plug in a USB adapter, or give a device server as rfc2217://host:port or socket://host:port"


def _lines(session: Session) -> "list[tuple[str, SerialPart]]":
    """The serial lines of the site, each with its channel; none where there is no site."""
    from engine.config.load import serial_lines

    if session.folder_or_none is None:
        return []
    try:
        site = session.load(require_secrets=False)
    except ConfigError as error:
        say(f"channels are not shown: the configuration has {plural(len(error.problems), 'problem')}; labrelay check")
        return []
    return [(name, line) for name, channel in site.channels.items() for _, line in serial_lines(channel)]


def _rows(lines: "Iterable[tuple[str, SerialPart]]") -> Iterator[dict[str, Any]]:
    serial = registry.transport("serial")
    listed = serial.ports()
    used: dict[str, list[str]] = {}
    others, absent = {}, []
    for name, source in lines:
        try:
            port = None if source.is_remote else serial.look(source.device)
        except OSError:
            port = None
        if port is None:
            absent.append((name, source))
            continue
        used.setdefault(port.device, []).append(name)
        others[port.device] = port
    known = {port.device for port in listed}
    for port in [*listed, *(port for device, port in others.items() if device not in known)]:
        yield _row(port, used.get(port.device, []))
    for name, source in absent:
        yield {"device": source.device, "present": None if source.is_remote else False, "channels": [name]}


def _row(port: Any, channels: list[str]) -> dict[str, Any]:
    return {
        **picked(port, "device names description usb serial_number owner group mode permitted in_use"),
        "present": True,
        "users": [picked(user, "pid command") for user in port.users],
        "channels": channels,
    }


def _state(row: Row) -> str:
    if row["present"] is None:
        return "device server"
    if not row["present"]:
        return "not there"
    if row["in_use"]:
        users = ", ".join(f"{user['command']} ({user['pid']})" for user in row["users"])
        return f"in use: {users}" if users else "in use"
    return "free" if row["permitted"] else "not permitted"


def _access(row: Row) -> str:
    return f"{row['owner']}:{row['group'] or '?'} {row['mode']}" if row.get("mode") else ""


def _best(row: Mapping[str, Any]) -> str:
    """The name for a channel: adapters without a serial number share their by-id name, so then the socket's."""
    names = row.get("names") or []
    numbered = bool(row.get("serial_number")) or not row.get("usb")
    by_path = [name for name in names if "/by-path/" in name]
    own = [name for name in names if "/by-path/" not in name and ("/by-id/" not in name or numbered)]
    return next(iter([*own, *by_path, *names]), str(row["device"]) if row["present"] else "")
