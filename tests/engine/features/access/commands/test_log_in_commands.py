"""What verbs say of the ways to log in: keys, secrets, and a token server that refuses us."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay
from tests.support.sites import SITE_YAML, make_site


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a token server that knows nobody."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps({"error": "invalid_client", "error_description": "no client labrelay"}).encode()
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/token"
    server.shutdown()
    server.server_close()
    thread.join()


def site_with(oauth2: str, url: str = "http://127.0.0.1:1/fhir") -> str:
    return SITE_YAML + f"  b: {{kind: fhir, url: '{url}', auth: {{oauth2: {{{oauth2}}}}}}}\n"


def signing_key(path: Path, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)


def test_check_online_tells_what_is_wrong_with_the_client(
    tmp_path: Path, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LR_CLIENT_SECRET", "hunter2")
    oauth2 = f"token_url: '{refusing}', client_id: labrelay, client_secret: '${{LR_CLIENT_SECRET}}'"
    ran = labrelay("check", "--online", site=make_site(tmp_path, site=site_with(oauth2)))

    assert ran.code == ExitCode.CONFIG
    assert (
        "destination b: NOT_AUTHORIZED: the token server: HTTP 401 invalid_client: it does not know this client, or "
        "not with this proof; check client_id and client_secret (it says: no client labrelay)"
    ) in ran.out
    assert "hunter2" not in ran.out + ran.err


def test_the_public_key_is_printed_for_the_server(tmp_path: Path) -> None:
    folder = make_site(tmp_path, site=site_with("token_url: 'http://x/t', client_id: lab, key: config/smart.key"))
    signing_key(folder / "config" / "smart.key", ec.SECP384R1())
    assert labrelay("check", site=folder).code == ExitCode.OK
    for ran in (labrelay("jwks", site=folder), labrelay("jwks", "b", site=folder)):
        assert ran.code == ExitCode.OK
        [key] = ran.json["keys"]
        assert key.keys() == {"kty", "crv", "x", "y", "use", "alg", "kid"}
        assert key["alg"] == "ES384"


def test_a_destination_that_signs_nothing_has_no_key_to_print(tmp_path: Path) -> None:
    folder = make_site(tmp_path)
    ran = labrelay("jwks", site=folder)
    assert ran.code == ExitCode.CONFIG
    assert "no destination signs assertions" in ran.err
    folder = make_site(tmp_path / "two", site=site_with("token_url: 'http://x/t', client_id: lab, key: k.pem"))
    ran = labrelay("jwks", "archive", site=folder)
    assert ran.code == ExitCode.CONFIG
    assert "destination archive signs no assertions" in ran.err


def test_check_looks_at_the_signing_key(tmp_path: Path) -> None:
    folder = make_site(tmp_path, site=site_with("token_url: 'http://x/t', client_id: lab, key: config/smart.key"))
    missing = labrelay("check", site=folder)
    signing_key(folder / "config" / "smart.key", ec.SECP256R1())
    weak = labrelay("check", site=folder)

    assert missing.code == weak.code == ExitCode.CONFIG
    assert "config/labrelay.yaml:4:" in missing.out
    assert "destinations.b.auth.oauth2.key: " in missing.out
    assert "No such file" in missing.out
    assert "is neither an RSA key of at least 2048 bits nor an EC key on P-384" in weak.out


def test_doctor_looks_at_secrets_and_keys_of_every_way_to_log_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LR_HMAC", "x")
    monkeypatch.delenv("LR_CLIENT_SECRET", raising=False)
    site = (
        site_with("token_url: 'http://x/t', client_id: lab, key: config/smart.key")
        + "  traces: {kind: http, url: 'http://x', auth: {hmac: {key_id: k, secret: '${LR_HMAC}'}}}\n"
        + "  d: {kind: http, url: 'http://x', auth: {oauth2: {token_url: 'http://x/t', client_id: lab, "
        "client_secret: '${LR_CLIENT_SECRET}'}}}\n"
        "traces: {url: 'http://127.0.0.1:9'}\n"
    )
    folder = make_site(tmp_path, site=site)
    signing_key(folder / "config" / "smart.key", ec.SECP384R1())
    said = labrelay("doctor", "-o", "json", site=folder).json["lines"]

    secrets = {line["text"]: line["health"] for line in said if line["subject"] == "secret"}
    assert secrets == {"${LR_HMAC} (traces) is set": "ok", "${LR_CLIENT_SECRET} (d) is not set in this shell": "warn"}
    assert [line["health"] for line in said if line["subject"] == "private key"] == ["ok"]
