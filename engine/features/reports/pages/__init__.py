"""The pages of this feature.

The routes of the reports.
"""

from engine.features.reports.pages import reports, shift
from engine.web.menu import LABORATORY, LOOKS, Entry
from engine.web.pages.frame import routes_of

routes = routes_of(reports, shift)
MENU = (
    Entry("/shift", "Shift report", LOOKS, 40, LABORATORY, "shift"),
    Entry("/reports", "Reports", LOOKS, 30, LABORATORY, "reports"),
)
