"""The processes of the demo, and the two HTTP requests to them."""

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from engine.config.load import Site
from engine.config.sources.source import TcpPart
from engine.model.errors import LabRelayError
from engine.model.texts.units import HostPort

START_WITHIN_S = 30.0
STOP_WITHIN_S = 12.0


class Part:
    """One `labrelay` command as a process of its own; its output goes to a log file."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, host: str, port: int) -> None:
        """Start it and wait until it listens.

        Raises:
            RuntimeError: it ended, or did not listen in time; the text has the end of its log.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            # A session of its own, so that Ctrl-C reaches the demo alone, which then stops its parts in order.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "engine", *self._arguments, stdout=output, stderr=output, start_new_session=True
            )
        deadline = asyncio.get_running_loop().time() + START_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            if self._process.returncode is not None:
                break
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return
            await asyncio.sleep(0.02)
        await self.stop()
        tail = self.log.read_text(errors="replace").strip().splitlines()[-5:]
        raise RuntimeError(f"{self.name} did not start:\n  " + "\n  ".join(tail))

    @property
    def ended(self) -> bool:
        return self._process is not None and self._process.returncode is not None

    async def stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def command_for(site: Path) -> str:
    """`labrelay` for a site, as a person types it in the folder where the demo runs."""
    name = Path("labrelay")
    beside = Path(sys.executable).with_name("labrelay")  # in a checkout it is in no folder of PATH
    if shutil.which("labrelay") is None and beside.is_file():
        name = beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside
    return shlex.join([str(name)] if site == Path.cwd() else [str(name), "--site", str(site)])


def port_is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


async def get_json(host: str, port: int, path: str) -> dict[str, Any]:
    """GET a small JSON document from one of our own parts.

    Raises:
        OSError, ValueError: no answer, or not JSON.
    """
    request = urllib.request.Request(f"http://{host}:{port}{path}", headers={"Accept": "application/json"})

    def get() -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=10.0) as answer:  # noqa: S310
            value: dict[str, Any] = json.loads(answer.read())
        return value

    return await asyncio.to_thread(get)


async def labrelay(site: Path, *arguments: str) -> dict[str, Any]:
    """The JSON of a command, as a person gives it.

    Raises:
        RuntimeError: it failed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "--site", str(site), *arguments, "-o", "json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"labrelay {' '.join(arguments[:2])} failed: {err.decode(errors='replace').strip()}")
    said: dict[str, Any] = json.loads(out)
    return said


async def play(
    first: tuple[str, Part, HostPort],
    second: tuple[str, Part, HostPort],
    shown: Callable[[], Awaitable[bool]],
    *,
    leave: bool,
    say: Callable[[str], None],
) -> int:
    """Start two parts, one after the other, show something, and stop them; 0 if it was as it should be.

    Args:
        first, second: the line that says that it starts, the part, and where it listens.
        shown: whether all was as it should be.
        leave: else the parts go on until this is cancelled.
    """
    try:
        for words, part, at in (first, second):
            say(words)
            await part.start(at.host, at.port)
        good = await shown()
        if not leave:
            say("The parts go on until you press Ctrl-C.")
            await asyncio.Event().wait()
        return 0 if good else 1
    except RuntimeError as error:
        say(str(error))
        return 1
    finally:
        say("Stopping ...")
        await second[1].stop()
        await first[1].stop()


def refuse_taken(places: Mapping[str, HostPort]) -> None:
    """
    Raises:
        LabRelayError: another program listens at one of these places.
    """
    taken = [f"{name} ({at})" for name, at in places.items() if port_is_taken(at.host, at.port)]
    if taken:
        raise LabRelayError(f"already in use: {', '.join(taken)}; is another demo or daemon running? Stop it first")


def listens(site: Site, channel: str, shown: str) -> HostPort:
    """Where a channel of the demo's site listens.

    Raises:
        LabRelayError: it is none of the demo's, so that ``shown`` cannot be shown there.
    """
    found = site.channels.get(channel)
    listen = found.source.listen if found is not None and isinstance(found.source, TcpPart) else None
    if listen is None:
        raise LabRelayError(f"{shown} shown with the demo's own channels; start the demo in another folder")
    return listen


def plain_environment() -> bool:
    """Whether the counter may be redrawn in place: a terminal that is not set to be plain."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb"
