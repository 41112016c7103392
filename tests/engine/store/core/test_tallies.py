"""A batch works on copies of the committed tallies, which leave no column out."""

from dataclasses import astuple, fields
from typing import Any

import pytest

from engine.model.content.repeats import Habit
from engine.store.core.writing.batch import ChannelTally, LaneTally


def filled(kind: type[ChannelTally] | type[LaneTally] | type[Habit]) -> list[Any]:
    """A different value for each column."""
    texts = (str, "str")
    values: list[Any] = [field.name if field.type in texts else at for at, field in enumerate(fields(kind), start=7)]
    if kind is ChannelTally:
        values[-1] = Habit(*filled(Habit))
    return values


@pytest.mark.parametrize("kind", [ChannelTally, LaneTally, Habit])
def test_a_copy_has_every_column_and_is_another_one(
    kind: type[ChannelTally] | type[LaneTally] | type[Habit],
) -> None:
    tally = kind(*filled(kind))
    copy = tally.copied()
    assert type(copy) is kind
    assert astuple(copy) == astuple(tally)
    assert len(set(astuple(copy))) == len(fields(kind))
    changed = copy.habit if isinstance(copy, ChannelTally) else copy
    setattr(changed, fields(changed)[1].name, 99)
    assert copy != tally
