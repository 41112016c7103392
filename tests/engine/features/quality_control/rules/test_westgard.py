"""Westgard's rules and the figures of controls, against `tests/golden/quality.jsonl`.

Each of its lines has points or values, and what two independent evaluators found.
"""

import json
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from westgard import ControlObservation, RunIdentifier, evaluate_rule
from westgard.models import EvaluationScope, RuleName

from engine.features.quality_control.rules.figures import Figures, bridged_sd, cumulative, figures_of, outliers
from engine.features.quality_control.rules.westgard import (
    Judgement,
    Point,
    RuleSet,
    Target,
    Verdict,
    judge,
    number_in,
    z_of,
)

VECTORS = Path(__file__).parents[4] / "golden" / "quality.jsonl"
PLACES = Decimal("0.0001")


@cache
def vectors() -> dict[str, dict[str, Any]]:
    lines = VECTORS.read_text(encoding="utf-8").splitlines()
    return {one["id"]: one for one in map(json.loads, lines)}


def test_no_data_set_is_missing() -> None:
    """Those of changes are walked by the tests of rules that hold results."""
    numbers = {"W": 25, "S": 3, "D": 3}
    assert set(vectors()) == {f"{kind}{n:02}" for kind, most in numbers.items() for n in range(1, most + 1)}


def of_kind(kind: str) -> list[str]:
    return [name for name, one in vectors().items() if one["kind"] == kind]


def rules_of(vector: dict[str, Any]) -> RuleSet:
    config = vector["config"]
    known = RuleSet()
    return RuleSet(rules=tuple(config.get("rules", known.rules)), r4s=config.get("r4s", known.r4s))


def points_of(vector: dict[str, Any]) -> list[Point]:
    resets = {one["before"] for one in vector.get("events", ()) if one["kind"] == "reset"}
    found = []
    for one in vector["points"]:
        lot = one.get("lot", "")
        said = vector["targets"].get(f"{one['level']}/{lot}") or vector["targets"].get(one["level"])
        target = Target(Decimal(said["mean"]), Decimal(said["sd"])) if said else None
        found.append(
            Point(
                one["n"], one["run"], one["level"], one["value"], lot, target,
                excluded="excluded" in one, reset=one["n"] in resets,
            )
        )  # fmt: skip
    return found


def said(found: Judgement) -> dict[str, Any]:
    fired = sorted((one.at, one.rule, one.scope, list(one.points)) for one in found.violations)
    return {"violations": fired, "runs": {str(run): verdict.value for run, verdict in found.runs.items()}}


@pytest.mark.parametrize("name", of_kind("westgard"))
def test_the_rules_find_what_is_expected(name: str) -> None:
    vector = vectors()[name]
    expected = vector["expected"]
    fired = sorted((one["at"], one["rule"], one["scope"], one["points"]) for one in expected["violations"])
    points = points_of(vector)
    assert said(judge(points, rules_of(vector))) == {"violations": fired, "runs": expected["runs"]}
    found = [None if one.excluded else z_of(one.value, one.target) for one in points]
    assert [rounded(z) for z in found] == expected["z"]


@pytest.mark.parametrize("name", of_kind("westgard"))
def test_what_was_found_stays_when_more_points_come(name: str) -> None:
    """No point changes what fired at one before it, nor the verdict on a run that has ended."""
    vector = vectors()[name]
    points, rules = points_of(vector), rules_of(vector)
    whole = judge(points, rules)
    for end in range(1, len(points)):
        found = judge(points[:end], rules)
        assert found.violations == tuple(one for one in whole.violations if one.at <= points[end - 1].number)
        ended = {one.run for one in points[:end]} - {one.run for one in points[end:]}
        assert all(found.runs[run] is whole.runs[run] for run in ended)


# The other package has no notion of these three; it finds what would be there without them.
NOT_THERE = {
    "W10": "R-4s by range",
    "W21": "a reset",
    "W22": "another lot of the level",
}
NAMES = {
    "1-2s": RuleName.ONE_2S, "1-3s": RuleName.ONE_3S, "2-2s": RuleName.TWO_2S, "R-4s": RuleName.R_4S,
    "4-1s": RuleName.FOUR_1S, "3-1s": RuleName.THREE_1S, "2of3-2s": RuleName.TWO_OF_THREE_2S, "6x": RuleName.SIX_X,
    "8x": RuleName.EIGHT_X, "9x": RuleName.NINE_X, "10x": RuleName.TEN_X, "12x": RuleName.TWELVE_X,
    "7T": RuleName.SEVEN_T,
}  # fmt: skip


@pytest.mark.parametrize("name", of_kind("westgard"))
def test_an_independent_package_finds_the_same_rules_in_the_same_runs(name: str) -> None:
    points, rules = points_of(vectors()[name]), rules_of(vectors()[name])
    runs = {one.number: one.run for one in points}
    mine = {(runs[one.at], one.rule) for one in judge(points, rules).violations}
    theirs = {(run, rule) for run, rule in found_by_the_other(points, rules.rules)}
    assert (mine == theirs) == (name not in NOT_THERE), (mine ^ theirs, NOT_THERE.get(name))


