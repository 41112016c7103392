"""Dead letters in groups: what is one cause, and that every reason of a dead letter has a way out."""

import re

import pytest

from engine.__main__ import verbs
from engine.letters import cause_of, grouped, likely_fix
from engine.reasons import Reason
from engine.records import DeadLetter


def letter(message: int, reason: str = "REFUSED", *, channel: str = "chem", destination: str = "fhir") -> DeadLetter:
    return DeadLetter(
        message_id=message,
        delivery_id=message,
        channel=channel,
        destination=destination,
        state="dead",
        reason=reason,
        at_us=message * 1000,
        message_type="ORU^R01",
    )


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
    ],
)  # fmt: skip
def test_what_differs_from_letter_to_letter_is_no_cause(detail: str, cause: str) -> None:
    assert cause_of(detail) == cause


def test_groups_have_counts_times_and_channels_and_the_largest_is_first() -> None:
    found = grouped(
        [
            (letter(5, channel="a"), "HTTP 422"),
            (letter(9), "HTTP 400"),
            (letter(3, channel="b", destination="x"), "HTTP 422"),
        ]
    )
    first, second = found
    assert (first.cause, first.count, first.oldest_us, first.newest_us, first.example) == ("HTTP 422", 2, 3000, 5000, 5)
    assert (first.channels, first.destinations) == ({"a", "b"}, {"fhir", "x"})
    assert "--channel" not in first.fix
    assert "--channel chem" in second.fix


def test_what_is_told_to_be_typed_exists() -> None:
    known = verbs()
    for reason in Reason:
        fix = likely_fix(reason.value, "chem")
        assert fix
        assert "{" not in fix
        for verb in re.findall(r"labrelay ([a-z]+)", fix):
            assert verb in known, f"{reason}: labrelay {verb}"
    assert likely_fix("NO_SUCH_CODE") == ""
