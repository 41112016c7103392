"""The keys of access in `labrelay help keys`."""

from engine.config.documented import Block, KeyHelp
from engine.features.access.config.access import AccessConfig
from engine.features.access.config.oidc import OidcConfig

KEYS = KeyHelp({"access": (Block("`access:`", [AccessConfig]), Block("`access: oidc:`", [OidcConfig]))})
