"""The page's listener: TLS whose files are read again, who may connect, under which names, and when beyond loopback."""

import asyncio
import re
import shutil
import ssl
from dataclasses import replace
from pathlib import Path
from unittest import mock

import aiohttp
import pytest

from engine.config.tls import ServerTls
from engine.config.web import WebConfig
from engine.model.texts.units import HostPort
from engine.web import listener
from engine.web.guard import host_allowed
from tests.support.access import site
from tests.support.certificates import Authority
from tests.support.status_server import Page, running
from tests.support.status_sites import quiet_site

ANY_PORT = HostPort("127.0.0.1", 0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def over_tls(authority: Authority, **more: object) -> WebConfig:
    pair = authority.sign("relay")
    keys = {key: more.pop(key) for key in ("client_ca", "client_names") if key in more}
    return WebConfig(listen=ANY_PORT, tls=ServerTls(cert=pair.cert, key=pair.key, **keys), **more)  # type: ignore[arg-type]


async def serial_number(page: Page, trust: ssl.SSLContext) -> str:
    """Of the certificate that a new connection gets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", page.server.port, ssl=trust)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await asyncio.wait_for(reader.readline(), 240.0) == b"HTTP/1.1 200 OK\r\n"
        return str(writer.get_extra_info("peercert")["serialNumber"])
    finally:
        writer.close()


async def test_a_renewed_certificate_is_used_at_the_next_connection(authority: Authority) -> None:
    trust = authority.trust()
    async with running(quiet_site(), config=over_tls(authority), trust=trust) as page:
        before = await serial_number(page, trust)
        assert await serial_number(page, trust) == before
        authority.sign("relay")
        assert await serial_number(page, trust) != before
        assert list(page.server.notices()) == []


async def test_a_new_certificate_that_cannot_be_used_leaves_the_one_before(
    authority: Authority, tmp_path: Path
) -> None:
    trust, config = authority.trust(), over_tls(authority)
    assert config.tls is not None
    async with running(quiet_site(), config=config, trust=trust) as page:
        before = await serial_number(page, trust)
        kept = tmp_path / "kept.pem"
        shutil.copy(config.tls.cert, kept)
        for content in (b"half a file", authority.sign("other").cert.read_bytes()):
            config.tls.cert.write_bytes(content)
            assert await serial_number(page, trust) == before
            (notice,) = page.server.notices()
            assert notice.startswith("the page's new certificate cannot be used, the one before is in force: ")
        shutil.copy(kept, config.tls.cert)
        assert await serial_number(page, trust) == before
        assert list(page.server.notices()) == []


async def test_a_certificate_that_is_missing_is_an_error_at_the_start(authority: Authority) -> None:
    config = over_tls(authority)
    assert config.tls is not None
    config.tls.key.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(f"{config.tls.key} cannot be read")):
        async with running(quiet_site(), config=config, trust=authority.trust()):
            pass


async def test_old_protocols_of_tls_are_refused(authority: Authority) -> None:
    old = authority.trust()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with running(quiet_site(), config=over_tls(authority), trust=authority.trust()) as page:
        with pytest.raises(OSError):
            await serial_number(page, old)


async def test_a_client_without_a_certificate_gets_nothing_where_one_is_demanded(authority: Authority) -> None:
    config = over_tls(authority, client_ca=authority.ca, client_names=("nurse",))
    known, stranger = authority.trust(), authority.trust()
    mine, other = authority.sign("nurse"), authority.sign("guest")
    known.load_cert_chain(mine.cert, mine.key)
    stranger.load_cert_chain(other.cert, other.key)
    async with running(quiet_site(), config=config, trust=known) as page:
        assert (await page.get("/status.json"))[0].status == 200
        url = f"https://127.0.0.1:{page.server.port}/status.json"
        for context, refused in ((authority.trust(), True), (stranger, False)):
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client:
                if refused:
                    with pytest.raises((aiohttp.ClientError, OSError)):
                        await client.get(url)
                else:
                    async with client.get(url) as answer:
                        assert answer.status == 403
                        assert "City Lab" not in await answer.text()


async def test_only_machines_that_may_connect_get_an_answer() -> None:
    config = WebConfig(listen=ANY_PORT, allow=("10.1.2.0/24",))
    async with running(quiet_site(), config=config) as page:
        assert (await page.get("/healthz"))[0].status == 200, "this machine always may"
        with mock.patch.object(listener, "is_loopback", return_value=False):
            async with aiohttp.ClientSession() as client:
                with pytest.raises((aiohttp.ClientError, OSError)):
                    await client.get(f"http://127.0.0.1:{page.server.port}/healthz")
            assert page.server.listener.refused >= 1
            page.server.follow(config.model_copy(update={"allow": ("127.0.0.1",)}))  # a reload
            async with (
                aiohttp.ClientSession() as client,
                client.get(f"http://127.0.0.1:{page.server.port}/healthz") as ok,
            ):
                assert ok.status == 200


async def test_it_answers_under_the_names_of_its_certificate_and_those_of_the_site(authority: Authority) -> None:
    config = over_tls(authority, names=("Relay.Lab.Example",))
    async with running(quiet_site(), config=config, trust=authority.trust()) as page:
        for host, status in {
            "relay.lab.example": 200,
            "localhost": 200,
            "127.0.0.1": 200,
            "evil.example": 421,
            "10.0.0.5": 421,
        }.items():
            assert (await page.get("/status.json", headers={"Host": host}))[0].status == status, host


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("relay.lab.example", True),
        ("lab.example", False),
        ("a.relay.lab.example", False),
        ("relay.lab.example.evil.example", False),
        ("*.lab.example", True),  # no name of a machine; it leads nowhere
        ("example", False),
    ],
)
def test_a_wildcard_is_good_for_one_part(host: str, allowed: bool) -> None:
    assert host_allowed(host, {"*.lab.example"}) is allowed


async def test_beyond_this_machine_it_listens_once_there_is_a_user(authority: Authority, tmp_path: Path) -> None:
    everywhere = HostPort("0.0.0.0", 8443)
    config = over_tls(authority).model_copy(update={"listen": everywhere})
    here = replace(everywhere, host="127.0.0.1")
    opened: list[HostPort] = []

    async def opens(self: listener.Listener, _server: object, place: HostPort) -> int:
        opened.append(place)
        self._acceptors[place] = mock.Mock()
        return place.port

    with mock.patch.object(listener.Listener, "open", opens):
        async with site(tmp_path / "site", users=False, config=config) as made:
            page = made.page
            assert opened == [here]
            (notice,) = page.server.notices()
            assert notice.startswith("the page answers on this machine alone, and not on 0.0.0.0:8443, until")
            await page.server.listen()
            assert opened == [here]
            loopback = page.server.listener._acceptors[here]
            await made.add("asha", "admin")
            await page.server.listen()
            assert opened == [here, everywhere]
            loopback.close.assert_called_once()
            assert set(page.server.listener.places) == {everywhere}
            assert list(page.server.notices()) == []
