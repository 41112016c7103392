"""Addresses of pushes: a table of ways to name a machine of the laboratory's own, and a name server that lies."""

import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from adapters.clients.http.push_guard import GuardedResolver, guarded_connector, push_url, raise_unless_public
from engine.model.errors import PushRefusedError

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4009::200e", "64:ff9b::8.8.8.8"]
INSIDE = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "169.254.0.1", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "203.0.113.9"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1"),
    *("64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a01:203::1", "2001:0:7f00:1::1", "5f00::1", "4000::1"),
]

URLS: dict[str, str] = {  # reason; empty: it is let in as far as a look-up
    "https://hiu.example/push": "",
    "https://hiu.example:8443/push?x=1": "",
    "https://8.8.8.8/push": "",
    "https://[2606:4700:4700::1111]/": "",
    "http://hiu.example/push": "not https",
    "ftp://hiu.example/push": "not https",
    "file:///etc/passwd": "no address",
    "//hiu.example/push": "not https",
    "hiu.example/push": "no address",
    "": "no address",
    "https://": "no address",
    "https:///push": "no address",
    "https://hiu..example/": "no address",  # no name server is asked for one with an empty part, or a long one
    "https://.hiu.example/": "no address",
    f"https://{'x' * 64}.example/": "no address",
    "https://hiu.example:0/": "no address",
    "https://hiu.example:70000/": "no address",
    "https://hiu.example:x/": "no address",
    "https://[::1/": "no address",
    "https://hiu.example/\r\nHost: x": "no address",
    "https://user@hiu.example/": "a name or a password is in the address",
    "https://user:secret@hiu.example/": "a name or a password is in the address",
    "https://8.8.8.8@127.0.0.1/": "a name or a password is in the address",
    "https://127.0.0.1/": "an address that is not of the internet",
    "https://127.0.0.1:8443/": "an address that is not of the internet",
    "https://[::1]/": "an address that is not of the internet",
    "https://[::ffff:7f00:1]/": "an address that is not of the internet",
    "https://169.254.169.254/latest/meta-data": "an address that is not of the internet",
    f"https://hiu.example/{'x' * 3000}": "no address",
    # numbers that the system reads as addresses
    "https://127.1/": "no address",
    "https://2130706433/": "no address",
    "https://0x7f000001/": "no address",
    "https://0x7F.1/": "no address",
    "https://0177.0.0.1/": "no address",
    "https://127.0.0.1./": "no address",
    "https://8.8.8.8./": "no address",
    "https://x.1/": "no address",
    "https://１２７.0.0.1/": "an address that is not of the internet",
    "https://9.hiu.example/": "",
}


@pytest.mark.parametrize("text", URLS, ids=lambda text: text[:40])
def test_an_address_before_its_look_up(text: str) -> None:
    if URLS[text]:
        with pytest.raises(PushRefusedError) as refused:
            push_url(text)
        assert refused.value.reason == URLS[text]
    else:
        assert str(push_url(text)) == text


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_within_is_refused(address: str) -> None:
    with pytest.raises(PushRefusedError):
        raise_unless_public([address])
    for others in ([PUBLIC[0], address], [address, PUBLIC[0]]):  # wherever it is among others
        with pytest.raises(PushRefusedError):
            raise_unless_public(others)


def test_addresses_of_the_internet_are_let_in() -> None:
    raise_unless_public(PUBLIC)


def test_a_name_without_an_address_is_refused() -> None:
    for none in ([], ["hiu.example"], [""]):
        with pytest.raises(PushRefusedError):
            raise_unless_public(none)


def test_a_site_may_name_networks() -> None:
    ours = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")]
    raise_unless_public(["10.1.2.3", "fd12::1", "8.8.8.8"], ours)
    assert push_url("https://10.1.2.3/push", ours).host == "10.1.2.3"
    for outside in ("10.2.0.1", "127.0.0.1", "::ffff:10.1.2.3"):
        with pytest.raises(PushRefusedError):
            raise_unless_public([outside], ours)


@given(st.ip_addresses(v=4))
def test_no_address_of_a_private_network_is_let_in(address: ipaddress.IPv4Address) -> None:
    try:
        raise_unless_public([str(address)])
    except PushRefusedError:
        return
    inside = ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
              "192.168.0.0/16", "224.0.0.0/3")  # fmt: skip
    assert not any(address in ipaddress.ip_network(one) for one in inside)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for whole in (text, f"https://{text}/"):
        try:
            assert push_url(whole).scheme == "https"
        except PushRefusedError:
            continue


# -- over real sockets -----------------------------------------------------------------------------------------------


class NameServer:
    """It gives the answers in turn, the last one again and again."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def look_up(self, host: str, port: int, family: socket.AddressFamily) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in answer
        ]


@pytest.fixture
async def reader() -> AsyncIterator[tuple[int, list[str]]]:
    """Port of a server on 127.0.0.1, and the hosts that requests named."""
    got: list[str] = []

    async def push(request: web.Request) -> web.Response:
        got.append(request.host)
        return web.Response(status=302, headers={"Location": "http://127.0.0.1/elsewhere"})

    app = web.Application()
    app.router.add_post("/push", push)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1], got
    await runner.cleanup()


HERE = [ipaddress.ip_network("127.0.0.1/32")]


async def pushed(names: NameServer, url: str, times: int = 1) -> list[int]:
    resolver = GuardedResolver(HERE, names.look_up)
    connector = guarded_connector(resolver, force_close=True)
    statuses = []
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as session:
        for _ in range(times):
            async with session.post(push_url(url, HERE, in_clear=True), data=b"x", allow_redirects=False) as answer:
                statuses.append(answer.status)
    return statuses


async def test_the_address_that_was_looked_at_is_the_one_that_gets_the_push(reader: tuple[int, list[str]]) -> None:
    port, got = reader
    names = NameServer(["127.0.0.1"])  # no other name server knows this host
    assert await pushed(names, f"http://hiu.example:{port}/push") == [302]
    assert (names.asked, got) == (["hiu.example"], [f"hiu.example:{port}"])


async def test_a_name_that_moves_between_two_connections_is_refused(reader: tuple[int, list[str]]) -> None:
    port, got = reader
    names = NameServer(["127.0.0.1"], ["127.0.0.2"])
    with pytest.raises(PushRefusedError):
        await pushed(names, f"http://hiu.example:{port}/push", times=2)
    assert (len(names.asked), len(got)) == (2, 1)


@pytest.mark.parametrize(
    "answer", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["::1", "127.0.0.1"], ["169.254.169.254"], []]
)
async def test_one_address_within_refuses_all_of_a_name(reader: tuple[int, list[str]], answer: list[str]) -> None:
    port, got = reader
    with pytest.raises(PushRefusedError):
        await pushed(NameServer(answer), f"http://hiu.example:{port}/push")
    assert got == []


async def test_the_system_is_asked_where_no_other_look_up_is_given(reader: tuple[int, list[str]]) -> None:
    port, got = reader
    async with aiohttp.ClientSession(connector=guarded_connector(GuardedResolver([]))) as session:
        with pytest.raises(PushRefusedError):
            await session.post(push_url(f"http://localhost:{port}/push", in_clear=True), data=b"x")
    assert got == []
