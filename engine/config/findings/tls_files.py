"""The certificate and key files of a site: they exist, are readable PEM, belong together, and are of a supported kind.

The daemon needs them only when it opens a port or a connection; here they are checked before anything is started.
`cryptography` is loaded where a file is read: a site without TLS needs none of it.

Renewed certificates keep their names, so the YAML does not change with them. A reload compares the hash of their
content, too.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.channel import connections
from engine.config.load import Site
from engine.config.reading.yaml_nodes import Node, line, read_file, walk
from engine.config.site import CONFIG_FILE
from engine.config.sitewide import servers


def problems(site: Site) -> Iterator[str]:
    """A line for each unusable file, with its place in the YAML."""
    for name, channel in site.channels.items():
        if channel.enabled:
            yield from _block(getattr(channel.source, "tls", None), site.nodes[name], ("source", "tls"))
            yield from _log_in(channel.source, site.nodes[name], ("source",))
            for key, block in connections(channel):
                yield from _block(block.tls, site.nodes[name], (key, "tls"))
    yield from problems_of_page(site)
    root = read_file(site.folder / CONFIG_FILE, str(CONFIG_FILE))
    for name, destination in site.config.destinations.items():
        yield from _block(getattr(destination, "tls", None), root, ("destinations", name, "tls"))
        for key, block in destination:  # one that listens, too
            yield from _block(getattr(block, "tls", None), root, ("destinations", name, key, "tls"))
        yield from _log_in(destination, root, ("destinations", name))
    for server in servers(site.config):
        yield from _block(getattr(server.block, "tls", None), root, (*server.path, "tls"))
        yield from _log_in(server.block, root, server.path)


def _log_in(block: Any, root: Node, path: tuple[str, ...]) -> Iterator[str]:
    """The errors in the files of ``auth: {oauth2: ...}``, where a block has that."""
    oauth2 = getattr(getattr(block, "auth", None), "oauth2", None)
    if oauth2 is not None:
        path = (*path, "auth", "oauth2")
        yield from _block(oauth2.tls, root, (*path, "tls"))
        yield from _signing_key(oauth2.key, root, (*path, "key"))


def problems_of_page(site: Site) -> Iterator[str]:
    """As `problems`, of ``web.tls`` alone."""
    if site.config.web.tls is not None:
        yield from _block(site.config.web.tls, read_file(site.folder / CONFIG_FILE, str(CONFIG_FILE)), ("web", "tls"))


def _block(tls: Any, root: Node, path: tuple[str, ...]) -> Iterator[str]:
    """The errors in the files of one ``tls:`` block, whichever of them its model has."""
    files = {key: file for key in ("cert", "key", "ca", "client_ca") if (file := getattr(tls, key, None)) is not None}
    keys: dict[str, bytes] = {}
    for key, file in files.items():
        here = (*path, key)
        try:
            keys[key] = _private(file) if key == "key" else _public(file)
        except OSError as error:
            yield line(walk(root, here), here, f"{file} cannot be read: {error.strerror}")
        except ValueError as error:
            yield line(walk(root, here), here, f"{file} {error}")
    if "cert" in keys and "key" in keys and keys["cert"] != keys["key"]:
        here = (*path, "key")
        yield line(walk(root, here), here, f"{files['key']} is not the key of {files['cert']}")


def _signing_key(file: Path | None, root: Node, here: tuple[str, ...]) -> Iterator[str]:
    """The errors of a key that signs our assertions."""
    if file is None:
        return
    from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        _private(file)
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        yield line(walk(root, here), here, f"{file} cannot be read: {error.strerror}")
        return
    except ValueError as error:
        yield line(walk(root, here), here, f"{file} {error}")
        return
    rsa = isinstance(key, RSAPrivateKey) and key.key_size >= 2048
    if not rsa and not (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP384R1)):
        text = f"{file} is neither an RSA key of at least 2048 bits nor an EC key on P-384; make one of these"
        yield line(walk(root, here), here, text)


def _public(file: Path) -> bytes:
    """The public key of the first certificate.

    Raises:
        OSError, ValueError: it cannot be read; it is no certificate.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    content = file.read_bytes()
    try:
        first = x509.load_pem_x509_certificates(content)[0]
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is no PEM certificate; give the PEM file") from None
    return first.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _private(file: Path) -> bytes:
    """The public half of a private key; its content appears in no error."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    content = file.read_bytes()
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise ValueError("is protected by a password; give a key without one, readable by the service only") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is no PEM private key; give the PEM file") from None
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


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
