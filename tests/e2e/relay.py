"""Callbacks of ABDM through a relay: nginx and Caddy with the files of `config/relay`, a laboratory behind a tunnel.

    simulator --TLS--> nginx or Caddy --a TCP forward, as `ssh -R` makes one--> the listener of a laboratory

Each program is skipped where it is absent (``LABRELAY_NGINX``, ``LABRELAY_CADDY`` name others).
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.features.abdm.service.dispatcher import FLOWS
from tests.e2e.counterparts import STARTS_WITHIN_S
from tests.support.abdm_site import SECRET, Ours, destination, person, report
from tests.support.certificates import Authority, Pair
from tests.support.ports import quiet_ports
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox, Settings
from workbench.abdm.people import PEOPLE

SHIPPED = Path(__file__).parents[2] / "config" / "relay"
FIRST, SECOND = "IN0000000001", "IN0000000002"
PATH = "/abdm/api/v3/link/on_carecontext"
LONG = 50 * 1024 * 1024


# -- the programs ------------------------------------------------------------------------------------------------------


def replaced(text: str, changes: dict[str, str]) -> str:
    """Each line that an administrator changes is there, and changed."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def running(command: list[str], port: int, log: Path, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The program, once it listens; ended at the end."""
    environment = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
    try:
        end = time.monotonic() + STARTS_WITHIN_S
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def program(name: str, package: str) -> str:
    found = os.environ.get(f"LABRELAY_{name.upper()}") or shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"there is no {name}; on Debian or Ubuntu: apt install {package}")
    return found


