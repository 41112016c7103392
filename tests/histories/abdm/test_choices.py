"""The acts of a history are those of its seed, however fast the machine is; a list of them is played again as it is."""

import json
from collections.abc import Callable

import pytest

from tests.histories.abdm.choices import Act, Choices, NothingThereError

NAMES, WEIGHTS = ("report", "pull", "leave"), (5, 3, 2)


def acts(choices: Choices, is_there: Callable[[int, int], bool]) -> list[Act]:
    """Forty acts, each with two choices, of which the first has what is there at its step."""
    for step in range(40):
        choices.begin(NAMES, WEIGHTS)
        try:
            choices.one_of(range(9), if_=lambda n, step=step: is_there(step, n))  # type: ignore[misc]
        except NothingThereError:
            continue
        choices.chance(0.5)
    return choices.acts


def test_an_act_is_of_the_seed_whatever_was_there_for_those_before() -> None:
    every = acts(Choices("7"), lambda step, n: True)
    assert every == acts(Choices("7"), lambda step, n: True)
    assert every != acts(Choices("8"), lambda step, n: True)
    slow = acts(Choices("7"), lambda step, n: step % 3 > 0 and n != 4)
    assert [one[0] for one in slow] == [one[0] for one in every]
    assert [len(one) for one in slow] == [3 if step % 3 else 1 for step in range(40)]
    assert all(slow[step] == one for step, one in enumerate(every) if step % 3 and one[1] != 4)


def test_a_list_of_acts_is_played_again_as_it_is() -> None:
    told = acts(Choices("7"), lambda step, n: n % 2 == step % 2)
    assert acts(Choices("other", json.loads(json.dumps(told))), lambda step, n: True) == told


def test_what_is_not_there_any_more_is_not_replaced_by_another_one() -> None:
    choices = Choices("7", [["report", 3, True]])
    choices.begin(NAMES, WEIGHTS)
    with pytest.raises(NothingThereError):
        choices.one_of(range(9), if_=lambda n: n != 3)
