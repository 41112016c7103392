"""The keys of access in `labrelay help keys`."""

from engine.features.access.config.access import AccessConfig
from engine.features.access.config.oidc import OidcConfig
from engine.help.documented import Block, KeyHelp

KEYS = KeyHelp({"access": (Block("`access:`", [AccessConfig]), Block("`access: oidc:`", [OidcConfig]))})
