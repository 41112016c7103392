"""What a person lets go has a place of its own, where it is of another material, or of a test that its sender names
otherwise: it takes no other result's.
"""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from tests.results.test_judged_by_place import CSV, NOON, desk, message
from tests.results.test_named_otherwise import ASKED, FHIR, SENT, named

# The second result, its material and name; whether its place is its own. Before it: F GLU 5.5 of serum, named 0h.
SECOND: dict[str, tuple[str, str, str, bool]] = {
    "urine": ("F GLU 9.9", "UR", "0h", True),
    "a correction of urine": ("C GLU 9.9", "UR", "0h", True),
    "a withdrawal of urine": ("D GLU 9.9", "UR", "0h", True),
    "another test": ("F GLU 9.9", "SER", "2h", True),
    "another test, the same value": ("F GLU 5.5", "SER", "2h", True),
    "a correction under another name": ("C GLU 9.9", "SER", "2h", False),
    "a rerun": ("F GLU 9.9", "SER", "0h", False),
    "a rerun without a name": ("F GLU 9.9", "SER", "", False),
}


@pytest.mark.parametrize("scene", SECOND)
def test_what_is_let_go_takes_no_others_place(tmp_path: Path, scene: str) -> None:
    second, of, named_so, is_apart = SECOND[scene]
    with desk(tmp_path, FHIR) as it:
        ids = []
        for number, (result, material, name) in enumerate((("F GLU 5.5", "SER", "0h"), (second, of, named_so))):
            content = named(message(result, number=number, collected="XXXX", material=material), name)
            it.last = it.say("hl7", content, NOON + timedelta(minutes=number))
            it.decide("release", it.last)
            ids += re.findall(r'"Observation","id":"(.*?)"', "".join(it.documents()))
    assert len(ids) == 2
    assert (len({*ids}) == 2) is is_apart


# Behind both of them: each has words of its own. A list has one code for both, and cannot say which it means.
@pytest.mark.parametrize("then", ["C GLU 9.8", "F GLU 9.8 1100"])
@pytest.mark.parametrize(("route", "ended"), [(FHIR, SENT), (CSV, ASKED)], ids=["FHIR", "CSV"])
def test_a_later_word_is_of_its_own_name(tmp_path: Path, route: dict[str, str], ended: str, then: str) -> None:
    with desk(tmp_path, route) as it:
        for number, (result, name) in enumerate((("F GLU 5.5", "0h"), ("F GLU 9.9", "2h"), (then, "2H"))):
            it.last = it.say("hl7", named(message(result, number=number, collected="XXXX"), name), NOON)
            became = [*it.ended()]
            if number == 1:
                it.decide("release", it.last)
        assert became == [ended]
