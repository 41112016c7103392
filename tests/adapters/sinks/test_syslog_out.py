"""Alerts to a syslog server on loopback, over UDP, TCP and TLS."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from adapters.sinks import syslog_out
from adapters.sinks.syslog_out import LONGEST, line, shortened
from engine.model.errors import DestinationDownError, TransientDeliveryError
from engine.model.process.clock import ManualClock
from engine.model.site.alerts import SAMPLE, Notification
from engine.model.texts.units import HostPort
from tests.support.certificates import Authority
from tests.support.syslog_peer import tcp, udp
from tests.support.waiting import until

LINE = re.compile(rb"<(\d+)>1 (\S+) (\S+) labrelay (\d+) alert \[labrelay@32473 (.*)\] \xef\xbb\xbf(.*)", re.DOTALL)


@dataclass
class Trust:
    ca: Path
    cert: Path | None = None
    key: Path | None = None


@dataclass
class Config:
    connect: HostPort
    protocol: str = "udp"
    tls: Trust | None = None
    timeout: float = 60.0


async def send(port: int, notification: Notification = SAMPLE, **changed: object) -> None:
    config = Config(HostPort("127.0.0.1", port), **changed)  # type: ignore[arg-type]
    await syslog_out.build("log", config, ManualClock()).send(notification)


async def test_a_line_comes_over_udp_with_its_severity_and_its_values() -> None:
    async with udp() as server:
        await send(server.port)
        await until(lambda: bool(server.lines))
    found = LINE.fullmatch(server.lines[0])
    assert found is not None
    assert found[1] == b"130"  # local0, critical
    assert found[5].startswith(b'id="labrelay-1" site="A \\"laboratory\\"" state="start" level="problem"')
    assert found[6] == b"two | lines"


async def test_lines_come_over_tcp_each_counted() -> None:
    async with tcp() as server:
        await send(server.port, protocol="tcp")
        await send(server.port, replace(SAMPLE, state="end"), protocol="tcp")
    assert [LINE.fullmatch(one)[1] for one in server.lines] == [b"130", b"133"]  # type: ignore[index]


async def test_a_line_comes_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with tcp(authority) as server:
        await send(server.port, protocol="tcp", tls=Trust(authority.ca))
        await until(lambda: bool(server.lines))
    assert LINE.fullmatch(server.lines[0]) is not None


async def test_no_server_is_tried_again() -> None:
    async with tcp() as server:
        port = server.port
    with pytest.raises(TransientDeliveryError, match="no syslog there: connection refused"):
        await send(port, protocol="tcp")


# State, level, key -> severity.
SEVERITIES = [
    ("start", "problem", "critical/7", 1),
    ("start", "problem", "away/lis", 2),
    ("still", "attention", "away/lis", 4),
    ("end", "problem", "critical/7", 5),
    ("test", "attention", "test", 5),
]


@pytest.mark.parametrize(("state", "level", "key", "severity"), SEVERITIES)
def test_the_severity_says_how_urgent_it_is(state: str, level: str, key: str, severity: int) -> None:
    said = line(replace(SAMPLE, state=state, level=level, key=key), "host", 1)
    assert said.startswith(b"<%d>1 " % (16 * 8 + severity))


def test_a_value_cannot_end_its_place() -> None:
    said = line(replace(SAMPLE, site='x"] y\\'), "my host", 1)
    assert rb'site="x\"\] y\\"' in said
    assert b" my-host labrelay " in said


def test_a_line_over_udp_is_cut_between_characters() -> None:
    said = shortened(line(replace(SAMPLE, text="अ" * 2000), "host", 1))
    assert LONGEST - 3 < len(said) <= LONGEST
    assert said.decode().endswith("अ")


async def test_a_probe_wants_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    async with tcp(ours) as server:
        to = HostPort("127.0.0.1", server.port)
        await syslog_out.build("log", Config(to, "tcp", Trust(ours.ca)), ManualClock()).probe()
        with pytest.raises(DestinationDownError, match="not trusted"):
            await syslog_out.build("log", Config(to, "tcp", Trust(other.ca)), ManualClock()).probe()
    assert server.lines == []


@pytest.mark.parametrize("host", ["no-such-host.invalid", "label" * 20 + ".invalid"])
async def test_a_probe_looks_up_the_name_of_a_server_over_udp(host: str) -> None:
    with pytest.raises(TransientDeliveryError, match="cannot be resolved"):
        await syslog_out.build("log", Config(HostPort(host, 514)), ManualClock()).probe()
