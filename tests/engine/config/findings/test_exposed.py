"""Secrets that would go over a network in clear are told, each at its line; on loopback and with TLS none are."""

from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.model.errors import ConfigError
from tests.support.sites import CHANNEL_YAML, SITE_YAML, make_site

AT = len(SITE_YAML.splitlines()) + 1
SECRET = "${LR_SECRET}"
BASIC = f"{{basic: {{user: a, password: '{SECRET}'}}}}"
MQTT = "kind: mqtt, client_id: lab, topic: t"
OAUTH2 = f"client_id: lab, client_secret: '{SECRET}'"


def warnings(folder: Path, destination: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("LR_SECRET", "hunter2")
    channel = CHANNEL_YAML.replace("to: archive", "to: [archive, b]")
    site = load_site(make_site(folder, site=f"{SITE_YAML}  b: {{{destination}}}\n", channels={"a.yaml": channel}))
    assert not any("hunter2" in text for text in site.warnings)
    return list(site.warnings)


@pytest.mark.parametrize(
    ("destination", "key", "words"),
    [
        (f"kind: http, url: 'http://lab/r', auth: {BASIC}", "auth.basic",
         "user and password go to lab in clear"),
        (f"kind: fhir, url: 'http://10.0.0.7/r4', auth: {{bearer: {{token: '{SECRET}'}}}}", "auth.bearer",
         "the token goes to 10.0.0.7 in clear"),
        (f"kind: http, url: 'http://lab/r', auth: {{hmac: {{key_id: k, secret: '{SECRET}'}}}}", "auth.hmac",
         "the key is not shown, and all else is"),
        (f"kind: http, url: 'https://lab/r', auth: {{oauth2: {{token_url: 'http://idp/t', {OAUTH2}}}}}",
         "auth.oauth2.token_url", "client_secret goes to idp in clear, which RFC 6749 forbids"),
        (f"kind: fhir, url: 'http://lab/r4', auth: {{oauth2: {{token_url: 'https://idp/t', {OAUTH2}}}}}",
         "auth.oauth2", "tokens go to lab in clear"),
        ("kind: fhir, url: 'https://lab/r4', auth: {oauth2: {token_url: 'http://idp/t', client_id: lab, key: k.pem}}",
         "auth.oauth2.token_url", "signed assertions and tokens go to idp in clear"),
        (f"{MQTT}, connect: 'broker:1883', auth: {BASIC}",
         "auth", "user and password go to broker:1883 in clear"),
        (f"kind: s3, endpoint: 'http://store', bucket: lab-archive, access_key: '{SECRET}', secret_key: '{SECRET}'",
         "endpoint", "results go to store in clear"),
    ],
)  # fmt: skip
def test_a_secret_in_clear_is_told_with_its_line_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destination: str, key: str, words: str
) -> None:
    [text] = warnings(tmp_path, destination, monkeypatch)
    assert text.startswith(f"config/labrelay.yaml:{AT}:")
    assert f" destinations.b.{key}: " in text
    assert words in text
    assert "use https://" in text or "add `tls: {}`" in text


@pytest.mark.parametrize(
    "destination",
    [
        f"kind: http, url: 'https://lab/r', auth: {BASIC}",
        f"kind: http, url: 'http://127.0.0.1:8080/r', auth: {BASIC}",
        f"kind: fhir, url: 'http://[::1]/r4', auth: {{oauth2: {{token_url: 'http://localhost/t', {OAUTH2}}}}}",
        f"kind: fhir, url: 'https://lab/r4', auth: {{oauth2: {{{OAUTH2}}}}}",
        "kind: http, url: 'http://lab/r'",
        f"{MQTT}, connect: 'b:8883', tls: {{}}, auth: {BASIC}",
        f"{MQTT}, connect: '127.0.0.1:1883', auth: {BASIC}",
        f"{MQTT}, connect: 'broker:1883'",
    ],
)  # fmt: skip
def test_what_shows_no_secret_to_a_network_is_not_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destination: str
) -> None:
    assert warnings(tmp_path, destination, monkeypatch) == []


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        (f"kind: http, url: 'https://x', auth: {{oauth2: {{{OAUTH2}}}}}", "auth.oauth2 needs token_url"),
        (f"kind: fhir, url: 'https://x', auth: {{oauth2: {{token_url: 'https://x/t', token_host: y, {OAUTH2}}}}}",
         "token_host is for a server that names its token_url itself"),
    ],
)  # fmt: skip
def test_only_a_fhir_server_says_who_gives_its_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destination: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        warnings(tmp_path, destination, monkeypatch)


@pytest.mark.parametrize(
    ("source", "warned"),
    [
        ('listen: "0.0.0.0:2575"', True),
        ('listen: "10.1.2.3:2575"', True),
        ('listen: "[::]:2575"', True),
        ('listen: "127.0.0.1:2575"', False),
        ('listen: "localhost:2575"', False),
        ('listen: "0.0.0.0:2575", allow: 10.1.2.9', False),
        ('listen: "0.0.0.0:2575", allow: [10.1.2.0/24, 10.1.3.1]', False),
        ('listen: "0.0.0.0:2575", tls: {cert: c.pem, key: k.pem}', True),  # the analyzer is not asked who it is
        ('listen: "0.0.0.0:2575", tls: {cert: c.pem, key: k.pem, client_ca: ca.pem}', False),
        ('connect: "10.1.2.9:2575"', False),
    ],
)
def test_a_port_that_takes_results_from_any_machine(tmp_path: Path, source: str, warned: bool) -> None:
    for name in ("c.pem", "k.pem", "ca.pem"):
        (tmp_path / name).touch()
    text = CHANNEL_YAML.replace('listen: "127.0.0.1:0"', source)
    found = [one for one in load_site(make_site(tmp_path, channels={"a.yaml": text})).warnings if "any machine" in one]
    assert len(found) == warned
    for one in found:
        assert one.startswith("channels/a.yaml:2:")
        assert "source.listen" in one
        assert "allow: 10.1.2.3" in one


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('listen: "0.0.0.0:2575", allow: 10.1.2.3/24', "is no address or network: 10.1.2.3/24 has host bits set"),
        ('listen: "0.0.0.0:2575", allow: analyzer', "as 10.1.2.3 or 10.1.2.0/24"),
        ('connect: "10.1.2.9:2575", allow: 10.1.2.3', "allow is for listen"),
        ('listen: "0.0.0.0:2575", tls: {cert: c, key: k, client_names: xn}', "client_names needs client_ca"),
    ],
)
def test_a_mistake_about_who_may_connect_is_told(tmp_path: Path, source: str, told: str) -> None:
    text = CHANNEL_YAML.replace('listen: "127.0.0.1:0"', source)
    with pytest.raises(ConfigError) as caught:
        load_site(make_site(tmp_path, channels={"a.yaml": text}))
    assert any(told in problem for problem in caught.value.problems), caught.value.problems
