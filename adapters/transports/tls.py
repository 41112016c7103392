"""Certificates of a TCP source: its own, and the names in a client's certificate."""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of PEM files. ``ca``: who may be at the other end, which then has to show a certificate."""

    cert: str | None = None
    key: str | None = None
    ca: str | None = None

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        if self.ca:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


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
