"""What each rule has said is counted, as a model counts it; a shadow holds nothing; a person confirms or overturns."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.commands.shared.output import ExitCode
from tests.results.test_critical_values import folder, send
from tests.results.test_holds_of_every_output import message
from tests.support.running import MLLP, Json, RunningSite, channel, running_site

Truth = bool | None


class Rule(NamedTuple):
    """A rule with what a model says of a result: its test and its value, None where that is words."""

    name: str
    when: str
    says: Callable[[str, float | None], Truth]
    shadow: bool = False


def above(limit: float, test: str) -> Callable[[str, float | None], Truth]:
    return lambda of, value: False if of != test else None if value is None else value > limit


RULES = (
    Rule("K high", "=code == 'K' and value > 7", above(7, "K")),
    Rule("K high, new", "=code == 'K' and value > 6", above(6, "K"), shadow=True),
    Rule("any above 9", "=value > 9", lambda of, value: None if value is None else value > 9, shadow=True),
)
VALUES = [("K", "4.0"), ("K", "6.5"), ("K", "7.9"), ("K", "clotted"), ("NA", "140"), ("K", "8.1"), ("K", "9.5")]
RELEASED, REJECTED = 2, 5  # places of messages that a person decides about


def said(of: Sequence[tuple[str, str]]) -> Iterator[tuple[int, str, Truth]]:
    for place, (test, text) in enumerate(of):
        value = float(text) if text[0].isdigit() else None
        yield from ((place, rule.name, rule.says(test, value)) for rule in RULES)


def expected() -> dict[str, Counter[str]]:
    found = {rule.name: Counter[str]() for rule in RULES}
    for place, rule, truth in said(VALUES):
        found[rule]["seen"] += 1
        found[rule]["hit"] += truth is True
        found[rule]["unknown"] += truth is None
        found[rule]["overturned"] += truth is True and place == RELEASED
        found[rule]["confirmed"] += truth is True and place == REJECTED
    return found


def held() -> list[int]:
    active = {rule.name for rule in RULES if not rule.shadow}
    return sorted({place for place, rule, truth in said(VALUES) if rule in active and truth is not False})


async def asked(site: RunningSite, *arguments: str) -> Any:
    ran = await site.labrelay(*arguments, "-o", "json")
    assert ran.code == ExitCode.OK, ran.err
    await site.settled()
    return ran.json


def lab(*rules: Rule, routes: int = 1) -> Json:
    hold = [{"when": one.when, "name": one.name, "shadow": one.shadow} for one in rules]
    made: list[Json] = [
        {"mapping": "hl7-results", "to": "files", **({"hold": [*map(dict, hold)]} if hold else {})}
        for _ in range(routes)
    ]
    return channel(MLLP, *made)


def counts(rows: Sequence[Json]) -> dict[str, Counter[str]]:
    names = ("seen", "hit", "unknown", "confirmed", "overturned")
    return {row["rule"]: Counter({name: row[name] for name in names}) for row in rows}


async def test_what_rules_say_is_counted_as_the_model_counts_it(tmp_path: Path) -> None:
    async with running_site(tmp_path / "site", {"lab": lab(*RULES)}, folder(tmp_path)) as site:
        for number, (test, value) in enumerate(VALUES, 1):
            kind = "NM" if value[0].isdigit() else "ST"
            await send(site, "oru", message("oru", number, {"test": test, "value": value, "kind": kind, "range": ""}))
        numbers = [one.id for one in site.messages()]
        waiting = {row["message"] for row in (await asked(site, "held", "list"))["held"]}
        assert waiting == {numbers[place] for place in held()}  # a shadow holds nothing
        await asked(site, "held", "release", str(numbers[RELEASED]), "--reason", "seen", "--yes")
        await asked(site, "held", "reject", str(numbers[REJECTED]), "--reason", "clotted", "--yes")
        rows = (await asked(site, "rules", "list"))["rules"]
        assert counts(rows) == expected()
        assert {row["rule"]: row["shadow"] for row in rows} == {one.name: one.shadow for one in RULES}
        assert len({row["version"] for row in rows}) == len(RULES)
        days = (await asked(site, "rules", "days", "--rule", "K high"))["days"]
        assert counts(days) == {"K high": expected()["K high"]}
        found = (await asked(site, "rules", "untouched"))["untouched"]
        assert [(one["test"], one["results"], one["untouched"], one["percent"]) for one in found] == [
            ("K", 6, 2, "33.3"),
            ("NA", 1, 1, "100.0"),
        ]


async def test_a_result_of_two_routes_is_one_and_a_changed_rule_another_version(tmp_path: Path) -> None:
    rule = Rule("high", "=code == 'K' and value > 7", above(7, "K"))
    async with running_site(tmp_path / "site", {"lab": lab(rule, routes=2)}, folder(tmp_path)) as site:
        await send(site, "oru", message("oru", 1, {"value": "4.0"}))
        await send(site, "oru", message("oru", 2, {"value": "7.9"}))
        (row,) = (await asked(site, "rules", "untouched"))["untouched"]
        assert (row["results"], row["untouched"]) == (2, 1)
        (row,) = (await asked(site, "rules", "list"))["rules"]
        assert (row["seen"], row["hit"]) == (4, 2)  # each route asks it


async def test_a_site_without_rules_counts_nothing(tmp_path: Path) -> None:
    plain = channel(MLLP, {"mapping": "hl7-results", "to": "files"})
    async with running_site(tmp_path / "site", {"lab": plain}, folder(tmp_path)) as site:
        await send(site, "oru", message("oru", 1, {"value": "7.9", "flag": "HH"}))
        assert (await asked(site, "rules", "list"))["rules"] == []
        assert (await asked(site, "rules", "untouched"))["untouched"] == []
