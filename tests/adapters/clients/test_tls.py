"""One TLS context for all who trust the system's authorities, and only for these."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.clients.tls import tls_context
from tests.support.certificates import Authority


@dataclass
class Trust:
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def names(context: ssl.SSLContext) -> set[str]:
    return {str(one["subject"]) for one in context.get_ca_certs()}


def test_connections_that_trust_the_system_share_a_context() -> None:
    context = tls_context("a", None)
    assert tls_context("b", Trust()) is context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_authorities_or_a_certificate_of_ones_own_are_a_context_of_ones_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    client = authority.sign("client")
    for trust in (Trust(ca=authority.ca), Trust(cert=client.cert, key=client.key)):
        assert tls_context("a", trust) is not tls_context("a", trust)
        assert tls_context("a", trust) is not tls_context("b", None)
    assert "LabRelay test authority" not in str(names(tls_context("b", None)))


def test_other_authorities_of_the_system_are_another_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    for name in ("the first", "the second"):
        new = tmp_path / "new.pem"
        new.write_bytes(Authority(tmp_path / name, name).ca.read_bytes())
        new.replace(bundle)
        assert name in str(names(tls_context("a", None)))
