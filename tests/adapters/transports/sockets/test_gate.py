"""Who may connect, and whose handshake gives way: a table walked on the gate, and the same on real sockets with TLS."""

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from adapters.transports.sockets.accepting import Admission, Gate
from adapters.transports.sockets.tcp_stream import TcpStream
from adapters.transports.sockets.tls import names_of
from adapters.transports.tcp import TcpListener
from engine.model.link_events import LinkFault
from tests.support.certificates import Authority, ServerFiles
from tests.support.running import hl7_channel, running_site
from tests.support.waiting import until

HOST = "127.0.0.1"
LANS = ("10.1.2.0/24", "192.168.7.9", "fd00::/8")


@pytest.mark.parametrize(
    ("allow", "host", "may"),
    [
        ((), "8.8.8.8", True),
        (LANS, "10.1.2.3", True),
        (LANS, "10.1.3.3", False),
        (LANS, "192.168.7.9", True),
        (LANS, "192.168.7.10", False),
        (LANS, "::ffff:10.1.2.3", True),
        (LANS, "::ffff:10.1.3.3", False),
        (LANS, "fd12::1", True),
        (LANS, "fd12::1%eth0", True),
        (LANS, "fe80::1", False),
        (LANS, "", False),
        (LANS, "not an address", False),
    ],
)
def test_who_may_connect(allow: tuple[str, ...], host: str, may: bool) -> None:
    assert Gate(Admission(allow=allow)).lets_in(host) is may


# What begins, peer by peer (a letter and the number of its handshake), and which of them are still under way then, with
# four at once and two for each peer.
@pytest.mark.parametrize(
    ("begun", "left"),
    [
        ("a1 a2", "a1 a2"),
        ("a1 a2 a3", "a2 a3"),  # its own oldest
        ("a1 a2 b1 b2", "a1 a2 b1 b2"),
        ("a1 b1 a2 b2 c1", "b1 a2 b2 c1"),  # the oldest of all
        ("a1 b1 a2 b2 a3", "b1 a2 b2 a3"),
        ("a1 a2 a3 a4 a5 b1", "a4 a5 b1"),  # a crowd of one peer replaces itself alone
    ],
)
def test_whose_handshake_gives_way(begun: str, left: str) -> None:
    gate, ended = Gate(Admission(handshakes=4, handshakes_per_peer=2)), []
    for one in begun.split():
        gate.begin(one[0], lambda one=one: ended.append(one))  # type: ignore[misc]
    assert [one for one in begun.split() if one not in ended] == left.split()
    assert gate.under_way == len(left.split())


def test_names_of_a_certificate() -> None:
    certificate = {
        "subject": ((("countryName", "IN"),), (("commonName", "XN-1000 Lab 2"),)),
        "subjectAltName": (
            ("DNS", "XN.lab.example"),
            ("URI", "urn:device:7"),
            ("DirName", "x"),
            ("IP Address", "10.0.0.1"),
        ),
    }
    assert names_of(certificate) == {"xn-1000 lab 2", "xn.lab.example", "urn:device:7", "10.0.0.1"}
    assert names_of({}) == frozenset()


async def echo(stream: TcpStream) -> None:
    while data := await stream.read():
        await stream.write(data)


async def is_served(port: int, context: ssl.SSLContext | None, within_s: float = 60.0) -> bool:
    """Whether a client of ours is answered; False where the connection is ended first."""
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
            writer.write(b"hello")
            answer = await reader.read(5)
            writer.close()
            return answer == b"hello"
    except OSError:
        return False


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00"], ids=["silent", "half a hello"])
async def test_a_crowd_of_half_open_handshakes_keeps_no_peer_out_and_ends_in_time(tmp_path: Path, said: bytes) -> None:
    authority = Authority(tmp_path)
    server = authority.sign("server")
    away: list[tuple[LinkFault, str]] = []
    listener = TcpListener(
        HOST,
        0,
        echo,
        tls=ServerFiles(server.cert, server.key),
        admission=Admission(handshakes=16, handshakes_per_peer=8, handshake_timeout_s=0.5),
        turned_away=lambda fault, peer: away.append((fault, peer)),
    )
    port = await listener.start()
    crowd: list[socket.socket] = []
    try:
        for _ in range(120):
            crowd.append(await asyncio.to_thread(socket.create_connection, (HOST, port), 5.0))
            with contextlib.suppress(OSError):  # it may have been ended already
                crowd[-1].sendall(said)
        await until(lambda: len(away) >= 112)
        await until(lambda: len(listener._coming) <= 8)  # a place is free before what was there has ended
        assert {fault.kind for fault, _ in away} == {"handshakes"}
        assert all(peer.startswith(HOST) for _, peer in away)
        assert await is_served(port, authority.trust())
        await until(lambda: not listener._coming)  # the deadline has come for the last of them
        assert listener.refused == 0
    finally:
        for one in crowd:
            one.close()
        await listener.stop(0.2)


async def test_a_certificate_of_the_authority_with_another_name_is_turned_away(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.sign("server")
    away: list[str] = []
    listener = TcpListener(
        HOST,
        0,
        echo,
        tls=ServerFiles(server.cert, server.key, authority.ca),
        admission=Admission(names=frozenset({"xn-1000"})),
        turned_away=lambda fault, peer: away.append(fault.kind),
    )
    port = await listener.start()
    try:
        for name, served in (("XN-1000", True), ("another", False)):
            pair, context = authority.sign(name), authority.trust()
            context.load_cert_chain(pair.cert, pair.key)
            assert await is_served(port, context) is served
        assert away == ["client-name"]
    finally:
        await listener.stop(0.2)


async def test_an_address_outside_is_ended_at_once_and_told(tmp_path: Path) -> None:
    away: list[tuple[str, str]] = []
    listener = TcpListener(
        HOST,
        0,
        echo,
        admission=Admission(allow=("10.0.0.0/8",)),
        turned_away=lambda f, peer: away.append((f.kind, peer)),
    )
    port = await listener.start()
    try:
        assert not await is_served(port, None)
        [(kind, peer)] = away
        assert kind == "not-allowed"
        assert peer.startswith(HOST)
    finally:
        await listener.stop(0.2)


async def test_who_may_not_connect_is_counted_and_shown(tmp_path: Path) -> None:
    source = {"kind": "mllp", "listen": "127.0.0.1:0", "allow": "10.0.0.0/8"}
    async with running_site(tmp_path, {"chem": hl7_channel(source=source)}) as site:
        assert not await is_served(site.port("chem"), None)
        counts = site.app.parts.sources["chem"].channel.counts
        await until(lambda: counts.faults["not-allowed"] == 1)
        site.app.observer.expire()
        (row,) = (await site.labrelay("status", "-o", "json")).json["channels"]
        assert row["link_faults"]["not-allowed"] == 1