@contextmanager
def nginx(
    folder: Path, port: int, pair: Pair, ends: dict[str, int], ca: Path | None
) -> Iterator["subprocess.Popen[bytes]"]:
    found = program("nginx", "nginx-light")
    changes = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "server_name relay.example.org;": "server_name localhost;",
        "/etc/letsencrypt/live/relay.example.org/fullchain.pem": str(pair.cert),
        "/etc/letsencrypt/live/relay.example.org/privkey.pem": str(pair.key),
        "/var/log/nginx/labrelay-abdm.log": str(folder / "access.log"),
        "IN0000000001 127.0.0.1:8590;": f"{FIRST} 127.0.0.1:{ends[FIRST]};",
        "IN0000000002 127.0.0.1:8591;": f"{SECOND} 127.0.0.1:{ends[SECOND]};",
    }
    if ca is not None:  # as wireguard.conf says
        changes["proxy_pass http://$labrelay_abdm;"] = of_wireguard("nginx", ca)
    site = replaced((SHIPPED / "nginx.conf").read_text(), changes)
    paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {folder}/{name};\n" for name in paths)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log info;\n"
        f"events {{ worker_connections 512; }}\nhttp {{\n{temporary}{site}\n}}\n"
    )
    command = [found, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    with running(command, port, folder / "program.log", folder) as process:
        yield process


@contextmanager
def caddy(
    folder: Path, port: int, pair: Pair, ends: dict[str, int], ca: Path | None
) -> Iterator["subprocess.Popen[bytes]"]:
    found = program("caddy", "caddy")
    upstream = ("reverse_proxy {}",) if ca is None else (of_wireguard("Caddy", ca),)
    changes = {
        "relay.example.org {": f"https://localhost:{port} {{\n\ttls {pair.cert} {pair.key}\n\tbind 127.0.0.1",
        "admin off": "admin off\n\tauto_https disable_redirects",  # it would take port 80
    }
    for shipped, facility in (("127.0.0.1:8590", FIRST), ("127.0.0.1:8591", SECOND)):
        changes[f"reverse_proxy {shipped}"] = upstream[0].format(f"127.0.0.1:{ends[facility]}")
    (folder / "Caddyfile").write_text(replaced((SHIPPED / "Caddyfile").read_text(), changes))
    command = [found, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    with running(command, port, folder / "program.log", folder) as process:
        yield process


def of_wireguard(name: str, ca: Path) -> str:
    """What `wireguard.conf` says of the relay, for this machine."""
    text = re.sub(r"^#\s*", "", (SHIPPED / "wireguard.conf").read_text(), flags=re.MULTILINE)
    after = {"nginx": r"for nginx: (.*?)\n(?=for Caddy)", "Caddy": r"for Caddy: (.*?)\n\n"}[name]
    found = re.search(after, text, re.DOTALL)
    assert found is not None
    said = found[1].replace("abdm.lab.example", "localhost")
    if name == "nginx":
        return replaced(said, {"/etc/nginx/abdm-ca.pem": str(ca)})
    said = replaced(said, {"/etc/caddy/abdm-ca.pem": str(ca), "10.90.0.2:8590": "ADDRESS"})
    said = re.sub(r"\s*([{}])\s*", r"\n\1\n", said.replace(" tls_", "\ntls_"))
    said = re.sub(r"\n\{", " {", said)
    return said.replace("{", "{{").replace("}", "}}").replace("ADDRESS", "{}")


RELAYS: dict[str, Callable[..., Any]] = {"nginx": nginx, "caddy": caddy}


# -- the laboratories --------------------------------------------------------------------------------------------------


class Tunnel:
    """A port of the relay that leads to a port of the laboratory, as ``ssh -R`` makes one.

    Attributes:
        bytes: that went to the laboratory.
    """

    def __init__(self) -> None:
        self.port = self.leads_to = self.bytes = 0
        self._is_up = True
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.breaks()

    def breaks(self) -> None:
        """All connections end, and none comes through until `comes_back`."""
        self._is_up = False
        for writer in tuple(self._writers):
            writer.transport.abort()

    def comes_back(self) -> None:
        self._is_up = True

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_up:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            inner, outer = await asyncio.open_connection("127.0.0.1", self.leads_to)
            self._writers |= {writer, outer}
            await asyncio.gather(self._copy(reader, outer, counted=True), self._copy(inner, writer, counted=False))
            self._writers -= {writer, outer}
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.bytes += len(data) if counted else 0
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass
class World:
    """A simulator, a relay with TLS, and two laboratories of one account behind it."""

    sandbox: AbdmSandbox
    http: aiohttp.ClientSession
    url: str
    process: "subprocess.Popen[bytes]"
    labs: dict[str, Ours]
    tunnels: dict[str, Tunnel]
    folder: Path
    trust: Any
    calls: int = 0

    def headers(self, facility: str | None, **other: str) -> dict[str, str]:
        self.calls += 1
        said = {
            "Authorization": self.sandbox._signer.callback(self.sandbox.state.now_s()),
            "REQUEST-ID": f"0b5cf8e0-6d8a-4d4b-9a3e-{self.calls:012d}",
            "Content-Type": "application/json",
        }
        return said | ({"X-HIP-ID": facility} if facility else {}) | other

    async def post(
        self, facility: str | None = FIRST, path: str = PATH, *, source: str = "127.0.0.1", **headers: str
    ) -> int:
        """As the gateway posts a callback, from this address."""
        connector = aiohttp.TCPConnector(ssl=self.trust, local_addr=(source, 0))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.post(self.url + path, data=b"{}", headers=self.headers(facility, **headers)) as answer,
        ):
            return answer.status

    def kept(self, facility: str) -> int:
        return len(self.labs[facility].rows("abdm_callback"))


@asynccontextmanager
async def world(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    relay: str,
    callbacks: dict[str, Any] | None = None,
    *,
    tls: bool = False,
) -> AsyncIterator[World]:
    settings = Settings(
        repeat_after_s=0.2, repeats=200, facilities={FIRST: "Made-up Laboratory", SECOND: "Another one"}
    )
    monkeypatch.setenv(SECRET, settings.secret)
    authority = Authority(folder / "ca")
    pair, inner = authority.sign("relay"), authority.sign("laboratory")
    place = folder / "relay"
    place.mkdir()
    (port,) = quiet_ports(1)
    tunnels = {facility: Tunnel() for facility in (FIRST, SECOND)}
    for tunnel in tunnels.values():
        await tunnel.open()
    ends = {facility: tunnel.port for facility, tunnel in tunnels.items()}
    sandbox = AbdmSandbox(settings=settings)
    labs: dict[str, Ours] = {}
    with RELAYS[relay](place, port, pair, ends, authority.ca if tls else None) as process:
        await sandbox.start()
        sender = sandbox._callbacks._client
        assert sender is not None
        sender.connector._ssl = authority.trust()  # type: ignore[union-attr]  # the gateway trusts the relay's authority
        try:
            url = f"https://localhost:{port}"
            given: dict[str, Any] = {"url": f"{url}/abdm", "relays": "127.0.0.1"} | (callbacks or {})
            if tls:
                given["tls"] = {"cert": str(inner.cert), "key": str(inner.key)}
            for facility, tunnel in tunnels.items():
                config = destination(
                    sandbox.url, callbacks=given, facilities={facility: {"name": settings.facilities[facility]}}
                )
                labs[facility] = await Ours.start(folder / facility, config, FLOWS)
                tunnel.leads_to = labs[facility].listener.port
            async with aiohttp.ClientSession() as http:
                async with http.post(f"{sandbox.url}/bridge", json={"url": f"{url}/abdm"}) as answer:
                    assert answer.status < 300
                yield World(sandbox, http, url, process, labs, tunnels, place, authority.trust())
        finally:
            for tunnel in tunnels.values():
                tunnel.close()
            for lab in labs.values():
                await lab.stop()
            await sandbox.stop()


async def link_one_each(here: World) -> None:
    for number, facility in enumerate((FIRST, SECOND)):
        lab = here.labs[facility]
        told = await lab.offer(report(f"A-{number}", facility=facility), person(number))
        await lab.is_told(told)


@pytest.fixture(params=RELAYS)
def relay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- what has to hold --------------------------------------------------------------------------------------------------


async def test_two_laboratories_of_one_account_are_linked_through_one_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay: str
) -> None:
    async with world(tmp_path, monkeypatch, relay) as here:
        await link_one_each(here)
        for facility in (FIRST, SECOND):
            assert here.labs[facility].states() == ["linked"]
            assert {kept for (kept,) in here.labs[facility].rows("abdm_callback", "facility")} == {facility}
        async with here.http.get(f"{here.sandbox.url}/violations") as answer:
            assert await answer.json() == []
    left = b"".join(path.read_bytes() for path in here.folder.rglob("*") if path.is_file())
    assert left
    for one in PEOPLE[:2]:
        assert not [text for text in (one.name, one.address, one.mobile) if text.encode() in left]
    assert b"Bearer" not in left


