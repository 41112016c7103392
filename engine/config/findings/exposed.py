"""Find exposed parts of a site: secrets sent to another machine without TLS, ports that accept results from anyone, and
signed requests that a stranger can send again.

These are warnings and do not stop a start: a laboratory's own network may be protected otherwise, and results come
first. But RFC 6749 (3.2) demands TLS of every server that issues tokens, and an intercepted secret can be used again.
"""

from collections.abc import Iterator

from engine.config.channel import ChannelConfig
from engine.config.reading.yaml_nodes import KeyPath, Node, line, walk
from engine.config.sitewide import SiteConfig, servers
from engine.config.sources.source import FhirSearchSource, KafkaSource, TcpPart
from engine.config.sources.source_http import HttpPart


def exposed(config: SiteConfig, site: Node) -> Iterator[str]:
    """A line for each such place of the site's file, with what is shown there and what to do."""
    for name, destination in config.destinations.items():
        at: KeyPath = ("destinations", name)
        for path, text in destination.in_clear():
            yield line(walk(site, (*at, *path)), (*at, *path), text)
    for server in servers(config):
        for path, text in server.in_clear:
            yield line(walk(site, (*server.path, *path)), (*server.path, *path), text)


def asked_in_clear(channel: ChannelConfig, node: Node) -> Iterator[str]:
    """A line for each secret that a source sends to another machine without TLS."""
    if isinstance(channel.source, FhirSearchSource | KafkaSource):
        for path, text in channel.source.in_clear():
            yield line(walk(node, ("source", *path)), ("source", *path), text)


def open_to_all(channel: ChannelConfig, node: Node) -> Iterator[str]:
    """A line where any machine that reaches a channel's port can send results to it."""
    source = channel.source
    if not isinstance(source, TcpPart) or source.listen is None or source.listen.is_loopback or source.allow:
        return
    if source.tls is None or source.tls.client_ca is None:
        path: KeyPath = ("source", "listen")
        text = (
            f"any machine that reaches {source.listen} can send results here; name those that may, as "
            "`allow: 10.1.2.3`, or ask for certificates (`tls: client_ca`)"
        )
        yield line(walk(node, path), path, text)


def open_to_replays(channel: ChannelConfig, node: Node) -> Iterator[str]:
    """A line where a signed request that was recorded can be sent again, and nothing sets it apart from a new one."""
    source = channel.source
    if not isinstance(source, HttpPart) or source.auth is None or source.auth.hmac is None:
        return
    if source.auth.hmac.timestamp is None and source.format != "hl7v2" and source.control_id is None:
        path: KeyPath = ("source", "auth", "hmac")
        numbered = ", or the sender's own number of a message (control_id)" if source.format == "json" else ""
        text = (
            "a request that was recorded on its way can be sent again, and is delivered again: name the header of a "
            f"time that is signed (timestamp){numbered}"
        )
        yield line(walk(node, path), path, text)
