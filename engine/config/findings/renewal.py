"""A site's certificate and key files, and their content as one hash for each that has them.

Renewed certificates keep their names, so the YAML does not change with them. A reload compares these, too.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.channel import connections
from engine.config.load import Site
from engine.config.sitewide import servers

Fingerprints = dict[tuple[str, str], str]

_KEYS = ("cert", "key", "ca", "client_ca")


def fingerprints(site: Site) -> Fingerprints:
    """By ``("channel" | "destination", name)``. What runs of features compares `hash_of` by itself."""
    channels = {
        ("channel", name): "".join(map(hash_of, (one.source, *(block for _, block in connections(one)))))
        for name, one in site.channels.items()
    }
    return channels | {("destination", name): hash_of(one) for name, one in site.config.destinations.items()}


class CertificateFile(NamedTuple):
    """A certificate of ours and its private key, and whose they are (``channel chemistry``)."""

    owner: str
    cert: Path
    key: Path | None


def certificate_files(site: Site) -> Iterator[CertificateFile]:
    """All that the site shows to others: of the page, of listening sources, of connections that it opens."""
    config = site.config
    if config.web.enabled and config.web.tls is not None:
        yield CertificateFile("status page", config.web.tls.cert, config.web.tls.key)
    owners: dict[str, Any] = {f"channel {name}": channel.source for name, channel in site.channels.items()}
    for name, channel in site.channels.items():
        owners |= {f"{key} of channel {name}": block for key, block in connections(channel)}
    owners |= {f"destination {name}": one for name, one in config.destinations.items()}
    owners |= {one.owner: one.block for one in servers(config)}
    for owner, block in owners.items():
        oauth2 = getattr(getattr(block, "auth", None), "oauth2", None)
        for tls in (getattr(block, "tls", None), oauth2.tls if oauth2 is not None else None):
            if tls is not None and tls.cert is not None:
                yield CertificateFile(owner, tls.cert, tls.key)


def hash_of(block: Any) -> str:
    """Over the files that the ``tls:`` of a block names; empty where it has none. A missing file counts as empty."""
    tls = getattr(block, "tls", None)
    if tls is None:
        return ""
    found = hashlib.sha256()
    for name in _KEYS:
        file: Path | None = getattr(tls, name, None)
        if file is None:
            continue
        try:
            content = file.read_bytes()
        except OSError:
            content = b""
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()
