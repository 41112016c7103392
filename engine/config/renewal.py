"""The content of a site's certificate and key files, as one hash for each channel and destination.

Renewed certificates keep their names, so the YAML does not change with them. A reload compares these, too.
"""

import hashlib
from pathlib import Path
from typing import Any

from engine.config.load import Site

Fingerprints = dict[tuple[str, str], str]

_KEYS = ("cert", "key", "ca", "client_ca")


def fingerprints(site: Site) -> Fingerprints:
    """By ``("channel" | "destination", name)``."""
    channels = {("channel", name): _hash_of(one.source) for name, one in site.channels.items()}
    return channels | {("destination", name): _hash_of(one) for name, one in site.config.destinations.items()}


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
