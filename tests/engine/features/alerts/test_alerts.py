"""The ``alerts:`` of a site: each mistake has its place, and says what to do; the recipes of the documentation work."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from engine.config.load import load_site
from engine.features.alerts.config import SINK_KINDS, AlertsConfig, HttpSink, alerts_of
from engine.features.alerts.rules.causes import RULES
from engine.features.alerts.rules.wording import settings_of
from engine.model.errors import ConfigError
from engine.model.site.alerts import SAMPLE
from engine.model.texts.templates import filled
from engine.monitoring.snapshot.states import Level
from tests.support.sites import SITE_YAML, make_site

DOCS = Path(__file__).parents[4] / "docs" / "alerts.md"
SINK = "{kind: http, url: 'http://127.0.0.1:1', body: '{\"text\": \"{text}\"}'}"
MAIL = "{kind: email, server: 'm.example:587', sender: l@x.example, to: a@x.example%s}"


def read(folder: Path, text: str) -> tuple[AlertsConfig, tuple[str, ...]]:
    site = load_site(make_site(folder, site=f"{SITE_YAML}alerts: {text}\n"))
    alerts = alerts_of(site.config)
    assert alerts is not None
    return alerts, site.warnings


WRONG = {
    "no sink": ("{sinks: {}}", "alerts.sinks: "),
    "an unknown kind": (
        "{sinks: {a: {kind: pager}}}",
        "alerts.sinks.a.kind: unknown value 'pager'; use email, http, mqtt or syslog",
    ),
    "no kind": ("{sinks: {a: {to: b@x.example}}}", "kind is missing; add kind: email, http, mqtt or syslog"),
    "a name that no sink has": (f"{{sinks: {{mail: {SINK}}}, to: mial}}", "did you mean mail?"),
    "one of a rule": (f"{{sinks: {{a: {SINK}}}, rules: {{dead: {{to: b}}}}}}", "rules.dead.to: no sink has the name b"),
    "one of a step": (f"{{sinks: {{a: {SINK}}}, escalation: [{{after: 1m, to: b}}]}}", "escalation.0.to: no sink"),
    "steps in no order": (
        f"{{sinks: {{a: {SINK}}}, escalation: [{{after: 5m, to: a}}, {{after: 1m, to: a}}]}}",
        "expected steps in the order of their times",
    ),
    "an unknown rule": (f"{{sinks: {{a: {SINK}}}, rules: {{slient: {{}}}}}}", "did you mean silent?"),
    "a count where there is none": (f"{{sinks: {{a: {SINK}}}, rules: {{silent: {{above: 2}}}}}}", "above is for dead"),
    "a critical value that waits": (
        f"{{sinks: {{a: {SINK}}}, rules: {{critical: {{after: 5m}}}}}}",
        "a critical value is sent at once",
    ),
    "units alone": (f"{{sinks: {{a: {MAIL % ', unit: east'}}}}}", "add one without unit"),
    "always quiet": (
        "{sinks: {a: {kind: http, url: 'http://127.0.0.1:1', body: '{text}', type: text,"
        " quiet: [{start: '00:00', end: '24:00'}]}}}",
        "nothing would ever be sent",
    ),
    "a body that says nothing": (
        "{sinks: {a: {kind: http, url: 'http://127.0.0.1:1', body: '{}'}}}",
        "body has none of {text}, {subject} and {key}",
    ),
    "no JSON": ("{sinks: {a: {kind: http, url: 'http://127.0.0.1:1', body: '{text}'}}}", "body is no JSON"),
    "in clear": (
        "{sinks: {a: {kind: http, url: 'http://chat.example', body: '{text}', type: text}}}",
        "alerts would go to chat.example in clear",
    ),
    "no address": (
        "{sinks: {a: {kind: email, server: 'm.example:587', sender: lab, to: a@x.example}}}",
        "sinks.a.sender: expected an e-mail address, as lab@lab.example.org",
    ),
    "an unknown key": ("{sinks: {a: " + MAIL % ", sendr: lab" + "}}", "did you mean sender?"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_refused_with_its_remedy(tmp_path: Path, name: str) -> None:
    text, part = WRONG[name]
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    assert any(one.startswith("config/labrelay.yaml:4:") and part in one for one in raised.value.problems)


def test_a_password_in_clear_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "x")
    auth = ', security: none, auth: {basic: {user: u, password: "${MAIL_PASSWORD}"}}'
    _, warnings = read(tmp_path, f"{{sinks: {{mail: {MAIL % auth}}}}}")
    assert [one for one in warnings if "alerts.sinks.mail.auth" in one and "in clear" in one]


def test_a_unit_that_the_site_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"alerts\.sinks\.b\.unit: unknown unit 'eats'"):
        read(tmp_path, f"{{sinks: {{a: {SINK}, b: {MAIL % ', unit: eats'}}}}}")


def test_no_secret_of_an_address_is_in_the_place_that_people_read(tmp_path: Path) -> None:
    sink = "{kind: http, url: 'https://chat.example?key=hook-secret', body: '{text}', type: text}"
    config, _ = read(tmp_path, f"{{sinks: {{chat: {sink}}}}}")
    assert config.sinks["chat"].place == "chat.example"


def test_each_rule_of_the_machine_has_a_name_in_the_configuration() -> None:
    assert set(AlertsConfig.names) == set(RULES)


def test_what_a_site_changes_is_changed_and_all_else_is_as_usual(tmp_path: Path) -> None:
    config, _ = read(
        tmp_path,
        f"{{sinks: {{a: {SINK}, b: {SINK}}}, escalation: [{{after: 15m, to: b}}], rules: {{silent: {{after: 1h,"
        " least: attention}, dead: {above: 7, to: b}, disk: {enabled: false}}}",
    )
    settings = settings_of(config)
    silent, dead, away = settings.rules["silent"], settings.rules["dead"], settings.rules["destination"]
    assert (silent.after_s, silent.keep_s, silent.least, silent.to) == (3600.0, 300.0, Level.ATTENTION, ("a",))
    assert (dead.above, dead.to) == (7, ("b",))
    assert (away.after_s, away.to) == (600.0, ("a",))
    assert not settings.rules["disk"].enabled
    assert [(one.after_s, one.to) for one in settings.escalation] == [(900.0, ("b",))]


def recipes() -> dict[str, Any]:
    text = DOCS.read_text(encoding="utf-8")
    found = re.findall(r"<!-- recipe: (\w+) -->\n```yaml\n(.*?)```", text, re.DOTALL)
    return {name: yaml.safe_load(body)[name] for name, body in found}


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_of_the_documentation_is_a_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for secret in re.findall(r"\$\{(\w+)\}", DOCS.read_text(encoding="utf-8")):
        monkeypatch.setenv(secret, "secret")
    config, _ = read(tmp_path, yaml.safe_dump({"sinks": {name: recipes()[name]}}, default_flow_style=True, width=9999))
    sink = config.sinks[name]
    assert isinstance(sink, HttpSink)
    body = filled(sink.body, sink.type, SAMPLE.values)
    if sink.type == "json":
        assert SAMPLE.subject in str(orjson.loads(body)) or SAMPLE.text in orjson.loads(body)["text"]


def test_each_rule_has_its_row_in_the_documentation() -> None:
    section = DOCS.read_text(encoding="utf-8").partition("## Rules")[2].partition("## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(RULES)


def test_the_shipped_kinds_have_an_example_that_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, model in enumerate(SINK_KINDS.values()):
        for secret in re.findall(r"\$\{(\w+)\}", model.example):
            monkeypatch.setenv(secret, "secret")
        example = yaml.safe_load(model.example)
        text = yaml.safe_dump({"sinks": example}, default_flow_style=True, width=9999)
        config, _ = read(tmp_path / str(number), text)
        assert isinstance(config.sinks[next(iter(example))], model)