async def test_as_wireguard_conf_says_the_relay_checks_the_certificate_of_the_laboratory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay: str
) -> None:
    async with world(tmp_path, monkeypatch, relay, tls=True) as here:
        await link_one_each(here)
        another = int(here.sandbox.url.rpartition(":")[2])
        here.tunnels[FIRST].breaks()
        here.tunnels[FIRST].leads_to = another  # a program without a certificate
        here.tunnels[FIRST].comes_back()
        assert await here.post(FIRST) == 502


async def test_the_sender_is_the_address_that_the_relay_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay: str
) -> None:
    async with world(tmp_path, monkeypatch, relay, {"allow": "127.0.0.2"}) as here:
        assert await here.post(source="127.0.0.2") == 202
        assert await here.post(source="127.0.0.1") == 403
        forged = {"X-Forwarded-For": "127.0.0.2"}
        assert await here.post(source="127.0.0.1", **forged) == 403  # the relay throws away what the sender wrote
        assert await here.post(source="127.0.0.2", **{"X-Forwarded-For": "10.1.1.1"}) == 202
        assert here.kept(FIRST) == 2


async def test_a_header_of_a_machine_that_is_no_relay_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay: str
) -> None:
    async with world(tmp_path, monkeypatch, relay, {"allow": "127.0.0.2", "relays": "192.0.2.1"}) as here:
        with contextlib.suppress(aiohttp.ClientError):
            assert await here.post(source="127.0.0.2") in (403, 502)
        assert here.kept(FIRST) == 0


async def test_only_callbacks_of_a_laboratory_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay: str) -> None:
    async with world(tmp_path, monkeypatch, relay) as here:
        assert await here.post("IN9999999999") == 403
        assert await here.post(None) == 403
        assert await here.post(path="/") == 404
        assert await here.post(path=PATH.replace("abdm", "other")) == 404
        assert [tunnel.bytes for tunnel in here.tunnels.values()] == [0, 0]
        assert await here.post(SECOND, Authorization="Bearer a.b.c") == 401
        assert await here.post(SECOND) == 202
        assert (here.kept(FIRST), here.kept(SECOND)) == (0, 1)
        connector = aiohttp.TCPConnector(ssl=here.trust)
        async with aiohttp.ClientSession(connector=connector) as http:
            for facility, status in ((FIRST, 200), (SECOND, 200), ("IN9999999999", 403)):
                async with http.get(f"{here.url}/abdm/health", headers={"X-HIP-ID": facility}) as answer:
                    assert answer.status == status


async def test_a_body_of_50_mb_does_not_reach_the_laboratory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay: str
) -> None:
    async with world(tmp_path, monkeypatch, relay) as here:
        for _ in range(3):
            assert await answer_to_a_long_body(here) == 413
        assert sum(tunnel.bytes for tunnel in here.tunnels.values()) < 2 * 1024 * 1024
        assert here.process.poll() is None
        assert await here.post() == 202
        assert here.kept(FIRST) == 1


async def answer_to_a_long_body(here: World) -> int:
    host, port = here.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=here.trust)
    lines = [f"{name}: {value}" for name, value in here.headers(FIRST).items()]
    head = [f"POST {PATH} HTTP/1.1", f"Host: {host}:{port}", *lines, f"Content-Length: {LONG}", "", ""]

    async def send() -> None:
        with contextlib.suppress(OSError):
            writer.write("\r\n".join(head).encode())
            for _ in range(LONG // 65536):
                writer.write(b" " * 65536)
                await writer.drain()

    sending = asyncio.create_task(send())
    try:
        return int((await asyncio.wait_for(reader.readline(), 60)).split()[1])
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.transport.abort()


async def test_a_tunnel_that_was_down_costs_no_callback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay: str
) -> None:
    async with world(tmp_path, monkeypatch, relay) as here:
        lab = here.labs[FIRST]
        here.tunnels[FIRST].breaks()
        assert await here.post() == 502
        told = await lab.offer(report(), person())
        await until(lambda: here.sandbox.state.counts["callback on-generate-token"] > 0)
        assert lab.states() != ["linked"]
        here.tunnels[FIRST].comes_back()
        await lab.is_told(told)
        async with here.http.get(f"{here.sandbox.url}/violations") as answer:
            assert await answer.json() == []
