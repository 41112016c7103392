"""The pages of this feature.

The routes of the pages about dead letters, and about what is done again.
"""

from engine.features.rework.pages import affected, aside, dead_letters, edit, operations, panels, replay
from engine.web.menu import ACTS, CHANGES, DELIVERY, LOOKS, Entry
from engine.web.pages.frame import routes_of

routes = routes_of(affected, aside, panels, dead_letters, edit, operations, replay)
MENU = (
    Entry("/dead-letters", "Dead letters", LOOKS, 30, icon="dead"),
    Entry("/replay", "Send again", ACTS, 20, DELIVERY, "send"),
    Entry("/affected", "Affected results", CHANGES, 30, DELIVERY, "reject"),
    Entry("/operations", "Operations", LOOKS, 40, DELIVERY, "retry"),
)
