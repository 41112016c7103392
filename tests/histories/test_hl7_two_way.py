"""An analyzer of IHE LAW at its end: which work steps it takes, gives up and measures."""

from tests.histories.history import Result
from tests.histories.hl7_two_way import UNORDERED, WorkSteps


def result(value: str, status: str = "F") -> Result:
    return Result(person=0, order=0, test="GLU", value=value, status=status, at="", word=1)


def test_a_work_step_that_is_there_is_refused_and_one_is_given_up_until_it_is_measured() -> None:
    steps = WorkSteps()
    assert [steps.take("W1", "T1", "GLU", how) for how in ("NW", "NW")] == ["OK", "UA"]
    assert [steps.take("W1", "T1", "GLU", "CA") for _ in range(2)] == ["CR", "UC"]
    assert steps.take("W2", "T1", "GLU", "NW") == "OK"
    steps.measure("T1", result("1"))
    assert [steps.take(one, "T1", "GLU", "CA") for one in ("W2", "W9")] == ["UC", "UC"]


def test_a_result_has_the_step_that_was_ordered_last_and_keeps_it() -> None:
    steps = WorkSteps()
    assert steps.measure("T1", result("1")) == UNORDERED
    steps.take("W1", "T1", "GLU", "NW")
    assert (steps.measure("T1", result("2", "P")), steps.measure("T2", result("2"))) == ("W1", UNORDERED)
    assert steps.take("W1", "T1", "GLU", "CA") == "CR"  # a preliminary result is not the end
    steps.take("W2", "T1", "GLU", "NW")
    assert [steps.measure("T1", result(value)) for value in ("1", "2", "3")] == [UNORDERED, "W1", "W2"]
