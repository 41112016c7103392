"""The keys of orders in `labrelay help keys`."""

from engine.config.documented import Block, KeyHelp
from engine.features.orders.config.lis import LisConfig
from engine.features.orders.config.orders import OrdersConfig
from engine.features.orders.config.status import StatusPart

KEYS = KeyHelp(
    {
        "channels": (Block("`orders:`", [OrdersConfig]), Block("`lis:`", [LisConfig])),
        "sources": (Block("Changes of orders (`kind: order-status`)", [StatusPart], intro=False),),
    }
)
