"""The certificate of the page: read anew when its files change, and the names that it is good for."""

import logging
import ssl
from collections.abc import Iterator

from engine.config import registry
from engine.config.tls import ServerTls

logger = logging.getLogger("labrelay.web")

FileStates = tuple[tuple[int, int, int] | None, ...]


class Certificate:
    """The TLS of one listener.

    Attributes:
        fault: why the files as they are now cannot be used, so that earlier ones are in force; else empty.
        names: the DNS names and addresses of the certificate, in lower case; a name may begin with ``*.``.
    """

    def __init__(self, files: ServerTls) -> None:
        self.files = files
        self.fault = ""
        self.names: frozenset[str] = frozenset()
        self._seen: FileStates = ()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The context for the next handshake: of the files as they are, or, where those cannot be used, of the last
        that could.

        Raises:
            OSError, ValueError: they cannot be used, and there are no earlier ones.
        """
        found = tuple(self._states())
        if self._context is None or found != self._seen:
            try:
                self._context, self.names = self._load()
                self.fault = ""
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                if self._context is None:
                    raise
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                self.fault = f"the page's new certificate cannot be used, the one before is in force: {reason}"
                logger.error("the page's certificate cannot be read", extra={"detail": reason})
            self._seen = found
        return self._context

    def _load(self) -> tuple[ssl.SSLContext, frozenset[str]]:
        context: ssl.SSLContext = registry.transport("tls").server_context(self.files)
        context.set_alpn_protocols(["http/1.1"])
        return context, frozenset(_names(self.files.cert.read_bytes()))

    def _states(self) -> Iterator[tuple[int, int, int] | None]:
        """Of each file what changes when it is written or replaced."""
        for file in (self.files.cert, self.files.key, self.files.client_ca):
            try:
                found = file.stat() if file is not None else None
            except OSError:
                found = None
            yield (found.st_ino, found.st_size, found.st_mtime_ns) if found is not None else None


def _names(pem: bytes) -> Iterator[str]:
    """RFC 6125, 6.4: of the alternative names; the common name counts no more."""
    from cryptography import x509  # large; a page without TLS needs none of it

    try:
        found = x509.load_pem_x509_certificates(pem)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return
    for name in found.value:
        if isinstance(name, x509.DNSName | x509.IPAddress):
            yield str(name.value).lower()
