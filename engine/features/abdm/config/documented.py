"""The keys of ABDM in `labrelay help keys`."""

from engine.config.documented import Block, KeyHelp
from engine.features.abdm.config.destination import CallbackConfig, FacilityConfig
from engine.features.abdm.config.share import SharePart

KEYS = KeyHelp(
    {
        "destinations": (
            Block("`callbacks:` of `kind: abdm`", [CallbackConfig]),
            Block("`facilities:` of `kind: abdm`", [FacilityConfig]),
        ),
        "sources": (Block("Patients who share their profile (`kind: abdm-share`)", [SharePart], intro=False),),
    }
)
