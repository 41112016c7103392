"""A source of HTTP that other machines reach has TLS, and asks who sends; secrets are never written out."""

from pathlib import Path

import pytest

from engine.config.findings.questions import numbers_open
from engine.config.load import load_site
from engine.config.sources.source_http import HttpPart
from engine.model.errors import ConfigError
from tests.support.sites import CHANNEL_YAML, SITE_YAML, make_site

TLS = "tls: {cert: c.pem, key: k.pem}"
MUTUAL = "tls: {cert: c.pem, key: k.pem, client_ca: ca.pem}"
BEARER = "auth: {bearer: {token: '${LR_TOKEN}'}}"
HMAC = "auth: {hmac: {secret: '${LR_TOKEN}'"
EVERY = "listen: '0.0.0.0:8700'"
HERE = "listen: '127.0.0.1:8700'"


def problems(folder: Path, source: str) -> list[str]:
    start, end = CHANNEL_YAML.index("source:"), CHANNEL_YAML.index("routes:")
    text = f"{CHANNEL_YAML[:start]}source: {{kind: http, {source}}}\n{CHANNEL_YAML[end:]}"
    try:
        site = load_site(make_site(folder, site=SITE_YAML, channels={"a.yaml": text}))
    except ConfigError as error:
        return list(error.problems)
    (channel,) = site.channels.values()
    assert isinstance(channel.source, HttpPart)
    assert (channel.source.transport, channel.source.link) == ("http", "whole")
    assert not site.warnings
    return []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (HERE, ""),
        (f"{HERE}, {BEARER}", ""),
        (f"{HERE}, path: /results", ""),
        (f"{EVERY}, {TLS}, {BEARER}", ""),
        (f"{EVERY}, {MUTUAL}", ""),
        (f"{EVERY}, {MUTUAL}, {BEARER}", ""),
        (EVERY, "results would come in clear; add tls"),
        (f"{EVERY}, {BEARER}", "results would come in clear; add tls"),
        (f"{EVERY}, {TLS}", "any machine that reaches this address could send results; add auth"),
        (f"{EVERY}, {TLS}, allow: 10.0.0.7", "could send results; add auth"),
        ("listen: 'lab.example:8700'", "results would come in clear"),
        (f"{HERE}, path: results", "expected a path without a query, as /results"),
        (f"{HERE}, path: '/a?b=1'", "expected a path without a query"),
        (f"{HERE}, auth: {{bearer: {{token: hunter2}}}}", "a secret is never written here"),
        (f"{HERE}, auth: {{bearer: {{token: '${{LR_UNSET}}'}}}}", "${LR_UNSET} is not set"),
        (f"{HERE}, auth: {{}}", "give exactly one way to prove who sends"),
        (f"{HERE}, auth: {{bearer: {{token: '${{LR_TOKEN}}'}}, hmac: {{secret: '${{LR_TOKEN}}'}}}}", "exactly one way"),
        (f"{HERE}, {HMAC}}}}}", ""),
        (f"{HERE}, {HMAC}, timestamp: X-Time, signed: '{{timestamp}}.{{body}}'}}}}", ""),
        (f"{HERE}, {HMAC}, timestamp: X-Time, signed: '{{x-id}}.{{timestamp}}.{{body}}'}}}}", ""),
        (f"{HERE}, {HMAC}, timestamp: X-Time}}}}", "a time that is not signed proves nothing"),
        (f"{HERE}, {HMAC}, signed: '{{timestamp}}.{{body}}'}}}}", "timestamp and {timestamp} in signed go together"),
        (f"{HERE}, {HMAC}, signed: 'body'}}}}", "signed has {body} once"),
        (f"{HERE}, {HMAC}, signed: '{{body}}{{body}}'}}}}", "signed has {body} once"),
        (f"{HERE}, {HMAC}, signed: '{{a b}}{{body}}'}}}}", "names of headers in braces"),
        (f"{HERE}, {HMAC}, signature: 'X Y'}}}}", "expected the name of a header"),
        (f"{HERE}, {HMAC}, window: 2h}}}}", "expected at most 1h"),
        (f"{HERE}, {HMAC}, algorithm: md5}}}}", "unknown value 'md5'"),
        (f"{HERE}, auth: {{hmac: {{secret: hunter2}}}}", "a secret is never written here"),
        ("path: /", "listen"),
    ],
)
def test_what_a_source_of_http_must_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    monkeypatch.setenv("LR_TOKEN", "hunter2")
    found = problems(tmp_path, source)
    assert len(found) == bool(words), found
    assert all(words in text and "hunter2" not in text for text in found)


@pytest.mark.parametrize(("content", "open_for"), [("hl7v2", ["his"]), ("json", [])])
def test_json_has_no_patient_numbers_to_ask_about(tmp_path: Path, content: str, open_for: list[str]) -> None:
    source = f"source: {{kind: http, {HERE}, format: {content}}}"
    text = f"channel: his\n{source}\nroutes: [{{mapping: hl7-results, to: archive}}]\n"
    site_yaml = "\n".join(line for line in SITE_YAML.splitlines() if not line.startswith("patient_numbers")) + "\n"
    site = load_site(make_site(tmp_path, site=site_yaml, channels={"a.yaml": text}))
    assert numbers_open(site) == open_for


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("format: json", "(timestamp), or the sender's own number of a message (control_id)"),
        ("format: fhir", "(timestamp)"),
        ("format: hl7v2", ""),
        ("format: json, control_id: $.id", ""),
    ],
)
def test_a_signature_that_can_be_replayed_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    monkeypatch.setenv("LR_TOKEN", "hunter2")
    text = f"channel: his\nsource: {{kind: http, {HERE}, {source}, {HMAC}}}}}}}\nroutes: [{{to: archive}}]\n"
    found = load_site(make_site(tmp_path, site=SITE_YAML, channels={"a.yaml": text})).warnings
    assert len(found) == bool(words), found
    assert all(one.startswith("channels/a.yaml:2:") and one.endswith(words) for one in found)
    timed = text.replace("'${LR_TOKEN}'", "'${LR_TOKEN}', timestamp: X-Time, signed: '{timestamp}.{body}'")
    assert load_site(make_site(tmp_path, site=SITE_YAML, channels={"a.yaml": timed})).warnings == ()


def test_paths_into_json_are_for_json(tmp_path: Path) -> None:
    assert problems(tmp_path, f"{HERE}, format: json, control_id: $.id, message_type: \"$['event type'][0]\"") == []
    for more, words in (
        ("control_id: $.id", "control_id and message_type are for format: json"),
        ("format: fhir, message_type: $.id", "control_id and message_type are for format: json"),
        ("format: json, control_id: id", "expected a path, as $.payload.id"),
        ("format: json, control_id: '$.a[*]'", "expected a path, as $.payload.id"),
        ("format: astm", "unknown value 'astm'"),
    ):
        (found,) = problems(tmp_path, f"{HERE}, {more}")
        assert words in found
