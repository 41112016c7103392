"""Durations, sizes and addresses: what people write, and what it means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.texts.units import HostPort, duration_text, parse_duration, parse_host_port, parse_size, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("30d", 2_592_000), ("2w", 1_209_600), ("1.5s", 1.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "-5s", "5x", "1h-30m", "5S", "5mm", "\u0665s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="as 30s, 5m"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_a_duration_is_written_so_that_it_reads_back(milliseconds: int) -> None:
    assert round(parse_duration(duration_text(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(
    ("text", "size"), [("64KiB", 65_536), ("16MiB", 16_777_216), ("1GB", 10**9), ("10B", 10), ("1.5 kB", 1500)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["16", "16M", "16mib", "-1B", "1kiB", "KiB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="16MiB"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**60))
def test_a_size_is_written_so_that_it_reads_back(size: int) -> None:
    assert parse_size(size_text(size)) == size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:2575", HostPort("127.0.0.1", 2575)),
        ("analyzer-1.lab.example:4000", HostPort("analyzer-1.lab.example", 4000)),
        ("[::1]:0", HostPort("::1", 0)),
    ],
)
def test_addresses(text: str, address: HostPort) -> None:
    assert parse_host_port(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("127.0.0.1", "host:port"),
        ("127.0.0.1:", "host:port"),
        ("127.0.0.1:65536", "host:port"),
        ("127.0.0.1:\u0661\u0662", "host:port"),
        (":2575", "0.0.0.0:2575 for all"),
        ("::1:2575", "brackets"),
        ("[nonsense]:1", "IPv6"),
        ("a b:1", "host:port"),
    ],
)
def test_what_is_no_address_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_host_port(text)


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert [HostPort(host, 1).is_loopback for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [HostPort(host, 1).is_loopback for host in ("0.0.0.0", "::", "10.0.0.1", "myhost")] == [False] * 4


def test_listeners_collide_on_a_port_and_a_shared_interface() -> None:
    here = HostPort("127.0.0.1", 2575)
    assert here.collides_with(here)
    assert here.collides_with(HostPort("0.0.0.0", 2575))
    assert HostPort("::", 2575).collides_with(here)
    assert not here.collides_with(HostPort("127.0.0.2", 2575))
    assert not here.collides_with(HostPort("127.0.0.1", 2576))
    assert not HostPort("127.0.0.1", 0).collides_with(HostPort("127.0.0.1", 0)), "port 0 is any free one"