def found_by_the_other(points: list[Point], rules: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """The runs and rules that the other package finds, asked at each point with the streams that end there."""
    seen: list[tuple[Point, ControlObservation]] = []
    for point in points:
        z = None if point.excluded else z_of(point.value, point.target)
        if z is None:
            continue
        run = RunIdentifier(str(point.run))
        seen.append((point, ControlObservation("GLU", point.level, run, point.number, float(z))))
        level = [one for other, one in seen if other.level == point.level]
        every = [one for _, one in seen]
        of_run = [one for other, one in seen if other.run == point.run]
        for rule in rules:
            if any(is_fired(rule, scope, stream) for scope, stream in streams(rule, level, every, of_run)):
                yield point.run, rule


def streams(rule: str, level: list, every: list, of_run: list) -> Iterator[tuple[EvaluationScope, list]]:
    if rule in ("1-2s", "1-3s"):
        yield EvaluationScope.WITHIN_RUN, level[-1:]
    elif rule == "R-4s":
        yield EvaluationScope.WITHIN_RUN, of_run
    else:
        yield EvaluationScope.WITHIN_MATERIAL, level
        if rule in ("2-2s", "2of3-2s"):
            yield EvaluationScope.ACROSS_MATERIAL, of_run
        elif rule != "7T":
            yield EvaluationScope.ACROSS_MATERIAL, every


def is_fired(rule: str, scope: EvaluationScope, stream: list[ControlObservation]) -> bool:
    found = evaluate_rule(NAMES[rule], tuple(stream), scope=scope, stream_name="of the test")
    return found.violated


def test_figures_of_a_new_lot_propose_an_outlier() -> None:
    vector = vectors()["S01"]
    values = [Decimal(one) for one in vector["values"]]
    expected = vector["expected"]
    assert shown(figures_of(values)) == expected["all"]
    assert [place + 1 for place in outliers(values)] == expected["outlier_candidates"]
    left = [one for place, one in enumerate(values) if place not in outliers(values)]
    assert shown(figures_of(left)) == expected["without_candidates"]


def test_figures_of_months_are_put_together() -> None:
    vector = vectors()["S02"]
    parts = [Figures(one["n"], Decimal(one["mean"]), Decimal(one["sd"])) for one in vector["periods"]]
    found = shown(cumulative(parts))
    assert {name: found[name] for name in ("n", "mean", "sd")} == vector["expected"]


def test_a_new_lot_has_the_cv_of_the_old_one_until_it_has_its_own() -> None:
    vector = vectors()["S03"]
    found = figures_of([Decimal(one) for one in vector["new_lot_values"]])
    sd = bridged_sd(found.mean, Decimal(vector["old_lot"]["cv_percent"]))
    assert {
        "n": found.n, "mean": rounded(found.mean), "observed_sd": rounded(found.sd), "interim_sd": rounded(sd),
        "limits_3s": [rounded(found.mean - 3 * sd), rounded(found.mean + 3 * sd)],
    } == vector["expected"]  # fmt: skip


def shown(found: Figures | None) -> dict[str, Any]:
    assert found is not None
    return {"n": found.n, "mean": rounded(found.mean), "sd": rounded(found.sd), "cv_percent": rounded(found.cv_percent)}


def rounded(number: Decimal | None) -> str | None:
    return None if number is None else str(number.quantize(PLACES, ROUND_HALF_UP))


def test_nothing_has_no_figures_and_equal_values_have_no_outlier() -> None:
    assert figures_of([]) is None
    assert figures_of([Decimal(5)]) == Figures(1, Decimal(5), None)
    assert outliers([Decimal(5), Decimal(5), Decimal(5), Decimal(9)]) == ()
    assert cumulative([]) is None
    assert Figures(1, Decimal(0), Decimal(1)).cv_percent is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rules": ("1-2s", "5-1s")}, "there is no rule 5-1s"),
        ({"r4s": "both"}, "R-4s has the forms limits and range"),
        ({"warnings": frozenset({"7T"})}, "1-2s alone must not reject"),
        ({"rules": ("1-2s", "7T")}, "no rule of it rejects"),
        ({}, ""),
    ],
)
def test_a_set_of_rules_is_checked(given: dict[str, Any], said: str) -> None:
    found = RuleSet(**given).problem()
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.parametrize("text", ["<60", "-----", "", "1e3", "1,5", "NaN", "12 mg", "9" * 21])
def test_what_is_no_plain_number_is_not_evaluated(text: str) -> None:
    target = Target(Decimal(100), Decimal(5))
    assert number_in(text) is None
    assert judge([Point(1, 1, "L1", text, target=target)], RuleSet()).runs == {1: Verdict.NOT_EVALUATED}


def test_a_run_of_excluded_points_alone_is_not_evaluated() -> None:
    point = Point(1, 1, "L1", "100", target=Target(Decimal(100), Decimal(5)), excluded=True)
    assert judge([point], RuleSet()).runs == {1: Verdict.NOT_EVALUATED}


def test_a_new_lot_of_one_level_begins_the_counts_across_levels_anew() -> None:
    """Two points below of the new lot and two of before are no four in a row."""
    target = Target(Decimal(100), Decimal(5))
    off = ["106"] * 4
    levels = [("L1", "A"), ("L2", "A"), ("L1", "B"), ("L2", "A")]
    rules = RuleSet(rules=("1-3s", "4-1s"))
    made = [Point(n, n, level, off[n], lot, target) for n, (level, lot) in enumerate(levels)]
    assert judge(made, rules).violations == ()
    same = [one._replace(lot="A") for one in made]
    assert [(one.rule, one.scope) for one in judge(same, rules).violations] == [("4-1s", "all")]


def test_limits_are_compared_with_every_digit() -> None:
    """No context of decimals that a caller has set rounds a value onto its limit."""
    target = Target(Decimal("100.00000000000000000001"), Decimal("5.00000000000000000001"))
    on = "110.00000000000000000003"
    above = "110.00000000000000000004"
    found = [judge([Point(1, 1, "L1", value, target=target)], RuleSet()).runs[1] for value in (on, above)]
    assert found == [Verdict.ACCEPT, Verdict.WARN]
