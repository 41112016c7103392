"""The ``controls:`` of a site: when controls are due."""

from typing import Annotated

from pydantic import Field

from engine.config.reading.joining import Behind, Block, KeyHelp, part
from engine.config.reading.values import Duration, Model
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


KEYS = KeyHelp(
    {"controls": (Block("Keys of `controls:`", [ControlsConfig]),)},
    about={"controls": "`controls:` of the site: when controls are due, and how early a lot that ends is on the list."},
)
