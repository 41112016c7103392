"""What a site shows to others: secrets sent to another machine without TLS, and ports that take results from any.

A warning, and no problem that stops a start: a laboratory's own wire may be guarded otherwise, and results come first.
But RFC 6749 (3.2) demands TLS of every server that gives tokens, and what is read once on the way can be used again.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from engine.config.channel import ChannelConfig
from engine.config.destination import AuthConfig, FhirDestination, HttpDestination, MqttDestination, S3Destination
from engine.config.sitewide import SiteConfig
from engine.config.source import TcpPart
from engine.config.yaml_nodes import KeyPath, Node, line, walk
from engine.model.units import HostPort

_HTTPS = "use https://, or a tunnel to it that ends on this machine"


def exposed(config: SiteConfig, site: Node) -> Iterator[str]:
    """A line for each such place of the site's file, with what is shown there and what to do."""
    for name, destination in config.destinations.items():
        at: KeyPath = ("destinations", name)
        if isinstance(destination, FhirDestination | HttpDestination) and destination.auth is not None:
            for path, text in _http(destination.url, destination.auth):
                yield line(walk(site, (*at, *path)), (*at, *path), text)
        elif isinstance(destination, MqttDestination):
            if destination.auth is not None and destination.tls is None and not destination.connect.is_loopback:
                path = (*at, "auth")
                text = (
                    f"user and password go to {destination.connect} in clear, with every result; add `tls: {{}}` and "
                    "the broker's port for TLS (8883)"
                )
                yield line(walk(site, path), path, text)
        elif isinstance(destination, S3Destination) and (host := _in_clear(destination.endpoint)):
            path = (*at, "endpoint")
            text = f"results go to {host} in clear, though signed; {_HTTPS}"
            yield line(walk(site, path), path, text)


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


def _http(url: str, auth: AuthConfig) -> Iterator[tuple[KeyPath, str]]:
    if host := _in_clear(url):
        if auth.basic is not None:
            yield ("auth", "basic"), f"user and password go to {host} in clear, with every result; {_HTTPS}"
        elif auth.bearer is not None:
            yield ("auth", "bearer"), f"the token goes to {host} in clear, with every result; {_HTTPS}"
        elif auth.oauth2 is not None:
            yield ("auth", "oauth2"), f"tokens go to {host} in clear, with every result; {_HTTPS}"
        elif auth.hmac is not None:
            yield (
                ("auth", "hmac"),
                (f"what is signed goes to {host} in clear: the key is not shown, and every result is; {_HTTPS}"),
            )
    if auth.oauth2 is not None and auth.oauth2.token_url is not None and (host := _in_clear(auth.oauth2.token_url)):
        what = "client_secret goes" if auth.oauth2.client_secret is not None else "signed assertions and tokens go"
        yield ("auth", "oauth2", "token_url"), f"{what} to {host} in clear, which RFC 6749 forbids (3.2); {_HTTPS}"


def _in_clear(url: str) -> str:
    """The host that is spoken to without TLS over a network; empty where there is none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return host if parts.scheme == "http" and not HostPort(host, parts.port or 80).is_loopback else ""
