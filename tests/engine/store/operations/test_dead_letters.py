"""Dead letters in groups: what is one cause, and that every reason of a dead letter has a way out."""

import re
from functools import partial

import pytest

from engine.commands.shared.verb_list import verbs
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.dead_letters import Groups, cause_of, likely_fix


@pytest.mark.parametrize(
    ("detail", "cause"),
    [
        ("OBX[3]-3: no row", "OBX-3: no row"),
        ("OBX[11]-3: no row", "OBX-3: no row"),
        ("HTTP 422", "HTTP 422"),
        ("message 4711 used the same order or specimen number for another patient", "message # used the same order "
         "or specimen number for another patient"),
        ("Observation/0123456789abcdef: we wrote version 1, the server has 2",
         "Observation/...: we wrote version #, the server has #"),
        ("mappings/lab.yaml:31 failed", "mappings/lab.yaml:31 failed"),
        ("no answer within 30 s", "no answer within # s"),
        ("", ""),
        ("a line of words " * 12, "a line of words " * 9 + "a line of ..."),
        ("word" * 99, "word" * 39 + " ..."),
    ],
)  # fmt: skip
def test_what_differs_from_letter_to_letter_is_no_cause(detail: str, cause: str) -> None:
    assert cause_of(detail) == cause


def test_groups_have_counts_times_and_channels_and_the_largest_is_first() -> None:
    groups = Groups()
    add = partial(groups.add, "REFUSED", oldest_us=3000, newest_us=4000)
    add("HTTP 422", count=1, oldest_us=5000, newest_us=5000, channel="a", destination="fhir", message=5)
    add("HTTP 400", count=2, channel="chem", destination="fhir", message=9)
    add("HTTP 422", count=3, channel="b", destination="fhir", message=3)
    add("HTTP 422", count=1, channel="b", destination="x", message=1)
    first, second, third = groups.largest_first()
    assert (first.cause, first.count, first.oldest_us, first.newest_us, first.example) == ("HTTP 422", 4, 3000, 5000, 5)
    assert (first.channels, first.destination, third.destination) == ({"a", "b"}, "fhir", "x")
    assert "--channel NAME" in first.fix
    assert "--channel chem" in second.fix


@pytest.mark.parametrize(
    ("issues", "cause"),
    [
        ([{"severity": "dead", "rule": "lab.yaml:31", "place": "OBX[4]-3"}], "lab.yaml:31 OBX-3"),
        ([{"severity": "warning", "rule": "lab.yaml:9", "place": "PID-5"}], "Sharma: # is no number"),
        ([{"severity": "dead", "rule": "", "place": "O[2].3"}], "O.3"),
        ([{"severity": "dead", "rule": "", "place": ""}], "Sharma: # is no number"),
        ([], "Sharma: # is no number"),
    ],
)
def test_the_rule_and_the_field_of_a_deadly_issue_are_the_cause(issues: list[dict[str, str]], cause: str) -> None:
    assert cause_of("Sharma: 7 is no number", issues) == cause


def test_what_is_told_to_be_typed_exists() -> None:
    known = verbs()
    for reason in ReasonCode:
        fix = likely_fix(reason.value, "chem")
        assert fix
        assert "{" not in fix
        for verb in re.findall(r"labrelay ([a-z]+)", fix):
            assert verb in known, f"{reason}: labrelay {verb}"
    assert likely_fix("NO_SUCH_CODE") == ""
