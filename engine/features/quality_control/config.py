"""The ``controls:`` of a site: when controls are due. The ``maintenance:`` of a channel: jobs of its analyzer."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from engine.config.channel import FeatureKeys
from engine.config.findings.agreement import Channels, Destinations, Disagreement
from engine.config.reading.joining import Behind, Block, KeyHelp, part
from engine.config.reading.problems import closest
from engine.config.reading.values import Days, Duration, Flag, Model, Whole
from engine.config.sitewide import SiteConfig


class ControlsConfig(Model):
    """When a person hears of controls. Lots, targets and rules are no keys: people decide about them
    (`labrelay quality`)."""

    due_after: Duration = 24 * 3600.0
    """A control is due so long after the last accepted one of its test."""

    due_patients: Annotated[int, Field(ge=0, le=100_000)] = 0
    """... or after so many messages with a patient's result of it; 0: it does not matter."""

    lot_ends: Duration = 30 * 86_400.0
    """So long before it expires a lot is on the to-do list."""


class ControlsKeys(Model):
    """Keys of the site's file."""

    controls: Annotated[ControlsConfig, Behind("backup")] = Field(default_factory=ControlsConfig)
    """When controls are due."""


def controls_of(config: SiteConfig) -> ControlsConfig:
    return part(config, ControlsKeys).controls


class JobConfig(Model):
    """A job of `maintenance:`, by its name: `{Clean the needle: {every: 7}}`. It is on the to-do list up to a week
    before it is late, in days of the site, until `labrelay quality done` notes it."""

    every: Annotated[Whole | None, Field(ge=1, le=3_660)] = None
    """Days after which it is due again."""

    dates: Days = ()
    """In place of `every`: the days on which it is due."""

    control: Flag = True
    """Once it was done, controls of the analyzer are due."""

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.every is None) == (not self.dates):
            raise ValueError("a job has either every: or dates:")
        return self


class AnalyzerKeys(FeatureKeys):
    """Keys of a channel's file."""

    maintenance: Annotated[dict[Annotated[str, Field(min_length=1, max_length=60)], JobConfig], Behind("settings")] = (
        Field(default_factory=dict)
    )
    """Jobs of maintenance of its analyzer, each with its days."""


def disagreements(channels: Channels, destinations: Destinations) -> Iterator[Disagreement]:
    """Channels that have the controls of no other one, or of one that has not its own."""
    for name, channel in channels.items():
        if (other := channel.controls_of) is None:
            continue
        if other not in channels:
            hint = closest(other, channels) or "; name a channel of this site"
            yield Disagreement(name, ("controls_of",), 1, f"unknown channel '{other}'{hint}")
        elif channels[other].controls_of is not None:
            yield Disagreement(
                name, ("controls_of",), 1, f"{other} has controls_of itself; name the channel of the lots"
            )


KEYS = KeyHelp(
    {
        "controls": (Block("Keys of `controls:`", [ControlsConfig]),),
        "channels": (Block("A job of `maintenance:`", [JobConfig]),),
    },
    about={"controls": "`controls:` of the site: when controls are due, and how early a lot that ends is on the list."},
)
