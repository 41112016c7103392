"""Certificates of TCP connections: ours, those that we trust, and the names in a client's certificate."""

import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Protocol


class CertificateFiles(Protocol):
    """Paths of PEM files. ``client_ca``: who may be at the other end, which then has to show a certificate."""

    cert: object
    key: object
    client_ca: object | None


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """Raises OSError or ValueError where a file cannot be used; that of one which cannot be read names it."""
    for file in (files.cert, files.key, files.client_ca):
        if file is not None:
            _try_reading(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(str(files.cert), str(files.key), password=_no_password)
    if files.client_ca is not None:
        context.load_verify_locations(str(files.client_ca))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class TrustFiles(Protocol):
    """Paths of PEM files, for a connection that we open. ``ca``: whom we trust; None: the authorities of the system.
    ``cert`` and ``key``: ours, where the other side asks for them."""

    ca: object | None
    cert: object | None
    key: object | None


def client_context(files: TrustFiles) -> ssl.SSLContext:
    """Raises OSError or ValueError as `server_context`."""
    for file in (files.ca, files.cert, files.key):
        if file is not None:
            _try_reading(str(file))
    context = ssl.create_default_context(cafile=None if files.ca is None else str(files.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.cert is not None:
        context.load_cert_chain(str(files.cert), str(files.key), password=_no_password)
    return context


def _try_reading(file: str) -> None:
    """The errors of the `ssl` module name no file."""
    try:
        open(file, "rb").close()
    except OSError as error:
        raise OSError(error.errno, f"{file} cannot be read: {error.strerror}") from error


def names_of(certificate: Mapping[str, Any]) -> frozenset[str]:
    """The names of the subject of a verified certificate (`ssl.SSLSocket.getpeercert`), in lower case.

    Its alternative names (RFC 5280, 4.2.1.6: DNS, IP address, URI, email) and the common name of its subject.
    """
    return frozenset(name.lower() for name in _names(certificate))


def _names(certificate: Mapping[str, Any]) -> Iterator[str]:
    for kind, name in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "IP Address", "URI", "email"):
            yield name
    for parts in certificate.get("subject", ()):
        for kind, name in parts:
            if kind == "commonName":
                yield name


def _no_password() -> str:
    """Without this OpenSSL would ask on the terminal, and wait, where a key is encrypted."""
    return ""
