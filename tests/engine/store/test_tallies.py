"""A batch works on copies of the committed tallies, which leave no column out."""

from dataclasses import astuple, fields

import pytest

from engine.batch import ChannelTally, LaneTally


@pytest.mark.parametrize("kind", [ChannelTally, LaneTally])
def test_a_copy_has_every_column_and_is_another_one(kind: type[ChannelTally] | type[LaneTally]) -> None:
    values = [field.name if field.type is str else number for number, field in enumerate(fields(kind), start=7)]
    tally = kind(*values)  # type: ignore[arg-type]  # a different value for each column
    copy = tally.copied()
    assert type(copy) is kind
    assert astuple(copy) == astuple(tally) == tuple(values)
    copy.last_seq += 1
    assert copy != tally
