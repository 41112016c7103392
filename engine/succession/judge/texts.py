"""A text of several lines: each line is a result of one test, and a new text takes the place of the one before it."""

from collections.abc import Callable, Sequence

from engine.succession.judge.samples import at_same_time
from engine.succession.judge.words import Said, Standing
from engine.succession.steps import WITHDRAWN


def is_line(said: Said) -> bool:
    """Whether it is in words, and not withdrawn; of a culture it is no line."""
    is_number = any(map(str.isdigit, said.value))
    return bool(said.value) and not (is_number or said.organism or said.version.said == WITHDRAWN)


def paired(lines: Sequence[Said], before: Sequence[Standing]) -> dict[int, Standing]:
    """Each line with the one that it was: of its time, else in their order."""
    free = [*before]
    found: dict[int, Standing] = {}
    ways: tuple[Callable[[Said, Standing], bool], ...] = (
        lambda said, one: at_same_time(said, one.last),
        lambda *_: True,
    )
    for is_same in ways:
        for line in lines:
            if line.place not in found and (one := next((one for one in free if is_same(line, one)), None)):
                found[line.place] = one
                free.remove(one)
    return found
