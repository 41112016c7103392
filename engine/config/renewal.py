"""A site's certificate and key files, and their content as one hash for each channel and destination.

Renewed certificates keep their names, so the YAML does not change with them. A reload compares these, too.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.load import Site

Fingerprints = dict[tuple[str, str], str]

_KEYS = ("cert", "key", "ca", "client_ca")


def fingerprints(site: Site) -> Fingerprints:
    """By ``("channel" | "destination", name)``."""
    channels = {("channel", name): _hash_of(one.source) + _hash_of(one.orders) for name, one in site.channels.items()}
    return channels | {("destination", name): _hash_of(one) for name, one in site.config.destinations.items()}


class CertificateFile(NamedTuple):
    """A certificate of ours and its private key, and whose they are (``channel chemistry``)."""

    owner: str
    cert: Path
    key: Path | None


def certificate_files(site: Site) -> Iterator[CertificateFile]:
    """All that the site shows to others: of the page, of listening sources, of connections that it opens."""
    if site.config.web.enabled and site.config.web.tls is not None:
        yield CertificateFile("status page", site.config.web.tls.cert, site.config.web.tls.key)
    for name, channel in site.channels.items():
        if (ours := getattr(channel.source, "tls", None)) is not None:
            yield CertificateFile(f"channel {name}", ours.cert, ours.key)
        if (tls := getattr(channel.orders, "tls", None)) is not None and tls.cert is not None:
            yield CertificateFile(f"orders of channel {name}", tls.cert, tls.key)
    for name, destination in site.config.destinations.items():
        oauth2 = getattr(getattr(destination, "auth", None), "oauth2", None)
        for tls in (getattr(destination, "tls", None), oauth2.tls if oauth2 is not None else None):
            if tls is not None and tls.cert is not None:
                yield CertificateFile(f"destination {name}", tls.cert, tls.key)


def _hash_of(block: Any) -> str:
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
