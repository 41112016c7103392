"""`controls_of` of a channel names one of the site that has lots and targets of its own."""

from types import SimpleNamespace

import pytest

from engine.features.quality_control.config import disagreements


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("chem", []),
        (None, []),
        ("chme", ["unknown channel 'chme'; did you mean chem?"]),
        ("hall", ["unknown channel 'hall'; name a channel of this site"]),
        ("second", ["second has controls_of itself; name the channel of the lots"]),
        ("first", ["first has controls_of itself; name the channel of the lots"]),
    ],
)
def test_the_other_channel_has_lots_of_its_own(other: str | None, told: list[str]) -> None:
    of = {"chem": None, "second": "chem", "first": other}
    channels = {name: SimpleNamespace(controls_of=one) for name, one in of.items()}
    assert [(one.channel, one.text) for one in disagreements(channels, None)] == [("first", text) for text in told]  # type: ignore[arg-type]
