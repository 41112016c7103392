"""Counts of rules, as the API reads them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from engine.features.rules.lists import DAY, RULE, UNTOUCHED
from engine.features.rules.rows import reading
from engine.features.rules.rows.reading import RuleView, UntouchedView
from engine.web.api.lists import Asked, Resource
from engine.web.api.parameters import Channel, Word

DaysBack = Annotated[int, Field(ge=1, le=800, description="Of so many days up to today.")]


class Rules(Channel):
    days: DaysBack = 30


class Days(Channel):
    days: DaysBack = 30
    rule: Word | None = None


def _since(asked: Asked[Rules] | Asked[Days]) -> str:
    return reading.first_day(asked.arguments.days, datetime.now(UTC), asked.sources.zone)


def rules(asked: Asked[Rules]) -> Sequence[RuleView]:
    return reading.list_rules(asked.journal, _since(asked), asked.arguments.channel)


def rule_days(asked: Asked[Days]) -> Sequence[RuleView]:
    return reading.list_days(asked.journal, _since(asked), asked.arguments.channel, asked.arguments.rule)


def rules_untouched(asked: Asked[Rules]) -> Sequence[UntouchedView]:
    return reading.list_untouched(asked.journal, _since(asked), asked.arguments.channel)


LISTS = (
    Resource("/rules", "rules that hold results, with their counts", rules, RULE, verb="rules list", place=64),
    Resource("/rules/days", "counts of each rule, by day", rule_days, DAY, verb="rules days"),
    Resource(
        "/rules/untouched", "results of each test that go out untouched, by month", rules_untouched, UNTOUCHED,
        verb="rules untouched",
    ),
)  # fmt: skip
