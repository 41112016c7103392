"""Parts of a snapshot come out of the other process's end as they went in."""

import pickle
from dataclasses import FrozenInstanceError, fields

import pytest

from engine.monitoring.snapshot.channels import ChannelSnapshot, LaneSnapshot, LinkSnapshot, UsualGap


@pytest.mark.parametrize("kind", [ChannelSnapshot, LaneSnapshot, LinkSnapshot, UsualGap])
def test_each_field_arrives(kind: type) -> None:
    sent = kind(**{one.name: f"value of {one.name}" for one in fields(kind)})
    got = pickle.loads(pickle.dumps(sent))
    assert got == sent
    assert {getattr(got, one.name) for one in fields(kind)} == {f"value of {one.name}" for one in fields(kind)}
    with pytest.raises(FrozenInstanceError):
        setattr(got, fields(kind)[0].name, "another")
