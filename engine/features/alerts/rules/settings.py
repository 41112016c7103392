"""The configuration of alerts as the machine takes it: the usual rules, and what a site has changed of them."""

from dataclasses import replace
from typing import Any

from engine.features.alerts.config.alerts import AlertsConfig
from engine.features.alerts.rules.causes import RULES, Rule
from engine.features.alerts.rules.machine import Escalation, Settings
from engine.monitoring.snapshot.states import Level


def settings_of(config: AlertsConfig) -> Settings:
    """The settings of a site."""
    return Settings(
        rules={name: _rule(name, rule, config) for name, rule in RULES.items()},
        sinks=frozenset(config.sinks),
        escalation=tuple(Escalation(after_s=one.after, to=one.to) for one in config.escalation),
        remind_s=config.remind,
        group_s=config.group,
    )


def _rule(name: str, rule: Rule, config: AlertsConfig) -> Rule:
    given = dict(config.rules).get(name)  # type: ignore[call-overload]  # its keys are the names of rules
    if given is None:
        return replace(rule, to=config.usual)
    changed: dict[str, Any] = {
        "after_s": given.after,
        "keep_s": given.keep,
        "above": given.above,
        "least": Level(given.least) if given.least is not None else None,
    }
    found = {key: value for key, value in changed.items() if value is not None}
    return replace(rule, enabled=given.enabled, to=given.to or config.usual, **found)
