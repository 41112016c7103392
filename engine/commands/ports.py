"""List serial ports: what each is, its lasting name, who may open it, and which channel uses it.

Ports that a channel names and that are not there are listed too, and lines at device servers. Nothing is opened.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.output import Column, ExitCode, Form, form_option, say, show_rows
from engine.commands.shared.session import Session, pass_session
from engine.config import registry
from engine.model.errors import ConfigError

if TYPE_CHECKING:
    from engine.config.source_serial import SerialPart

GROUP = "when something is wrong"
RARE = True

COLUMNS = (
    Column("device", "DEVICE"),
    Column("channel", "CHANNEL"),
    Column("state", "STATE"),
    Column("description", "WHAT"),
    Column("usb", "USB"),
    Column("serial_number", "SERIAL"),
    Column("access", "ACCESS"),
    Column("name", "NAME FOR device:"),
)


@click.command(help=__doc__)
@form_option()
@pass_session
def command(session: Session, form: Form) -> ExitCode:
    rows = list(_rows(_lines(session)))
    show_rows(form, "ports", [_for_people(row) if form is Form.TABLE else row for row in rows], COLUMNS, _NONE)
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
        say(f"channels are not shown: the configuration has {len(error.problems)} problem(s); labrelay check")
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
        "device": port.device,
        "present": True,
        "names": list(port.names),
        "description": port.description,
        "usb": port.usb,
        "serial_number": port.serial_number,
        "owner": port.owner,
        "group": port.group,
        "mode": port.mode,
        "permitted": port.permitted,
        "in_use": port.in_use,
        "users": [{"pid": user.pid, "command": user.command} for user in port.users],
        "channels": channels,
    }


def _for_people(row: Mapping[str, Any]) -> dict[str, Any]:
    users = ", ".join(f"{user['command']} ({user['pid']})" for user in row.get("users", ()))
    if row["present"] is None:
        state = "device server"
    elif not row["present"]:
        state = "not there"
    elif row["in_use"]:
        state = f"in use: {users}" if users else "in use"
    else:
        state = "free" if row["permitted"] else "not permitted"
    owner = f"{row['owner']}:{row['group'] or '?'} {row['mode']}" if row.get("mode") else ""
    return {**row, "channel": row["channels"], "state": state, "access": owner, "name": _best(row)}


def _best(row: Mapping[str, Any]) -> str:
    """What to write into a channel: adapters without a serial number share their by-id name, so then the socket's."""
    names = row.get("names") or []
    numbered = bool(row.get("serial_number")) or not row.get("usb")
    by_path = [name for name in names if "/by-path/" in name]
    own = [name for name in names if "/by-path/" not in name and ("/by-id/" not in name or numbered)]
    return next(iter([*own, *by_path, *names]), str(row["device"]) if row["present"] else "")
