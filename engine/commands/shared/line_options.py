"""Common options of the verbs that watch a line: the line, and its settings.

A line is a serial device (``/dev/serial/by-id/...``, ``usb:0403:6001``), one at a device server
(``rfc2217://host:port``,
``socket://host:port``), or an address. It is opened by the same transports as a channel's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import TypeAdapter, ValidationError

from engine.config import registry
from engine.config.sources.source import source_type
from engine.model.errors import LabRelayError
from engine.model.ports import StreamHandler, Transport
from engine.model.texts.units import parse_host_port
from engine.runtime.sources import why_not_open

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class LineAt:
    """A line that can be opened.

    Attributes:
        source: the ``source:`` block that a channel would have, of kind ``auto`` or ``auto-serial``.
    """

    place: str
    source: Any

    @property
    def is_serial(self) -> bool:
        return bool(self.source.transport == "serial")

    @property
    def listens(self) -> bool:
        """Whether it waits for a peer to connect."""
        return not self.is_serial and self.source.listen is not None

    def transport(self, handler: StreamHandler) -> Transport:
        made: Transport = registry.transport(self.source.transport).build(self.source, handler)
        return made

    async def open(self, handler: StreamHandler) -> tuple[Transport, int]:
        """Open it; the transport, and the port that it listens on.

        Raises:
            LabRelayError: it cannot be opened.
        """
        transport = self.transport(handler)
        try:
            return transport, await transport.start()
        except (OSError, ValueError) as error:
            raise LabRelayError(f"{self.place}: cannot be opened: {why_not_open(error)}") from error


def line_options(command: F) -> F:
    """``--connect`` and the settings of a serial line; the command gets them as keywords for `line_at`."""
    for option in (
        click.option("--flow", metavar="HOW", help="Flow control: none, xonxoff, rtscts or dsrdtr. [default: none]"),
        click.option("--stopbits", metavar="N", help="Stop bits: 1 or 2. [default: 1]"),
        click.option("--parity", metavar="HOW", help="Parity: none, even, odd, mark or space. [default: none]"),
        click.option("--bytesize", metavar="N", help="Data bits: 7 or 8. [default: 8]"),
        click.option("--baud", metavar="N", help="Bits a second. [default: 9600]"),
        click.option(
            "--connect", is_flag=True, help="Connect to the address; without it, wait there for the analyzer."
        ),
    ):
        command = option(command)
    return command


def line_at(place: str, *, connect: bool, **settings: str | None) -> LineAt:
    """The line of a person's argument.

    Raises:
        click.UsageError: it is no possible line; the error shows the forms.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if is_device(place):
        if connect:
            raise click.UsageError("--connect is for an address; a serial line is just opened")
        block: dict[str, Any] = {"kind": "auto-serial", "device": place, **_numbers(given)}
    else:
        if given:
            raise click.UsageError(f"--{' and --'.join(given)} are for a serial line; {place} is an address")
        try:
            parse_host_port(place)
        except ValueError as error:
            raise click.BadParameter(_no_place(place, str(error)), param_hint="PLACE") from error
        block = {"kind": "auto", "connect" if connect else "listen": place}
    try:
        # Numbers are shown, not judged: a person at a line wants to see all of it.
        source: Any = TypeAdapter(source_type()).validate_python({**block, "frame_numbers": "warn"})
        return LineAt(place, source)
    except ValidationError as error:
        first = error.errors()[0]
        name = next((str(step) for step in reversed(first["loc"]) if step in block), "")
        said = first["msg"].removeprefix("Value error, ")
        raise click.BadParameter(said, param_hint=f"--{name}" if name in given else "PLACE") from error


def is_device(place: str) -> bool:
    """Whether a place means a serial line, and not an address."""
    return place.startswith(("/", "usb:")) or "://" in place


def _no_place(place: str, why: str) -> str:
    for whole in (Path(place).absolute(), Path("/dev", place)):
        if whole.is_char_device():
            return f"'{place}': a serial device needs its whole path: {whole}"
    return (
        f"'{place}' is neither a serial device (/dev/serial/by-id/...; labrelay ports lists them) nor an address: {why}"
    )


def _numbers(given: dict[str, str]) -> dict[str, Any]:
    return {name: int(value) if value.isascii() and value.isdigit() else value for name, value in given.items()}
